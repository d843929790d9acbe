"""The network comes back whole: also one that sets itself up in its first pass, and one that keeps things."""

import copy
import random
import threading
import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from whole import differences, random_states, snapshot

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field, tokens

SIGNALS = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(0))


class SetsItselfUp(nn.Module):
    """Its first pass sets a flag, makes a child and hooks another module."""

    def __init__(self):
        super().__init__()
        self.is_ready = False
        self.conv, self.last = nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 4, 3)

    def forward(self, signals):
        if not self.is_ready:
            self.is_ready = True
            self.act = nn.Hardtanh(-0.5, 0.5)
            self.conv.register_forward_hook(lambda _module, _args, output: 2 * output)
        return self.last(self.act(self.conv(signals)))


class Codebook(nn.Module):
    """An exponential mean in a parameter, and in a buffer through ``.data``; a cache, a list and a count."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.code = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.register_buffer("mean", torch.zeros(4))
        self.plain, self.cache, self.seen, self.count = torch.zeros(4), {"shapes": []}, [], 0

    def forward(self, signals):
        output = self.conv(signals)
        mean = output.detach().mean((0, 2))
        with torch.no_grad():
            self.code.mul_(0.9).add_(0.1 * mean)
        self.mean.data.mul_(0.9).add_(0.1 * mean)
        self.plain.add_(mean)
        self.cache["shapes"].append(tuple(signals.shape))
        self.seen.append(output)
        self.count += 1
        return output + 0 * self.code[:, None]


class Observed(nn.Sequential):
    """Watched as for quantisation: the range of what it has seen."""

    def __init__(self):
        observer = torch.ao.quantization.FakeQuantize(torch.ao.quantization.MovingAverageMinMaxObserver)
        super().__init__(nn.Conv1d(3, 4, 3, padding=1), observer, nn.Conv1d(4, 4, 3))


class Holds(nn.Module):
    """Takes its mode, a flag and a gradient into its own hands."""

    def __init__(self):
        super().__init__()
        self.frozen, self.conv = nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3)

    def forward(self, signals):
        self.frozen.eval()
        self.conv.weight.requires_grad_(False)
        return self.conv(self.frozen(signals))


class Draws(nn.Sequential):
    """Draws random numbers of all kinds."""

    def forward(self, signals):
        return super().forward(signals + 0 * (random.random() + np.random.rand() + torch.rand(())))  # noqa: NPY002


def drawing():
    return Draws(nn.Conv1d(3, 4, 3), nn.Dropout())


def make(kind):
    """In training mode, and never run before."""
    torch.manual_seed(0)
    return kind()


def run_once(model):
    """In evaluation mode, as a measurement runs it."""
    model.eval()
    with torch.no_grad():
        output = model(SIGNALS)
    model.train()
    return output


def aggregate(model):
    EffectiveReceptiveField(model, "").aggregate([SIGNALS, SIGNALS])


def attribute(model):
    EffectiveReceptiveField(model, "").attribute(SIGNALS)


def find_field(model):
    theoretical_receptive_field(model, "", (3, 24))


MEASURES = [aggregate, attribute, find_field]
KINDS = [Codebook, Observed, Holds, drawing]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_a_pass_changes_is_put_back(kind, measure):
    model, fresh, before = make(kind), make(kind), random_states()
    measure(model)
    assert random_states() == before or (kind is drawing and measure is not find_field)
    assert differences(snapshot(model), snapshot(fresh)) == []
    assert torch.equal(run_once(model), run_once(fresh)) or kind is drawing


def test_what_a_network_keeps_in_lists_and_dicts_is_put_back():
    model = make(Codebook)
    model.seen.append("mine")
    aggregate(model)
    assert model.cache == {"shapes": []}
    assert model.seen == ["mine"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("measure", MEASURES)
def test_a_network_that_sets_itself_up_is_as_after_one_pass(measure):
    model, fresh = make(SetsItselfUp), make(SetsItselfUp)
    output = run_once(fresh)
    measure(model)
    model.train()  # also what was made in evaluation mode
    assert differences(snapshot(model), snapshot(fresh)) == []
    assert torch.equal(run_once(model), output)
    first = EffectiveReceptiveField(model, "").attribute(SIGNALS)
    assert torch.equal(first, EffectiveReceptiveField(fresh, "").attribute(SIGNALS))


class Stops:
    """Raises in one of the passes, from within the network."""

    def __init__(self, model, error, number):
        self.error, self.left = error, number
        self.handle = model.register_forward_pre_hook(self.count)

    def count(self, _module, _args):
        self.left -= 1
        if self.left < 0:
            raise self.error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", [0, 1, 2, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt("stopped"), RuntimeError("stopped")], ids=["interrupt", "failure"])
@pytest.mark.parametrize("kind", [SetsItselfUp, Codebook, Holds])
def test_nothing_is_half_done_after_a_pass_that_stops(kind, error, number):
    model, fresh = make(kind), make(kind)
    stops = Stops(model, error, number)
    with pytest.raises(type(error), match="stopped"):
        aggregate(model)
    stops.handle.remove()
    if kind is SetsItselfUp and model.is_ready:
        run_once(fresh)
        model.train()
    assert differences(snapshot(model), snapshot(fresh)) == []
    assert torch.equal(run_once(model), run_once(fresh))


def test_one_thread_leaves_what_another_one_runs_alone():
    """Its modules, their hooks and outputs, and the random numbers of its own generator."""
    other, running, seen = make(lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Dropout(), nn.BatchNorm1d(4))), [True], []
    before = snapshot(other)
    generator = torch.Generator()

    def run():
        while running:
            other.load_state_dict(state)
            generator.manual_seed(0)
            seen.append((other[2](other[0](SIGNALS)).detach(), torch.rand(3, generator=generator)))

    state = copy.deepcopy(other.state_dict())
    thread = threading.Thread(target=run)
    thread.start()
    try:
        aggregate(make(lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Dropout(), nn.BatchNorm1d(4))))
    finally:
        running.clear()
        thread.join()
    other.load_state_dict(state)
    assert differences(snapshot(other), before) == []
    assert all(torch.equal(output, seen[0][0]) and torch.equal(drawn, seen[0][1]) for output, drawn in seen)


@pytest.mark.filterwarnings("ignore")
def test_a_resnet_prepared_for_quantisation_is_left_without_nan():
    quantization = pytest.importorskip("torch.ao.quantization")
    torch.manual_seed(0)
    model = torchvision.models.quantization.resnet18(weights=None, quantize=False).train()
    model.fuse_model(is_qat=True)
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    quantization.prepare_qat(model, inplace=True)
    images = torch.rand(2, 3, 32, 32)
    model(images)
    before = copy.deepcopy(model.state_dict())
    EffectiveReceptiveField(model, "layer2").aggregate([images])
    after = model.state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    assert model.eval()(images).isfinite().all()


def test_a_transformer_with_dynamically_quantised_layers_is_measured():
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
        erf = EffectiveReceptiveField(model, "encoder.layers.encoder_layer_1", layout=tokens(prefix=1))
        field = erf.aggregate([torch.rand(2, 3, 32, 32)], channel=0)
    assert field.values.max() > 0
