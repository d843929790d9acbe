"""On a GPU: the same maps as on the CPU, by windows and without, nothing left behind, and no waiting.

With wheels of captum, openerf and this package carried along, on a machine that has torch and torchvision:

    pip install --no-deps --no-index --find-links wheels captum openerf captum_erf
    python -m pytest tests/test_cuda.py && python tests/benchmarks/peers.py --device cuda --rounds 2 --seconds 8
"""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from captum_erf import EffectiveReceptiveField, theoretical_receptive_field
from captum_erf.cli import main
from captum_erf.network.batch import Batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA can use")

ROUNDING = 1e-2  # of a float32 map's maximum: one ReLU about to switch moves a deep map by some 1e-3


@pytest.fixture(autouse=True)
def _single_precision():
    """Convolutions in float32 proper."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).eval()


@pytest.fixture
def images():
    return torch.randn(8, 3, 96, 128)


def measured(model, layer, batches, device, **settings):
    return EffectiveReceptiveField(model.to(device), layer).aggregate(iter(batches), **settings)


@pytest.mark.parametrize("layer", ["conv1", "layer1", "layer2", "layer3", "layer4"])
@pytest.mark.parametrize("window", ["auto", False], ids=["windows", "whole"])
@pytest.mark.parametrize("position", ["center", "corner"])
def test_equals_the_cpu(resnet, images, layer, window, position):
    on_cpu = measured(resnet, layer, [images], "cpu", window=False, position=position)
    on_gpu = measured(resnet, layer, [images], "cuda", window=window, position=position)
    assert np.abs(on_gpu.values - on_cpu.values).max() <= ROUNDING * on_cpu.values.max()
    assert on_gpu.theoretical == on_cpu.theoretical


@pytest.mark.parametrize("layer", ["layer2", "layer3", "layer4"])
@pytest.mark.parametrize("position", ["center", "corner"])
def test_equals_the_cpu_in_double_precision(layer, position):
    torch.manual_seed(0)
    model, images = torchvision.models.resnet18(weights=None).double().eval(), torch.randn(4, 3, 96, 96).double()
    on_cpu, on_gpu = (measured(model, layer, [images], device, position=position) for device in ("cpu", "cuda"))
    assert on_gpu.recipe["route"] == on_cpu.recipe["route"]
    assert layer == "layer4" or "on the way" in on_gpu.recipe["route"]
    assert np.abs(on_gpu.values - on_cpu.values).max() <= 1e-10 * on_cpu.values.max()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_no_kernel_leaks_while_the_field_is_looked_for(dims, dtype):
    """Winograd and FFT kernels mix the positions of a tile, which would widen the field."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    model = nn.Sequential(*[conv(16 if n else 3, 16, 3, padding=1) for n in range(4)]).to("cuda", dtype)
    field = theoretical_receptive_field(model, "3", (3, *(24,) * dims))
    assert field.size == (9,) * dims


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision(resnet, images, dtype):
    plain = measured(resnet, "layer2", [images], "cuda")
    low = measured(resnet, "layer2", [images], "cuda", autocast=dtype)
    assert (low.values != plain.values).any()
    for share in (0.5, 0.9):
        assert low.radius_mass().diameter(share) == pytest.approx(plain.radius_mass().diameter(share), abs=2)


def test_the_command(tmp_path):
    main(["resnet18", "--layers", "layer1", "--num-samples", "4", "--device", "cuda", "--output", str(tmp_path)])
    assert list(tmp_path.iterdir())


def test_pinned_loaders(resnet, images):
    loader = DataLoader(TensorDataset(images), batch_size=4, pin_memory=True)
    found = measured(resnet, "layer2", loader, "cuda")
    expected = measured(resnet, "layer2", [images], "cuda")
    assert np.abs(found.values - expected.values).max() <= ROUNDING * expected.values.max()


@contextmanager
def no_waiting():
    """Whatever would make the processor wait for the GPU is an error, as far as torch knows of it."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def test_batches_from_pinned_memory_are_copied_without_waiting(images):
    batch = Batch((images.pin_memory(),))
    with no_waiting():
        moved = batch.to(torch.device("cuda"))
    assert torch.equal(moved.measured.cpu(), images)


KINDS = {
    "a window": {},
    "the whole input": {"window": False},
    "samples left out": {"nonfinite": "skip"},
    "random channels": {"channel": "random"},
    "some channels": {"channel": [0, -1]},
    "normalised": {"normalize": True},
    "squares": {"magnitude": "square"},
    "bfloat16": {"autocast": torch.bfloat16},
    "named images": {"get_groups": lambda batch: ["cat", "dog"] * (len(batch) // 2)},
    "several units": {"positions": ("center", "corner")},
}


@pytest.mark.parametrize("layers", [["layer1"], ["layer4"], ["conv1", "layer2", "layer4"]], ids="+".join)
@pytest.mark.parametrize("settings", KINDS.values(), ids=list(KINDS))
def test_an_update_does_not_wait(resnet, images, layers, settings):
    accumulator = EffectiveReceptiveField(resnet.to("cuda"), layers).accumulator(**settings)
    accumulator.update(images)
    accumulator.update(images)  # the last one before the fourth that is looked at both ways
    batch = images.pin_memory()
    with no_waiting():
        accumulator.update(batch)
    assert accumulator.compute()[0].num_samples == 3 * len(images)


def test_a_batch_that_is_not_finite_is_refused_by_the_next_one(resnet, images):
    accumulator = EffectiveReceptiveField(resnet.to("cuda"), "layer2").accumulator()
    accumulator.update(images)
    broken = images.clone()
    broken[3, 1, 48, 64] = torch.nan
    accumulator.update(broken)
    with pytest.raises(FloatingPointError, match=r"Batch 1: .* not finite for 1 of 8 samples"):
        accumulator.update(images)
    accumulator.update(images)
    found, expected = accumulator.compute()[0], measured(resnet, "layer2", [images, images], "cuda")
    assert (found.num_samples, found.num_nonfinite) == (16, 0)
    assert np.abs(found.values - expected.values).max() <= ROUNDING * expected.values.max()


def test_samples_that_are_not_finite_are_left_out(resnet, images):
    broken = images.clone()
    broken[3] = torch.inf
    field = measured(resnet, "layer2", [broken], "cuda", nonfinite="skip")
    expected = measured(resnet, "layer2", [torch.cat([images[:3], images[4:]])], "cuda")
    assert (field.num_samples, field.num_nonfinite) == (7, 1)
    assert np.abs(field.values - expected.values).max() <= ROUNDING * expected.values.max()


@pytest.mark.parametrize("layer", ["layer1", "layer3"])
def test_with_tf32(resnet, images, layer):
    """As convolutions have it by default; products as with ``torch.set_float32_matmul_precision("high")``."""
    expected = measured(resnet, layer, [images] * 5, "cuda")
    asked = torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        field = measured(resnet, layer, [images] * 5, "cuda")
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(asked)
    assert field.recipe["route"] == expected.recipe["route"]
    assert np.abs(field.values - expected.values).max() <= 0.05 * expected.values.max()


def test_random_numbers_stay(resnet, images):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout(), nn.Conv2d(8, 8, 3, padding=1))
    generator = torch.Generator()

    def run():
        return measured(model, "2", [images], "cuda", eval_mode=False, generator=generator.manual_seed(1)).values

    before = torch.cuda.get_rng_state()
    first, again = run(), run()
    assert torch.equal(torch.cuda.get_rng_state(), before)
    np.testing.assert_allclose(again, first, rtol=1e-5)


def test_a_network_in_training_mode_comes_back(images):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).cuda()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    field = measured(model, "3", [images], "cuda", eval_mode=False)
    assert field.num_samples == len(images)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_data_parallel(resnet, images):
    expected = measured(resnet, "layer2", [images], "cuda")
    model = nn.DataParallel(resnet.cuda())
    field = measured(model, model.module.layer2, [images], "cuda")
    assert np.abs(field.values - expected.values).max() <= ROUNDING * expected.values.max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_network_in_low_precision(images, dtype):
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    expected = measured(model, "layer2", [images], "cuda")
    field = measured(model.to(dtype), "layer2", [images.to(dtype)], "cuda")
    for share in (0.5, 0.9):
        assert field.radius_mass().diameter(share) == pytest.approx(expected.radius_mass().diameter(share), abs=2)


def test_memory_comes_back(resnet, images):
    def run():
        measured(resnet, "layer3", [images], "cuda")
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    run()
    before = run()
    assert [run() for _ in range(3)] == [before] * 3


def test_memory_comes_back_after_a_failure(resnet, images):
    measured(resnet, "layer3", [images], "cuda")
    before = torch.cuda.memory_allocated()
    with resnet.layer2.register_forward_hook(lambda *_: 1 / 0), pytest.raises(ZeroDivisionError):
        measured(resnet, "layer3", [images], "cuda")
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
