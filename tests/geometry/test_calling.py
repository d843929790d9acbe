"""Calling theoretical_receptive_field: what it takes, returns, leaves alone and refuses."""

import json
import math

import pytest
import torch
from probes import fields_of, last
from torch import nn

from captum_erf import TheoreticalReceptiveField, theoretical_receptive_field


def test_several_positions_and_real_inputs():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    inputs = torch.randn(5, 3, 32, 32)
    (fields,) = fields_of(net, ["2"], ["center", "corner", "edge", (1.0, -2)], inputs)
    assert [field.position for field in fields] == [(8, 8), (0, 0), (0, 8), (15, 14)]
    assert all(field.size == (7, 7) for field in fields)
    assert [field.center for field in fields] == [(16.0, 16.0), (0.0, 0.0), (0.0, 16.0), (30.0, 28.0)]
    assert theoretical_receptive_field(net, net[2], inputs, "edge") == fields[2]


def test_other_arguments_go_along():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, x, gate, scale):
            return self.conv(x * gate[:, None, None, None]) * scale

    model = Gated()
    inputs, gates = torch.randn(3, 1, 16, 16), torch.ones(3)
    ((field,),) = fields_of(model, ["conv"], ["center"], inputs, gates, 2.0)
    assert field.size == (3, 3)


def test_the_network_comes_back_as_it_was():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x + 0 * torch.rand(())

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), Counting(), nn.Conv2d(2, 2, 3))
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    random_state = torch.get_rng_state()
    theoretical_receptive_field(net, "4", (1, 20, 20))
    assert [module.training for module in net.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_the_network_comes_back_as_it_was_after_an_error():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(7, 2)).train()
    with pytest.raises(RuntimeError):
        theoretical_receptive_field(net, "1", (1, 20, 20))
    assert net.training
    assert not net[0]._forward_hooks


def test_a_result_survives_json():
    net = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
    field = theoretical_receptive_field(net, "1", (1, 16, 16), "corner")
    assert TheoreticalReceptiveField.from_dict(json.loads(json.dumps(field.to_dict()))) == field


def test_a_result_prints_as_a_report():
    net = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2))
    report = str(theoretical_receptive_field(net, "0", (1, 16, 16), "edge"))
    for line in (
        "unit (0, 8) in a grid of 16 x 16",
        "5 x 5",
        "[-2, 3) x [6, 11) in an input of 16 x 16",
        "(0, 8), theoretical",
        "40.0% of the box lies outside the input",
    ):
        assert line in report


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3,), "one to three spatial axes"),
        ((2, 3, 8, 8, 8), "leave the batch axis out"),
        ((3, 0, 8), "positive ints"),
        ((3, 8.5, 8), "positive ints"),
        (224, "positive ints"),
        ("224", "positive ints"),
        (torch.zeros(3, 8), r"shape \(N, C_in, \*size\)"),
        (torch.full((1, 3, 8, 8), math.nan), "holds NaN"),
    ],
    ids=["no-axes", "batch-axis", "zero", "float", "int", "text", "no-batch", "nan"],
)
def test_inputs_that_are_none_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        theoretical_receptive_field(nn.Conv2d(3, 3, 1), "", shape)


def test_integer_inputs_are_refused():
    with pytest.raises(TypeError, match="Inputs must be floating point"):
        theoretical_receptive_field(nn.Identity(), nn.Identity(), torch.zeros(1, 3, 8, dtype=torch.int64))


def test_a_layer_without_a_grid_is_refused(convnet):
    with pytest.raises(ValueError, match=r"Layer '8' gives an output of shape \(1, 4\)"):
        theoretical_receptive_field(convnet, "8", (3, 20, 20))


def test_a_network_that_makes_nan_itself_is_refused():
    net = nn.Sequential(nn.Conv2d(1, 1, 3))
    nn.init.constant_(net[0].weight, math.nan)
    with pytest.raises(ValueError, match="gives NaN for finite inputs"):
        theoretical_receptive_field(net, "0", (1, 8, 8))


def test_the_networks_own_error_comes_through_with_the_reason():
    net = nn.Sequential(nn.Conv2d(1, 1, 9))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater") as caught:
        theoretical_receptive_field(net, "0", (1, 4, 4))
    assert "one sample of shape (1, 4, 4)" in caught.value.__notes__[0]


class Sign(nn.Module):
    def forward(self, x):
        return x.sign()


@pytest.mark.parametrize(
    ("model", "position"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 1, padding=2)), "corner"),
        (nn.Sequential(nn.Conv2d(1, 1, 3), Sign()), "center"),
    ],
    ids=["only-padding", "swallowed"],
)
def test_units_that_the_input_does_not_reach_are_refused(model, position):
    with pytest.raises(ValueError, match="The input has no influence on unit"):
        theoretical_receptive_field(model, last(model), (1, 12, 12), position)
