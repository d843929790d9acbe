"""What users wrap networks in and do to them: each gives what the plain network gives, or an error that says why."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field

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


class Residual(nn.Module):
    """One ReLU and one convolution for several steps."""

    def __init__(self):
        super().__init__()
        self.start, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        features = self.relu(self.start(images))
        for _ in range(2):
            features = self.relu(self.conv(features) + features)
        return self.head(features)


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [("relu", [3, 5, 7]), ("conv", [5, 7])],
    ids=["without parameters", "with parameters"],
)
def test_a_layer_that_is_used_several_times(layer, sizes):
    model, count = Residual().eval(), len(sizes)
    message = rf"Layer '{layer}' is called {count} times in one forward pass.*call=0 .*call=-1"
    with pytest.raises(ValueError, match=message):
        EffectiveReceptiveField(model, layer).attribute(IMAGES)
    with pytest.raises(ValueError, match=message):
        EffectiveReceptiveField(model, layer).aggregate([IMAGES])
    with pytest.raises(ValueError, match=message):
        theoretical_receptive_field(model, layer, (3, 24, 24))
    for call, side in [*enumerate(sizes), *zip(range(-count, 0), sizes, strict=True)]:
        erf = EffectiveReceptiveField(model, layer, call=call)
        field = erf.aggregate([IMAGES])
        assert field.theoretical.size == (side, side)
        assert_close(field.values, erf.attribute(IMAGES).sum(1).mean(0).double().numpy())
        assert field.recipe["call"] == call
        assert theoretical_receptive_field(model, layer, (3, 24, 24), call=call).size == (side, side)


@pytest.mark.parametrize("call", [3, -4])
@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_a_call_that_never_comes(method, call):
    erf = EffectiveReceptiveField(Residual(), "relu", call=call)
    with pytest.raises(ValueError, match=rf"'relu' has no call={call}: it is called 3 time\(s\)"):
        getattr(erf, method)(IMAGES if method == "attribute" else [IMAGES])


@pytest.mark.filterwarnings("ignore:Input Tensor")
def test_the_last_call_is_what_neuron_gradient_looks_at():
    from captum.attr import NeuronGradient

    model = Residual().eval()
    expected = NeuronGradient(model, model.conv).attribute(IMAGES, (0, 3, 4)).abs()
    erf = EffectiveReceptiveField(model, "conv", call=-1)
    assert_close(erf.attribute(IMAGES, position=(3, 4), channel=0), expected)


@pytest.mark.parametrize("call", ["last", 1.0, True], ids=str)
def test_a_call_is_an_int(call):
    with pytest.raises(TypeError, match="call must be an int"):
        EffectiveReceptiveField(Residual(), "relu", call=call)


class Siamese(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, left, right):
        return self.encoder(left) - self.encoder(right)


def test_a_shared_encoder_is_called_once_for_each_input():
    model = Siamese(network()[:4])
    with pytest.raises(ValueError, match=r"'encoder\.3' is called 2 times"):
        EffectiveReceptiveField(model, "encoder.3").attribute((IMAGES, IMAGES.flip(0)))
    left, right = EffectiveReceptiveField(model, "encoder.3", call=1).attribute((IMAGES, IMAGES.flip(0)))
    assert not left.any() and right.any()


def test_a_layer_registered_under_two_names():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ValueError, match="called 2 times"):
        EffectiveReceptiveField(model, "0").attribute(IMAGES)
    assert EffectiveReceptiveField(model, "2", call=-1).aggregate([IMAGES]).theoretical.size == (5, 5)


class Helper(nn.Module):
    """The layer's name stands once in the code, in a function that runs twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 1, 1)

    def step(self, images):
        return self.conv(images)

    def forward(self, images):
        return self.head(self.step(self.step(images)))


class Comprehension(Helper):
    def forward(self, images):
        return self.head(torch.stack([self.conv(scale * images) for scale in (1, 2)]).sum(0))


class Patched(Helper):
    def __init__(self):
        super().__init__()
        self.forward = lambda images: self.head(self.conv(self.conv(images)))


class Renamed(Helper):
    def forward(self, images):
        conv = self.conv
        return self.head(conv(conv(images)))


class Once(Helper):
    def forward(self, images):
        return self.conv(images)


class Twice(Once):
    def forward(self, images):
        return super().forward(super().forward(images))


class ByName(Helper):
    def forward(self, images):
        return self.head(self.conv(getattr(self, "conv")(images)))  # noqa: B009


@pytest.mark.parametrize("model", [Helper, Comprehension, Patched, Renamed, Twice, ByName])
def test_reuse_is_found_however_it_is_written(model):
    with pytest.raises(ValueError, match="'conv' is called 2 times"):
        EffectiveReceptiveField(model(), "conv").attribute(IMAGES)


def test_counting_calls_runs_no_head_where_the_code_shows_one_call(count_calls):
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet50(weights=None).eval()
    calls = count_calls(model.fc)
    for layer in ("relu", "layer1", "layer2.0.conv2", "layer3.1.bn2", "layer4", "layer1.0.downsample.0"):
        EffectiveReceptiveField(model, layer).attribute(IMAGES)
    assert calls == []
    with pytest.raises(ValueError, match="called 3 times"):
        EffectiveReceptiveField(model, "layer4.2.relu").attribute(IMAGES)
    assert calls == []


def test_what_fails_after_the_layer_does_not_matter():
    class Broken(Helper):
        def forward(self, images):
            for _ in range(1):
                images = self.conv(images)
            raise OSError("no head")

    assert EffectiveReceptiveField(Broken(), "conv").attribute(IMAGES).any()


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
        (_one_hot, "no gradient path", "no influence on unit .* swallows NaN"),
        (torch.round, None, "dead.* What is rounded has no gradient"),
        (torch.sign, None, "no influence on unit .* swallows NaN"),
    ],
    ids=["detach", "no_grad", "numpy", "argmax", "round", "sign"],
)
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
    with pytest.warns(UserWarning, match="reaches outside its theoretical field: something .* swallows NaN"):
        field = erf.aggregate([IMAGES], window=window)
    assert_close(field.values, erf.attribute(IMAGES).sum(1).mean(0).double().numpy())


def test_channels_that_cancel_are_warned_of():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8), Norm(8))
    erf = EffectiveReceptiveField(model, "2")
    with pytest.warns(UserWarning, match="channels of layer '2' sum to zero at every unit"):
        erf.attribute(IMAGES)
    assert EffectiveReceptiveField(model, "2").attribute(IMAGES, channel="random").any()


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


def test_a_network_that_refuses_nan_says_where_it_comes_from():
    class Checked(Helper):
        def forward(self, images):
            assert torch.isfinite(images).all(), "bad input"
            return self.conv(images)

    erf = EffectiveReceptiveField(Checked(), "conv")
    assert erf.attribute(IMAGES).any()
    with pytest.raises(AssertionError, match="bad input") as caught:
        erf.aggregate([IMAGES])
    assert "an input that holds NaN, with which captum_erf looks" in caught.value.__notes__[0]


def test_lazy_networks_are_to_be_run_once_first():
    model = nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    with pytest.raises(ValueError, match="LazyConv2d has no parameters yet; run the network once on a batch"):
        EffectiveReceptiveField(model, "1")
    model(IMAGES)
    assert EffectiveReceptiveField(model, "1").aggregate([IMAGES]).theoretical.size == (5, 5)
