"""Sums by group, what they leave out, and what the jackknife corrects; its formula is in test_erfmap.py."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_erf.geometry.region import Region
from captum_erf.result.sums import Groups, GroupSums, corrected, fingerprints, standard_error


def groups_of(samples):
    """Groups of the given lists of sample maps."""
    sums = np.stack([np.sum(group, axis=0) for group in samples])
    counts = np.array([len(group) for group in samples])
    size = sums.shape[1:]
    return Groups(sums, counts, 0 * counts, 0.0 * counts, 0 * counts, Region.whole(size), size)


@pytest.mark.parametrize("estimates", [[], [3.0], [1.0, None]], ids=["none", "one group", "undefined"])
def test_no_standard_error_without_two_values(estimates):
    assert standard_error(1.0, estimates) is None
    assert standard_error({"a": 1.0}, [{"a": one} for one in estimates]) == {"a": None}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8).filter(any), st.integers(0, 99))
def test_leave_one_out_is_the_mean_of_the_other_samples(counts, seed):
    rng = np.random.default_rng(seed)
    samples = [rng.random((count, 3, 2)) for count in counts]
    filled = [group for group, count in enumerate(counts) if count]
    found = list(groups_of(samples).leave_one_out())
    assert len(found) == (len(filled) if len(filled) > 1 else 0)
    for other, group in zip(found, filled, strict=False):
        others = np.concatenate(samples[:group] + samples[group + 1 :])
        np.testing.assert_allclose(other.mean(), others.mean(axis=0), rtol=1e-12)
        assert other.counts.sum() == len(others)


def test_a_pixel_that_only_one_group_reached_is_zero_without_it():
    groups = Groups.of(np.array([[0.1, 0.3], [0.0, 0.7], [0.0, 1e9]]))
    assert next(groups.leave_one_out()).mean()[0] == 0.0


def add(sums, maps, region, groups, prints=None):
    finite = maps.flatten(1).isfinite().all(1)
    prints = torch.zeros(len(maps), dtype=torch.int64) if prints is None else prints
    sums.count(groups, prints, finite, *sums.add(maps, region, groups, finite))


def test_sums_are_those_of_a_loop_over_samples():
    """Maps over different parts of the input, in two streams that are merged."""
    rng = np.random.default_rng(0)
    regions = [Region((2, 1), (3, 4)), Region((0, 3), (4, 2)), Region((5, 5), (2, 3))]
    whole, streams = np.zeros((4, 8, 9)), [GroupSums.empty(4, 2, None) for _ in range(2)]
    for number, region in enumerate(regions * 2):
        maps, groups = rng.random((5, *region.shape)), torch.tensor([0, 1, 1, 3, 0])
        add(streams[number % 2], torch.tensor(maps), region, groups)
        for one, group in zip(maps, groups.tolist(), strict=True):
            whole[(group, *region.index[1:])] += one
    streams[0].merge(streams[1])
    groups = streams[0].finished((8, 9))
    assert groups.counts.tolist() == [12, 12, 0, 6]
    assert groups.region == Region((0, 1), (7, 7))
    np.testing.assert_allclose(groups.mean(), whole.sum(0) / 30)


def test_samples_that_are_dead_or_not_finite_are_counted():
    sums = GroupSums.empty(2, 1, None)
    maps = torch.tensor([[1.0, 2.0], [0.0, 0.0], [torch.nan, 1.0], [3.0, 4.0]])
    add(sums, maps, Region((1,), (2,)), torch.tensor([0, 1, 0, 1]))
    groups = sums.finished((4,))
    assert (groups.counts.tolist(), groups.dead.tolist(), groups.num_nonfinite) == ([1, 2], [0, 1], 1)
    np.testing.assert_allclose(groups.mean(), [0, 4 / 3, 2, 0])


def test_what_is_summed_up_later_does_not_change_a_finished_result():
    sums = GroupSums.empty(1, 1, None)
    add(sums, torch.ones(1, 2), Region((0,), (2,)), torch.tensor([0]))
    groups = sums.finished((2,))
    add(sums, torch.ones(1, 2), Region((0,), (2,)), torch.tensor([0]))
    assert groups.counts.tolist() == [1]
    assert groups.sums.tolist() == [[1.0, 1.0]]


def test_the_jackknife_takes_the_bias_off_a_variance():
    """Dividing by n in place of n - 1 is the bias that it removes exactly."""
    numbers = np.random.default_rng(0).normal(size=12)
    without = [float(np.var(np.delete(numbers, place))) for place in range(12)]
    assert corrected(float(np.var(numbers)), without) == pytest.approx(np.var(numbers, ddof=1))
    assert corrected(2.0, [1.0, 1.0], most=2.5) == 2.5
    assert corrected(2.0, [1.0]) == corrected(2.0, [1.0, None]) == 2.0
    assert corrected(None, []) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64], ids=str)
def test_fingerprints_tell_samples_apart_and_know_them_again(dtype):
    samples = torch.randn(50, 3, 7, 5).to(dtype)
    found = fingerprints(samples)
    assert len(set(found.tolist())) == 50
    assert torch.equal(fingerprints(samples.contiguous(memory_format=torch.channels_last)), found)
    assert torch.equal(torch.cat([fingerprints(part) for part in samples.clone().split(7)]), found)
    assert not set(fingerprints(samples.flip(3)).tolist()) & set(found.tolist())
    assert 0 not in found


def test_sums_know_the_squares_and_prints_of_their_samples():
    sums = GroupSums.empty(3, 1, None)
    maps = torch.tensor([[1.0, 2.0], [3.0, 1.0], [torch.nan, 1.0]])
    add(sums, maps, Region((0,), (2,)), torch.tensor([0, 0, 2]), torch.tensor([5, 7, 11]))
    groups = sums.numbered_from(1).finished((2,))
    assert groups.squares.tolist() == [0.0, 25.0, 0.0]
    assert groups.prints.tolist() == [0, 12, 0]
    assert groups.effective_samples() == pytest.approx(49 / 25)
