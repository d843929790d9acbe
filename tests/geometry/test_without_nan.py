"""Networks that NaN cannot probe: it would kill or hang them, they refuse it, or they swallow it.

What can die or hang runs in a process of its own, with a time limit.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracle import mean_map
from torch import nn
from torchvision.ops import DeformConv2d, roi_align

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field, theoretical_receptive_fields
from captum_erf.geometry.region import Region

SECONDS = 100


class Act(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Straight(torch.autograd.Function):
    """A step with a straight-through gradient, as in binary and spiking networks."""

    @staticmethod
    def forward(ctx, x):
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Deformable(nn.Module):
    """A deformable convolution with offsets that the input predicts; torchvision's dies of NaN offsets."""

    def __init__(self):
        super().__init__()
        self.offset, self.conv = nn.Conv2d(2, 18, 3, padding=1), DeformConv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x, self.offset(x))


class Equilibrium(nn.Module):
    """Iterates until it has converged, which it never has with NaN."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        nn.init.uniform_(self.conv.weight, -0.05, 0.05)

    def forward(self, x):
        state, following = torch.zeros_like(x), x
        while not (following - state).abs().max() < 1e-3:
            state, following = following, torch.tanh(self.conv(following) + x)
        return following


class Cropped(nn.Module):
    """RoI pooling with a box that the input predicts."""

    def forward(self, x):
        corner = x.mean((1, 2, 3)).sigmoid()[:, None] * 4
        number = torch.arange(len(x)).to(x)[:, None]
        return roi_align(x, torch.cat([number, corner, corner, corner + 9, corner + 9], 1), 8)


def guarded(x):
    if not x.isfinite().all():
        raise FloatingPointError("activations are not finite")
    return x


def table(x):
    return x * torch.linspace(1, 2, 8).to(x)[(x.detach().sigmoid() * 7).long()]


def as_number(x):
    return torch.stack([one * int(one.detach().abs().sum().item() + 2) for one in x])


torch.manual_seed(0)  # some of the kinds have weights
KINDS = {
    "deformable convolution": (Deformable(), "deform_conv2d turns values into places"),
    "loop until convergence": (Equilibrium(), "does not end"),
    "RoI pooling": (Cropped(), "roi_align turns values into places"),
    "index from an activation": (Act(table), "turns values into whole numbers"),
    "guard against NaN": (Act(guarded), "raises FloatingPointError"),
    "a Python number": (Act(as_number), "raises ValueError"),
    "nan_to_num": (Act(torch.nan_to_num), "swallow"),
    "a jump by torch.where": (Act(lambda x: torch.where(x > 0.1, x, torch.zeros_like(x))), "swallow"),
    "straight-through spikes": (Act(Straight.apply), "swallow"),
}


def network(kind):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), KINDS[kind][0], nn.Conv2d(2, 1, 3, padding=1)).eval()


def check_measured(kind):
    """The map is plain autograd's, sizes and errors are there, and the field is the map's extent, with one warning."""
    model, inputs = network(kind), torch.randn(6, 1, 24, 24)
    with pytest.warns(UserWarning, match=KINDS[kind][1]) as caught:
        field = EffectiveReceptiveField(model, "2").aggregate([inputs[:3], inputs[3:]])
    assert len(caught) == 1, [str(one.message) for one in caught]
    halves = [mean_map(model, model[2], half, field.position) for half in (inputs[:3], inputs[3:])]  # as in the loader
    expected = sum(halves) / 2
    assert abs(field.values - expected).max() <= 1e-5 * expected.max()
    theoretical, extent = field.theoretical, Region.around(expected > 0)
    assert (theoretical.is_estimated, theoretical.is_known) == (True, False)
    assert (theoretical.lower, theoretical.upper) == (extent.offset, extent.stop)
    assert field.recipe["route"] == "whole input: the theoretical field is only estimated"
    value, error = field.estimate(lambda one: one.radius_mass().diameter(0.5))
    assert value > 0
    assert error is not None
    assert "estimated from the gradients" in str(field)


def check_described(kind):
    """``theoretical_receptive_field`` gives the extent of the gradients seen for the inputs that it is given."""
    model, inputs = network(kind), torch.randn(6, 1, 24, 24)
    with pytest.warns(UserWarning, match=KINDS[kind][1]):
        field = theoretical_receptive_field(model, "2", inputs)
    extent = Region.around(mean_map(model, model[2], inputs, field.position) > 0)
    assert (field.lower, field.upper, field.is_estimated) == (extent.offset, extent.stop, True)
    assert f"about {field.size[0]} x {field.size[1]}" in str(field) or field.is_global


CHECKS = {"measured": check_measured, "described": check_described}


DANGEROUS = ("deformable convolution", "loop until convergence")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DANGEROUS])
def test_what_nan_cannot_probe(kind, check):
    CHECKS[check](kind)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("kind", DANGEROUS)
def test_what_nan_would_kill_or_hang(kind, check):
    here = Path(__file__).parent
    code = f"""
import sys
sys.path[:0] = {[str(here), str(here.parent), str(here.parent.parent)]!r}
import test_without_nan
test_without_nan.CHECKS[{check!r}]({kind!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_layers_before_what_nan_cannot_pass_are_probed():
    field = EffectiveReceptiveField(network("guard against NaN"), "0").aggregate([torch.randn(2, 1, 24, 24)])
    assert (field.theoretical.size, field.theoretical.is_estimated) == ((3, 3), False)


def test_a_neuron_of_what_nan_cannot_probe():
    model, inputs = network("guard against NaN"), torch.randn(4, 1, 24, 24)
    with pytest.warns(UserWarning, match="raises FloatingPointError"):
        field = EffectiveReceptiveField(model, "2").aggregate([inputs], neuron_selector=(0, 3, 4))
    expected = mean_map(model, model[2], inputs, (3, 4))
    assert abs(field.values - expected).max() <= 1e-5 * expected.max()


def test_parts_of_a_measurement_add_up_whatever_gradients_they_saw():
    inputs = torch.randn(6, 1, 24, 24)
    erf = EffectiveReceptiveField(network("a jump by torch.where"), "2")
    with pytest.warns(UserWarning, match="swallow"):
        whole = erf.aggregate([inputs])
        first, second = erf.accumulator(), erf.accumulator()
        first.update(inputs[:2])
        second.update(inputs[2:])
    first.merge(second)
    (joined,) = first.compute()
    assert joined.theoretical == whole.theoretical


def test_a_field_found_too_small_is_estimated():
    class Half(nn.Module):
        """Half of the channels swallow NaN, so that NaN finds the narrower half."""

        def __init__(self):
            super().__init__()
            self.wide, self.narrow = nn.Conv2d(1, 1, 9, padding=4), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.narrow(x) + Straight.apply(self.wide(x))

    model = Half()
    with pytest.warns(UserWarning, match="swallow"):
        assert theoretical_receptive_field(model, "", (1, 32, 32)).size == (9, 9)
    with pytest.warns(UserWarning, match="reaches outside the field"):
        field = EffectiveReceptiveField(model, "").aggregate([torch.randn(2, 1, 32, 32)])
    assert (field.theoretical.size, field.theoretical.is_estimated) == ((9, 9), True)


def test_a_table_of_layers_some_of_which_swallow_nan():
    model = nn.Sequential(nn.Conv1d(1, 1, 3, padding=1), Act(torch.nan_to_num), nn.Conv1d(1, 1, 3, padding=1))
    with pytest.warns(UserWarning, match="layer '1', '2', '' sees"):
        table = theoretical_receptive_fields(model, input_shape=(1, 32))
    assert [field.size for field in table] == [(3,), (3,), (5,), (5,)]
    assert [field.is_estimated for field in table] == [False, True, True, True]
    assert "about 5" in str(table)


def test_a_unit_without_any_influence_is_refused():
    with pytest.raises(ValueError, match="no influence on unit 'center' of layer '1'"):
        theoretical_receptive_field(nn.Sequential(nn.Conv1d(1, 1, 3), Act(torch.sign)), "1", (1, 12))
