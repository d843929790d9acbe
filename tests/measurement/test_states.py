"""Accumulators that are merged, saved and loaded: nothing lost, nothing counted twice, nothing foreign taken in."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap


def network(kernel=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, kernel, padding=kernel // 2), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1)
    ).double()


ERF = EffectiveReceptiveField(network(), "2")
IMAGES = torch.randn(23, 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def accumulated(batches, erf=ERF, **options):
    accumulator = erf.accumulator(**options)
    for batch in batches:
        accumulator.update(batch)
    return accumulator


def snapshot(accumulator):
    """All that the accumulator holds, to compare before and after a failure."""
    state = accumulator.state_dict()
    tensors = [item.tolist() for key in ("sums", "counts", "dead") for item in state[key]]
    return state["header"], tensors, state["offsets"], state["num_nonfinite"]


def assert_same(field, expected, exactly=False):
    np.testing.assert_allclose(field.values, expected.values, rtol=0 if exactly else 1e-12, atol=1e-18)
    np.testing.assert_allclose(field.groups.sums, expected.groups.sums, rtol=0 if exactly else 1e-12, atol=1e-16)
    assert field.groups.counts.tolist() == expected.groups.counts.tolist()
    assert (field.num_samples, field.num_dead, field.num_nonfinite) == (
        expected.num_samples,
        expected.num_dead,
        expected.num_nonfinite,
    )
    (value, error), (other, other_error) = (each.estimate(ERFMap.effective_pixels) for each in (field, expected))
    assert value == pytest.approx(other, rel=1e-9)
    assert (error is None) == (other_error is None)
    assert error is None or error == pytest.approx(other_error, rel=1e-6)


# Merging.


@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 23), max_size=4).map(sorted), groups=st.integers(1, 12))
def test_merged_accumulators_equal_all_samples_at_once(cuts, groups):
    """The group of a sample is its number over all parts, so the standard errors agree as well."""
    bounds = [0, *cuts, 23]
    parts = [IMAGES[start:stop] for start, stop in itertools.pairwise(bounds)]
    total = ERF.accumulator(groups=groups)
    for part in parts:
        total.merge(accumulated([part] if len(part) else [], groups=groups))
    assert_same(total.compute()[0], accumulated([IMAGES], groups=groups).compute()[0])


def test_updates_after_a_merge_go_on_counting():
    total = accumulated([IMAGES[:3]])
    total.merge(accumulated([IMAGES[3:10]]))
    total.update(IMAGES[10:])
    assert total.num_samples == 23
    assert_same(total.compute()[0], accumulated([IMAGES]).compute()[0])


def test_merge_leaves_the_other_as_it_was():
    total, other = accumulated([IMAGES[:3]]), accumulated([IMAGES[3:]])
    before = snapshot(other)
    total.merge(other)
    total.update(IMAGES)
    assert snapshot(other) == before


def test_merge_of_every_layer_and_position():
    erf = EffectiveReceptiveField(network(), ["0", "2"])
    options = {"positions": ("center", "corner", (3, -1))}
    total = accumulated([IMAGES[:5]], erf, **options)
    total.merge(accumulated([IMAGES[5:]], erf, **options))
    fields, expected = total.compute(), accumulated([IMAGES], erf, **options).compute()
    assert [(field.layer, field.position) for field in fields] == [(field.layer, field.position) for field in expected]
    for field, other in zip(fields, expected, strict=True):
        assert_same(field, other)


@pytest.mark.parametrize("swapped", [False, True], ids=["window first", "whole input first"])
def test_merge_of_windows_with_the_whole_input(swapped):
    """On a dead first batch the window cannot be checked, so the rest takes the whole input."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    net[0].weight.data.abs_()
    erf, other = (EffectiveReceptiveField(net.double(), "2") for _ in range(2))
    dead = -torch.ones(2, 2, 12, 12, dtype=torch.float64)
    parts = [accumulated([IMAGES[:11]], erf), accumulated([dead, IMAGES[11:]], other)]
    assert [part.compute()[0].recipe["route"].split()[0] for part in parts] == ["window", "whole"]
    first, second = reversed(parts) if swapped else parts
    first.merge(second)
    order = [dead, IMAGES[11:], IMAGES[:11]] if swapped else [IMAGES[:11], dead, IMAGES[11:]]
    (field,), (expected,) = first.compute(), accumulated(order, erf, window=False).compute()
    np.testing.assert_allclose(field.values, expected.values, rtol=1e-12, atol=1e-16)
    assert field.estimate(ERFMap.effective_pixels) == pytest.approx(expected.estimate(ERFMap.effective_pixels))
    assert (field.num_samples, field.num_dead) == (25, 2)


OTHERS = {
    "layer": (
        lambda: accumulated([IMAGES], EffectiveReceptiveField(network(), "0")),
        r"layers is \['2'\] here and \['0'\]",
    ),
    "field": (
        lambda: accumulated([IMAGES], EffectiveReceptiveField(network(5), "2")),
        "theoretical receptive fields is",
    ),
    "size": (lambda: accumulated([IMAGES[:, :, :10]]), r"input_shape is \[2, 12, 12\] here and \[2, 10, 12\] there"),
    "magnitude": (lambda: accumulated([IMAGES], magnitude="square"), "magnitude is 'abs' here and 'square' there"),
    "channel": (lambda: accumulated([IMAGES], channel=1), "channel is None here and 1 there"),
    "position": (
        lambda: accumulated([IMAGES], positions=("corner",)),
        "positions is .'center'. here and .'corner'. there",
    ),
    "groups": (lambda: accumulated([IMAGES], groups=5), "groups is 10 here and 5 there"),
    "empty": (lambda: accumulated([], channel=1), "channel is None here and 1 there"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_merge_of_another_measurement_is_refused(name):
    make_other, message = OTHERS[name]
    accumulator, other = accumulated([IMAGES[:7]]), make_other()
    before, others = snapshot(accumulator), snapshot(other)
    with pytest.raises(ValueError, match=f"belong to different measurements: {message}"):
        accumulator.merge(other)
    assert snapshot(accumulator) == before
    assert snapshot(other) == others


def of_images(batches, groups=10):
    """An accumulator of samples with the names of their images."""
    return accumulated(batches, get_groups=lambda batch: batch[1], groups=groups)


@pytest.mark.parametrize(
    ("names", "cut"),
    [("aabbccddeeff", 6), ("aabbccddeeff", 5), ("abcdefabcdef", 6), ("aabbccddccdd", 8), ("aaaaaaaaaaaa", 3)],
    ids=["apart", "within an image", "the same images again", "some of them again", "one image"],
)
@pytest.mark.parametrize("groups", [10, 4])
def test_crops_of_an_image_share_a_group_however_they_are_spread(names, cut, groups):
    first, second = ((IMAGES[:cut], names[:cut]), (IMAGES[cut:12], names[cut:]))
    merged, whole = of_images([first], groups), of_images([first, second], groups)
    merged.merge(of_images([second], groups))
    for accumulator in (merged, whole):
        accumulator.update((IMAGES[12:15], "xyx"))
    (field,), (expected,) = merged.compute(), whole.compute()
    assert sorted(field.groups.counts) == sorted(expected.groups.counts)
    assert field.recipe["num_images"] == expected.recipe["num_images"]
    assert field.estimate(ERFMap.effective_pixels) == pytest.approx(expected.estimate(ERFMap.effective_pixels))


def test_images_that_no_numbering_brings_together_are_told_of():
    first, second = of_images([(IMAGES[:4], "abcd")]), of_images([(IMAGES[4:8], "dcba")])
    with pytest.warns(UserWarning, match="Crops of one image were summed up apart"):
        first.merge(second)
    assert first.compute()[0].recipe["num_images"] == 4


def test_merge_takes_accumulators_only():
    with pytest.raises(TypeError, match="merge takes an ERFAccumulator, got a dict"):
        accumulated([]).merge(accumulated([IMAGES]).state_dict())


def test_update_after_merging_another_model_is_refused():
    """An accumulator without samples cannot tell what its model sees until its first batch."""
    accumulator = accumulated([], EffectiveReceptiveField(network(5), "2"))
    accumulator.merge(accumulated([IMAGES]))
    before = snapshot(accumulator)
    with pytest.raises(ValueError, match=r"not of this model: .*size \(5, 5\).*, not of .* a field of size \(7, 7\)"):
        accumulator.update(IMAGES)
    assert snapshot(accumulator) == before


# State on disk.


@pytest.fixture
def saved(tmp_path):
    """Writes a state as users do, and reads it back without pickle."""

    def through_disk(state):
        torch.save(state, tmp_path / "state.pt")
        return torch.load(tmp_path / "state.pt", weights_only=True)

    return through_disk


@pytest.mark.parametrize("cut", [0, 1, 10, 23])
def test_resumed_run_equals_the_uninterrupted_one(saved, cut):
    batches = list(IMAGES.split(1))
    state = saved(accumulated(batches[:cut]).state_dict())
    resumed = accumulated([])
    resumed.load_state_dict(state)
    assert resumed.num_samples == cut
    for batch in batches[cut:]:
        resumed.update(batch)
    assert_same(resumed.compute()[0], accumulated(batches).compute()[0], exactly=True)


def test_resumed_run_of_every_layer_and_position(saved):
    erf = EffectiveReceptiveField(network(), ["0", "2"])
    options = {"positions": ("center", "corner"), "groups": 4}
    resumed = accumulated([], erf, **options)
    resumed.load_state_dict(saved(accumulated([IMAGES[:9]], erf, **options).state_dict()))
    resumed.update(IMAGES[9:])
    expected = accumulated([IMAGES[:9], IMAGES[9:]], erf, **options).compute()
    for field, other in zip(resumed.compute(), expected, strict=True):
        assert (field.layer, field.position, field.theoretical) == (other.layer, other.position, other.theoretical)
        assert_same(field, other, exactly=True)


def test_state_counts_dead_and_left_out_samples(saved):
    net = nn.Sequential(nn.Conv2d(2, 1, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.Tanh())
    net[0].weight.data.fill_(0.1)
    erf = EffectiveReceptiveField(net, "3")
    images = torch.ones(5, 2, 8, 8)
    images[0], images[3] = -1, torch.nan
    accumulator = accumulated([images], erf, nonfinite="skip")
    loaded = accumulated([], erf, nonfinite="skip")
    loaded.load_state_dict(saved(accumulator.state_dict()))
    assert snapshot(loaded) == snapshot(accumulator)
    field = loaded.compute()[0]
    assert (loaded.num_samples, field.num_samples, field.num_dead, field.num_nonfinite) == (5, 4, 1, 1)


def test_state_is_a_copy():
    accumulator = accumulated([IMAGES[:5]])
    state = accumulator.state_dict()
    before = copy.deepcopy(state)
    accumulator.update(IMAGES[5:])
    assert torch.equal(state["sums"][0], before["sums"][0])
    assert torch.equal(state["counts"][0], before["counts"][0])
    loaded = accumulated([])
    loaded.load_state_dict(state)
    loaded.update(IMAGES[5:])
    assert torch.equal(state["sums"][0], before["sums"][0])
    assert torch.equal(state["counts"][0], before["counts"][0])


def test_a_loaded_state_holds_the_routes(saved):
    whole = accumulated([IMAGES])
    loaded = ERF.accumulator()
    loaded.load_state_dict(saved(whole.state_dict()))
    assert loaded.compute()[0].recipe == whole.compute()[0].recipe


def test_negative_sums_of_a_signed_magnitude_are_loaded():
    state = accumulated([IMAGES], magnitude="signed").state_dict()
    assert state["sums"][0].min() < 0
    loaded = ERF.accumulator(magnitude="signed")
    loaded.load_state_dict(state)
    assert loaded.num_samples == len(IMAGES)


def test_sums_of_other_lambdas_are_not_merged():
    first, same, other = (
        ERF.accumulator(magnitude=magnitude)
        for magnitude in (lambda g: g.abs().sum(1), lambda g: g.abs().sum(1), lambda g: g.square().sum(1))
    )
    first.merge(same)
    with pytest.raises(ValueError, match=r"different measurements: magnitude is .*<lambda>"):
        first.merge(other)


def test_load_replaces_what_was_there():
    accumulator = accumulated([IMAGES])
    accumulator.load_state_dict(accumulated([IMAGES[:4]]).state_dict())
    assert_same(accumulator.compute()[0], accumulated([IMAGES[:4]]).compute()[0], exactly=True)


def without(key):
    return lambda state: {name: item for name, item in state.items() if name != key}


def changed(key, change):
    return lambda state: state | {key: change(state[key])}


def header(**changes):
    return changed("header", lambda text: json.dumps(json.loads(text) | changes))


FOREIGN = {
    "a model's weights": lambda state: network().state_dict(),
    "a list": lambda state: [1, 2, 3],
    "nothing": lambda state: None,
    "no header": without("header"),
    "no sums": without("sums"),
    "no counts": without("counts"),
    "a truncated header": changed("header", lambda text: text[: len(text) // 2]),
    "a header that is a list": changed("header", lambda text: "[]"),
}


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_foreign_state_is_refused(damage, saved):
    accumulator = accumulated([IMAGES[:5]])
    before = snapshot(accumulator)
    state = saved(FOREIGN[damage](accumulated([IMAGES]).state_dict()))
    with pytest.raises(ValueError, match="This is no state of an ERFAccumulator"):
        accumulator.load_state_dict(state)
    assert snapshot(accumulator) == before


def test_a_state_of_another_captum_erf_and_torch_goes_on():
    """What is measured counts, not who measured."""
    recipe = json.loads(accumulated([IMAGES]).state_dict()["header"])["recipe"]
    state = header(recipe=recipe | {"captum_erf": "0.0.9", "torch": "2.4.1"})(accumulated([IMAGES[:9]]).state_dict())
    accumulator = ERF.accumulator()
    accumulator.load_state_dict(state)
    accumulator.update(IMAGES[9:])
    assert_same(accumulator.compute()[0], accumulated([IMAGES]).compute()[0])


SETTINGS = ["call", "layout", "normalize", "magnitude", "get_groups", "input_index", "eval_mode", "nonfinite"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_state_from_before_a_setting_goes_on_with_its_default(setting):
    state = accumulated([IMAGES[:9]]).state_dict()
    recipe = json.loads(state["header"])["recipe"]
    del recipe[setting]
    accumulator = ERF.accumulator()
    accumulator.load_state_dict(header(recipe=recipe)(state))
    accumulator.update(IMAGES[9:])
    assert_same(accumulator.compute()[0], accumulated([IMAGES]).compute()[0])
    assert setting in accumulator.compute()[0].recipe


def test_a_state_from_before_a_setting_does_not_go_on_with_another():
    state = accumulated([IMAGES[:9]]).state_dict()
    recipe = json.loads(state["header"])["recipe"]
    del recipe["normalize"]
    with pytest.raises(ValueError, match="normalize is True here and False there"):
        ERF.accumulator(normalize=True).load_state_dict(header(recipe=recipe)(state))


def test_a_state_with_a_setting_that_is_not_known_yet_is_refused():
    state = accumulated([IMAGES[:9]]).state_dict()
    recipe = json.loads(state["header"])["recipe"] | {"sharpen": 2}
    with pytest.raises(ValueError, match="sharpen is None here and 2 there"):
        ERF.accumulator().load_state_dict(header(recipe=recipe)(state))


def test_state_of_another_version_is_refused():
    accumulator = accumulated([IMAGES[:5]])
    before = snapshot(accumulator)
    with pytest.raises(ValueError, match="state has version 0, this captum-erf reads versions 2 and 3"):
        accumulator.load_state_dict(header(version=0)(accumulator.state_dict()))
    assert snapshot(accumulator) == before


@pytest.mark.parametrize("name", sorted(OTHERS.keys() - {"field", "size"}))
def test_state_of_another_measurement_is_refused(name):
    make_other, message = OTHERS[name]
    accumulator = accumulated([IMAGES[:5]])
    before = snapshot(accumulator)
    with pytest.raises(ValueError, match=f"belong to different measurements: {message}"):
        accumulator.load_state_dict(make_other().state_dict())
    assert snapshot(accumulator) == before


def test_update_after_loading_the_state_of_another_model_is_refused():
    accumulator = ERF.accumulator()
    accumulator.load_state_dict(accumulated([IMAGES], EffectiveReceptiveField(network(5), "2")).state_dict())
    before = snapshot(accumulator)
    with pytest.raises(ValueError, match=r"not of this model: .*layer '2' with a field of size \(7, 7\)"):
        accumulator.update(IMAGES)
    assert snapshot(accumulator) == before


def test_update_of_another_size_after_loading_is_refused():
    accumulator = ERF.accumulator()
    accumulator.load_state_dict(accumulated([IMAGES]).state_dict())
    before = snapshot(accumulator)
    with pytest.raises(ValueError, match=r"inputs of shape \(2, 10, 12\), those before had \(2, 12, 12\)"):
        accumulator.update(IMAGES[:, :, :10])
    assert snapshot(accumulator) == before


# Failed updates, and too few groups.


def with_nan(batch, index):
    spoilt = batch.clone()
    spoilt[index, 0, 6, 6] = torch.nan
    return spoilt


def test_nonfinite_batch_in_the_middle_keeps_what_was_there():
    accumulator = accumulated([IMAGES[:9]])
    before = snapshot(accumulator)
    with pytest.raises(FloatingPointError, match=r"Batch 1: .*not finite for 1 of 4 samples"):
        accumulator.update(with_nan(IMAGES[9:13], 2))
    assert snapshot(accumulator) == before
    accumulator.update(IMAGES[9:])
    assert_same(accumulator.compute()[0], accumulated([IMAGES[:9], IMAGES[9:]]).compute()[0], exactly=True)


def test_nonfinite_samples_in_the_middle_are_left_out_and_counted():
    accumulator = accumulated([IMAGES[:9], with_nan(IMAGES[9:13], 2), IMAGES[13:]], nonfinite="skip")
    field = accumulator.compute()[0]
    kept = torch.cat([IMAGES[:11], IMAGES[12:]])
    np.testing.assert_allclose(field.values, ERF.aggregate([kept]).values, rtol=1e-12, atol=1e-18)
    assert (field.num_samples, field.num_nonfinite, accumulator.num_samples) == (22, 1, 23)
    assert field.groups.counts.tolist() == [3, 2, 3, 2, 2, 2, 2, 2, 2, 2]


def test_merge_with_left_out_samples_equals_all_at_once():
    spoilt = with_nan(IMAGES, 5)
    total = accumulated([spoilt[:8]], nonfinite="skip")
    total.merge(accumulated([spoilt[8:]], nonfinite="skip"))
    assert_same(total.compute()[0], accumulated([spoilt], nonfinite="skip").compute()[0])


@pytest.mark.parametrize(("samples", "groups"), [(1, 10), (5, 1)], ids=["one sample", "one group"])
def test_fewer_than_two_groups_have_no_standard_error(samples, groups):
    field = accumulated([IMAGES[:samples]], groups=groups).compute()[0]
    value, error = field.estimate(ERFMap.effective_pixels)
    assert value > 0
    assert error is None
    assert {field.summary()[key] for key in field.summary() if key.endswith("_se")} == {None}


def test_two_groups_have_a_standard_error():
    field = accumulated([IMAGES[:2]]).compute()[0]
    assert field.estimate(ERFMap.effective_pixels)[1] > 0
