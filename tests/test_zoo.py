"""Every kind of network gives the map that plain autograd gives, and comes back as it was, whatever comes."""

import pytest
import torch
import zoo
from whole import differences, random_states, snapshot, tensors

SPECIMENS = [
    pytest.param(specimen, id=specimen.name, marks=() if specimen.is_quick else pytest.mark.zoo) for specimen in zoo.ZOO
]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=SPECIMENS)
def specimen(request):
    reason = zoo.missing(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def test_maps_equal_plain_autograd(specimen):
    for finding in zoo.measure(specimen, zoo.build(specimen), specimen.inputs(), zoo.build(specimen)):
        assert finding.error < zoo.MAP_TOLERANCE[specimen.dtype], finding
        assert finding.leak < zoo.ROUNDING, finding


class Stopped(BaseException):
    """As Ctrl-C, at a place of the test's own."""


def _measure(specimen, model, stop=None):
    erf = zoo.attribution(specimen, model, specimen.layers[-1])

    def magnitude(gradient):
        if stop is not None:
            raise stop("stopped")
        return gradient.abs().sum(1)

    erf.aggregate(
        [specimen.inputs()],
        channel=specimen.channels.get(specimen.layers[-1]),
        magnitude=magnitude,
        additional_forward_args=zoo.batched(specimen, 2) or None,
    )


@pytest.mark.parametrize("stop", [None, RuntimeError, Stopped], ids=["success", "failure", "interrupt"])
def test_network_comes_back_whole_without_a_warm_up(specimen, stop):
    model, fresh = zoo.build(specimen), zoo.build(specimen)
    for module in (model, fresh):
        module.train()
    before = random_states()
    if stop is None:
        _measure(specimen, model)
    else:
        with pytest.raises(stop, match="stopped"):
            _measure(specimen, model, stop)
    assert random_states() == before
    inputs, arguments = specimen.inputs(), zoo.batched(specimen, 2)
    outputs = []
    for module in (model, fresh):
        assert all(part.training for part in module.modules())
        module.eval()
        torch.manual_seed(0)
        with torch.no_grad():
            outputs.append(specimen.forward(module)(inputs, *arguments))
    for ours, plain in zip(*map(tensors, outputs), strict=True):
        assert torch.equal(torch.nan_to_num(ours), torch.nan_to_num(plain))
    assert differences(snapshot(model), snapshot(fresh)) == []
