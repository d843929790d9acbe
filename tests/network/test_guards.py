"""Guards: the network and the process are as they were, whatever happens."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from captum_erf import EffectiveReceptiveField
from captum_erf.network.guards import unchanged

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ).eval()


def test_flags_and_buffers_come_back_after_an_interrupt(nested):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nested)
    model[2].eval()
    flags = [module.training for module in model.modules()]
    mean = model[0].running_mean
    with pytest.raises(KeyboardInterrupt), unchanged(list(model.modules()), eval_mode=False):
        model(IMAGES)
        assert model[0].num_batches_tracked == 1
        assert mean.abs().sum() > 0
        model[1].training = False
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == flags
    assert model[0].num_batches_tracked == 0
    assert model[0].running_mean is mean
    assert mean.eq(0).all() and model[0].running_var.eq(1).all()


def test_eval_mode_does_not_go_through_an_overridden_eval():
    """As in detectors that freeze part of themselves there."""

    class Special(nn.Module):
        def train(self, mode=True):
            raise AssertionError("not to be called")

    model = nn.Sequential(Special(), nn.Dropout())
    with unchanged(list(model.modules()), eval_mode=True):
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_buffer_that_nothing_changed_is_not_written_to(nested):
    """Its version counts for graphs that saved it."""
    model = nn.Sequential(nn.BatchNorm2d(3), nested).eval()
    versions = [buffer._version for buffer in model.buffers()]
    EffectiveReceptiveField(model, "1.0").aggregate([IMAGES])
    assert [buffer._version for buffer in model.buffers()] == versions


def test_a_guard_within_a_guard_leaves_what_is_around_it_to_the_outer_one():
    """The outer one switches to evaluation mode, which the inner one does not switch back."""
    model = network().train()
    modules = list(model.modules())
    with unchanged(modules, eval_mode=True):
        with unchanged(modules, eval_mode=True):
            model[3].mask = torch.ones(2)
            model[0].register_forward_hook(lambda *_: None)
        assert not hasattr(model[3], "mask")
        assert not model[0]._forward_hooks
        assert not any(module.training for module in modules)
    assert all(module.training for module in modules)


def test_a_guard_within_that_of_another_network_compares_its_own():
    ours, theirs = network(), network().train()
    before = theirs[0].weight.detach().clone()
    with unchanged(list(ours.modules()), eval_mode=True):
        with unchanged(list(theirs.modules()), eval_mode=False):
            theirs[0].weight.data.zero_()
        assert torch.equal(theirs[0].weight, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.data.fill_(torch.nan),
        lambda tensor: tensor.data[:1].neg_(),
        lambda tensor: setattr(tensor, "data", torch.zeros(2, 2)),
        lambda tensor: setattr(tensor, "data", tensor.data.contiguous() + 1),
    ],
    ids=["NaN", "one number", "another shape", "another order in memory"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64, torch.float64], ids=str)
def test_whatever_is_written_to_a_weight_is_put_back(change, dtype):
    """Among others, of which the one before has an odd number of bytes."""
    model = nn.Module()
    model.flag = nn.Parameter(torch.ones(3, dtype=torch.uint8), requires_grad=False)
    model.short = nn.Parameter(torch.ones(3, dtype=dtype))
    model.weight = nn.Parameter(torch.randn(4, 3, 3, 5).to(dtype).to(memory_format=torch.channels_last))
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    with unchanged([model], eval_mode=False):  # in training, in which all weights may change
        change(model.weight)
        model.flag.data.zero_()
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, before[name]), name


class Holder:
    """No Module, but it holds some."""

    __slots__ = ("nets",)

    def __init__(self, nets):
        self.nets = nets


class Listing(nn.Module):
    """A Module that does not register what it runs."""

    def __init__(self, model):
        super().__init__()
        self.nets = [model]

    def forward(self, images):
        return self.nets[0](images)


def behind_objects(model):
    holder = Holder({"net": model})
    return lambda images: holder.nets["net"](images)


@pytest.mark.parametrize("hide", [behind_objects, Listing])
def test_a_network_out_of_sight_is_measured_in_eval_mode_and_left_alone(hide):
    model = network().train()
    state = copy.deepcopy(model.state_dict())
    field = EffectiveReceptiveField(hide(model), model[3]).aggregate([IMAGES])
    assert_close(field.values, EffectiveReceptiveField(network(), "3").aggregate([IMAGES]).values)
    assert_close(model.state_dict(), state)
    assert all(module.training for module in model.modules())


def test_a_function_may_refer_to_what_is_not_set_yet():
    model = network()

    def run(images):
        return model(images) if images.ndim == 4 else later

    assert EffectiveReceptiveField(run, model[3]).attribute(IMAGES).any()
    later = None


class Registry:
    """Finds a module by a name, which shows it to nobody."""

    found: dict[str, nn.Module] = {}  # noqa: RUF012

    @classmethod
    def run(cls, images):
        return cls.found["net"](images)


@pytest.fixture
def out_of_sight():
    Registry.found["net"] = network().train()
    yield Registry.found["net"]
    del Registry.found["net"]


def test_a_module_in_training_mode_that_only_shows_itself_when_it_runs_is_warned_of(out_of_sight):
    erf = EffectiveReceptiveField(lambda images: Registry.run(images), out_of_sight[3])
    with pytest.warns(UserWarning, match="runs batch_norm and dropout as in training, although every module in sight"):
        erf.aggregate([IMAGES])
    assert out_of_sight[1].training


def test_a_functional_dropout_that_never_stops_is_warned_of():
    class Drops(nn.Sequential):
        def forward(self, images):
            return super().forward(nn.functional.dropout(images))

    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"runs dropout as in training.* a function is called with training=True"):
        EffectiveReceptiveField(Drops(nn.Conv2d(3, 2, 3)), "0").aggregate([IMAGES])


def test_batch_norm_without_statistics_and_dropout_of_nothing_are_no_training():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Dropout(0.0)).eval()
    EffectiveReceptiveField(lambda images: model[1](nn.functional.dropout(model[0](images), 0.0)), model[1]).aggregate(
        [IMAGES]
    )


def test_a_module_of_another_thread_keeps_its_mode_and_its_statistics():
    """It trains while a network is measured here."""
    other, running, modes = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()), threading.Event(), []
    other.register_forward_pre_hook(lambda module, _: modes.extend(part.training for part in module.modules()))

    def train():
        other(IMAGES)
        running.set()
        while running.is_set():
            other(IMAGES)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        running.wait()
        for _ in range(3):
            EffectiveReceptiveField(network().train(), "3").aggregate([IMAGES])
    finally:
        running.clear()
        thread.join()
    assert all(modes)
    assert other[0].num_batches_tracked == len(modes) // 3


def test_the_first_pass_takes_inputs_as_the_network_does():
    """So that what it sets up is what the network would have set up by itself."""

    class Scales(nn.Module):
        """Takes ``(N, H, W, C)``, and keeps the number of channels of its first batch."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, images):
            if not hasattr(self, "scale"):
                self.scale = nn.Parameter(torch.ones(images.shape[-1]))
            return self.conv((images * self.scale).permute(0, 3, 1, 2))

    model = Scales()
    EffectiveReceptiveField(model, "conv", input_layout="channels_last").aggregate([torch.randn(2, 16, 16, 3)])
    assert model.scale.shape == (3,)
