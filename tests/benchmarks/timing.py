"""Ways to the same maps, and how long they take, one beside the other."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import NeuronGradient
from cases import Case, cases, crops, network
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import to_pil_image

from captum_erf import EffectiveReceptiveField

warnings.filterwarnings("ignore", message="Input Tensor")
warnings.filterwarnings("ignore", message="The channels of layer")  # ConvNeXt's with untrained layer scale
Maps = list[np.ndarray]
Action = Callable[[], Any]
Timer = Callable[[], float]
SHORTEST = 0.3 if torch.cuda.is_available() else 1.0  # seconds over which a call is repeated
LONG = 20.0  # seconds of a round of which two are enough
COLD = 48  # images of a cold start, in batches of eight


def timed(action: Action, prepare: Action | None = None) -> float:
    """Seconds of a call, over as many in a row as take ``SHORTEST`` seconds; those of ``prepare`` do not count."""
    calls, taken = 0, 0.0
    while taken < SHORTEST:
        if prepare is not None:
            prepare()
        start = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken += time.perf_counter() - start
        calls += 1
    return taken / calls


def interleaved(timers: dict[str, Timer], rounds: int, budget: float) -> dict[str, list[float]]:
    """
    Seconds by each timer in each round, the timers taking turns.

    The first round is to warm up, unless it is a long one. Two rounds are run in any case, more within the budget.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    start = time.perf_counter()
    for number in range(rounds + 1):
        taken = {name: timer() for name, timer in timers.items()}
        spent = time.perf_counter() - start
        for name in timers:
            seconds[name].append(taken[name])
        print(f"    round {number}: {spent:.0f} s", file=sys.stderr, flush=True)
        if number == 0 and spent < LONG:
            seconds = {name: [] for name in timers}
        done = len(next(iter(seconds.values())))
        if done >= rounds or (done >= 2 and spent * (number + 2) / (number + 1) > budget):
            break
    return seconds


def units(case: Case, model: nn.Module, inputs: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Every layer with the index of every unit, as the erf class resolves them."""
    fields = EffectiveReceptiveField(model, list(case.layers)).sweep([inputs[:1]], positions=case.positions)
    return [(field.layer, field.position) for field in fields]


def captum_route(case: Case, model: nn.Module, inputs: Tensor) -> Callable[[], Maps]:
    chosen = units(case, model, inputs)

    def run() -> Maps:
        maps = []
        for layer, position in chosen:
            gradient = NeuronGradient(model, model.get_submodule(layer)).attribute(inputs, (slice(None), *position))
            maps.append(gradient.abs().sum(1).mean(0).cpu().numpy())
        return maps

    return run


def script_route(case: Case, model: nn.Module, inputs: Tensor) -> Callable[[], Maps]:
    chosen = units(case, model, inputs)
    truncated = {layer: create_feature_extractor(model, {layer: "out"}) for layer in case.layers}

    def run() -> Maps:
        maps = [np.zeros(())] * len(chosen)
        for image in inputs:
            for number, (layer, position) in enumerate(chosen):
                sample = image[None].clone().requires_grad_()
                output = truncated[layer](sample)["out"]
                (gradient,) = torch.autograd.grad(output[(0, slice(None), *position)].sum(), sample)
                maps[number] = maps[number] + gradient.abs().sum((0, 1)).cpu().numpy()
        return [found / len(inputs) for found in maps]

    return run


def openerf_route(case: Case, model: nn.Module, inputs: Tensor) -> Callable[[], Maps] | None:
    try:
        from openerf.erf import compute_erf
    except ImportError:
        return None
    folder = Path(tempfile.mkdtemp())
    for number, image in enumerate(inputs):
        to_pil_image((image.cpu() * 0.225 + 0.45).clamp(0, 1)).save(folder / f"{number}.png")

    def run() -> Maps:
        compute_erf(model, folder, target_layer=case.layers[0], device=inputs.device, show_progress=False)
        return []

    return run


def our_route(case: Case, model: nn.Module, inputs: Tensor, autocast: torch.dtype | None = None) -> Callable[[], Maps]:
    erf = EffectiveReceptiveField(model, list(case.layers))
    accumulator = erf.accumulator(positions=case.positions, autocast=autocast)
    accumulator.update(inputs)

    def run() -> Maps:
        accumulator.update(inputs)
        return [field.values for field in accumulator.compute()]

    return run


def bf16_route(case: Case, model: nn.Module, inputs: Tensor) -> Callable[[], Maps]:
    return our_route(case, model, inputs, torch.bfloat16)


ROUTES = {
    "captum": captum_route,
    "script": script_route,
    "openerf": openerf_route,
    "ours": our_route,
    "bf16": bf16_route,
}


def make_routes(case: Case, model: nn.Module, inputs: Tensor) -> dict[str, Callable[[], Maps]]:
    """The routes of a case; bfloat16 runs on GPUs, as processors without units for it only emulate it."""
    names = (*case.routes, *(["bf16"] if inputs.is_cuda else []))
    routes = {name: ROUTES[name](case, model, inputs) for name in names}
    return {name: route for name, route in routes.items() if route is not None}


def our_timers(case: Case, device: str) -> dict[str, Timer]:
    """What is timed of this package: a batch, the first batch, and few or many images from a cold start."""
    model, inputs = network(case.network, device), crops(case.batch, case.size, device)
    route = our_route(case, model, inputs)
    held: dict[str, Any] = {}

    def fresh() -> None:
        held["model"] = copy.deepcopy(model)

    def cold(batches: Any) -> None:
        EffectiveReceptiveField(held["model"], list(case.layers)).sweep(batches, positions=case.positions)

    images = crops(COLD, case.size, device) if case.is_one_layer else inputs
    batches = list(images.split(case.batch))
    return {
        "steady": lambda: timed(route),
        "first": lambda: timed(lambda: cold(iter(batches[:1])), fresh),
        "half": lambda: timed(lambda: cold(batches[: len(batches) // 2]), fresh),
        "cold": lambda: timed(lambda: cold(batches), fresh),
    }


class Beside:
    """Another version of the package, in a process of its own that waits while others are timed."""

    def __init__(self, package: Path, device: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(package)}
        command = [sys.executable, __file__, device]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def timer(self, case: Case, what: str) -> Timer:
        """The timer of that version for one of the things that are timed of this one."""

        def ask() -> float:
            assert self.process.stdin
            assert self.process.stdout
            print(json.dumps([case.name, case.batch, what]), file=self.process.stdin, flush=True)
            return float(self.process.stdout.readline())

        return ask


def answer(device: str) -> None:
    """Times what is asked for, line by line."""
    known, timers = None, {}
    by_name = {case.name: case for case in cases()}
    for line in sys.stdin:
        name, batch, what = json.loads(line)
        case = replace(by_name[name], batch=batch)
        if case != known:
            known, timers = case, our_timers(case, device)
        print(timers[what](), flush=True)


if __name__ == "__main__":
    answer(sys.argv[1])
