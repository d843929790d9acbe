"""Layers: finding them, running a network no further than needed, and leaving it as it was."""

import functools
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models import resnet18

from captum_erf import EffectiveReceptiveField
from captum_erf.network.layers import all_modules, find_layers, mixes_samples, model_device, unchanged
from captum_erf.network.passes import layer_outputs

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def nested():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Conv2d(5, 2, 1),
    ).eval()


def test_layers_are_named_as_the_network_names_them(nested):
    found = find_layers(nested, [nested[1][0], "0.1", nested[2]])
    assert [layer.name for layer in found] == ["1.0", "0.1", "2"]
    assert [layer.module for layer in found] == [nested[1][0], nested[0][1], nested[2]]


def test_a_module_outside_the_network_goes_by_its_class(nested):
    assert find_layers(nested.forward, [nested[2]])[0].name == "Conv2d"


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("layer1.0.conv3", "'layer1.0.conv1'|'layer1.0.conv2'"),
        ("relu1", "'relu'"),
        ("Layer4", "'layer4'"),
        ("xyz", "'"),
    ],
)
def test_a_misspelt_name_gets_the_nearest(typed, nearest):
    with pytest.raises(ValueError, match=f"ResNet has no layer '{typed}'; the nearest names are .*({nearest})"):
        find_layers(resnet18(weights=None), [typed])


def test_outputs_come_in_the_order_in_which_the_layers_run(nested):
    layers = find_layers(nested, ["2", "0", "1.0", "0.0"])
    outputs = layer_outputs(nested, layers, (IMAGES,))
    assert [layers[place].name for place in outputs] == ["0.0", "0", "1.0", "2"]
    assert_close(outputs[0], nested(IMAGES))
    assert_close(outputs[3], nested[0][0](IMAGES))
    assert outputs[3].min() < 0


def test_the_pass_ends_with_the_deepest_layer(nested, count_calls):
    layers = find_layers(nested, ["0", "1.0"])
    later = count_calls(nested[1][1])
    layer_outputs(nested, layers, (IMAGES,))
    assert later == []


def test_no_except_clause_of_the_network_swallows_the_end(nested):
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.after = nested, nn.Identity()

        def forward(self, images):
            try:
                images = self.inner(images)
            except Exception:
                images = images * 0
            return self.after(images)

    model = Careful()
    attributions = EffectiveReceptiveField(model, "inner.1.0").attribute(IMAGES)
    assert_close(attributions, EffectiveReceptiveField(nested, "1.0").attribute(IMAGES))


def test_a_users_hooks_stay_and_are_seen(nested):
    """A hook that replaces the layer's output belongs to the network."""
    calls = []
    handle = nested[0].register_forward_hook(lambda module, args, output: calls.append(1) or 3 * output)
    attributions = EffectiveReceptiveField(nested, "0").attribute(IMAGES)
    assert calls
    assert list(nested[0]._forward_hooks) == [handle.id]
    handle.remove()
    assert_close(attributions, 3 * EffectiveReceptiveField(nested, "0").attribute(IMAGES))


def test_layers_that_hand_over_tuples_and_take_keywords():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, *, images, factor):
            return self.conv(images) * factor, "label"

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair, self.last = Pair(), nn.Identity()

        def forward(self, images):
            return self.last(input=self.pair(images=images, factor=2.0)[0])

    model = Outer()
    expected = 2 * EffectiveReceptiveField(model.pair.conv, "").attribute(IMAGES)
    picked = EffectiveReceptiveField(model, "pair", layout=lambda output: output[0])
    assert_close(picked.attribute(IMAGES), expected)
    assert_close(EffectiveReceptiveField(model, "last").attribute(IMAGES, attribute_to_layer_input=True), expected)


def test_a_compiled_network_is_read_as_the_eager_one(nested):
    compiled = torch.compile(nested)
    expected = EffectiveReceptiveField(nested, "1.0").attribute(IMAGES)
    assert_close(EffectiveReceptiveField(compiled, "1.0").attribute(IMAGES), expected)
    assert_close(EffectiveReceptiveField(compiled, nested[1][0]).attribute(IMAGES), expected)
    part = nested[1][0]
    nested[1] = torch.compile(nested[1])
    assert_close(EffectiveReceptiveField(nested, part).attribute(IMAGES), expected)


def test_torchscript_is_refused_with_the_fix(nested):
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.trace(nested, IMAGES)
    with pytest.raises(TypeError, match=r"is TorchScript, which runs no hooks .* pass the eager model"):
        EffectiveReceptiveField(scripted, "1").attribute(IMAGES)


def test_the_modules_of_a_forward_function_are_found(nested):
    class Holder:
        def __init__(self, model):
            self.model = model

        def predict(self, images):
            return self.model(images)

    everything = set(nested.modules())
    for forward in (
        nested,
        nested.forward,
        functools.partial(nested, extra=1),
        functools.partial(lambda model, images: model(images), nested),
        lambda images: nested(images),
        Holder(nested),
        Holder(nested).predict,
    ):
        assert set(all_modules(forward, [])) == everything, forward
    assert all_modules(torch.relu, []) == []


def test_flags_and_buffers_come_back_after_an_interrupt(nested):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nested)
    model[2].eval()
    flags = [module.training for module in model.modules()]
    mean = model[0].running_mean
    with pytest.raises(KeyboardInterrupt), unchanged(list(model.modules()), eval_mode=False):
        model(IMAGES)
        assert model[0].num_batches_tracked == 1
        assert mean.abs().sum() > 0
        model[1].training = False
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == flags
    assert model[0].num_batches_tracked == 0
    assert model[0].running_mean is mean
    assert mean.eq(0).all() and model[0].running_var.eq(1).all()


def test_eval_mode_does_not_go_through_an_overridden_eval():
    """As in detectors that freeze part of themselves there."""

    class Special(nn.Module):
        def train(self, mode=True):
            raise AssertionError("not to be called")

    model = nn.Sequential(Special(), nn.Dropout())
    with unchanged(list(model.modules()), eval_mode=True):
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_buffer_that_nothing_changed_is_not_written_to(nested):
    """Its version counts for graphs that saved it."""
    model = nn.Sequential(nn.BatchNorm2d(3), nested).eval()
    versions = [buffer._version for buffer in model.buffers()]
    EffectiveReceptiveField(model, "1.0").aggregate([IMAGES])
    assert [buffer._version for buffer in model.buffers()] == versions


@pytest.mark.parametrize(
    ("norm", "training", "kinds"),
    [
        (nn.BatchNorm2d(3), True, ["BatchNorm2d"]),
        (nn.BatchNorm2d(3), False, []),
        (nn.BatchNorm2d(3, track_running_stats=False), False, ["BatchNorm2d"]),
        (nn.SyncBatchNorm(3), True, ["SyncBatchNorm"]),
        (nn.InstanceNorm2d(3), True, []),
        (nn.GroupNorm(1, 3), True, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_normalisation_that_mixes_samples(norm, training, kinds):
    assert mixes_samples([norm.train(training)]) == kinds


def test_the_device_is_that_of_the_first_tensor(nested):
    assert model_device(list(nested.modules())) == torch.device("cpu")
    assert model_device([nn.ReLU()]) is None
    assert model_device(list(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1, device="meta")).modules())).type == "meta"
