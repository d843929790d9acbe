"""Mean squared gradients for random weights against closed forms, Jacobians and draws."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from captum_erf import summaries, theory


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, values):
        return self.function(values)


def stack(num_layers, kernel_size, num_dims):
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[num_dims - 1]
    pads = kernel_size // 2
    return nn.Sequential(*[convolution(1, 1, kernel_size, padding=pads, bias=False) for _ in range(num_layers)])


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize(("num_layers", "kernel_size"), [(1, 3), (4, 3), (3, 5)])
def test_stacks_of_convolutions_have_the_closed_form_whatever_their_weights(num_dims, num_layers, kernel_size):
    side = num_layers * (kernel_size - 1) + 1
    found = theory.random_weights(
        stack(num_layers, kernel_size, num_dims), str(num_layers - 1), (1, *[side] * num_dims)
    )
    np.testing.assert_allclose(found / found.sum(), theory.uniform_stack(num_layers, kernel_size, num_dims), rtol=1e-12)


def test_the_sum_is_the_product_of_fans_and_mean_squares():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3)).double()
    found = theory.random_weights(model, "2", (3, 5, 5))
    squares = [model[place].weight.square().mean().item() for place in (0, 2)]
    assert found.sum() == pytest.approx(5 * (8 * 9 * squares[1]) / 2 * (3 * 9 * squares[0]), rel=1e-12)


@pytest.mark.parametrize(
    "layers",
    [[(3, 1, 1)] * 4, [(7, 2, 1), (3, 2, 1), (3, 1, 2)], [((3, 5), (2, 1), 1), (3, 1, 1)]],
    ids=["equal", "strides", "axes"],
)
def test_chains_have_the_sigma_of_the_closed_form(layers):
    model = nn.Sequential(*[nn.Conv2d(1, 1, kernel, stride, 0, dilation) for kernel, stride, dilation in layers])
    found = summaries.moments(theory.random_weights(model, str(len(layers) - 1), (1, 40, 41)))
    sigma = np.broadcast_to(theory.gaussian_sigma(layers), 2)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), sigma, rtol=1e-9)


def squared_jacobian(model, shape, index):
    """Squares of the gradients of each channel of a unit, added up: right where channels share no weight."""
    start = torch.randn(1, *shape, dtype=torch.float64, requires_grad=True)
    output = model.double().eval()(start)[(0, slice(None), *index)]
    gradients = [torch.autograd.grad(value, start, retain_graph=True)[0] for value in output]
    return sum(gradient.square() for gradient in gradients)[0].sum(0).numpy()


class Blur(nn.Module):
    def __init__(self):
        super().__init__()
        line = torch.tensor([1.0, 2, 1])
        self.register_buffer("filter", line.outer(line).repeat(2, 1, 1, 1))

    def forward(self, values):
        return F.conv2d(values, self.filter, padding=1, groups=2)


def batch_norm():
    norm = nn.BatchNorm2d(2)
    norm.running_var.copy_(torch.tensor([0.5, 4]))
    norm.weight.data.copy_(torch.tensor([3.0, -2]))
    return norm


FIXED = {
    "batch norm": (batch_norm, (2, 5, 6)),
    "mean of pixels": (lambda: nn.AvgPool2d(3, 2, 1), (2, 8, 7)),
    "mean without margins": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 8, 7)),
    "mean to the last pixel": (lambda: nn.AvgPool2d((2, 3), ceil_mode=True), (2, 7, 7)),
    "mean on one axis": (lambda: nn.AvgPool1d(3, 2, 1), (2, 8)),
    "mean on three axes": (lambda: nn.AvgPool3d(2, 1), (2, 4, 4, 5)),
    "cells": (lambda: nn.AdaptiveAvgPool2d((3, 2)), (2, 8, 7)),
    "global mean": (lambda: Apply(lambda values: values.mean((2, 3), keepdim=True)), (2, 4, 5)),
    "nearest": (lambda: nn.Upsample(scale_factor=2), (2, 4, 5)),
    "linear": (lambda: nn.Upsample(scale_factor=2, mode="linear"), (2, 6)),
    "bilinear": (lambda: nn.Upsample(size=(7, 11), mode="bilinear"), (2, 4, 5)),
    "bilinear by corners": (lambda: nn.Upsample(scale_factor=2.5, mode="bilinear", align_corners=True), (2, 4, 5)),
    "trilinear": (lambda: nn.Upsample(scale_factor=2, mode="trilinear"), (2, 3, 3, 4)),
    "blur": (Blur, (2, 5, 6)),
    "margins": (lambda: nn.ReflectionPad2d(2), (2, 5, 6)),
    "shuffle": (lambda: nn.PixelShuffle(2), (4, 3, 4)),
    "factor": (lambda: Apply(lambda values: values * 3), (2, 3, 4)),
    "tensor of factors": (lambda: Apply(lambda values: torch.tensor([[2.0], [-3.0]]) * values), (2, 4)),
    "divisor": (lambda: Apply(lambda values: values / 4), (2, 3, 4)),
    "sign": (lambda: Apply(lambda values: 1 - values), (2, 3, 4)),
    "difference": (lambda: Apply(lambda values: torch.sub(values, values.roll(1, -1), alpha=2)), (2, 3, 4)),
    "sum with a factor": (lambda: Apply(lambda values: torch.add(values, values.roll(1, -1), alpha=3)), (2, 3, 4)),
    "sum in place": (lambda: Apply(lambda values: values.clone().add_(values.roll(1, -1), alpha=3)), (2, 3, 4)),
    "moves": (lambda: Apply(lambda values: values.flatten(2).flip(-1).view_as(values).movedim(2, 3)), (2, 3, 4)),
    "parts": (lambda: Apply(lambda values: torch.cat(values.chunk(2, 1)[::-1], 1)[..., 1:]), (2, 3, 4)),
}


@pytest.mark.parametrize(("make", "shape"), FIXED.values(), ids=FIXED)
@pytest.mark.parametrize("position", ["center", "corner", "last"])
def test_fixed_operations_are_the_squares_of_their_jacobian(make, shape, position):
    model = make()
    place = (-1,) * (len(shape) - 1) if position == "last" else position
    grid = model.double().eval()(torch.zeros(1, *shape, dtype=torch.float64)).shape[2:]
    index = {"center": [length // 2 for length in grid], "corner": [0] * len(grid)}.get(position, place)
    found = theory.random_weights(model, "", shape, place)
    np.testing.assert_allclose(found, squared_jacobian(model, shape, index), rtol=1e-9, atol=1e-15)


def test_max_pooling_is_the_mean_over_inputs():
    start = torch.randn(20000, 1, 7, requires_grad=True)
    pool = nn.MaxPool1d(3, 2, 1)
    (gradient,) = torch.autograd.grad(pool(start)[:, 0, 0].sum(), start)
    np.testing.assert_allclose(theory.random_weights(pool, "", (1, 7), "corner"), [1 / 2, 1 / 2, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(gradient.square().mean((0, 1)), [1 / 2, 1 / 2, 0, 0, 0, 0, 0], atol=0.02)
    np.testing.assert_allclose(theory.random_weights(nn.AdaptiveMaxPool1d(1), "", (1, 4)), [1 / 4] * 4)


class Residual(nn.Module):
    """What residual networks have, some of it as modules, some as functions, some in place."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.one = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.two = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, values):
        values = F.avg_pool2d(self.stem(values), 2)
        branch = self.two(self.relu(self.one(values)))
        branch += values
        return self.head(torch.cat([F.relu_(branch), values], 1))


@pytest.fixture
def residual():
    """Weights of mean square exactly 1 / fan, so that draws of that variance have the same prediction."""
    model = Residual().double()
    for layer in (model.stem, model.one, model.two, model.head):
        weight = layer.weight.data
        weight *= (weight[0].numel() * weight.square().mean()) ** -0.5
        layer.bias.data.zero_()
    return model


def test_draws_of_weights_have_the_mean_square_that_is_predicted(residual):
    predicted = theory.random_weights(residual, "head", (2, 14, 14))
    squares = []
    for _ in range(1500):
        for layer in (residual.stem, residual.one, residual.two, residual.head):
            layer.weight.data.normal_(std=layer.weight[0].numel() ** -0.5)
        start = torch.randn(1, 2, 14, 14, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(residual(start)[0, :, 3, 3].sum(), start)
        squares.append(gradient[0].square().sum(0).numpy())
    mean, error = np.mean(squares, 0), np.std(squares, 0) / len(squares) ** 0.5
    assert mean.sum() == pytest.approx(predicted.sum(), rel=0.05)
    assert (np.abs(mean - predicted) <= 4 * error + 1e-12).mean() > 0.98
    assert np.corrcoef(mean.ravel(), predicted.ravel())[0, 1] > 0.99


def test_a_half_of_relus_and_the_shortcut_add_up():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, values):
            return values + F.relu(self.convolution(values))

    block = Block()
    block.convolution.weight.data.fill_(2)
    np.testing.assert_allclose(theory.random_weights(block, "", (1, 5)), [0, 2, 3, 2, 0])


ACTIVATIONS = {
    "relu": (nn.ReLU(), 0.5),
    "gelu": (nn.GELU(), 0.5),
    "relu6": (nn.ReLU6(), 0.5),
    "leaky": (nn.LeakyReLU(0.2), 0.52),
    "prelu": (nn.PReLU(init=0.2), 0.52),
    "clamp": (Apply(lambda values: values.clamp(min=0)), 0.5),
    "abs": (Apply(abs), 1),
    "dropout": (nn.Dropout(), 1),
}


@pytest.mark.parametrize(("activation", "factor"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations_scale_mean_squares(activation, factor):
    np.testing.assert_allclose(theory.random_weights(activation, "", (2, 3)), [0, 2 * factor, 0], rtol=1e-6)


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 2), nn.InstanceNorm1d(2, affine=True), nn.LayerNorm([2, 3])], ids=str)
def test_other_normalisation_counts_by_its_weight(norm):
    norm.weight.data.fill_(3)
    np.testing.assert_allclose(theory.random_weights(norm, "", (2, 3)), [0, 18, 0])


def test_a_linear_layer_over_channels():
    model = nn.Sequential(
        Apply(lambda values: values.movedim(1, -1)), nn.Linear(3, 2), Apply(lambda values: values.movedim(-1, 1))
    )
    model[1].weight.data = torch.tensor([[1.0, 2, 3], [0, 0, 2]])
    np.testing.assert_allclose(theory.random_weights(model, "2", (3, 4)), [0, 0, 18, 0])


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(context, values):
        return values * 3

    @staticmethod
    def backward(context, gradient):
        return gradient * 3


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Sigmoid()

    def forward(self, values):
        return values * self.gate(values.mean(-1, keepdim=True))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 1)

    def forward(self, values):
        return self.attend(values, values, values)[0]


REFUSED = {
    "gate": (Gate(), r"sigmoid in '1.gate' \(Sigmoid\)"),
    "attention": (Attention(), r"in '1.attend' \(MultiheadAttention\)"),
    "softmax": (nn.Softmax(1), r"softmax in '1' \(Softmax\)"),
    "function": (Apply(torch.exp), r"exp in '1' \(Apply\)"),
    "product": (Apply(lambda values: values * values), r"mul of two activations in '1' \(Apply\)"),
    "quotient": (Apply(lambda values: 1 / values), r"in '1' \(Apply\)"),
    "clamp": (Apply(lambda values: values.clamp(-1, 1)), r"clamp from -1 to 1 in '1' \(Apply\)"),
    "dilated pooling": (nn.MaxPool1d(2, dilation=2), r"max_pool1d with dilation or indices in '1'"),
    "cubic": (Apply(lambda values: F.interpolate(values[None], scale_factor=2, mode="bicubic")[0]), "mode 'bicubic'"),
    "autograd function": (Apply(Custom.apply), "CustomBackward, an autograd function of the network's own"),
}


@pytest.mark.parametrize(("module", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_rule_is_refused_by_name(module, message):
    model = nn.Sequential(nn.Conv1d(2, 4, 1), module, nn.Conv1d(4, 1, 1))
    with pytest.raises(ValueError, match=message):
        theory.random_weights(model, "2", (2, 4))


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_inside_is_refused_by_name():
    model = nn.Sequential(torch.jit.trace(nn.ReLU(), torch.zeros(1)), nn.Conv1d(1, 1, 1))
    with pytest.raises(ValueError, match="'0', which is TorchScript"):
        theory.random_weights(model, "1", (1, 4))


def test_what_comes_after_the_layer_needs_no_rule():
    model = nn.Sequential(nn.Conv1d(2, 4, 1), Gate())
    assert theory.random_weights(model, "0", (2, 4)).sum() > 0


def test_operations_in_place_after_the_layer_do_not_reach_it():
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(inplace=True))
    assert 2 * theory.random_weights(model, "1", (1, 1)) == theory.random_weights(model, "0", (1, 1))


def test_the_model_stays_as_it_was(residual):
    model = nn.Sequential(residual, nn.BatchNorm2d(4), nn.Dropout())
    model[2].eval()
    model[1].weight.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    theory.random_weights(model, "2", (2, 8, 8))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert [module.training for module in (model, model[1], model[2])] == [True, True, False]
    assert not model[1].weight.requires_grad and residual.stem.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_layer_is_named_or_given(residual):
    named, given = (theory.random_weights(residual, layer, (2, 8, 8)) for layer in ("two", residual.two))
    np.testing.assert_array_equal(named, given)


def test_positions_are_those_of_attribute():
    model = nn.Conv1d(1, 1, 1)
    for position, place in {"center": 3, "corner": 0, (-1,): 5, (0.5,): 2}.items():
        assert theory.random_weights(model, "", (1, 6), position).nonzero()[0].tolist() == [place]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(1, 1, 1)
        self.idle = nn.Conv1d(1, 1, 1)
        self.constant = nn.Identity()

    def forward(self, values):
        return self.layer(self.layer(values)) + self.constant(torch.zeros(1, 1, 4))


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (Twice(), "layer", "layer 'layer' runs 2 times; expected a layer of the model that runs once"),
        (Twice(), "idle", "layer 'idle' runs 0 times"),
        (Twice(), nn.Conv1d(1, 1, 1), "layer 'Conv1d' runs 0 times"),
        (Twice(), "constant", "layer 'constant' does not depend on the input"),
        (
            nn.Sequential(nn.Flatten()),
            "0",
            r"layer '0' gives shape \(1, 4\); expected \(N, C, \*grid\) with 1 grid axes",
        ),
        (nn.Sequential(nn.Conv1d(1, 1, 1)), "1", "has no layer '1'"),
    ],
    ids=["twice", "idle", "foreign", "constant", "no grid", "no such name"],
)
def test_layers_without_a_unit_are_refused(model, layer, message):
    with pytest.raises(ValueError, match=message):
        theory.random_weights(model, layer, (1, 4))


def test_a_function_is_no_model():
    with pytest.raises(TypeError, match="got a function; expected a Module"):
        theory.random_weights(lambda values: values, nn.Identity(), (1, 4))
