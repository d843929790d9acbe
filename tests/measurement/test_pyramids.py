"""Pyramid windows: activations are cropped on the way to a unit, and the map is that of the plain computation."""

import math
import re
import warnings

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import Phase, given, settings
from oracle import mean_map
from random_nets import SETTINGS, SHARES, random_nets
from torch import nn
from torch.nn import functional as F

from captum_erf import EffectiveReceptiveField, channels_last, tokens


def cropped(field):
    return "on the way" in field.recipe["route"]


def measured(model, layer, inputs, position="center", **settings):
    """The field, from a loader of unknown length, for which planning always pays."""
    erf = EffectiveReceptiveField(model, layer, layout=settings.pop("layout", "channels_first"))
    return erf.aggregate(iter([inputs]), position=position, **settings)


def equal(field, expected, tolerance=1e-12):
    return np.abs(field.values - expected).max() <= tolerance * np.abs(expected).max()


def check(model, layer, inputs, position="center"):
    """The field of a double-precision network; asserts that it equals plain autograd's."""
    field = measured(model, layer, inputs, position)
    assert equal(field, mean_map(model, model.get_submodule(layer), inputs, field.position))
    return field


def block(channels, *inner):
    return Residual(nn.Conv2d(channels, channels, 3, padding=1), *inner, nn.Conv2d(channels, channels, 1))


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Joined(nn.Sequential):
    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def forward(self, x):
        return x * x.mean([2, 3], keepdim=True).sigmoid()


class Attention(nn.Module):
    def forward(self, x):
        sequence = x.flatten(2).mT
        return (sequence @ sequence.mT / 10).softmax(-1).matmul(sequence).mT.view_as(x)


class Places(nn.Module):
    """Learnt position encodings, for one size or stretched to any."""

    def __init__(self, channels, size, is_stretched):
        super().__init__()
        self.weight, self.is_stretched = nn.Parameter(torch.randn(1, channels, size, size)), is_stretched

    def forward(self, x):
        weight = F.interpolate(self.weight, x.shape[2:], mode="bilinear") if self.is_stretched else self.weight
        return x * (1 + weight)


class Decoder(nn.Module):
    """A U-Net of two scales."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, 2, 1)
        self.inner, self.up = block(6), nn.ConvTranspose2d(6, 6, 2, 2)
        self.join, self.after, self.last = nn.Conv2d(12, 6, 1), block(6), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x):
        fine = self.stem(x).relu()
        return self.last(self.after(self.join(torch.cat([fine, self.up(self.inner(self.down(fine)))], 1))))


class ChannelsLast(nn.Module):
    """A block that works on (N, H, W, C)."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 5, padding=2), nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x):
        inner = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return x + self.narrow(F.gelu(self.wide(inner))).permute(0, 3, 1, 2)


class Tuple(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x), "more"


class First(nn.Module):
    def forward(self, pair):
        return pair[0]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(6, 6, 3, padding=1), nn.LeakyReLU(0.1)

    def forward(self, x):
        return self.act(self.conv(self.act(self.conv(x))))


def net(*between):
    """A network of padded convolutions that end at ``last``, with something between."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5, padding=2), nn.LeakyReLU(0.1), nn.Conv2d(6, 6, 5, padding=2)),
        *between,
        nn.Conv2d(6, 6, 5, padding=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(6, 6, 5, padding=2),
        nn.Conv2d(6, 4, 5, padding=2),
    ).double()


NETWORKS = {
    "chain": ((), True),
    "residual": ((block(6), block(6)), True),
    "joined": ((Joined(nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)), nn.Conv2d(12, 6, 1)), True),
    "in place": ((nn.BatchNorm2d(6), nn.ReLU(inplace=True), block(6, nn.ReLU(inplace=True))), True),
    "squeeze and excitation": ((block(6, Gate()),), True),
    "group norm": ((nn.GroupNorm(2, 6),), True),
    "attention": ((Attention(),), True),
    "position encodings": ((Places(6, 24, False),), True),
    "stretched position encodings": ((Places(6, 5, True),), True),
    "channels last inside": ((ChannelsLast(6), ChannelsLast(6)), True),
    "a tuple on the way": ((Tuple(nn.Conv2d(6, 6, 3, padding=1)), First()), True),
    "modules that run twice": ((Twice(),), True),
    "a flip": ((nn.Conv2d(6, 6, 1), type("Flip", (nn.Module,), {"forward": lambda self, x: x + x.flip(2)})()), True),
    "an uneven cut": ((type("Cut", (nn.Module,), {"forward": lambda self, x: x[:, :, 3:, 1:]})(),), True),
    "a max pool": ((nn.MaxPool2d(3, 2, 1),), True),
    "transposed": ((nn.Conv2d(6, 6, 3, 2, 1), nn.ConvTranspose2d(6, 6, 3, 2, 1, 1)), True),
    "reflected": ((nn.Conv2d(6, 6, 5, padding=2, padding_mode="reflect"),), True),
    "circular": ((nn.Conv2d(6, 6, 5, padding=2, padding_mode="circular"),), True),
}


@pytest.mark.parametrize("position", ["center", "corner", (-1, -1), (0.3, 0.8)], ids=str)
@pytest.mark.parametrize(("between", "is_cropped"), NETWORKS.values(), ids=NETWORKS)
def test_equals_plain_autograd(between, is_cropped, position):
    model = net(*between).eval()
    field = check(model, str(len(model) - 1), torch.randn(5, 3, 24, 24, dtype=torch.float64), position)
    assert cropped(field) == is_cropped


@pytest.mark.parametrize("position", ["center", "corner", (11, 6)], ids=str)
def test_a_decoder_with_a_skip(position):
    assert cropped(check(Decoder().double(), "last", torch.randn(4, 3, 32, 24, dtype=torch.float64), position))


def test_what_comes_before_an_attention_stays_whole():
    model = net(Attention())
    route = measured(model, "6", torch.randn(4, 3, 24, 24, dtype=torch.float64)).recipe["route"]
    assert re.fullmatch(r"whole input: the unit sees the whole input, cropped \d times? on the way", route)


@pytest.mark.parametrize(
    ("kind", "size"), [(nn.Conv1d, (90,)), (nn.Conv3d, (14, 11, 12))], ids=["one axis", "three axes"]
)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_other_numbers_of_axes(kind, size, place):
    layers = [kind(2, 4, 3, 2, 1), *[part for _ in range(3) for part in (kind(4, 4, 3, padding=1), nn.LeakyReLU(0.1))]]
    model = nn.Sequential(*layers).double()
    field = check(model, "6", torch.randn(4, 2, *size, dtype=torch.float64), (place,) * len(size))
    assert cropped(field)


def test_tokens_and_channels_last_outputs():
    class Mixer(nn.Module):
        def __init__(self, layout):
            super().__init__()
            self.layout = layout
            self.convs = nn.Sequential(*[nn.Conv2d(3 if n == 0 else 6, 6, 3, padding=1) for n in range(4)])
            self.norm = nn.LayerNorm(6)

        def forward(self, x):
            found = self.convs(x).permute(0, 2, 3, 1)
            return self.norm(found.flatten(1, 2) if self.layout == "tokens" else found)

    inputs = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    for name, layout in (("tokens", tokens()), ("channels_last", channels_last)):
        model = Mixer(name).double()
        found = measured(model, "norm", inputs, channel=2, layout=layout)
        whole = measured(model, "norm", inputs, channel=2, layout=layout, window=False)
        assert equal(found, whole.values)


@pytest.mark.parametrize("channel", [1, "random", lambda values: values.square().sum(1)], ids=["one", "random", "own"])
@pytest.mark.parametrize("magnitude", ["abs", "square", "signed"])
def test_channels_and_magnitudes(channel, magnitude):
    model, inputs = net(block(6)), torch.randn(4, 3, 24, 24, dtype=torch.float64)
    settings = {"channel": channel, "magnitude": magnitude}
    fields = []
    for window in ("auto", False):
        torch.manual_seed(3)
        fields.append(measured(model, "7", inputs, window=window, **settings))
    assert cropped(fields[0])
    assert equal(fields[0], fields[1].values)


def test_additional_arguments_do_not_keep_activations_whole():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x, factor):
            return self.net(x * factor[:, None, None, None])

    model, inputs = Scaled(), torch.randn(4, 3, 24, 24, dtype=torch.float64)
    arguments = torch.rand(4, dtype=torch.float64)
    found, whole = [
        measured(model, "net.6", inputs, additional_forward_args=arguments, window=window) for window in ("auto", False)
    ]
    assert cropped(found)
    assert equal(found, whole.values)


def test_units_with_crops_of_equal_shape_share_passes(count_calls):
    model, inputs = net(block(6)), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    positions = [(row, column) for row in (20, 30, 40) for column in (20, 30, 40)]
    accumulator = EffectiveReceptiveField(model, "7").accumulator(positions=positions)
    accumulator.update(inputs)
    accumulator.update(inputs)
    calls = count_calls(model[0])
    accumulator.update(inputs)
    assert len(calls) < len(positions)
    for field in accumulator.compute():
        assert cropped(field)
        assert equal(field, mean_map(model, model[7], inputs, field.position))


def test_layers_that_share_a_pass_do_so_where_that_is_cheaper(count_calls):
    """Twelve convolutions, each but a little deeper than the one before: no crop saves the shared forward pass."""
    model = nn.Sequential(*[nn.Conv2d(3 if n == 0 else 4, 4, 3, padding=1) for n in range(12)]).double()
    inputs = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    accumulator = EffectiveReceptiveField(model, [str(n) for n in range(6, 12)]).accumulator()
    accumulator.update(inputs)
    accumulator.update(inputs)
    calls = count_calls(model[0])
    accumulator.update(inputs)
    assert len(calls) < 6
    for n, field in enumerate(accumulator.compute(), 6):
        assert equal(field, mean_map(model, model[n], inputs, field.position))


def test_few_samples_do_not_pay_for_planning():
    model, inputs = net(block(6)), torch.randn(1, 3, 24, 24, dtype=torch.float64)
    erf = EffectiveReceptiveField(model, "7")
    assert not cropped(erf.aggregate([inputs]))
    assert cropped(erf.aggregate([inputs] * 64))
    assert not cropped(EffectiveReceptiveField(model, "7").aggregate([inputs] * 64, max_samples=1))


def test_planning_is_paid_once(count_calls):
    model, inputs = net(block(6)), torch.randn(2, 3, 24, 24, dtype=torch.float64)
    erf = EffectiveReceptiveField(model, "7")
    erf.aggregate(iter([inputs]))
    calls = count_calls(model[0])
    erf.aggregate(iter([inputs]))
    assert len(calls) == 1


def test_hooks_are_gone_also_after_a_failure():
    model, inputs = net(block(6)), torch.randn(4, 3, 24, 24, dtype=torch.float64)
    accumulator = EffectiveReceptiveField(model, "7").accumulator()
    accumulator.update(inputs)
    with model[4].register_forward_hook(lambda *_: 1 / 0), pytest.raises(ZeroDivisionError):
        accumulator.update(inputs)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    accumulator.update(inputs)
    (field,) = accumulator.compute()
    assert cropped(field)
    assert field.num_samples == 8


class Router(nn.Module):
    """A hard choice between two experts, taken from the whole image."""

    def __init__(self, is_batched):
        super().__init__()
        self.is_batched = is_batched
        self.experts = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))
        self.gate = nn.Linear(6, 2, bias=False)

    def forward(self, x):
        scores = self.gate(x.mean((2, 3)))
        if not self.is_batched:
            pairs = zip(scores.argmax(1), x, strict=True)
            return torch.cat([self.experts[int(best)](image[None]) for best, image in pairs])
        hard = F.one_hot(scores.argmax(1), 2).to(x)
        return sum(chosen.view(-1, 1, 1, 1) * expert(x) for chosen, expert in zip(hard.T, self.experts, strict=True))


class Winners(nn.Module):
    """Keeps the strongest tenth of each channel."""

    def forward(self, x):
        strongest = x.flatten(2).topk(x[0, 0].numel() // 10).values[..., -1]
        return x * (x >= strongest[..., None, None])


class Threshold(nn.Module):
    def forward(self, x):
        return x * (x > x.mean((2, 3), keepdim=True))


class Coordinates(nn.Module):
    def forward(self, x):
        rows = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype)[:, None]
        return (x + 0.3 * rows).relu()


DECISIONS = {
    "router": lambda: Router(True),
    "router, one by one": lambda: Router(False),
    "winners": Winners,
    "threshold": Threshold,
    "coordinates": Coordinates,
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", DECISIONS.values(), ids=DECISIONS)
def test_hard_decisions_from_the_whole_image(make, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), make(), nn.Conv2d(6, 4, 3, padding=1)).double()
    inputs = torch.randn(16, 3, 48, 48, dtype=torch.float64)
    field = EffectiveReceptiveField(model, "2").aggregate([inputs])
    assert equal(field, mean_map(model, model[2], inputs, field.position))


class TurnsLater(nn.Module):
    """Sees the whole image from the moment on when one is bright."""

    def forward(self, x):
        is_bright = x.mean((1, 2, 3), keepdim=True) > 1
        return torch.where(is_bright, x * x.shape[-1], x)


def batches_that_turn():
    dark = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    return [dark, dark + 5, dark, dark + 5]


def test_a_window_that_a_later_batch_refutes_is_measured_anew():
    torch.manual_seed(2)
    model, batches = nn.Sequential(TurnsLater(), nn.Conv2d(3, 4, 3, padding=1)).double(), batches_that_turn()
    field = EffectiveReceptiveField(model, "1").aggregate(batches)
    assert field.recipe["route"].startswith("whole input: a later sample showed that")
    assert equal(field, mean_map(model, model[1], torch.cat(batches), field.position))


class GrowsLater(nn.Module):
    """The same without a comparison: the gate is a number that no gradient and no NaN goes through."""

    def forward(self, x):
        gate = torch.nan_to_num(x.detach().mean((1, 2, 3), keepdim=True)).sub(1).relu()
        return x * (1 + gate)


def test_where_nothing_decides_a_later_look_needs_no_gradient(monkeypatch):
    torch.manual_seed(2)
    model, (dark, bright, *_) = nn.Sequential(GrowsLater(), nn.Conv2d(3, 4, 3, padding=1)).double(), batches_that_turn()
    accumulator, backward = EffectiveReceptiveField(model, "1").accumulator(), []
    accumulator.update(dark)
    gradients = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, **kwargs: backward.append(1) or gradients(*args, **kwargs)
    )
    accumulator.update(dark)
    assert len(backward) == 1
    accumulator.update(dark)
    with pytest.raises(RuntimeError, match="the unit's values were others there"):
        accumulator.update(bright)


def test_a_refuted_window_gives_nothing_out():
    model, batches = nn.Sequential(TurnsLater(), nn.Conv2d(3, 4, 3, padding=1)).double(), batches_that_turn()
    erf = EffectiveReceptiveField(model, "1")
    accumulator = erf.accumulator()
    accumulator.update(batches[0])
    for action in (lambda: accumulator.update(batches[1]), accumulator.compute):
        with pytest.raises(RuntimeError, match=r"takes a decision from the whole input.*or pass window=False"):
            action()
    with pytest.raises(RuntimeError, match="not given out"):
        EffectiveReceptiveField(model, "1").aggregate(iter(batches))
    again = erf.aggregate(batches)
    assert equal(again, mean_map(model, model[1], torch.cat(batches), again.position))


@given(net=random_nets(), shares=SHARES)
@settings(SETTINGS, max_examples=25, phases=[Phase.generate])
def test_random_networks(net, shares):
    check_random(net, shares)


@pytest.mark.slow
@given(net=random_nets(), shares=SHARES)
@settings(SETTINGS, max_examples=300, phases=[Phase.generate])
def test_many_random_networks(net, shares):
    check_random(net, shares)


def check_random(net, shares):
    model, inputs = net.model.double().eval(), torch.randn(4, 2, *net.size, dtype=torch.float64)
    layer = str(len(model) - 1)
    try:
        grid = model(inputs).shape[2:]
    except RuntimeError:
        return  # a kernel that is larger than what is left
    unit = tuple(round(share * (length - 1)) for share, length in zip(shares, grid, strict=False))
    expected = mean_map(model, model[-1], inputs, unit)
    if expected.max() == 0 or math.prod(grid) == 0:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The channels of layer")
        field = measured(model, layer, inputs, unit)
    assert equal(field, expected), (net, unit, field.recipe["route"])


PUBLISHED = {
    "resnet18": ("layer3", (96, 80)),
    "densenet121": ("features.denseblock2", (96, 80)),
    "mobilenet_v2": ("features.14", (96, 80)),
    "mobilenet_v3_small": ("features.12", (96, 80)),
    "efficientnet_b0": ("features.3", (96, 80)),
    "googlenet": ("inception4b", (96, 80)),
    "inception_v3": ("Mixed_6a", (128, 128)),
    "squeezenet1_1": ("features.12", (97, 81)),
    "vgg11_bn": ("features.14", (96, 80)),
    "shufflenet_v2_x0_5": ("stage3", (96, 80)),
    "regnet_x_400mf": ("trunk_output.block3", (96, 80)),
    "regnet_y_400mf": ("trunk_output.block2", (96, 80)),
    "convnext_tiny": ("features.3", (96, 80)),
    "mnasnet0_5": ("layers.11", (96, 80)),
    "alexnet": ("features.11", (127, 95)),
    "resnext50_32x4d": ("layer2", (96, 80)),
}


@pytest.mark.slow
@pytest.mark.parametrize("position", ["center", "corner", (-1, -1)], ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name, position):
    layer, size = PUBLISHED[name]
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, name)(weights=None, **extra).double().eval()
    for key, parameter in model.named_parameters():
        if key.endswith("layer_scale"):
            nn.init.constant_(parameter, 0.1)
    check(model, layer, torch.randn(4, 3, *size, dtype=torch.float64), position)


def test_a_published_network():
    model = torchvision.models.resnet18(weights=None).double().eval()
    field = check(model, "layer3", torch.randn(4, 3, 64, 96, dtype=torch.float64), (1, 2))
    assert cropped(field)
