"""The loop over a data loader: when it stops."""

import pytest
import torch
from gated import IMAGES, alive
from numpy.testing import assert_allclose

from captum_erf import EffectiveReceptiveField


@pytest.mark.parametrize("number", [1, 3, 4, 7, 10, 99])
def test_max_samples(erf, sample_maps, number):
    drawn = []

    def loader():
        for batch in IMAGES.split(4):
            drawn.append(len(batch))
            yield batch

    field = erf.aggregate(loader(), max_samples=number)
    taken = min(number, 10)
    assert field.num_samples == taken
    assert len(drawn) == -(-taken // 4)
    assert_allclose(field.values, sample_maps[:taken].mean(0), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("number", [0, -3, 2.5, True, "3"])
def test_max_samples_must_be_a_positive_whole_number(erf, number):
    with pytest.raises(ValueError, match=f"max_samples must be a whole number of 1 or more, got {number!r}"):
        erf.aggregate([IMAGES], max_samples=number)


@pytest.mark.parametrize("target", [0, -0.1, float("nan"), float("inf"), True, "2 %"])
def test_target_error_must_be_a_positive_share(erf, target):
    with pytest.raises(ValueError, match=f"target_error must be a positive share.* got {target!r}"):
        erf.aggregate([IMAGES], target_error=target)


def test_target_error_of_a_signed_magnitude_is_refused_before_the_first_batch(erf):
    drawn = iter([IMAGES])
    with pytest.raises(ValueError, match=r"target_error .* negative values; pass max_samples instead, or another"):
        erf.aggregate(drawn, target_error=0.1, magnitude="signed")
    assert len(list(drawn)) == 1


def test_target_error_stops_when_the_radius_is_known(convnet):
    erf = EffectiveReceptiveField(convnet, "4")
    batches = [torch.randn(5, 3, 20, 20) for _ in range(40)]
    whole = erf.aggregate(batches)
    error = whole.estimate(lambda field: field.radius_mass().radius(0.5))
    assert error[1] is not None
    field = erf.aggregate(batches, target_error=0.5)
    assert field.num_samples == 20
    value, spread = field.estimate(lambda field: field.radius_mass().radius(0.5))
    assert spread <= 0.5 * value


def test_target_error_waits_for_a_unit_that_is_still_dead(gated):
    """The first 20 samples are dead; the next 20 are not."""
    batches = [alive(*[-1] * 10), alive(*[-1] * 10), *[alive(*[1] * 10)] * 5]
    field = gated.aggregate(batches, target_error=0.1)
    assert (field.num_samples, field.num_dead) == (30, 20)


def test_target_error_with_a_unit_that_one_sample_alone_activates(gated):
    """Without that sample's group there is no radius, so no standard error: all data are used."""
    batches = [alive(1, *[-1] * 9), *[alive(*[-1] * 10)] * 3]
    field = gated.aggregate(batches, target_error=0.1)
    assert (field.num_samples, field.num_dead) == (40, 39)
    assert field.estimate(lambda f: f.radius_mass().radius(0.5)) == (pytest.approx(1.5 * 0.5**0.5), None)


def test_show_progress_writes_a_bar(erf, capsys):
    erf.aggregate(IMAGES.split(4))
    assert capsys.readouterr().err == ""
    erf.aggregate(IMAGES.split(4), show_progress=True)
    assert "3/3" in capsys.readouterr().err


def test_the_bar_knows_its_end(erf, capsys):
    erf.sweep(IMAGES.split(4), positions=["center", "corner"], max_samples=8, show_progress=True)
    shown = capsys.readouterr().err
    assert "planning" in shown
    assert "2/2 batches" in shown


def test_an_update_tells_how_far_it_is(erf):
    shares = []
    erf.accumulator(positions=["center", "corner", "edge", (0, 1)]).update(IMAGES, advance=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]
