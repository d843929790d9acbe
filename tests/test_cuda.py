"""On a GPU: the same maps as on the CPU, by windows and without, and nothing left behind.

With wheels of captum, openerf and this package carried along, on a machine that has torch and torchvision:

    pip install --no-deps --no-index --find-links wheels captum openerf captum_erf
    python -m pytest tests/test_cuda.py && python tests/benchmarks/peers.py --device cuda --rounds 2 --seconds 8
"""

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

ROUNDING = 1e-3  # of a float32 map's maximum: a ReLU about to switch moves a map by as much


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
def test_equals_the_cpu_in_double_precision(layer):
    torch.manual_seed(0)
    model, images = torchvision.models.resnet18(weights=None).double().eval(), torch.randn(4, 3, 96, 96).double()
    on_cpu, on_gpu = (measured(model, layer, [images], device) for device in ("cpu", "cuda"))
    assert "on the way" in on_gpu.recipe["route"]
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


def test_batches_from_pinned_memory_are_copied_without_waiting(images):
    batch = Batch((images.pin_memory(),))
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = batch.to(torch.device("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert torch.equal(moved.measured.cpu(), images)


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
