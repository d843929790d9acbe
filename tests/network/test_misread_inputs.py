"""What users pass that is no batch of images: each gets one clear sentence with the way out, and that way works."""

import copy
import random

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
NOTE = "Raised by the network"


class Complex(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.real, self.imag = nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, z):
        return torch.complex(self.real(z.real) - self.imag(z.imag), self.real(z.imag) + self.imag(z.real))


class Protein(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(24, 8), nn.Conv1d(8, 4, 7, padding=3)

    def forward(self, tokens):
        return self.conv(self.embedding(tokens).mT)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        return [{"boxes": map_} for map_ in self.backbone(torch.stack([image[:3] for image in images]))]


def refused(model, layer, batch, error, words, **keywords):
    """Both entrances refuse the batch with these words, and without a note that blames the network."""
    erf = EffectiveReceptiveField(model, layer, **keywords)
    for measure in (lambda: erf.aggregate([batch]), lambda: erf.attribute(batch)):
        with pytest.raises(error, match=words) as caught:
            measure()
        assert not any(NOTE in note for note in getattr(caught.value, "__notes__", []))


def test_complex_layers_need_their_parts():
    parts = torch.cat([IMAGES, IMAGES.flip(0)], 1)
    model = nn.Sequential(Complex(3))
    join = lambda z: model(torch.complex(*z.chunk(2, 1)))  # noqa: E731
    refused(join, model[0], parts, TypeError, r"gives complex numbers.*torch.cat\(\[output.real, output.imag\], 1\)")
    erf = EffectiveReceptiveField(join, model[0], layout=lambda output: torch.cat([output.real, output.imag], 1))
    assert erf.aggregate([parts]).theoretical.size == (3, 3)
    with pytest.raises(TypeError, match=r"complex numbers.*callable neuron_selector"):
        EffectiveReceptiveField(join, model[0]).attribute(parts, neuron_selector=(0, 1, 1))


def test_complex_inputs_are_passed_as_their_parts():
    with pytest.raises(TypeError, match=r"Inputs are complex, torch.complex64.*lambda parts: model\(torch.complex"):
        EffectiveReceptiveField(Complex(3), "").aggregate([torch.complex(IMAGES, IMAGES)])


def test_tokens_are_measured_from_the_embedding():
    model, tokens = Protein().eval(), torch.randint(0, 24, (4, 40), generator=torch.Generator().manual_seed(0))
    refused(model, "conv", tokens, TypeError, r"torch.int64. Whole numbers have no gradient.*indices_to_embeddings")
    with pytest.warns(UserWarning, match="embedding layers"):
        embedding = captum.attr.configure_interpretable_embedding_layer(model, "embedding")
    embedded = embedding.indices_to_embeddings(tokens).detach()
    field = EffectiveReceptiveField(model, "conv", input_layout="channels_last").aggregate([embedded])
    assert (field.values.shape, field.theoretical.size) == ((40,), (7,))


def test_packed_points_get_their_batch_axis_back():
    points = torch.randn(2 * 50, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"packed as \(N \* P, C\).*inputs.unflatten\(0, \(N, P\)\)"):
        EffectiveReceptiveField(nn.Linear(3, 4), "").aggregate([points])
    erf = EffectiveReceptiveField(nn.Linear(3, 4), "", layout="channels_last", input_layout="channels_last")
    assert erf.aggregate([points.unflatten(0, (2, 50))]).theoretical.size == (1,)


@pytest.mark.parametrize("image", [IMAGES[0], IMAGES[0, :1]], ids=["three channels", "one channel"])
def test_an_image_without_a_batch_axis(image):
    model = nn.Sequential(nn.Conv2d(len(image), 4, 3, padding=1))
    with pytest.raises((RuntimeError, ValueError)) as caught:
        EffectiveReceptiveField(model, "0").aggregate([image])
    assert "image[None]" in " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert EffectiveReceptiveField(model, "0").aggregate([image[None]]).num_samples == 1


def test_a_data_set_is_no_loader():
    data, erf = TensorDataset(IMAGES), EffectiveReceptiveField(nn.Conv2d(3, 4, 3), "")
    with pytest.raises(TypeError, match=r"data set, TensorDataset.*torch.utils.data.DataLoader"):
        erf.aggregate(data)
    assert erf.aggregate(DataLoader(data, batch_size=2)).num_samples == 3


def test_arrays_become_tensors_by_get_inputs():
    erf = EffectiveReceptiveField(nn.Conv2d(3, 4, 3), "")
    with pytest.raises(TypeError, match=r"inputs are a ndarray. Pass get_inputs=, such as get_inputs=torch.as_tensor"):
        erf.aggregate([IMAGES.numpy()])
    assert erf.aggregate([IMAGES.numpy()], get_inputs=torch.as_tensor).num_samples == 3


def test_batches_of_detectors():
    model = Detector().eval()
    batch = (list(IMAGES), [{"boxes": 0} for _ in IMAGES])
    with pytest.raises(ValueError, match=r"torch.stack\(batch\[0\]\).*lambda images: model\(list\(images\)\)"):
        EffectiveReceptiveField(model, "backbone").aggregate([batch])
    with pytest.raises(TypeError) as caught:
        EffectiveReceptiveField(model, "backbone").aggregate([batch], get_inputs=lambda batch: batch[0])
    assert "may be a list of images" in caught.value.__notes__[0]
    erf = EffectiveReceptiveField(lambda images: model(list(images)), model.backbone)
    assert erf.aggregate([batch], get_inputs=lambda batch: torch.stack(batch[0])).theoretical.size == (3, 3)


def test_tensors_that_hold_no_values():
    refused(nn.Conv2d(3, 4, 3), "", IMAGES.to("meta"), TypeError, "meta device hold no values")
    with pytest.raises(ValueError, match="Conv2d is on the meta device"):
        theoretical_receptive_field(nn.Conv2d(3, 4, 3, device="meta"), "", (3, 16, 16))


def test_vmap_hides_the_samples():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    refused(torch.func.vmap(model), model[0], IMAGES, TypeError, "runs under torch.func.vmap.*pass the model itself")
    erf = EffectiveReceptiveField(model, "0")
    with pytest.raises(TypeError, match=r"Inputs come from torch.func.vmap.*Pass the whole batch"):
        torch.func.vmap(lambda image: erf.attribute(image[None]))(IMAGES)


def test_exported_code_runs_no_layers():
    program = torch.export.export(nn.Sequential(nn.Conv2d(3, 4, 3)), (IMAGES,))
    for exported in (program, program.module()):
        with pytest.raises(TypeError, match=r"torch.export.*pass the model that it was exported from"):
            EffectiveReceptiveField(exported, "0")


class Sometimes(nn.Module):
    """Stochastic depth that ``eval`` does not switch off: later passes leave the branch out."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch, self.passes = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            iter(range(99)),
        )

    def forward(self, images):
        features = self.stem(images)
        return features if next(self.passes) > 1 else features + self.branch(features)


@pytest.mark.filterwarnings("ignore:NaN cannot tell")
def test_a_layer_that_is_left_out_at_random():
    with pytest.raises(RuntimeError, match=r"'branch' ran in an earlier forward pass, but not in this one.*stochastic"):
        EffectiveReceptiveField(Sometimes(), "branch").aggregate([IMAGES] * 3)


class Depth(nn.Module):
    """Stochastic depth that is left on, before the layer or as the layer."""

    def __init__(self, draw):
        super().__init__()
        self.stem, self.branch, self.last = (nn.Conv2d(i, 4, 3, padding=1) for i in (3, 4, 4))
        self.draw = draw

    def forward(self, images):
        features = self.stem(images)
        return self.last(features + self.branch(features) if self.draw() < 0.5 else features)


DRAWS = {"torch": lambda: torch.rand(()), "Python": random.random, "NumPy": np.random.rand}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.filterwarnings("ignore:NaN cannot tell")
def test_stochastic_depth_before_the_layer_is_told_of(draw):
    with pytest.warns(UserWarning, match="draws random numbers in evaluation mode, as stochastic depth"):
        EffectiveReceptiveField(Depth(draw), "last").aggregate([IMAGES], window=False)
    EffectiveReceptiveField(Depth(lambda: 0.0), "last").aggregate([IMAGES])
    EffectiveReceptiveField(Depth(draw), "last").aggregate([IMAGES], generator=torch.Generator().manual_seed(0))


def test_attention_that_could_drop_out_but_does_not_draws_nothing():
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True).eval()
    erf = EffectiveReceptiveField(block, "", layout="channels_last", input_layout="channels_last")
    assert erf.aggregate([torch.randn(4, 12, 8)], channel="random").num_samples == 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:NaN cannot tell", "ignore:The network draws")
def test_a_layer_that_runs_now_and_then_never_fails_without_words(seed):
    torch.manual_seed(seed)
    try:
        EffectiveReceptiveField(Depth(lambda: torch.rand(())), "branch").aggregate([IMAGES] * 4)
    except RuntimeError as error:
        assert "left out at random" in str(error) or "leaves layers out at random" in str(error)


def test_no_refusal_of_ours_blames_the_network():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unused = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

        def forward(self, images):
            return self.conv(self.conv(images))

    refused(Twice(), "conv", IMAGES, ValueError, "called 2 times")
    refused(Twice(), "unused", IMAGES, RuntimeError, "never ran layer 'unused'")
    refused(Twice(), "conv", IMAGES.double(), RuntimeError, "inputs are torch.float64", call=0)


class RunsACopy(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3))

    def forward(self, images):
        return copy.deepcopy(self.model)(images)


class NeverRuns(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3))


def test_a_wrapper_that_does_not_run_its_network_is_told_from_it():
    refused(RunsACopy(), "model.0", IMAGES, RuntimeError, "RunsACopy is a wrapper.* pass wrapper.model, and layers by")
    with pytest.raises(NotImplementedError) as caught:
        EffectiveReceptiveField(NeverRuns(), "model.0").aggregate([IMAGES])
    assert "NeverRuns is a wrapper" in " ".join(caught.value.__notes__)
    assert EffectiveReceptiveField(NeverRuns().model, "0").aggregate([IMAGES]).theoretical.size == (3, 3)


def test_samples_are_one_by_one_without_vmap():
    erf = EffectiveReceptiveField(nn.Conv2d(3, 4, 3), "")
    assert_close(erf.attribute(IMAGES)[1:2], erf.attribute(IMAGES[1:2]))
