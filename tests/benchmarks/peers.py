"""How long an effective receptive field takes: this package beside what people use today, in one run.

    python tests/benchmarks/peers.py [--tables steady cold memory] [--rows layer1 ...] [--beside FOLDER] [--device cuda]

Tables, each of which goes to the screen and, row by row as it is measured, to a CSV file:

- steady: seconds per image, after the set-up, as median [min, max] of rounds in which the routes take turns. captum is
  ``captum.attr.NeuronGradient`` at the same batch size, layer by layer and unit by unit. script is the loop of the
  published ConvNet scripts: network truncated after the layer (torchvision's feature extractor), one image at a time,
  gradient of the centre unit's sum. openerf is that package, where it is installed (it reads the same crops from PNG
  files). ours is ``update`` and ``compute`` of an ``ERFAccumulator``. "ratio" is the fastest peer's time over ours,
  "limit" what it could be: the floating-point operations of whole passes to the layers, as peers run them, over those
  of ours. "peak" is the share of the machine's measured float32 matrix-multiply rate that ours reaches, counting the
  multiply-adds of its own passes. "difference" is the largest between peers' maps and ours, over our maximum.
- cold: 48 images from a cold start, with a copy of the network that has never run, and what the set-up takes of that.
- memory: peaks of processes of their own, beyond the imports.
- gpu: images per second beside those of bare passes, with a loader and without one, and how often an update makes host
  and device wait for each other. Only with ``--device cuda``, where every timing waits for the device.

``--beside`` names a folder that holds another version of the package, which is timed in the same rounds.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from cases import Case, cases, crops, network
from timing import COLD, Beside, Maps, captum_route, interleaved, make_routes, our_route, our_timers, timed, units
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor

from captum_erf import EffectiveReceptiveField

Row = dict[str, str]
PEERS = ("captum", "script", "openerf")
TABLES = ("steady", "cold", "memory", "gpu")
MEMORY = {"none": "", "forward": "whole forward pass with its graph", "sweep": "53 convolutions", "layer4": "layer4"}


class Run:
    """What the rows of a run have in common."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device, self.rounds, self.budget = options.device, options.rounds, options.seconds
        self.package = options.beside
        self.beside = None if options.beside is None else Beside(options.beside, options.device)

    @cached_property
    def peak_rate(self) -> float:
        """Multiply-adds per second of a large float32 matrix product."""
        left, right = torch.randn(2, 2048, 2048, device=self.device)
        return 2048**3 / min(timed(lambda: left @ right) for _ in range(5))

    def steady(self, case: Case) -> Row:
        """Seconds per image of a case."""
        case = case.on(self.device)
        model, inputs = network(case.network, self.device), crops(case.batch, case.size, self.device)
        routes, maps = make_routes(case, model, inputs), {}

        def run(name: str) -> None:
            maps[name] = routes[name]()

        timers = {name: lambda name=name: timed(lambda: run(name)) for name in routes}
        if self.beside is not None:
            timers["other"] = self.beside.timer(case, "steady")
        seconds = interleaved(timers, self.rounds, self.budget)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        own = min(multiply_adds(routes["ours"]) for _ in range(2))  # some look at a sample again, two in a row do not
        row = {"case": case.name}
        for name in (*PEERS, "ours", "bf16", "other"):
            row[name] = spread([taken / case.batch for taken in seconds[name]]) if name in seconds else ""
        row["ratio"] = f"{min(medians[name] for name in PEERS if name in medians) / medians['ours']:.2f}"
        row["limit"] = f"{of_whole_passes(case, model, inputs) / own:.2f}"
        row["other / ours"] = f"{medians['other'] / medians['ours']:.2f}" if self.beside else ""
        row["difference"] = f"{disagreement(maps):.0e}"
        row["peak"] = f"{own / medians['ours'] / self.peak_rate:.0%}"
        return row

    def cold(self, case: Case) -> Row:
        """The set-up of a case with one layer, and 48 images from a cold start."""
        model, images = network(case.network, self.device), crops(COLD, case.size, self.device)
        (layer,), ((_, position),) = case.layers, units(case, model, images[:1])
        truncated = create_feature_extractor(model, {layer: "out"})

        def gradient(inputs: Tensor) -> Tensor:
            inputs.requires_grad_()
            output = truncated(inputs)["out"][(slice(None), slice(None), *position)]
            return torch.autograd.grad(output.sum(), inputs)[0].abs().sum((0, 1))

        batch = images[:8].clone(memory_format=torch.channels_last if self.device == "cpu" else torch.preserve_format)
        peers = {
            "captum": lambda: [captum_route(case, model, part)() for part in images.split(8)],
            "script": lambda: [gradient(image[None].clone()) for image in images],
        }
        timers = our_timers(case, self.device) | {"whole": lambda: timed(lambda: gradient(batch.clone()))}
        timers |= {name: lambda peer=peer: timed(peer) for name, peer in peers.items()}
        if self.beside is not None:
            timers |= {f"other {what}": self.beside.timer(case, what) for what in ("steady", "first", "cold")}
        seconds = interleaved(timers, min(self.rounds, 3), self.budget)
        middle = {name: statistics.median(taken) for name, taken in seconds.items()}
        setup = middle["first"] - middle["steady"]
        row = {
            "case": case.name,
            "48 images cold, seconds": spread(seconds["cold"]),
            "ratio to the fastest peer": f"{min(middle[name] for name in peers) / middle['cold']:.2f}",
            "set-up, seconds": f"{setup:.3f}",
            "set-up, whole-input samples": f"{setup / (middle['whole'] / 8):.2f}",
            "24 more images over 3 batches": f"{(middle['cold'] - middle['half']) / (3 * middle['steady']):.2f}",
            "a batch against whole-input passes": f"{middle['steady'] / middle['whole'] - 1:+.1%}",
        }
        if self.beside is not None:
            row["other cold, seconds"] = spread(seconds["other cold"])
            row["other set-up, seconds"] = f"{middle['other first'] - middle['other steady']:.3f}"
        return row

    def memory(self, kind: str) -> Row:
        """
        Peaks of processes of their own, which inherit the peak of the one that starts them: to be called first.

        The allocator gives back what is freed, so that peaks are of what is held, not of how memory is cut up.
        """

        def peak(kind: str, package: Path | None) -> float:
            environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
            environment |= {"PYTHONPATH": str(package)} if package else {}
            command = [sys.executable, __file__, "--use-memory", kind]
            return int(subprocess.check_output(command, env=environment)) / 1024

        row = {"batch of 8": MEMORY[kind], "MiB": f"{peak(kind, None) - peak('none', None):.0f}"}
        if self.package is not None:
            row["other, MiB"] = f"{peak(kind, self.package) - peak('none', self.package):.0f}"
        return row

    def gpu(self, case: Case) -> Row:
        """Images per second on the GPU: bare passes, ours, ours from a loader, and the waits inside an update."""
        case = case.on("cuda")
        model, images = network(case.network, "cuda"), crops(case.batch, case.size)
        (layer,), ((_, position),) = case.layers, units(case, model, images[:1].cuda())
        truncated, held = create_feature_extractor(model, {layer: "out"}), images.cuda()
        accumulator = EffectiveReceptiveField(model, layer).accumulator()
        for _ in range(4):
            accumulator.update(held)

        def bare() -> None:
            inputs = held.clone().requires_grad_()
            torch.autograd.grad(truncated(inputs)["out"][(slice(None), slice(None), *position)].sum(), inputs)

        data = TensorDataset(images.repeat(8, *[1] * (images.ndim - 1)))
        loader = DataLoader(data, case.batch, num_workers=4, pin_memory=True, persistent_workers=True)

        def load_only() -> None:
            for (batch,) in loader:
                batch.to("cuda", non_blocking=True)

        def from_loader() -> None:
            for batch in loader:
                accumulator.update(batch)

        actions = {"bare": bare, "ours": lambda: accumulator.update(held), "loader": from_loader, "loading": load_only}
        timers = {name: lambda action=action: timed(action) for name, action in actions.items()}
        middle = {n: statistics.median(taken) for n, taken in interleaved(timers, self.rounds, self.budget).items()}
        apart = middle["loading"] + 8 * middle["ours"]
        return {
            "case": case.name,
            "bare passes, images/s": f"{len(images) / middle['bare']:.0f}",
            "ours, images/s": f"{len(images) / middle['ours']:.0f}",
            "ours from a loader, images/s": f"{len(data) / middle['loader']:.0f}",
            "loading and computing over both together": f"{apart / middle['loader']:.2f}",
            "waits in an update": str(min(waits(lambda: accumulator.update(held)) for _ in range(2))),
        }


def multiply_adds(action: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops() / 2


def of_whole_passes(case: Case, model: nn.Module, inputs: Tensor) -> float:
    """Multiply-adds of one forward and one backward pass to each unit, on the whole of every image."""
    image = inputs[:1].clone().requires_grad_()
    truncated = {layer: create_feature_extractor(model, {layer: "out"}) for layer in case.layers}

    def to_center(layer: str) -> float:
        def run() -> None:
            output = truncated[layer](image * 1)["out"]  # the counter's hooks take no leaf
            torch.autograd.grad(output[(0, slice(None), *(length // 2 for length in output.shape[2:]))].sum(), image)

        return multiply_adds(run)

    return case.batch * len(case.positions) * sum(map(to_center, case.layers))


def disagreement(maps: dict[str, Maps]) -> float:
    """Largest difference between a peer's map and ours, as a share of our map's maximum."""
    pairs = [
        pair for peer in ("captum", "script") if peer in maps for pair in zip(maps["ours"], maps[peer], strict=True)
    ]
    return max(float(np.abs(mine - theirs).max() / mine.max()) for mine, theirs in pairs)


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


def rounding(device: str) -> str:
    """How far float32 maps of the deepest stage lie from the float64 one, ours and the plain computation's."""
    case, inputs = Case("", "resnet50", ("layer4",)), crops(2, (224, 224), device)
    model, exact_model = network("resnet50", device), network("resnet50", device).double()
    (exact,) = captum_route(case, exact_model, inputs.double())()
    routes = {"NeuronGradient": captum_route, "ours": our_route}
    shares = [
        f"{name} in {kind} {np.abs(route(case, net, images)()[0] - exact).max() / exact.max():.0e}"
        for kind, net, images in (("float32", model, inputs), ("float64", exact_model, inputs.double()))
        for name, route in routes.items()
    ]
    return f"largest difference to NeuronGradient in float64, layer4, as a share of the maximum: {', '.join(shares)}"


def use_memory(kind: str) -> int:
    """Peak resident memory in KiB of this process after doing one thing."""
    model, inputs = network("resnet50"), crops(8, (224, 224))
    layers = {"sweep": next(case.layers for case in cases() if len(case.layers) == 53), "layer4": ("layer4",)}
    if kind == "forward":
        model(inputs.requires_grad_())
    elif kind in layers:
        EffectiveReceptiveField(model, list(layers[kind])).sweep(iter([inputs]))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):#.3g} [{min(values):#.3g}, {max(values):#.3g}]"


def measure(table: str, keys: Iterable[Case | str], make_row: Callable[[Case | str], Row], output: Path) -> None:
    """Measures the rows of a table, appends each to a file, and shows them all."""
    rows, file = [], output.with_name(f"{output.name}-{table}.csv")
    keys = list(keys)
    for number, key in enumerate(keys, start=1):
        start, name = time.perf_counter(), getattr(key, "name", key)
        print(f"{table} {number}/{len(keys)}: {name}", file=sys.stderr, flush=True)
        rows.append(make_row(key))
        is_new = not file.exists()
        with file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[-1]))
            if is_new:
                writer.writeheader()
            writer.writerow(rows[-1])
        print(f"    {rows[-1]}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        gc.collect()
    columns = [column for column in (rows[0] if rows else []) if any(row[column] for row in rows)]
    for row in ({column: column for column in columns}, dict.fromkeys(columns, "---"), *rows) if rows else ():
        print("| " + " | ".join(row[column] for column in columns) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument(
        "--rows", nargs="+", default=[""], help="only rows of these names, or whose names hold one of these"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, where they fit into the seconds")
    parser.add_argument("--seconds", type=float, default=40, help="for a row, beyond the two rounds of each")
    parser.add_argument("--beside", type=Path, help="folder with another version of the package")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("peers"), help="files are OUTPUT-TABLE.csv; rows are added")
    parser.add_argument("--use-memory", choices=MEMORY, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.use_memory:
        print(use_memory(options.use_memory))
        return
    on_gpu = options.device.startswith("cuda")
    run = Run(options)
    names = {case.name for case in cases()}
    wanted = [{part} & names or {name for name in names if part in name} for part in options.rows]
    chosen = [case for case in cases() if case.name in set().union(*wanted)]
    single = [case for case in chosen if case.is_one_layer]
    if "memory" in options.tables and not on_gpu:
        measure("memory", [kind for kind in MEMORY if kind != "none"], run.memory, options.output)
    card = torch.cuda.get_device_name() if on_gpu else "cpu"
    threads, rate = torch.get_num_threads(), run.peak_rate / 1e9
    print(f"torch {torch.__version__}, {card}, {threads} threads, {rate:.0f} G multiply-adds/s\n", flush=True)
    if "steady" in options.tables:
        measure("steady", chosen, run.steady, options.output)
        print(rounding(options.device), flush=True)
    if "cold" in options.tables:
        measure("cold", single, run.cold, options.output)
    if "gpu" in options.tables and on_gpu:
        measure("gpu", single, run.gpu, options.output)


if __name__ == "__main__":
    main()
