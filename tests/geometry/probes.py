"""What the tests of theoretical receptive fields share."""

from captum_erf.geometry.search import probe
from captum_erf.network.layers import find_layers


def record_passes(model):
    """The shapes of the inputs of all passes through a model, as they come."""
    shapes = []
    model.register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape)))
    return shapes


def last(model):
    return str(len(model) - 1)


def fields_of(model, layers, positions, inputs, *arguments):
    """The fields of units, layer by layer, in shared passes."""
    return probe(model, find_layers(model, layers), positions, (inputs,), additional_forward_args=arguments)
