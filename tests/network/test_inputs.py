"""What users pass as inputs: several of them, of other types and devices, with a history; and what they pass along."""

import pytest
import torch
from oracle import at, gradient
from torch import nn
from torch.testing import assert_close

from captum_erf import EffectiveReceptiveField
from captum_erf.network.batch import Batch

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
DEPTH = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
LABELS = torch.tensor([1, 3])


class Fusion(nn.Module):
    """An image, a depth map of another size, a label and a factor."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.depth = nn.Conv2d(1, 4, 5, padding=2)
        self.label = nn.Embedding(5, 4)
        self.out = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, image, depth, label, factor=1.0):
        features = self.image(image) * self.depth(depth) * (2 + self.label(label))[:, :, None, None]
        return self.out(features.tanh() * factor)


def fusion_map(model, index, factor):
    gradients = gradient(model, model.out, (IMAGES, DEPTH), at(4, 4), LABELS, factor)
    return gradients[index].abs().sum(1).mean(0).double()


@pytest.mark.parametrize(("index", "size"), [(0, (7, 7)), (1, (7, 7))], ids=["image", "depth"])
@pytest.mark.parametrize(
    ("batch", "reading"),
    [
        (((IMAGES, DEPTH, LABELS), "target"), {"additional_forward_args": 0.5}),
        (
            {"image": IMAGES, "depth": DEPTH, "label": LABELS, "factor": 0.5},
            {
                "get_inputs": lambda batch: (batch["image"], batch["depth"], batch["label"]),
                "additional_forward_args": lambda batch: batch["factor"],
            },
        ),
        (
            {"image": IMAGES, "depth": DEPTH, "label": LABELS, "factor": 0.5},
            {
                "get_inputs": lambda batch: (batch["image"], batch["depth"]),
                "additional_forward_args": lambda batch: (batch["label"], batch["factor"]),
            },
        ),
    ],
    ids=["tuple", "dict", "dict with arguments"],
)
def test_each_of_several_inputs_has_its_map_and_geometry(index, size, batch, reading):
    model = Fusion()
    field = EffectiveReceptiveField(model, "out").aggregate([batch], input_index=index, **reading)
    assert_close(torch.from_numpy(field.values), fusion_map(model, index, 0.5), rtol=1e-5, atol=1e-7)
    assert field.theoretical.size == size
    assert field.theoretical.input_size == (IMAGES, DEPTH)[index].shape[2:]
    assert field.recipe["route"] == "whole input: the network takes several inputs"


def test_integer_side_inputs_are_left_alone():
    attributions = EffectiveReceptiveField(Fusion(), "out").attribute((IMAGES, DEPTH, LABELS))
    assert [a.shape for a in attributions] == [IMAGES.shape, DEPTH.shape, LABELS.shape]
    assert attributions[0].any() and attributions[1].any() and not attributions[2].any()
    assert attributions[2].dtype == LABELS.dtype


def test_arguments_that_change_the_geometry_are_not_mixed_up():
    """What is known of one set of arguments must not be taken for the next."""

    class Dilated(nn.Conv2d):
        def forward(self, images, dilation):
            return nn.functional.conv2d(images, self.weight, dilation=dilation)

    erf = EffectiveReceptiveField(Dilated(3, 2, 3), "")
    sizes = [erf.aggregate([IMAGES], additional_forward_args=d).theoretical.size for d in (1, 3, 1)]
    assert sizes == [(3, 3), (7, 7), (3, 3)]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (2, TypeError, "to have a gradient, got torch.int64. Whole numbers have no gradient"),
        (3, IndexError, "input_index is 3, but a batch has 3 inputs"),
        (-1, IndexError, "input_index is -1, but a batch has 3 inputs"),
    ],
    ids=["labels", "beyond the end", "negative"],
)
def test_an_input_that_has_no_map(index, error, message):
    with pytest.raises(error, match=message):
        EffectiveReceptiveField(Fusion(), "out").aggregate([((IMAGES, DEPTH, LABELS), 0)], input_index=index)


def _leaf_with_gradient():
    leaf = IMAGES.clone().requires_grad_()
    leaf.grad = torch.full_like(leaf, 7.0)
    return leaf


def _in_inference_mode():
    with torch.inference_mode():
        return IMAGES.clone()


@pytest.mark.parametrize(
    "make",
    [
        _leaf_with_gradient,
        lambda: IMAGES.clone().requires_grad_() * 1,
        _in_inference_mode,
        lambda: IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda: torch.stack([IMAGES, IMAGES], -1)[..., 0],
        lambda: IMAGES.to(memory_format=torch.channels_last),
    ],
    ids=["leaf", "non-leaf", "inference", "permuted", "strided", "channels last"],
)
def test_inputs_with_a_history_give_the_same_and_stay_as_they_were(convnet, make):
    erf, given = EffectiveReceptiveField(convnet, "4"), make()
    before = (given.requires_grad, given.is_leaf, given.stride(), given.is_inference())
    assert_close(erf.attribute(given), erf.attribute(IMAGES))
    assert_close(erf.aggregate([given]).values, erf.aggregate([IMAGES]).values)
    assert (given.requires_grad, given.is_leaf, given.stride(), given.is_inference()) == before
    assert torch.equal(given, IMAGES)
    if before[:2] == (True, True):
        assert (given.grad == 7).all()


def test_an_expanded_input_is_not_written_to(convnet):
    convnet[2].inplace = True
    given = IMAGES[:1].expand(2, -1, -1, -1)
    rows = EffectiveReceptiveField(convnet, "4").attribute(given)
    assert_close(rows[0], rows[1])


def test_arguments_and_side_inputs_made_in_inference_mode():
    with torch.inference_mode():
        labels, factor = LABELS.clone(), torch.full((2, 1, 1, 1), 0.5)
    model = Fusion()
    erf, plain = EffectiveReceptiveField(model, "out"), torch.full((2, 1, 1, 1), 0.5)
    expected = erf.attribute((IMAGES, DEPTH, LABELS), additional_forward_args=plain)
    for actual, wanted in zip(
        erf.attribute((IMAGES, DEPTH, labels), additional_forward_args=factor), expected, strict=True
    ):
        assert_close(actual, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_another_type_than_the_networks_is_refused_with_the_fix(convnet, method, dtype):
    given = IMAGES.to(dtype)
    with pytest.raises(
        RuntimeError, match=rf"inputs are {dtype}, .* parameters torch.float32: pass inputs.to\(torch.f"
    ):
        getattr(EffectiveReceptiveField(convnet, "4"), method)(given if method == "attribute" else [given])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_inputs_and_network_of_one_type(convnet, dtype):
    expected = EffectiveReceptiveField(convnet, "4").aggregate([IMAGES], channel=0).values
    erf = EffectiveReceptiveField(convnet.to(dtype), "4")
    assert erf.attribute(IMAGES.to(dtype)).dtype == dtype
    field = erf.aggregate([IMAGES.to(dtype)], channel=0)
    assert field.values.dtype == "float64"
    assert field.theoretical.size == (8, 8)
    assert_close(field.values, expected, rtol=0, atol=0.1 * expected.max())


def test_a_batch_goes_where_the_network_is():
    batch = Batch((IMAGES, LABELS), ("text", None))
    placed = batch.to(torch.device("meta"))
    assert [item.device.type for item in placed.inputs] == ["meta", "meta"]
    assert placed.arguments == ("text", None)
    assert batch.to(None).inputs[0] is IMAGES


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_another_device_than_the_networks(convnet, device):
    expected = EffectiveReceptiveField(convnet, "4").attribute(IMAGES)
    other = {"cpu": "cuda", "cuda": "cpu"}[device]
    erf, given = EffectiveReceptiveField(convnet.to(device), "4"), IMAGES.to(other)
    attributions = erf.attribute(given)
    assert attributions.device == given.device
    assert_close(attributions.cpu(), expected, rtol=1e-3, atol=1e-4)
    field = erf.aggregate([given])
    assert_close(torch.from_numpy(field.values), expected.sum(1).mean(0).double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (IMAGES.long(), TypeError, "floating point"),
        (IMAGES.numpy(), TypeError, "the inputs are a ndarray"),
        (IMAGES[0], RuntimeError, "to have 3 channels, but got 1"),
        ({"image": IMAGES}, TypeError, r"Pass get_inputs=, such as get_inputs=lambda batch: batch\['image'\]"),
    ],
    ids=["integers", "numpy", "no batch axis", "dict"],
)
def test_inputs_that_cannot_be_measured(convnet, given, error, message):
    with pytest.raises(error, match=message):
        EffectiveReceptiveField(convnet, "4").aggregate([given])


class Restores(nn.Module):
    """As restoration networks are built: the norm's gradient comes in channels-last."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.out = nn.InstanceNorm2d(8), nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, images, weight=None):
        images = self.stem(images)
        return self.out(images + self.norm(self.conv(images)) * (1 if weight is None else weight.view(-1, 1, 1, 1)))


def plain_gradient(model, image, *arguments):
    leaf = image.clone().requires_grad_()
    return torch.autograd.grad(model(leaf, *arguments)[:, :, 8, 8].sum(), leaf)[0].abs()


def test_a_batch_of_one_is_measured_as_a_longer_one_is():
    """torch's backward of instance norm on the CPU is wrong for one sample with a gradient in channels-last."""
    torch.manual_seed(0)
    model, images = Restores().eval().double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    erf = EffectiveReceptiveField(model, "out")
    expected = torch.cat([plain_gradient(model, image[None]) for image in images])
    assert_close(torch.cat([erf.attribute(image[None]) for image in images]), expected)
    assert_close(erf.attribute(images), expected)
    assert_close(erf.attribute(images[:1], (2, 8, 8)), erf.attribute(images, (2, 8, 8))[:1])
    field = erf.aggregate([image[None] for image in images])
    assert_close(field.values, expected.sum(1).mean(0).numpy())
    weighted = erf.attribute(images[:1], additional_forward_args=torch.tensor([2.0], dtype=torch.float64))
    assert_close(weighted, plain_gradient(model, images[:1], torch.tensor([2.0], dtype=torch.float64)))
