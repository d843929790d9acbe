"""What the tests of theoretical receptive fields share."""

from captum_erf.geometry.search import probe
from captum_erf.network.batch import Batch
from captum_erf.network.network import Network
from captum_erf.network.readings import settle


def record_passes(model):
    """The shapes of the inputs of all passes through a model, as they come."""
    shapes = []
    model.register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape)))
    return shapes


def last(model):
    return str(len(model) - 1)


def fields_of(model, layers, positions, inputs, *arguments):
    """The fields of units, layer by layer, in shared passes."""
    batch = Batch((inputs,), arguments)
    return probe(settle(Network.of(model, layers), batch), batch, positions)
