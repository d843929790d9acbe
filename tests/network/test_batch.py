"""Batches: which input is measured, and what goes with each sample."""

import pytest
import torch

from captum_erf.network.batch import Batch, as_arguments, read_batch

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DEPTH = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
SCALES, TABLE = torch.arange(4.0), torch.ones(7, 2)


@pytest.fixture
def batch():
    return Batch((IMAGES, DEPTH), (SCALES, TABLE, "fast"), 1)


def test_the_measured_input_is_that_of_the_index(batch):
    assert batch.measured is DEPTH
    assert (len(batch), batch.size, batch.is_alone) == (4, (16, 16), False)


def test_a_sample_takes_its_row_of_all_that_holds_one_for_each_sample(batch):
    one = batch.sample(2)
    assert torch.equal(one.inputs[0], IMAGES[2:3]) and torch.equal(one.inputs[1], DEPTH[2:3])
    assert one.arguments[0].tolist() == [2.0]
    assert one.arguments[1] is TABLE and one.arguments[2] == "fast"


def test_a_sample_is_the_networks_to_change(batch):
    batch.sample().inputs[0].zero_()
    assert IMAGES.any()


def test_a_head_takes_no_more_than_there_is(batch):
    assert len(batch.head(3)) == 3
    assert batch.head(3).arguments[0].tolist() == [0, 1, 2]
    assert len(batch.head(9)) == 4


def test_with_another_measured_input_the_rest_of_one_sample_is_repeated(batch):
    longer = batch.sample(1).with_measured(torch.zeros(6, 1, 32, 32))
    assert (len(longer), longer.size) == (6, (32, 32))
    assert torch.equal(longer.inputs[0], IMAGES[1:2].expand(6, -1, -1, -1))
    assert longer.arguments[0].tolist() == [1.0] * 6
    assert longer.arguments[1] is TABLE


@pytest.mark.parametrize(
    ("given", "arguments"),
    [(None, ()), (3.0, (3.0,)), ((1, None), (1, None)), ([1, 2], ([1, 2],))],
    ids=["none", "one", "several", "a list"],
)
def test_arguments_as_captum_takes_them(given, arguments):
    assert as_arguments(given) == arguments


def test_arguments_that_are_a_function_of_the_item():
    item = {"image": IMAGES, "scale": SCALES}
    batch = read_batch(item, lambda item: item["image"], lambda item: (item["scale"], 2), 0)
    assert batch.measured is IMAGES
    assert batch.arguments[0] is SCALES and batch.arguments[1] == 2


@pytest.mark.parametrize(
    ("inputs", "index", "error", "message"),
    [
        ((IMAGES,), 1, IndexError, "input_index is 1, but a batch has 1 inputs"),
        (("a.png",), 0, TypeError, "the inputs are a str. Pass get_inputs="),
        ((IMAGES[0, 0],), 0, ValueError, r"one to three spatial axes, got \(8, 8\)"),
        ((IMAGES[:, :, :0],), 0, ValueError, r"one to three spatial axes, got \(4, 3, 0, 8\)"),
        ((IMAGES.long(),), 0, TypeError, "must be floating point to have a gradient, got torch.int64"),
    ],
    ids=["index", "no tensor", "too few axes", "an empty axis", "integers"],
)
def test_inputs_that_no_map_can_be_of(inputs, index, error, message):
    with pytest.raises(error, match=message):
        Batch(inputs, (), index).checked()
