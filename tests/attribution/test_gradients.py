"""``attribute``: what it computes, how little it runs, and that the model is left as it was."""

import functools
import warnings

import numpy as np
import pytest
import torch
from oracle import at, gradient
from torch import nn
from torch.nn.functional import interpolate, max_pool2d
from torch.testing import assert_close
from torchvision.models import resnet18, resnet50

from captum_erf import EffectiveReceptiveField, tokens


@pytest.mark.parametrize(
    ("position", "index"),
    [("center", (5, 5)), ("corner", (0, 0)), ("edge", (0, 5)), ((-1, 3), (9, 3)), ((0.0, 0.5), (0, 4))],
    ids=["center", "corner", "edge", "ints", "floats"],
)
def test_equals_plain_autograd(convnet, position, index):
    inputs = torch.randn(3, 3, 20, 20)
    expected = gradient(convnet, convnet[4], inputs, at(*index))
    erf = EffectiveReceptiveField(convnet, "4")
    assert_close(erf.attribute(inputs, position=position), expected.abs())
    assert_close(erf.attribute(inputs, position=position, abs=False), expected)
    assert expected.min() < 0


def test_the_default_is_the_center_and_all_channels(convnet):
    inputs = torch.randn(2, 3, 20, 20)
    erf = EffectiveReceptiveField(convnet, "4")
    assert_close(erf.attribute(inputs), erf.attribute(inputs, position="center", channel=range(5)))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (nn.Sequential(nn.Conv1d(2, 3, 5), nn.Tanh(), nn.Conv1d(3, 2, 3)), (15,)),
        (nn.Sequential(nn.Conv3d(2, 3, 3), nn.Tanh(), nn.Conv3d(3, 2, 2)), (7, 8, 9)),
    ],
    ids=["1-D", "3-D"],
)
def test_one_and_three_spatial_axes(model, size):
    inputs = torch.randn(2, 2, *size)
    center = [length // 2 for length in model(inputs).shape[2:]]
    expected = gradient(model, model[2], inputs, at(*center))
    assert_close(EffectiveReceptiveField(model, "2").attribute(inputs), expected.abs())


def test_a_list_of_layers_gives_a_list_in_its_order(convnet):
    inputs = torch.randn(2, 3, 20, 20)
    together = EffectiveReceptiveField(convnet, ["4", convnet[0], "2"]).attribute(inputs)
    assert isinstance(together, list)
    for layer, attributions in zip(["4", "0", "2"], together, strict=True):
        assert_close(attributions, EffectiveReceptiveField(convnet, layer).attribute(inputs))
    (alone,) = EffectiveReceptiveField(convnet, ["4"]).attribute((inputs,))
    assert_close(alone, (together[0],))


def test_the_layers_input_is_the_output_of_the_layer_before(convnet):
    inputs = torch.randn(2, 3, 20, 20)
    before = EffectiveReceptiveField(convnet, "2").attribute(inputs)
    assert_close(EffectiveReceptiveField(convnet, "3").attribute(inputs, attribute_to_layer_input=True), before)


@pytest.mark.parametrize("wrap", ["method", "partial", "partial argument", "function", "object"])
def test_forward_func_may_be_any_callable(convnet, wrap):
    class Holder:
        def __init__(self, model):
            self.model = model

        def __call__(self, inputs):
            return self.model(inputs)

    forward = {
        "method": convnet.forward,
        "partial": functools.partial(convnet.forward),
        "partial argument": functools.partial(lambda model, inputs: model(inputs), convnet),
        "function": lambda inputs: convnet(inputs),
        "object": Holder(convnet),
    }[wrap]
    inputs = torch.randn(2, 3, 12, 12)
    convnet.train()
    expected = EffectiveReceptiveField(convnet, "4").aggregate([inputs], window=False).values
    found = EffectiveReceptiveField(forward, convnet[4]).aggregate([inputs], window=False)
    assert_close(torch.tensor(found.values), torch.tensor(expected))
    with pytest.warns(UserWarning, match="BatchNorm2d in training mode mixes the samples"):
        EffectiveReceptiveField(forward, convnet[4]).attribute(inputs)


def test_the_head_of_resnet50_does_not_run_after_the_first_look(count_calls):
    model = resnet50(weights=None).eval()
    erf = EffectiveReceptiveField(model, "layer2.1")
    erf.attribute(torch.randn(1, 3, 64, 64))
    calls = {name: count_calls(module) for name, module in model.named_children()}
    block, after = count_calls(model.layer2[1]), count_calls(model.layer2[2])
    erf.attribute(torch.randn(1, 3, 64, 64))
    ran = {name: len(seen) for name, seen in calls.items()}
    assert ran == {
        **dict.fromkeys(("conv1", "bn1", "relu", "maxpool", "layer1"), 1),
        **dict.fromkeys(("layer2", "layer3", "layer4", "avgpool", "fc"), 0),
    }
    assert (len(block), len(after)) == (1, 0)


def test_an_in_place_relu_does_not_change_what_came_before():
    """ResNet's ReLU after bn1 works in place; bn1's unit is read before it."""
    model = resnet18(weights=None).eval()
    assert model.relu.inplace
    inputs = torch.randn(4, 3, 32, 32)
    together = EffectiveReceptiveField(model, ["bn1", "relu"]).attribute(inputs)
    before, after = (EffectiveReceptiveField(model, layer).attribute(inputs) for layer in ("bn1", "relu"))
    assert_close(together, [before, after])
    assert (before - after).abs().max() > 0.1 * before.max()
    model.relu.inplace = False
    assert_close(EffectiveReceptiveField(model, "bn1").attribute(inputs), before)


def test_a_network_may_change_its_input_in_place():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 1, 3))
    inputs = torch.randn(2, 1, 5, 5)
    kept = inputs.clone()
    attributions = EffectiveReceptiveField(model, "1").attribute(inputs)
    assert_close(inputs, kept)
    assert (attributions[:, :, 1:4, 1:4] > 0).equal(inputs[:, :, 1:4, 1:4] > 0)


class Flattens(nn.Module):
    """``view`` works on contiguous tensors only, as in many older networks."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 6 * 6, 5)

    def forward(self, images):
        return self.head(self.conv(images).view(len(images), -1))


def test_a_network_that_views_its_convolutions_output():
    model, inputs = Flattens(), torch.randn(2, 3, 8, 8)
    expected = gradient(model, model.head, inputs, lambda output: output[:, 2])
    assert_close(EffectiveReceptiveField(model, "head").attribute(inputs, 2), expected.abs())


def test_only_gradients_of_inputs_are_computed(convnet):
    EffectiveReceptiveField(convnet, "4").attribute(torch.randn(2, 3, 12, 12))
    EffectiveReceptiveField(convnet, "4").aggregate([torch.randn(2, 3, 12, 12)])
    assert all(parameter.grad is None for parameter in convnet.parameters())
    convnet[0].weight.grad = torch.ones_like(convnet[0].weight)
    EffectiveReceptiveField(convnet, "4").attribute(torch.randn(2, 3, 12, 12))
    assert convnet[0].weight.grad.eq(1).all()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_works_where_gradients_are_switched_off(convnet, context):
    inputs = torch.randn(2, 3, 12, 12)
    erf = EffectiveReceptiveField(convnet, "4")
    expected, field = erf.attribute(inputs), erf.aggregate([inputs])
    with context():
        made_inside = torch.zeros_like(inputs) + inputs
        assert_close(erf.attribute(made_inside), expected)
        assert (erf.aggregate([made_inside]).values == field.values).all()
        assert not torch.is_grad_enabled()


def test_modes_are_left_alone_by_attribute(convnet):
    convnet.train()
    convnet[1].eval()
    before = [module.training for module in convnet.modules()]
    erf = EffectiveReceptiveField(convnet, "4")
    erf.attribute(torch.randn(2, 3, 12, 12))
    seen = []
    convnet[2].register_forward_hook(lambda module, *_: seen.append((module.training, convnet[1].training)))
    erf.attribute(torch.randn(2, 3, 12, 12))
    assert seen == [(True, False)]
    assert [module.training for module in convnet.modules()] == before


def test_aggregate_gives_every_module_its_own_mode_back(convnet):
    convnet.train()
    convnet[1].eval()
    before = [module.training for module in convnet.modules()]
    seen = []
    convnet[2].register_forward_hook(lambda module, *_: seen.append(module.training))
    EffectiveReceptiveField(convnet, "4").aggregate([torch.randn(2, 3, 12, 12)])
    assert seen and not any(seen)
    assert [module.training for module in convnet.modules()] == before


def test_batch_norm_in_training_mode_warns_and_keeps_its_statistics(convnet):
    convnet.train()
    before = {name: (buffer, buffer.clone()) for name, buffer in convnet.named_buffers()}
    with pytest.warns(UserWarning, match=r"BatchNorm2d in training mode .* call model\.eval\(\) first") as caught:
        EffectiveReceptiveField(convnet, "4").attribute(torch.randn(2, 3, 12, 12))
    assert caught[0].filename == __file__
    for name, buffer in convnet.named_buffers():
        assert buffer is before[name][0]
        assert_close(buffer, before[name][1])


def test_evaluation_mode_does_not_warn(convnet):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EffectiveReceptiveField(convnet, "4").attribute(torch.randn(2, 3, 12, 12))


class Counts(nn.Module):
    """Buffers that a forward pass writes, replaces and fills for the first time."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("filled", None)

    def forward(self, images):
        self.written += 1
        self.replaced = self.replaced + 1
        self.filled = torch.ones(())
        return self.conv(images)


@pytest.mark.parametrize("fails", [False, True], ids=["normally", "after an exception"])
@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_buffers_come_back(method, fails):
    model = Counts()
    replaced = model.replaced
    inputs = torch.randn(2, 1, 8, 8)
    given = inputs if method == "attribute" else [inputs]
    erf = EffectiveReceptiveField(model, "conv")
    if fails:
        with pytest.raises(IndexError):
            getattr(erf, method)(given, channel=5)
    else:
        getattr(erf, method)(given)
    assert model.written == 0
    assert model.replaced is replaced and replaced == 0
    assert model.filled is None


class TwoInputs(nn.Module):
    """A vector that scales what the image gives: the first input has no spatial axes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(5, 4)
        self.join = nn.Identity()

    def forward(self, vector, images, bias=0.0):
        return self.join(self.conv(images) * self.linear(vector)[:, :, None, None] + bias)


def test_several_inputs_of_different_kinds():
    inputs = (torch.randn(2, 5), torch.randn(2, 1, 8, 8))
    model = TwoInputs()
    found = EffectiveReceptiveField(model, "join").attribute(inputs, channel=1)
    expected = gradient(model, model.join, inputs, lambda output: output[:, 1, 4, 4])
    assert_close(found, tuple(item.abs() for item in expected))


def test_inputs_that_do_not_matter_or_are_no_floats_get_zeros():
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3)

        def forward(self, signal, unused, index):
            return self.conv(signal[:, :, index])

    inputs = (torch.randn(2, 1, 9), torch.randn(2, 4), torch.arange(5))
    signal, unused, index = EffectiveReceptiveField(Picks(), "conv").attribute(inputs)
    assert signal.count_nonzero() == 2 * 3
    assert unused.shape == (2, 4) and unused.count_nonzero() == 0
    assert index.shape == (5,) and index.count_nonzero() == 0


def test_additional_forward_args_are_passed_on():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3)

        def forward(self, signal, factor, power=1):
            return self.conv(signal * factor**power)

    erf, inputs = EffectiveReceptiveField(Scaled(), "conv"), torch.randn(2, 1, 9)
    plain = erf.attribute(inputs, additional_forward_args=1.0)
    assert_close(erf.attribute(inputs, additional_forward_args=(3.0, 2)), 9 * plain)
    assert_close(erf.attribute(inputs, additional_forward_args=torch.tensor([[[1.0]], [[4.0]]]))[1], 4 * plain[1])


def test_a_misspelt_layer_gets_the_nearest_names():
    with pytest.raises(ValueError, match=r"ResNet has no layer 'layer1\.conv1'; the nearest names are 'layer\d"):
        EffectiveReceptiveField(resnet18(weights=None), "layer1.conv1")


@pytest.mark.parametrize("layer", [3, [3]])
def test_an_index_is_refused_as_a_layer(convnet, layer):
    with pytest.raises(TypeError, match="layer must be a Module, a dotted name or a list of these, got int"):
        EffectiveReceptiveField(convnet, layer)


def test_a_layer_of_the_wrong_type_is_refused(convnet):
    with pytest.raises(TypeError, match="is a name, but forward_func is a function, not a Module"):
        EffectiveReceptiveField(lambda inputs: convnet(inputs), "4")
    with pytest.raises(ValueError, match="layer is an empty list"):
        EffectiveReceptiveField(convnet, [])


def test_a_layer_that_does_not_run_is_an_error(convnet):
    convnet.spare = nn.Conv2d(3, 3, 1)
    model = nn.ModuleDict({"used": convnet[0], "unused": convnet.spare})
    with pytest.raises(RuntimeError, match=r"never ran .*'Conv2d'"):
        EffectiveReceptiveField(lambda inputs: model["used"](inputs), model["unused"]).attribute(
            torch.randn(1, 3, 8, 8)
        )


@pytest.mark.parametrize(
    "cut",
    [lambda x: x.detach(), lambda x: x.round().detach(), lambda x: torch.zeros_like(x)],
    ids=["detached", "rounded", "constant"],
)
def test_no_gradient_path_is_an_error(cut):
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, images):
            return self.conv(cut(images))

    with pytest.raises(RuntimeError, match="Layer 'conv' has no gradient path to the inputs"):
        EffectiveReceptiveField(Cut(), "conv").attribute(torch.randn(1, 1, 8, 8))


def test_inputs_without_floats_are_refused(convnet):
    with pytest.raises(TypeError, match="No input is a floating-point tensor"):
        EffectiveReceptiveField(convnet, "0").attribute(torch.ones(1, 3, 8, 8, dtype=torch.int64))


def test_a_layer_without_a_grid_needs_a_selector(convnet):
    erf = EffectiveReceptiveField(convnet, "8")
    with pytest.raises(ValueError, match="neuron_selector"):
        erf.attribute(torch.randn(2, 3, 8, 8))
    assert erf.attribute(torch.randn(2, 3, 8, 8), 1).shape == (2, 3, 8, 8)


def test_an_output_that_folds_other_axes_into_the_batch_is_refused():
    """The patches of window attention are no samples."""

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(3, 6)

        def forward(self, images):
            patches = images.unflatten(3, (2, 4)).unflatten(2, (2, 4)).permute(0, 2, 4, 3, 5, 1)
            return self.mix(patches.reshape(-1, 16, 3))

    with pytest.raises(ValueError, match=r"1 sample.* its first axis is not the batch"):
        EffectiveReceptiveField(Patches(), "mix", layout=tokens()).attribute(torch.randn(2, 3, 8, 8))


class UNet(nn.Module):
    """One level down and up again, joined by a skip connection."""

    def __init__(self):
        super().__init__()
        self.down, self.deep, self.up = (nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 8))

    def forward(self, images):
        skip = self.down(images).relu()
        deep = self.deep(max_pool2d(skip, 2)).relu()
        return self.up(torch.cat([interpolate(deep, scale_factor=2), skip], 1))


def test_skip_connections():
    model, inputs = UNet(), torch.randn(2, 1, 16, 16)
    expected = gradient(model, model.up, inputs, at(5, 8))
    assert_close(EffectiveReceptiveField(model, "up").attribute(inputs, position=(5, 8)), expected.abs())


@pytest.mark.parametrize("autocast", [torch.int8, torch.float64, "bfloat16"], ids=str)
def test_precisions_that_autocast_does_not_know_are_refused(convnet, autocast):
    with pytest.raises(ValueError, match=r"autocast must be None, torch\.bfloat16 or torch\.float16, got"):
        EffectiveReceptiveField(convnet, "4").accumulator(autocast=autocast)


@pytest.mark.parametrize("scale", [1e-22, 1e20])
def test_squares_of_tiny_and_huge_gradients_are_kept(scale):
    class Scaled(nn.Conv1d):
        def forward(self, inputs):
            return super().forward(inputs) * scale

    model, inputs = Scaled(1, 2, 5), torch.randn(20, 1, 17)
    field = EffectiveReceptiveField(model, "").aggregate([inputs], magnitude="square")
    weights = model.weight.detach().sum(0)[0].double().numpy() * scale
    np.testing.assert_allclose(field.values[field.values > 0], weights**2, rtol=1e-5)
