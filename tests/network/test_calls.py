"""Calls: which call of a layer is read where a pass runs it several times."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field

IMAGES = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """One ReLU and one convolution for several steps."""

    def __init__(self):
        super().__init__()
        self.start, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        features = self.relu(self.start(images))
        for _ in range(2):
            features = self.relu(self.conv(features) + features)
        return self.head(features)


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [("relu", [3, 5, 7]), ("conv", [5, 7])],
    ids=["without parameters", "with parameters"],
)
def test_a_layer_that_is_used_several_times(layer, sizes):
    model, count = Residual().eval(), len(sizes)
    message = rf"Layer '{layer}' is called {count} times in one forward pass.*call=0 .*call=-1"
    with pytest.raises(ValueError, match=message):
        EffectiveReceptiveField(model, layer).attribute(IMAGES)
    with pytest.raises(ValueError, match=message):
        EffectiveReceptiveField(model, layer).aggregate([IMAGES])
    with pytest.raises(ValueError, match=message):
        theoretical_receptive_field(model, layer, (3, 24, 24))
    for call, side in [*enumerate(sizes), *zip(range(-count, 0), sizes, strict=True)]:
        erf = EffectiveReceptiveField(model, layer, call=call)
        field = erf.aggregate([IMAGES])
        assert field.theoretical.size == (side, side)
        assert_close(field.values, erf.attribute(IMAGES).sum(1).mean(0).double().numpy())
        assert field.recipe["call"] == call
        assert theoretical_receptive_field(model, layer, (3, 24, 24), call=call).size == (side, side)


@pytest.mark.parametrize("call", [3, -4])
@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_a_call_that_never_comes(method, call):
    erf = EffectiveReceptiveField(Residual(), "relu", call=call)
    with pytest.raises(ValueError, match=rf"'relu' has no call={call}: it is called 3 time\(s\)"):
        getattr(erf, method)(IMAGES if method == "attribute" else [IMAGES])


@pytest.mark.filterwarnings("ignore:Input Tensor")
def test_the_last_call_is_what_neuron_gradient_looks_at():
    from captum.attr import NeuronGradient

    model = Residual().eval()
    expected = NeuronGradient(model, model.conv).attribute(IMAGES, (0, 3, 4)).abs()
    erf = EffectiveReceptiveField(model, "conv", call=-1)
    assert_close(erf.attribute(IMAGES, position=(3, 4), channel=0), expected)


@pytest.mark.parametrize("call", ["last", 1.0, True], ids=str)
def test_a_call_is_an_int(call):
    with pytest.raises(TypeError, match="call must be an int"):
        EffectiveReceptiveField(Residual(), "relu", call=call)


class Siamese(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, left, right):
        return self.encoder(left) - self.encoder(right)


def test_a_shared_encoder_is_called_once_for_each_input():
    model = Siamese(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh()))
    with pytest.raises(ValueError, match=r"'encoder\.0' is called 2 times"):
        EffectiveReceptiveField(model, "encoder.0").attribute((IMAGES, IMAGES.flip(0)))
    left, right = EffectiveReceptiveField(model, "encoder.0", call=1).attribute((IMAGES, IMAGES.flip(0)))
    assert not left.any() and right.any()


def test_a_layer_registered_under_two_names():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ValueError, match="called 2 times"):
        EffectiveReceptiveField(model, "0").attribute(IMAGES)
    assert EffectiveReceptiveField(model, "2", call=-1).aggregate([IMAGES]).theoretical.size == (5, 5)


class Helper(nn.Module):
    """The layer's name stands once in the code, in a function that runs twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 1, 1)

    def step(self, images):
        return self.conv(images)

    def forward(self, images):
        return self.head(self.step(self.step(images)))


class Comprehension(Helper):
    def forward(self, images):
        return self.head(torch.stack([self.conv(scale * images) for scale in (1, 2)]).sum(0))


class Patched(Helper):
    def __init__(self):
        super().__init__()
        self.forward = lambda images: self.head(self.conv(self.conv(images)))


class Renamed(Helper):
    def forward(self, images):
        conv = self.conv
        return self.head(conv(conv(images)))


class Once(Helper):
    def forward(self, images):
        return self.conv(images)


class Twice(Once):
    def forward(self, images):
        return super().forward(super().forward(images))


class ByName(Helper):
    def forward(self, images):
        return self.head(self.conv(getattr(self, "conv")(images)))  # noqa: B009


@pytest.mark.parametrize("model", [Helper, Comprehension, Patched, Renamed, Twice, ByName])
def test_reuse_is_found_however_it_is_written(model):
    with pytest.raises(ValueError, match="'conv' is called 2 times"):
        EffectiveReceptiveField(model(), "conv").attribute(IMAGES)


def test_calls_are_counted_once_for_each_object_and_size(count_calls):
    model = Residual().eval()
    erf = EffectiveReceptiveField(model, "start")
    erf.attribute(IMAGES[:, :, :8])  # the network sets itself up
    calls = count_calls(model.head)
    for _ in range(3):
        erf.attribute(IMAGES)
    assert len(calls) == 1
    erf.attribute(IMAGES[:, :, :16])
    assert len(calls) == 2
    model.relu.inplace = False
    erf.attribute(IMAGES)
    assert len(calls) == 3


def test_what_fails_after_the_layer_does_not_matter():
    class Broken(Helper):
        def forward(self, images):
            for _ in range(1):
                images = self.conv(images)
            raise OSError("no head")

    assert EffectiveReceptiveField(Broken(), "conv").attribute(IMAGES).any()
