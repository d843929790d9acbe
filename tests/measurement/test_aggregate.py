"""``aggregate``, ``sweep`` and ``accumulator``: means over samples, in shared passes, of whatever is given."""

import numpy as np
import pytest
import torch
from gated import IMAGES, alive
from numpy.testing import assert_allclose
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from captum_erf import EffectiveReceptiveField


def test_the_map_is_the_mean_over_samples(erf, sample_maps):
    field = erf.aggregate([IMAGES])
    assert field.values.dtype == np.float64
    assert_allclose(field.values, sample_maps.mean(0), rtol=1e-5, atol=1e-9)
    assert (field.num_samples, field.num_dead) == (10, 0)


@pytest.mark.parametrize("sizes", [[4, 4, 2], [1] * 10, [9, 1], [10]], ids=str)
def test_a_short_last_batch_does_not_bias(erf, sample_maps, sizes):
    field = erf.aggregate(IMAGES.split(sizes))
    assert_allclose(field.values, sample_maps.mean(0), rtol=1e-5, atol=1e-9)


def test_sums_are_kept_in_float64():
    """A float32 sum would lose every one of the small maps after the large one."""
    model = nn.Sequential(nn.Conv1d(1, 1, 1, bias=False))
    nn.init.ones_(model[0].weight)

    def squared(values):
        return values.square().sum(1) / 2

    batches = [torch.full((1, 1, 8), 2.0**25), *[torch.ones(1, 1, 8)] * 64]
    field = EffectiveReceptiveField(model, "0").aggregate(batches, channel=squared)
    assert field.values[4] * 65 == 2.0**25 + 64
    assert np.float32(2.0**25) + np.float32(1) == np.float32(2.0**25)


LOADERS = {
    "list": lambda: list(IMAGES.split(4)),
    "tuple of batches": lambda: IMAGES.split(4),
    "generator": lambda: (batch for batch in IMAGES.split(4)),
    "DataLoader": lambda: DataLoader(IMAGES, batch_size=4),
    "DataLoader of a TensorDataset": lambda: DataLoader(TensorDataset(IMAGES), batch_size=4),
    "with labels": lambda: DataLoader(TensorDataset(IMAGES, torch.arange(10)), batch_size=4),
    "tuples": lambda: [(batch, "label") for batch in IMAGES.split(4)],
    "tensor of batches": lambda: IMAGES.unflatten(0, (5, 2)),
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
def test_any_iterable_of_batches(erf, sample_maps, loader):
    assert_allclose(erf.aggregate(loader()).values, sample_maps.mean(0), rtol=1e-5, atol=1e-9)


def test_batches_of_any_kind_through_get_inputs(erf, sample_maps):
    loader = [{"image": batch, "label": 0} for batch in IMAGES.split(4)]
    field = erf.aggregate(loader, get_inputs=lambda batch: batch["image"])
    assert_allclose(field.values, sample_maps.mean(0), rtol=1e-5, atol=1e-9)
    with pytest.raises(TypeError, match=r"the inputs are a dict. Pass get_inputs=, such as get_inputs=lambda batch"):
        erf.aggregate(loader)


def test_one_batch_is_no_data_loader(erf):
    with pytest.raises(ValueError, match=r"tensor of shape \(10, 3, 20, 20\).* pass \[tensor\] for one batch"):
        erf.aggregate(IMAGES)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (IMAGES[0, 0], ValueError, r"\(N, C_in, \*size\) with one to three spatial axes, got \(20, 20\)"),
        (IMAGES.to(torch.uint8), TypeError, "must be floating point to have a gradient, got torch.uint8"),
        (["a.png", "b.png"], TypeError, "the inputs are a str"),
        (IMAGES.numpy(), TypeError, "the inputs are a ndarray"),
    ],
    ids=["too few axes", "integers", "file names", "NumPy"],
)
def test_batches_that_hold_no_inputs(erf, batch, error, message):
    with pytest.raises(error, match=message):
        erf.aggregate([batch])


@pytest.mark.parametrize("loader", [[], iter(()), [IMAGES[:0]]], ids=["list", "generator", "empty batch"])
def test_an_empty_loader_is_an_error(erf, loader):
    with pytest.raises(ValueError, match="No samples were measured: the data loader gave no batch"):
        erf.aggregate(loader)


def test_an_empty_batch_changes_nothing(erf, sample_maps):
    field = erf.aggregate([IMAGES[:0], IMAGES[:4], IMAGES[:0], IMAGES[4:]])
    assert_allclose(field.values, sample_maps.mean(0), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("groups", [2.5, True, "3"])
def test_groups_must_be_a_whole_number(erf, groups):
    with pytest.raises(TypeError, match=f"groups must be a whole number of groups of samples.* got {groups!r}"):
        erf.aggregate([IMAGES], groups=groups)


def test_a_negative_limit_is_refused(erf):
    accumulator = erf.accumulator()
    with pytest.raises(ValueError, match="limit must be 0 or more samples of the batch, or None for all, got -1"):
        accumulator.update(IMAGES, limit=-1)
    assert accumulator.num_samples == 0


def test_inputs_of_changing_size_are_an_error(erf):
    with pytest.raises(
        ValueError,
        match=r"Batch 1 holds inputs of shape \(3, 16, 16\), those before had \(3, 20, 20\).* resize or crop",
    ):
        erf.aggregate([IMAGES, torch.randn(2, 3, 16, 16)])


def test_dead_samples_are_counted_and_part_of_the_mean(gated):
    field = gated.aggregate([alive(1, -1, 1), alive(-1)])
    assert (field.num_samples, field.num_dead) == (4, 2)
    assert_allclose(field.values[7:10, 7:10], 0.5)
    assert field.values.sum() == pytest.approx(9 * 0.5)


@pytest.mark.parametrize("window", ["auto", False])
def test_a_dead_first_sample_does_no_harm(gated, window):
    field = gated.aggregate([alive(-1, 1, 1), alive(1)], window=window)
    assert (field.num_samples, field.num_dead) == (4, 1)
    assert_allclose(field.values[7:10, 7:10], 0.75)


def test_an_all_dead_unit_is_an_error(gated):
    with pytest.raises(
        ValueError, match=r"All samples of layer '1' are dead: of 3, 3 have a gradient of zero"
    ) as caught:
        gated.aggregate([alive(-1, -1, -1)])
    assert "the layer before its ReLU" in str(caught.value)


class Logarithm(nn.Module):
    """Its gradient is infinite where the input is zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, images):
        return self.conv(images.log())


def test_a_gradient_that_is_not_finite_names_its_batch():
    erf = EffectiveReceptiveField(Logarithm(), "conv")
    with pytest.raises(
        FloatingPointError, match=r"Batch 2: the gradient of layer 'conv' is not finite for 1 of 3 samples"
    ):
        erf.aggregate([alive(1, 2), alive(1), alive(1, 0, 1)])


@pytest.mark.parametrize("window", ["auto", False])
@pytest.mark.parametrize("value", [0.0, float("nan")], ids=["infinite gradient", "NaN input"])
@pytest.mark.parametrize("first", [False, True], ids=["later", "in the first sample"])
def test_nonfinite_skip_leaves_out_and_counts(value, first, window):
    signs = [value, 1.0, 0.5] if first else [1.0, value, 0.5]
    field = EffectiveReceptiveField(Logarithm(), "conv").aggregate([alive(*signs)], nonfinite="skip", window=window)
    assert (field.num_samples, field.num_nonfinite, field.num_dead) == (2, 1, 0)
    assert_allclose(field.values[7:10, 7:10], 1.5, rtol=1e-6)
    assert "1 not finite and left out" in str(field)


@pytest.mark.parametrize("value", [0.0, float("nan")], ids=["infinite gradient", "NaN input"])
def test_a_gradient_that_is_not_finite_in_the_very_first_sample(value):
    erf = EffectiveReceptiveField(Logarithm(), "conv")
    with pytest.raises(FloatingPointError, match=r"Batch 0: .* not finite for 1 of 2 samples"):
        erf.aggregate([alive(value, 1)])


@pytest.mark.parametrize("window", ["auto", False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_counts_as_such_even_where_its_gradient_is_finite(erf, sample_maps, value, window):
    """A ReLU has slope 0 at NaN: a broken image would pass for a dead sample, and far from the unit not show at all."""
    broken = IMAGES.clone()
    broken[3, 0, 0, 0] = broken[8, 1, 10, 10] = value
    with pytest.raises(FloatingPointError, match="Batch 1: the gradient of layer '4' is not finite for 1 of 3 samples"):
        erf.aggregate([broken[:2], broken[2:5]], window=window)
    field = erf.aggregate([broken], nonfinite="skip", window=window)
    assert (field.num_samples, field.num_dead, field.num_nonfinite) == (8, 0, 2)
    rest = [number for number in range(10) if number not in (3, 8)]
    assert_allclose(field.values, sample_maps[rest].mean(0), rtol=1e-5, atol=1e-9)


def test_only_nonfinite_samples_are_an_error():
    erf = EffectiveReceptiveField(Logarithm(), "conv")
    with pytest.raises(ValueError, match=r"All samples .* were left out: of 2, all have a gradient that is not finite"):
        erf.aggregate([alive(0, 0)], nonfinite="skip")


@pytest.mark.parametrize("groups", [1, 2, 3, 10, 25])
def test_groups_deal_the_samples_out_in_turn(erf, sample_maps, groups):
    field = erf.aggregate(IMAGES.split([4, 3, 3]), groups=groups, window=False)
    assert field.groups.counts.tolist() == np.bincount(np.arange(10) % groups, minlength=groups).tolist()
    for group in range(groups):
        assert_allclose(field.groups.sums[group], sample_maps[group::groups].sum(0), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"magnitude": "log"}, ValueError, "magnitude must be one of abs, square, positive, signed or a callable"),
        ({"magnitude": lambda g: g.abs()}, ValueError, r"sample maps of shape \(10, 20, 20\), got \(10, 3, 20, 20\)"),
        ({"window": True}, ValueError, 'window must be "auto" or False, got True'),
        ({"nonfinite": "ignore"}, ValueError, 'nonfinite must be "raise" or "skip"'),
        ({"groups": 0}, ValueError, "groups must be 1 or more, got 0"),
        ({"target_error": 0.0}, ValueError, "target_error must be a positive share"),
        ({"target_error": 0.1, "groups": 1}, ValueError, "two groups or more; got groups=1"),
        ({"position": "middle"}, ValueError, "position must be one of"),
        ({"position": (30, 30)}, IndexError, "position 30 is outside an axis of 10 units"),
        ({"input_index": 1}, IndexError, "input_index is 1, but a batch has 1 inputs"),
        ({"neuron_selector": (0, 0, 0), "channel": 1}, AssertionError, "neuron_selector excludes position and channel"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_bad_arguments(erf, arguments, error, message):
    with pytest.raises(error, match=message):
        erf.aggregate([IMAGES], **arguments)


@pytest.mark.parametrize("positions", [(), "center"], ids=["empty", "a string"])
def test_positions_must_name_units(erf, positions):
    with pytest.raises(ValueError, match=r"positions must name one unit or more, such as \(\"center\",\)"):
        erf.sweep([IMAGES], positions=positions)


def test_positions_may_be_lists(erf):
    field = erf.aggregate([IMAGES], position=[1, -1])
    assert field.position == (1, 9)
    assert field.recipe["positions"] == [[1, -1]]


def test_a_sweep_goes_layer_by_layer_and_position_by_position(convnet):
    erf = EffectiveReceptiveField(convnet, ["4", "0"])
    fields = erf.sweep(IMAGES.split(4), positions=["center", "corner", (2, 3)])
    assert [(field.layer, field.position) for field in fields] == [
        ("4", (5, 5)),
        ("4", (0, 0)),
        ("4", (2, 3)),
        ("0", (10, 10)),
        ("0", (0, 0)),
        ("0", (2, 3)),
    ]
    for field in fields:
        alone = EffectiveReceptiveField(convnet, field.layer).aggregate([IMAGES], position=field.position, window=False)
        assert_allclose(field.values, alone.values, rtol=1e-5, atol=1e-9)


class CountedBackward(torch.autograd.Function):
    """Identity that counts how often a gradient comes back."""

    calls = 0

    @staticmethod
    def forward(context, inputs):
        return inputs.clone()

    @staticmethod
    def backward(context, gradient):
        CountedBackward.calls += 1
        return gradient


def test_a_sweep_of_whole_inputs_runs_one_forward_per_batch_and_one_backward_per_unit(convnet, count_calls):
    class First(nn.Module):
        def forward(self, images):
            return CountedBackward.apply(images)

    model = nn.Sequential(First(), *convnet)
    accumulator = EffectiveReceptiveField(model, ["1", "5", "6"]).accumulator(
        positions=["center", "corner"], window=False
    )
    accumulator.update(IMAGES)
    forwards, head = count_calls(model[0]), count_calls(model[7])
    CountedBackward.calls = 0
    for _ in range(3):
        accumulator.update(IMAGES)
    assert len(forwards) == 3
    assert len(head) == 0
    assert CountedBackward.calls == 3 * 3 * 2


def test_one_layer_alone_runs_no_further_than_that_layer(convnet, count_calls):
    erf = EffectiveReceptiveField(convnet, "2")
    accumulator = erf.accumulator(window=False)
    accumulator.update(IMAGES)
    later = count_calls(convnet[3])
    accumulator.update(IMAGES)
    assert len(later) == 0


def test_aggregate_of_a_list_says_to_use_sweep(convnet):
    with pytest.raises(ValueError, match="aggregate is for one layer, this object has 2; use sweep"):
        EffectiveReceptiveField(convnet, ["0", "4"]).aggregate([IMAGES])


def test_inputs_go_to_the_models_dtype_device_untouched(erf):
    kept = IMAGES.clone()
    erf.aggregate([IMAGES])
    assert IMAGES.equal(kept)
    assert not IMAGES.requires_grad


def test_eval_mode_false_measures_in_the_models_own_mode(convnet):
    convnet.train()
    convnet.insert(0, nn.Dropout(0.5))
    erf = EffectiveReceptiveField(convnet, "5")
    with torch.random.fork_rng():
        evaluated = [erf.aggregate([IMAGES]).values for _ in range(2)]
        trained = [erf.aggregate([IMAGES], eval_mode=False).values for _ in range(2)]
    assert (evaluated[0] == evaluated[1]).all()
    assert (trained[0] != trained[1]).any()
    assert convnet.training


class TwoStreams(nn.Module):
    """Two inputs of different sizes that meet on one grid."""

    def __init__(self):
        super().__init__()
        self.large = nn.Conv2d(1, 4, 3, padding=1, stride=2)
        self.small = nn.Conv2d(2, 4, 5, padding=2)
        self.join = nn.Tanh()

    def forward(self, large, small, scale=1.0, *, shift=0.0):
        return self.join(scale * self.large(large) + self.small(small) + shift)


PAIRS = [(torch.randn(3, 1, 32, 32), torch.randn(3, 2, 16, 16)) for _ in range(2)]


@pytest.mark.parametrize(
    ("index", "size", "field_size", "center"),
    [(0, (32, 32), (3, 3), (16.0, 16.0)), (1, (16, 16), (5, 5), (8.0, 8.0))],
    ids=["first input", "second input"],
)
def test_input_index_chooses_the_input_that_is_measured(index, size, field_size, center):
    erf = EffectiveReceptiveField(TwoStreams(), "join")
    field = erf.aggregate([(pair, "label") for pair in PAIRS], input_index=index)
    expected = [erf.attribute(pair)[index].sum(1) for pair in PAIRS]
    assert_allclose(field.values, torch.cat(expected).mean(0).numpy(), rtol=1e-5, atol=1e-9)
    assert (field.values.shape, field.theoretical.size, field.center) == (size, field_size, center)
    assert field.recipe["route"] == "whole input: the network takes several inputs"


def test_additional_forward_args_static_and_from_the_batch():
    erf = EffectiveReceptiveField(TwoStreams(), "join")
    large, small = PAIRS[0]
    scales = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1)

    def expected(scale):
        return erf.attribute((large, small), additional_forward_args=(scale,))[0].sum(1).mean(0).numpy()

    batch = {"inputs": (large, small), "scale": scales}
    static = erf.aggregate([batch], get_inputs=lambda b: b["inputs"], additional_forward_args=(3.0,))
    assert_allclose(static.values, expected(3.0), rtol=1e-5, atol=1e-9)
    per_sample = erf.aggregate([batch], get_inputs=lambda b: b["inputs"], additional_forward_args=lambda b: b["scale"])
    assert_allclose(per_sample.values, expected(scales), rtol=1e-5, atol=1e-9)
    assert per_sample.num_dead == 1


def test_additional_forward_args_are_cut_with_max_samples():
    erf = EffectiveReceptiveField(TwoStreams(), "join")
    scales = torch.tensor([2.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
    field = erf.aggregate([(PAIRS[0], scales)], additional_forward_args=lambda batch: batch[1], max_samples=2)
    expected = erf.attribute(PAIRS[0], additional_forward_args=scales)[0][:2].sum(1).mean(0)
    assert (field.num_samples, field.num_dead) == (2, 0)
    assert_allclose(field.values, expected.numpy(), rtol=1e-5, atol=1e-9)


def test_dead_units_can_be_left_out_of_the_maps():
    model = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU())
    nn.init.constant_(model[0].bias, -1e3)
    accumulator = EffectiveReceptiveField(model, ["0", "1"]).accumulator()
    accumulator.update(torch.randn(20, 3, 9, 9))
    with pytest.raises(ValueError, match="All samples of layer '1' are dead"):
        accumulator.compute()
    with pytest.warns(UserWarning, match="Left out: All samples of layer '1' are dead"):
        (field,) = accumulator.compute(skip_dead=True)
    assert field.layer == "0"
