"""How long an effective receptive field takes: this package beside what people use today, in one run.

    python tests/benchmarks/peers.py [--rounds 5] [--device cuda] [--output peers.csv]

Every row times the same maps, the routes taking turns, and gives seconds per image as median [min, max]:

- captum: ``captum.attr.NeuronGradient`` at the same batch size, layer by layer and unit by unit.
- script: the loop of the published ConvNet scripts: network truncated after the layer (torchvision's feature
  extractor), one image at a time, gradient of the centre unit's sum.
- openerf: that package, where it is installed (it reads the same crops from PNG files).
- ours: ``update`` and ``compute`` of an ``ERFAccumulator``, after the set-up, which the second table gives apart.
- bf16: the same with ``autocast=torch.bfloat16``.

"ratio" is the fastest peer's time over ours, "limit" what it could be: the floating-point operations of whole passes to
the layers, as peers run them, over those of ours. "peak" is the share of the machine's measured float32 matrix-multiply
rate that "ours" reaches, counting the multiply-adds of its own passes. The networks have random weights with a fixed
seed: time does not depend on them.

With ``--device cuda`` every timing waits for the device, and a last table gives images per second beside those of bare
forward and backward passes, with a loader and without one, and how often an update makes host and device wait for each
other.
"""

from __future__ import annotations

import argparse
import csv
import gc
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import networks
import numpy as np
import torch
from captum.attr import NeuronGradient
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from captum_erf import EffectiveReceptiveField

warnings.filterwarnings("ignore", message="Input Tensor")
warnings.filterwarnings("ignore", message="The channels of layer")  # ConvNeXt's with untrained layer scale
Route = Callable[[], list[np.ndarray]]
SHORTEST = 0.3
MEMORY = ("none", "forward", "sweep", "layer4")


@dataclass(frozen=True)
class Case:
    """What one row measures."""

    name: str
    network: str
    layers: tuple[str, ...]
    positions: tuple[tuple[float, ...] | str, ...] = ("center",)
    size: tuple[int, ...] = (224, 224)
    batch: int = 8
    routes: tuple[str, ...] = ("captum", "script", "openerf", "ours", "bf16")
    most_rounds: int = 100


STAGES = ("layer1", "layer2", "layer3.1", "layer3", "layer4")
GRID_OF_25 = tuple((row, column) for row in (0.1, 0.3, 0.5, 0.7, 0.9) for column in (0.1, 0.3, 0.5, 0.7, 0.9))


def cases() -> list[Case]:
    """The rows of the table."""
    resnet_convolutions = tuple(
        name for name, module in models.resnet50(weights=None).named_modules() if isinstance(module, nn.Conv2d)
    )
    peers = ("captum", "script", "openerf", "ours")
    slow = ("captum", "script", "ours")
    return [
        *(Case(f"resnet50 {name}", "resnet50", (name,)) for name in STAGES),
        *(Case(f"convnext_tiny features.{n}", "convnext_tiny", (f"features.{n}",), routes=peers) for n in (1, 3, 5, 7)),
        Case(
            "resnet50, all 53 convolutions", "resnet50", resnet_convolutions, routes=("captum", "ours"), most_rounds=2
        ),
        Case("resnet50 layer1, 25 positions", "resnet50", ("layer1",), GRID_OF_25, routes=slow, most_rounds=2),
        Case("resnet50 layer2, 25 positions", "resnet50", ("layer2",), GRID_OF_25, routes=slow, most_rounds=2),
        Case(
            "resnet50 layer2 at 1024 x 1024",
            "resnet50",
            ("layer2",),
            size=(1024, 1024),
            batch=2,
            routes=slow,
            most_rounds=2,
        ),
        Case("resnet50 layer4 at 512 x 512", "resnet50", ("layer4",), size=(512, 512), batch=2, routes=slow),
        Case("U-Net up1", "unet", ("up1",), batch=4, routes=slow),
        Case("YOLO neck p4 at 320 x 320", "neck", ("p4",), size=(320, 320), batch=4, routes=slow),
        Case("3-D U-Net up1 at 64 x 64 x 64", "unet3d", ("up1",), size=(64, 64, 64), batch=2, routes=slow),
        Case(
            "r3d_18 layer2 at 96 x 96 x 96",
            "r3d_18",
            ("layer2",),
            size=(96, 96, 96),
            batch=2,
            routes=slow,
            most_rounds=2,
        ),
    ]


def network(name: str, device: str) -> nn.Module:
    """A network with random weights."""
    torch.manual_seed(0)
    if name in networks.NAMES:
        return networks.make(name).eval().to(device)
    maker = models.video.r3d_18 if name == "r3d_18" else getattr(models, name)
    return maker(weights=None).eval().to(device)


def crops(count: int, size: tuple[int, ...], device: str) -> Tensor:
    """Crops of the photograph that matplotlib ships, enlarged where they must be; videos pan over it."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    photograph = pil_to_tensor(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB")).float() / 255
    height, width = size[-2:]
    scale = max(height / photograph.shape[1], width / photograph.shape[2], 1.0)
    if scale > 1:
        photograph = nn.functional.interpolate(photograph[None], scale_factor=1.01 * scale, mode="bilinear")[0]
    generator = torch.Generator().manual_seed(0)
    frames = count * (size[0] if len(size) == 3 else 1)
    rows = torch.randint(0, photograph.shape[1] - height + 1, (frames,), generator=generator).tolist()
    columns = torch.randint(0, photograph.shape[2] - width + 1, (frames,), generator=generator).tolist()
    found = torch.stack([photograph[:, r : r + height, c : c + width] for r, c in zip(rows, columns, strict=True)])
    normalised = (found - 0.45) / 0.225
    if len(size) == 3:
        normalised = normalised.unflatten(0, (count, size[0])).transpose(1, 2).contiguous()
    return normalised.to(device)


def units(case: Case, model: nn.Module, inputs: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Every layer with the index of every unit, as the erf class resolves them."""
    fields = EffectiveReceptiveField(model, list(case.layers)).sweep([inputs[:1]], positions=case.positions)
    return [(field.layer, field.position) for field in fields]


def captum_route(case: Case, model: nn.Module, inputs: Tensor) -> Route:
    chosen = units(case, model, inputs)

    def run() -> list[np.ndarray]:
        maps = []
        for layer, position in chosen:
            method = NeuronGradient(model, model.get_submodule(layer))
            gradient = method.attribute(inputs, (slice(None), *position))
            maps.append(gradient.abs().sum(1).mean(0).cpu().numpy())
        return maps

    return run


def script_route(case: Case, model: nn.Module, inputs: Tensor) -> Route:
    chosen = units(case, model, inputs)
    truncated = {layer: create_feature_extractor(model, {layer: "out"}) for layer in case.layers}

    def run() -> list[np.ndarray]:
        maps = [0.0] * len(chosen)
        for image in inputs:
            for number, (layer, position) in enumerate(chosen):
                sample = image[None].clone().requires_grad_()
                output = truncated[layer](sample)["out"]
                (gradient,) = torch.autograd.grad(output[(0, slice(None), *position)].sum(), sample)
                maps[number] = maps[number] + gradient.abs().sum((0, 1)).cpu().numpy()
        return [found / len(inputs) for found in maps]

    return run


def openerf_route(case: Case, model: nn.Module, inputs: Tensor) -> Route | None:
    try:
        from openerf.erf import compute_erf
    except ImportError:
        return None
    folder = Path(tempfile.mkdtemp())
    for number, image in enumerate(inputs):
        to_pil_image((image.cpu() * 0.225 + 0.45).clamp(0, 1)).save(folder / f"{number}.png")

    def run() -> list[np.ndarray]:
        compute_erf(model, folder, target_layer=case.layers[0], device=inputs.device, show_progress=False)
        return []

    return run


def our_route(case: Case, model: nn.Module, inputs: Tensor, autocast: torch.dtype | None = None) -> Route:
    erf = EffectiveReceptiveField(model, list(case.layers))
    accumulator = erf.accumulator(positions=case.positions, autocast=autocast)
    accumulator.update(inputs)

    def run() -> list[np.ndarray]:
        accumulator.update(inputs)
        return [field.values for field in accumulator.compute()]

    return run


def make_routes(case: Case, model: nn.Module, inputs: Tensor) -> dict[str, Route]:
    makers = {
        "captum": captum_route,
        "script": script_route,
        "openerf": openerf_route,
        "ours": our_route,
        "bf16": lambda *given: our_route(*given, autocast=torch.bfloat16),
    }
    routes = {name: makers[name](case, model, inputs) for name in case.routes}
    return {name: route for name, route in routes.items() if route is not None}


def timed(action: Callable[[], object]) -> float:
    """Seconds of a call, over as many in a row as take ``SHORTEST`` seconds."""
    calls, start = 0, time.perf_counter()
    while True:
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        calls += 1
        taken = time.perf_counter() - start
        if taken >= SHORTEST:
            return taken / calls


def interleaved(routes: dict[str, Route], rounds: int) -> dict[str, list[float]]:
    """Seconds of each route in each round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for number in range(rounds + 1):
        for name, route in routes.items():
            taken = timed(route)
            if number:
                seconds[name].append(taken)
    return seconds


def disagreement(routes: dict[str, Route]) -> float:
    """Largest difference between a peer's map and ours, as a share of our map's maximum."""
    ours = routes["ours"]()
    peers = [routes[name]() for name in ("captum", "script") if name in routes]
    pairs = [(mine, theirs) for maps in peers for mine, theirs in zip(ours, maps, strict=True)]
    return max(float(np.abs(mine - theirs).max() / mine.max()) for mine, theirs in pairs)


def peak_rate(device: str) -> float:
    """Multiply-adds per second of a large float32 matrix product."""
    side = 2048
    left, right = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    left @ right
    return side**3 / min(timed(lambda: left @ right) for _ in range(5))


def multiply_adds(action: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops() / 2


def of_an_update(route: Route) -> float:
    """Multiply-adds of an update of ours; some updates look at one sample in two ways, two in a row do not."""
    return min(multiply_adds(route) for _ in range(2))


def of_whole_passes(case: Case, model: nn.Module, inputs: Tensor) -> float:
    """Multiply-adds of one forward and one backward pass to each unit, on the whole of every image."""
    image = inputs[:1].clone().requires_grad_()
    chosen = units(case, model, inputs)
    truncated = {layer: create_feature_extractor(model, {layer: "out"}) for layer in case.layers}

    def run() -> None:
        for layer, position in chosen:
            output = truncated[layer](image * 1)["out"]  # the counter's hooks take no leaf
            torch.autograd.grad(output[(0, slice(None), *position)].sum(), image)

    return case.batch * multiply_adds(run)


def steady_row(case: Case, device: str, rounds: int, peak: float) -> dict[str, str]:
    model, inputs = network(case.network, device), crops(case.batch, case.size, device)
    routes = make_routes(case, model, inputs)
    seconds = interleaved(routes, min(rounds, case.most_rounds))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    fastest = min(medians[name] for name in ("captum", "script", "openerf") if name in medians)
    row = {"case": case.name}
    for name in ("captum", "script", "openerf", "ours", "bf16"):
        row[name] = spread([taken / case.batch for taken in seconds[name]]) if name in seconds else ""
    row["ratio"] = f"{fastest / medians['ours']:.2f}"
    row["bf16 ratio"] = f"{fastest / medians['bf16']:.2f}" if "bf16" in medians else ""
    row["difference"] = f"{disagreement(routes):.0e}"
    own = of_an_update(routes["ours"])
    row["limit"] = f"{of_whole_passes(case, model, inputs) / own:.2f}"
    row["peak"] = f"{own / medians['ours'] / peak:.0%}"
    return row


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4f} [{min(values):.4f}, {max(values):.4f}]"


def setup_row(layer: str, device: str, rounds: int) -> dict[str, str]:
    """Set-up against whole-input samples, 48 images from a cold start, growth and overhead of one layer."""
    model, images = network("resnet50", device), crops(48, (224, 224), device)
    batches = list(images.split(8))

    truncated = create_feature_extractor(model, {layer: "out"})

    def gradient(inputs: Tensor) -> None:
        inputs.requires_grad_()
        torch.autograd.grad(truncated(inputs)["out"][(slice(None), slice(None), *position)].sum(), inputs)

    def whole_batch() -> None:
        gradient(batches[0].clone(memory_format=torch.channels_last))

    def cold(count: int = 6) -> None:
        EffectiveReceptiveField(model, layer).aggregate(batches[:count])

    erf = EffectiveReceptiveField(model, layer)
    accumulator = erf.accumulator()
    accumulator.update(batches[0])
    position = accumulator.compute()[0].position

    def first() -> None:
        EffectiveReceptiveField(model, layer).accumulator().update(batches[0])

    def steady() -> None:
        accumulator.update(batches[0])

    def captum() -> None:
        for batch in batches:
            NeuronGradient(model, model.get_submodule(layer)).attribute(batch, (slice(None), *position))

    def script() -> None:
        for image in images:
            gradient(image[None].clone())

    ours = {"whole": whole_batch, "first": first, "steady": steady, "cold": cold, "half": lambda: cold(3)}
    seconds = interleaved(ours, rounds)
    peers = interleaved({"captum": captum, "script": script}, 1)
    middle = {name: statistics.median(taken) for name, taken in (seconds | peers).items()}
    setup = middle["first"] - middle["steady"]
    return {
        "layer": layer,
        "set-up, seconds": f"{setup:.3f}",
        "set-up, whole-input samples": f"{setup / (middle['whole'] / 8):.2f}",
        "48 images cold, seconds": spread(seconds["cold"]),
        "ratio to fastest peer": f"{min(middle['captum'], middle['script']) / middle['cold']:.2f}",
        "24 more images over 3 batches": f"{(middle['cold'] - middle['half']) / (3 * middle['steady']):.2f}",
        "a batch against whole-input passes": f"{middle['steady'] / middle['whole'] - 1:+.1%}",
    }


def rounding(device: str) -> str:
    """How far float32 maps of the deepest stage lie from the float64 one, ours and the plain computation's."""
    model, inputs = network("resnet50", device), crops(2, (224, 224), device)
    case = Case("", "resnet50", ("layer4",))
    plain, ours = captum_route(case, model, inputs)()[0], our_route(case, model, inputs)()[0]
    exact_model, exact_inputs = network("resnet50", device).double(), inputs.double()
    exact = captum_route(case, exact_model, exact_inputs)()[0]
    found = our_route(case, exact_model, exact_inputs)()[0]
    shares = [float(np.abs(values - exact).max() / exact.max()) for values in (plain, ours, found)]
    return (
        "largest difference to NeuronGradient in float64, layer4, as a share of the maximum: NeuronGradient in float32 "
        f"{shares[0]:.0e}, ours in float32 {shares[1]:.0e}, ours in float64 {shares[2]:.0e}"
    )


def memory(device: str) -> str:
    """Peak memory of the 53-convolution sweep against one whole forward pass that keeps its graph.

    To be called first: a process inherits the peak of the one that starts it.
    """
    if device != "cpu":
        return ""
    kib = {kind: int(subprocess.check_output([sys.executable, __file__, "--memory", kind])) for kind in MEMORY}
    forward, sweep, layer4 = (kib[kind] - kib["none"] for kind in ("forward", "sweep", "layer4"))
    return (
        f"peak memory beyond the imports, batch 8: whole forward with graph {forward / 1024:.0f} MiB, sweep over 53 "
        f"convolutions {sweep / 1024:.0f} MiB, {sweep / forward:.2f} times; layer4 alone {layer4 / 1024:.0f} MiB"
    )


def use_memory(kind: str) -> int:
    """Peak resident memory in KiB of this process after doing one thing."""
    model, inputs = network("resnet50", "cpu"), crops(8, (224, 224), "cpu")
    case = next(case for case in cases() if len(case.layers) == 53)
    if kind == "forward":
        model(inputs.requires_grad_())
    elif kind == "sweep":
        EffectiveReceptiveField(model, list(case.layers)).sweep([inputs])
    elif kind == "layer4":
        EffectiveReceptiveField(model, "layer4").sweep(iter([inputs]))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def throughput_row(layer: str, rounds: int) -> dict[str, str]:
    """Images per second on the GPU: bare passes, ours, ours from a loader, and the waits inside an update."""
    model, images = network("resnet50", "cuda"), crops(64, (224, 224), "cpu")
    truncated = create_feature_extractor(model, {layer: "out"})
    held = images.to("cuda")
    accumulator = EffectiveReceptiveField(model, layer).accumulator()
    for _ in range(4):
        accumulator.update(held)
    position = accumulator.compute()[0].position

    def bare() -> None:
        inputs = held.clone(memory_format=torch.channels_last).requires_grad_()
        torch.autograd.grad(truncated(inputs)["out"][(slice(None), slice(None), *position)].sum(), inputs)

    def from_loader() -> None:
        loader = DataLoader(TensorDataset(images), 16, num_workers=2, pin_memory=True)
        for batch in loader:
            accumulator.update(batch)

    def load_only() -> None:
        for (batch,) in DataLoader(TensorDataset(images), 16, num_workers=2, pin_memory=True):
            batch.to("cuda", non_blocking=True)

    actions = {"bare": bare, "ours": lambda: accumulator.update(held), "loader": from_loader, "loading": load_only}
    seconds = {name: statistics.median(taken) for name, taken in interleaved(actions, rounds).items()}
    rates = {name: len(images) / taken for name, taken in seconds.items()}
    alone = seconds["loading"] + seconds["ours"]
    return {
        "layer": layer,
        "bare passes, images/s": f"{rates['bare']:.0f}",
        "ours, images/s": f"{rates['ours']:.0f}",
        "ours from a loader, images/s": f"{rates['loader']:.0f}",
        "loading and computing over both together": f"{alone / seconds['loader']:.2f}",
        "waits in an update": str(waits(lambda: accumulator.update(held))),
    }


def waits(action: Callable[[], object]) -> int:
    """How often an action makes host and device wait for each other, as torch counts it."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            action()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def show(rows: Sequence[dict[str, str]]) -> None:
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns), sep="\n")
    for row in rows:
        print("| " + " | ".join(row[column] for column in columns) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; rows of minutes take two at most")
    parser.add_argument("--only", default="", help="only rows whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("peers.csv"))
    parser.add_argument("--memory", choices=MEMORY, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(use_memory(options.memory))
        return
    memory_used = memory(options.device)
    rounds = options.rounds
    peak = peak_rate(options.device)
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {options.device}, {threads} threads, {peak / 1e9:.0f} G multiply-adds/s\n")
    rows = []
    for case in cases():
        if options.only in case.name:
            rows.append(steady_row(case, options.device, rounds, peak))
            print(rows[-1], file=sys.stderr, flush=True)
            gc.collect()
    show(rows)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    layers = [layer for layer in STAGES if options.only in f"resnet50 {layer}"]
    if layers:
        show([setup_row(layer, options.device, rounds) for layer in layers])
    if options.device.startswith("cuda"):
        print(torch.cuda.get_device_name())
        show([throughput_row(layer, rounds) for layer in layers or ("layer2",)])
    print(rounding(options.device))
    print(memory_used)


if __name__ == "__main__":
    main()
