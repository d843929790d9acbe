"""What users wrap networks in and do to them: each gives what the plain network gives, or an error that says why."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from captum_erf import EffectiveReceptiveField

IMAGES = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * 12 * 12, 2),
    ).eval()


def assert_same_as_plain(wrapped, layer, inner="3"):
    plain = EffectiveReceptiveField(network(), inner)
    erf = EffectiveReceptiveField(wrapped, layer)
    assert_close(erf.attribute(IMAGES), plain.attribute(IMAGES))
    field, expected = erf.aggregate([IMAGES]), plain.aggregate([IMAGES])
    assert_close(field.values, expected.values)
    assert field.theoretical == expected.theoretical


@pytest.mark.parametrize("layer", ["3", "module.3", None], ids=["name", "name in the wrapper", "module"])
def test_data_parallel(layer):
    model = network()
    assert_same_as_plain(nn.DataParallel(model), layer or model[3])


@pytest.mark.parametrize("layer", ["3", "module.3", None], ids=["name", "name in the wrapper", "module"])
def test_distributed_data_parallel(layer, one_process):
    model = network()
    assert_same_as_plain(nn.parallel.DistributedDataParallel(model), layer or model[3])


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _whole(model, backend):
    compiled = torch.compile(model, backend=backend)
    compiled(IMAGES)
    return compiled


def _in_place(model, backend):
    model.compile(backend=backend)
    model(IMAGES)
    return model


def _part(model, backend):
    model[0] = torch.compile(model[0], backend=backend)
    model(IMAGES)
    return model


def _layer(model, backend):
    model[3].compile(backend=backend)
    model(IMAGES)
    return model


def _function(model, backend):
    return torch.compile(lambda images: model(images), backend=backend)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("compiled", [_whole, _in_place, _part, _layer, _function])
def test_compiled_networks(compiled, backend):
    model = network()
    layer = model[3]
    assert_same_as_plain(compiled(model, backend), layer)
    torch.compiler.reset()


def test_a_compiled_networks_layer_by_name():
    compiled = torch.compile(network(), backend="eager")
    assert_same_as_plain(compiled, "3")
    assert_same_as_plain(compiled, "_orig_mod.3")


def test_frozen_parameters():
    model = network().requires_grad_(False)
    assert_same_as_plain(model, "3")
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_copy_of_a_network_made_in_inference_mode_works_and_the_network_says_so():
    with torch.inference_mode():
        model = network()
    for call in (
        lambda: EffectiveReceptiveField(model, "3").attribute(IMAGES),
        lambda: EffectiveReceptiveField(model, "3").aggregate([IMAGES]),
    ):
        with pytest.raises(
            RuntimeError, match=r"parameters are inference tensors.*take copy\.deepcopy\(model\) outside"
        ):
            call()
    assert_same_as_plain(copy.deepcopy(model), "3")


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_around_the_call(context):
    expected = EffectiveReceptiveField(network(), "3").aggregate([IMAGES])
    model = network()
    with context():
        field = EffectiveReceptiveField(model, "3").aggregate([IMAGES])
    assert_close(field.values, expected.values)


def test_bfloat16_parameters_give_the_map_to_their_rounding():
    expected = EffectiveReceptiveField(network(), "3").aggregate([IMAGES], channel=0)
    field = EffectiveReceptiveField(network().bfloat16(), "3").aggregate([IMAGES.bfloat16()], channel=0)
    assert_close(field.values, expected.values, rtol=0, atol=0.03 * expected.values.max())
    assert field.theoretical == expected.theoretical
    assert field.recipe["route"].startswith("window")


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant):
        super().__init__()
        self.net, self.use_reentrant = network(), use_reentrant

    def forward(self, images):
        features = checkpoint(self.net[:3], images, use_reentrant=self.use_reentrant)
        return self.net[4:](checkpoint(self.net[3], features, use_reentrant=self.use_reentrant))


@pytest.mark.filterwarnings("ignore:.*torch.cpu.amp.autocast:FutureWarning")  # torch 2.4's own
def test_checkpointing():
    assert_same_as_plain(Checkpointed(use_reentrant=False), "net.3")
    assert_same_as_plain(Checkpointed(use_reentrant=False), "net.0", "0")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("net.3", "no gradient path to the inputs: .* as checkpointing with use_reentrant=True does"),
        ("net.4", "set use_reentrant=False"),
    ],
    ids=["inside", "after"],
)
def test_reentrant_checkpointing_is_refused_with_the_fix(layer, message):
    with pytest.raises(RuntimeError, match=message):
        EffectiveReceptiveField(Checkpointed(use_reentrant=True), layer).attribute(IMAGES)


class Cut(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.before, self.after, self.cut = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), cut

    def forward(self, images):
        return self.after(self.cut(self.before(images)))


def _without_gradients(features):
    with torch.no_grad():
        return features * 2


def _one_hot(features):
    return nn.functional.one_hot(features.argmax(1), 4).movedim(-1, 1).float()


@pytest.mark.parametrize(
    ("cut", "attribute_says", "aggregate_says"),
    [
        (torch.detach, "no gradient path", "no gradient path"),
        (_without_gradients, "no gradient path", "no gradient path"),
        (lambda features: torch.from_numpy(features.detach().numpy()), "no gradient path", "no gradient path"),
        (_one_hot, "no gradient path", "no gradient path"),
        (torch.round, None, "dead.* What is rounded has no gradient"),
        (torch.sign, None, "dead.* What is rounded has no gradient"),
    ],
    ids=["detach", "no_grad", "numpy", "argmax", "round", "sign"],
)
@pytest.mark.filterwarnings("ignore:NaN cannot tell what layer 'after' sees")
def test_no_gradient_path(cut, attribute_says, aggregate_says):
    erf = EffectiveReceptiveField(Cut(cut), "after")
    with pytest.raises((RuntimeError, ValueError), match=aggregate_says):
        erf.aggregate([IMAGES])
    if attribute_says is None:
        assert not erf.attribute(IMAGES).any()
        return
    with pytest.raises(RuntimeError, match=attribute_says):
        erf.attribute(IMAGES)


class Swallowing(nn.Module):
    """A wide branch through an activation that drops NaN, beside a narrow one that does not."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 4, 9, padding=4), nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Identity()

    def forward(self, images):
        wide = self.wide(images)
        return self.out(self.narrow(images) + torch.where(wide > 0, wide, torch.zeros_like(wide)))


@pytest.mark.parametrize("window", ["auto", False])
def test_a_field_that_nan_finds_too_small_is_warned_of(window):
    erf = EffectiveReceptiveField(Swallowing(), "out")
    with pytest.warns(UserWarning, match="layer 'out' sees: its gradient reaches outside the field that NaN finds"):
        field = erf.aggregate([IMAGES], window=window)
    assert_close(field.values, erf.attribute(IMAGES).sum(1).mean(0).double().numpy())
    assert (field.theoretical.size, field.theoretical.is_estimated) == ((9, 9), True)


def test_channels_that_cancel_are_warned_of():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8), Norm(8))
    erf = EffectiveReceptiveField(model, "2")
    with pytest.warns(UserWarning, match="channels of layer '2' sum to the same at every unit"):
        erf.attribute(IMAGES)
    assert EffectiveReceptiveField(model, "2").attribute(IMAGES, channel="random").any()


class Shares(nn.Module):
    """Makes the sizes of channels their shares, which sum to one."""

    def forward(self, features):
        return nn.functional.normalize(features.abs(), p=1, dim=1)


@pytest.mark.parametrize("last", [nn.Softmax(1), Shares()], ids=["softmax", "shares"])
def test_channels_that_sum_to_one_are_warned_of(last):
    erf = EffectiveReceptiveField(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), last), "1")
    with pytest.warns(UserWarning, match="channels of layer '1' sum to the same at every unit"):
        erf.aggregate([IMAGES])


def test_a_gradient_that_cancels_to_zero_is_told_from_a_dead_unit():
    """Two channels' shares are a sigmoid and one less it, of which the gradients cancel to the last bit."""

    class Halves(nn.Module):
        def forward(self, features):
            share = features[:, :1].sigmoid()
            return torch.cat([share, 1 - share], 1)

    erf = EffectiveReceptiveField(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Halves()).double(), "1")
    with (
        pytest.warns(UserWarning, match="sum to the same"),
        pytest.raises(ValueError, match=r"channels of layer '1' sum to a constant.*all samples are dead.*\"random\""),
    ):
        erf.aggregate([IMAGES.double()])
    assert erf.aggregate([IMAGES.double()], channel=0).values.any()


def test_channels_with_a_sum_that_only_looks_even_are_not_warned_of():
    """One unit has one sum, and a gradient of it."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1))
    assert EffectiveReceptiveField(model, "1").attribute(IMAGES).any()


class Norm(nn.LayerNorm):
    def forward(self, features):
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


class Resizing(nn.Module):
    """Fits its own attributes to the input, as window transformers do."""

    def __init__(self):
        super().__init__()
        self.conv, self.window, self.mask = nn.Conv2d(3, 4, 3, padding=1), 8, None

    def forward(self, images):
        self.window = min(self.window, *images.shape[2:])
        self.mask = images.new_ones(self.window)
        self.seen = images
        assert self.window == 8 or max(images.shape[2:]) < 24, "shrunk for good by a small input"
        return self.conv(images)


def test_attributes_that_a_pass_sets_do_not_stay():
    model = Resizing()
    field = EffectiveReceptiveField(model, "conv").aggregate([IMAGES, IMAGES])
    assert field.theoretical.size == (3, 3)
    assert (model.window, model.mask, hasattr(model, "seen")) == (8, None, False)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore:.*torch.ao.quantization.*")
def test_a_scripted_part_stays_as_it_was_and_is_refused_as_a_layer():
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)))
    model = nn.Sequential(scripted, nn.Conv2d(3, 4, 3, padding=1)).train()
    before = {name: value.clone() for name, value in scripted.state_dict().items()}
    assert EffectiveReceptiveField(model, "1").aggregate([IMAGES]).theoretical.size == (5, 5)
    assert scripted.training
    assert_close(dict(scripted.state_dict()), before, rtol=0, atol=0)
    for forward_func, layer in [(model, "0"), (scripted, "0"), (scripted, model[1])]:
        with pytest.raises(TypeError, match=r"is TorchScript.*pass the eager model"):
            EffectiveReceptiveField(forward_func, layer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_quantised_layers_are_refused_and_others_are_not():
    quantization = pytest.importorskip("torch.ao.quantization")
    engines = torch.backends.quantized.supported_engines
    if "fbgemm" not in engines:
        pytest.skip("no engine for quantised layers")
    model = nn.Sequential(quantization.QuantStub(), nn.Conv2d(3, 4, 3), nn.ReLU(), quantization.DeQuantStub()).eval()
    model.qconfig = quantization.get_default_qconfig("fbgemm")
    prepared = quantization.prepare(model)
    prepared(IMAGES)
    converted = quantization.convert(prepared)
    for layer in ("1", "2", "3"):
        for method, given in (("attribute", IMAGES), ("aggregate", [IMAGES])):
            with pytest.raises(TypeError, match=f"Layer '{layer}' is quantised.*pass the float model"):
                getattr(EffectiveReceptiveField(converted, layer), method)(given)
    dynamic = quantization.quantize_dynamic(network(), {nn.Linear})
    assert_same_as_plain(dynamic, "3")


@pytest.mark.parametrize("edit", ["dilated", "pooled"])
def test_a_network_that_is_changed_between_calls_is_looked_at_anew(edit):
    model = network()
    erf = EffectiveReceptiveField(model, "3")
    erf.aggregate([IMAGES])
    if edit == "dilated":
        model[0].dilation = model[0].padding = (3, 3)
    else:
        model[2] = nn.MaxPool2d(3, 1, 1)
    fresh = EffectiveReceptiveField(model, "3").aggregate([IMAGES], window=False)
    field = erf.aggregate([IMAGES])
    assert field.theoretical == fresh.theoretical
    assert_close(field.values, fresh.values)


def test_the_order_of_memory_of_results_and_outputs_is_the_users():
    erf = EffectiveReceptiveField(network(), "3")
    expected = erf.attribute(IMAGES, (0, 6, 6))
    assert expected.is_contiguous()
    assert_close(erf.attribute(IMAGES, lambda output: output.view(len(output), 4, -1)[:, 0, 6 * 12 + 6]), expected)
    folded = EffectiveReceptiveField(network(), "3", layout=lambda output: output.view(len(output), 4, 12, 12))
    assert_close(folded.aggregate([IMAGES]).values, erf.aggregate([IMAGES]).values)


def test_a_network_that_refuses_nan_is_measured_all_the_same():
    class Checked(nn.Conv2d):
        def forward(self, images):
            assert torch.isfinite(images).all(), "bad input"
            return super().forward(images)

    erf = EffectiveReceptiveField(Checked(3, 3, 3, padding=1), "")
    with pytest.warns(UserWarning, match="the network raises AssertionError for an input with NaN: bad input"):
        field = erf.aggregate([IMAGES])
    assert_close(field.values, erf.attribute(IMAGES).sum(1).mean(0).double().numpy())
    assert (field.theoretical.size, field.theoretical.is_estimated) == ((3, 3), True)


def test_lazy_networks_are_to_be_run_once_first():
    model = nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    with pytest.raises(ValueError, match="LazyConv2d has no parameters yet; run the network once on a batch"):
        EffectiveReceptiveField(model, "1")
    model(IMAGES)
    assert EffectiveReceptiveField(model, "1").aggregate([IMAGES]).theoretical.size == (5, 5)
