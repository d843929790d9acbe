"""Random-weight studies: a network of its own for every batch, and standard errors over these draws."""

import numpy as np
import pytest
import torch
from torch import nn

from captum_erf import EffectiveReceptiveField
from captum_erf.protocols import ENERGY, LUO2016


def plain_maps(net, images):
    """Of the images, one by one, the sum over channels of the gradient's magnitude."""
    maps = []
    for image in images:
        x = image[None].clone().requires_grad_()
        y = net(x)
        y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
        maps.append(x.grad[0].abs().sum(0).numpy())
    return maps


def random_network():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1), nn.ReLU()).double()


def test_study_averages_over_networks_and_inputs():
    inputs = torch.randn(7, 3, 1, 11, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    field = LUO2016.aggregate(lambda: EffectiveReceptiveField(random_network(), "2"), inputs)
    torch.manual_seed(5)
    maps = [plain_maps(random_network()[:3], batch) for batch in inputs]
    np.testing.assert_allclose(field.values, np.mean(maps, (0, 1)), rtol=1e-9, atol=1e-14)
    report = LUO2016.report(field)
    assert (report.num_samples, report.num_draws) == (21, 7)
    assert "21 samples of 11 x 11, 7 draws of weights" in str(report)
    weights = np.array([image.sum() for draw in maps for image in draw])
    assert field.groups.effective_samples() == pytest.approx(weights.sum() ** 2 / np.square(weights).sum())


@pytest.mark.parametrize("groups", [3, 10])
def test_study_errors_are_over_draws(groups):
    """All samples of a draw are alike, so an error over samples would be far too small."""
    inputs = torch.ones(12, 4, 1, 9, 9)
    torch.manual_seed(6)
    field = LUO2016.aggregate(lambda: EffectiveReceptiveField(random_network().float(), "2"), inputs, groups=groups)
    torch.manual_seed(6)
    sums = np.zeros((groups, 9, 9))
    for draw, batch in enumerate(inputs):
        net = random_network().float()[:3]
        sums[draw % groups] += 4 * plain_maps(net, batch[:1])[0]
    np.testing.assert_allclose(field.groups.sums.sum((1, 2)), sums.sum((1, 2)), rtol=1e-5)
    counts = [4 * len(range(group, 12, groups)) for group in range(groups)]
    assert field.groups.counts.tolist() == counts
    value, error = field.estimate(lambda field: field.values.sum())
    rest = np.array([(sums.sum() - sums[g].sum()) / (48 - counts[g]) for g in range(groups)])
    assert value == pytest.approx(sums.sum() / 48, rel=1e-5)
    assert error == pytest.approx(np.sqrt((groups - 1) / groups * ((rest - rest.mean()) ** 2).sum()), rel=1e-4)


def test_study_counts_dead_draws():
    torch.manual_seed(0)
    alive = []

    def make_erf():
        net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
        alive.append(bool(net(torch.zeros(1, 1, 7, 7))[0, 0, 3, 3] > 0))
        return EffectiveReceptiveField(net, "1")

    field = LUO2016.aggregate(make_erf, torch.zeros(20, 2, 1, 7, 7))
    assert 0 < alive.count(False) < 20
    assert field.num_dead == 2 * alive.count(False)
    assert field.num_samples == 40


@pytest.mark.parametrize("option", ["max_samples", "target_error", "show_progress"])
def test_study_refuses_options_of_the_loop(option):
    with pytest.raises(ValueError, match=f"{option} does not apply to re-drawn networks.*as many batches"):
        LUO2016.aggregate(lambda: None, [], **{option: 1})


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (random_network, "Sequential"),
        (lambda: EffectiveReceptiveField(random_network(), ["0", "2"]), "one of several layers"),
    ],
    ids=["a model", "several layers"],
)
def test_study_says_what_the_factory_must_make(made, found):
    with pytest.raises(TypeError, match=f"must make an EffectiveReceptiveField of one layer, got {found}"):
        LUO2016.aggregate(made, torch.zeros(2, 1, 1, 9, 9))


def test_study_refuses_networks_of_different_fields():
    kernels = iter([3, 5])
    with pytest.raises(ValueError, match="belong to different measurements: theoretical receptive fields"):
        LUO2016.aggregate(
            lambda: EffectiveReceptiveField(nn.Sequential(nn.Conv2d(1, 1, next(kernels))), "0"),
            torch.randn(2, 1, 1, 9, 9),
        )


def test_study_without_batches_says_so():
    with pytest.raises(ValueError, match="gave no batch"):
        LUO2016.aggregate(lambda: EffectiveReceptiveField(random_network(), "2"), [])


def test_energy_variance_is_that_of_the_stack_of_luo():
    """With random signs the mean square is that of a stack of all-ones kernels: sigma^2 = n (k^2 - 1) / 12."""

    def make_erf():
        signs = [nn.Conv2d(1, 1, 3, bias=False) for _ in range(2)]
        for layer in signs:
            layer.weight.data = torch.randint(0, 2, layer.weight.shape) * 2.0 - 1
        return EffectiveReceptiveField(nn.Sequential(*signs), "1")

    torch.manual_seed(0)
    field = ENERGY.aggregate(make_erf, torch.zeros(80, 1, 1, 9, 9))
    report = ENERGY.report(field)
    for sigma, error in zip(report.sigmas, report.sigmas_se, strict=True):
        assert sigma == pytest.approx(np.sqrt(2 * 8 / 12), abs=4 * error)
    assert max(report.sigmas_se) < 0.06
