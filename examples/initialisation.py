"""
Does an initialisation that is low in the kernel's centre enlarge the effective receptive field, and does it help
training?

Reproduces section 4 of Luo et al. (NeurIPS 2016), "reduce the Gaussian damage": scale random weights down in the
kernel's centre and up on its outside. The paper gives no formula; here ``scale_outwards`` multiplies a kernel by an
inverted Gaussian of its offsets, 1 - 0.8 exp(-r^2 / 2), and then restores its mean square: 0.34 in the centre, 0.88
at the edges, 1.20 at the corners of 3 x 3. The paper's extreme, weights in the four corners alone, is measured too.

Fields: chains of 20 convolutions as in shapes.py (mean over 100 draws for random weights; --quick: 10 draws, 10
layers), uniform versus inverted weights and random versus inverted random ones. Theory: a layer's variance per axis
is that of its weights, or of their squares for random ones, taken as a distribution over offsets.

Training: eight 3 x 3 convolutions with batch norm and ReLU, 8 channels, mean over positions, linear layer; 3,000
images of Fashion-MNIST (or --data CIFAR-10) for 3 epochs, 5 seeds (--quick: 200 images for 1 epoch, 2 seeds, which
tells nothing of speed). Seeds are paired: the same images in the same order and the same random weights before
scaling. Speed is the number of images until the mean training loss, taken eight times an epoch, has fallen to 1.3 (a
guess has 2.3).

Published: "in a few cases we get a 30 % speed-up of training ... but overall the benefit is not always significant";
corners alone "makes learning slow". Errors below are standard errors over draws, and over seeds.

Measured before training, sigma of 20 layers with random weights: from 5.16 ± 0.04 (standard) to 5.72 ± 0.05 px with
the paper's initialisation (inverted), all within 2 % of theory; to 6.23 ± 0.09 px with weights in the corners alone,
whose map is a grid of every other pixel, which halves the threshold size of a map so wide, to 13.7 ± 0.3 px (standard:
22.5 ± 0.2 px).

Measured in training, threshold size of the eight layers: standard 13.8 ± 0.1 before and 14.5 ± 0.1 px after it,
inverted 15.0 ± 0.1 and 14.9 ± 0.5 px: training takes the lead away. Corners alone grow from 8.3 ± 0.1 to 15.4 ± 0.1
px as their grid fills. Speed-up 1.01 ± 0.01 (inverted) and 1.04 ± 0.03 (corners), accuracy 69 ± 1, 68 ± 2 and 68 ± 1
%: no benefit that could be told from none, and corners alone are not slow here.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import numpy as np
import torch
from common import (
    MARKERS,
    PALETTE,
    accuracy,
    arguments,
    beta_of,
    convolutions,
    draw_map,
    field_of_draws,
    load_images,
    new_figure,
    over_seeds,
    save_figure,
    settle_batch_norm,
    train,
    with_error,
    write_table,
)
from torch import Tensor, nn

from captum_erf import EffectiveReceptiveField, ERFMap

options = arguments(__doc__, "initialisation", data="folder of CIFAR-10 or Fashion-MNIST")
DRAWS, DEPTH = (10, 10) if options.quick else (100, 20)
IMAGES, TESTED, EPOCHS, SEEDS = (200, 100, 1, 2) if options.quick else (3000, 500, 3, 5)
REPORTS, LAYERS, WIDTH, GOAL = 8, 8, 8, 1.3


# %% The initialisations
@torch.no_grad()
def scale_outwards(model: nn.Module, strength: float = 0.8) -> nn.Module:
    """
    Multiplies the weights of every convolution by ``1 - strength * exp(-r^2 / 2)``, r being the offset from the centre
    of the kernel in taps, times the constant that leaves the mean square of evenly random weights as it was.
    """
    return _scale(model, lambda r2: 1 - strength * torch.exp(-r2 / 2))


@torch.no_grad()
def corners_only(model: nn.Module) -> nn.Module:
    """Leaves the weights in the kernels' corners alone, with the same mean square over the kernel."""
    return _scale(model, lambda r2: (r2 == r2.max()).float())


def _scale(model: nn.Module, profile: Callable[[Tensor], Tensor]) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            offsets = [torch.arange(length) - (length - 1) / 2 for length in layer.kernel_size]
            scale = profile(offsets[0][:, None] ** 2 + offsets[1] ** 2)
            layer.weight *= scale / scale.square().mean().sqrt()
    return model


INITIALISATIONS = {"standard": lambda model: model, "inverted": scale_outwards, "corners": corners_only}


def sigma_in_theory(weights: str, change: Callable[[nn.Module], nn.Module]) -> float:
    """Width of the map along an axis: sqrt(2) wider than that of mean squares where weights are random."""
    kernel = change(convolutions(1, weights="uniform"))[0].weight[0, 0].detach().numpy()
    shares = kernel if weights == "uniform" else kernel**2
    variance = DEPTH * (shares.sum(1) @ np.array([1, 0, 1])) / shares.sum()
    return float(sqrt(variance if weights == "uniform" else 2 * variance))


# %% Fields before training
def sigma(field: ERFMap) -> float:
    return float(np.sqrt(field.gaussian_fit().sigmas.prod()))


def measure(weights: str, change: Callable[[nn.Module], nn.Module]) -> ERFMap:
    torch.manual_seed(0)
    return field_of_draws(lambda: change(convolutions(DEPTH, weights=weights)), 1 if weights == "uniform" else DRAWS)


pairs = [(weights, name) for weights in ("uniform", "random") for name in INITIALISATIONS]
fields = {(weights, name): measure(weights, INITIALISATIONS[name]) for weights, name in pairs}
rows = [
    {
        "weights": weights,
        "initialisation": name,
        "trf": field.theoretical.size[0],
        **with_error("threshold_size", field.estimate(ERFMap.threshold_size)),
        **with_error("sigma", field.estimate(sigma)),
        "sigma_theory": sigma_in_theory(weights, INITIALISATIONS[name]),
        "beta": beta_of(field),
    }
    for (weights, name), field in fields.items()
]
write_table(rows, options.output / "fields.csv")


# %% Training speed
def network(channels: int, classes: int, change: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(LAYERS):
        convolution = nn.Conv2d(channels if number == 0 else WIDTH, WIDTH, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(WIDTH), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, classes)]
    return nn.Sequential(change(nn.Sequential(*layers)), *head)


def size(model: nn.Module) -> float:
    return EffectiveReceptiveField(model, model[0][-1]).aggregate(images.test[:100].split(50)).threshold_size()


def course(seed: int, change: Callable[[nn.Module], nn.Module]) -> tuple[list[float], float, list[float]]:
    """Losses in the course of training, the accuracy at its end, and threshold sizes before and after it."""
    torch.manual_seed(seed)
    model = network(images.channels, images.classes, change)
    settle_batch_norm(model, images.train[:500])
    before = size(model)
    torch.manual_seed(seed)
    steps = train(
        model,
        images.train,
        images.train_labels,
        epochs=EPOCHS,
        batch_size=25,
        learning_rate=1e-2,
        reports_per_epoch=REPORTS,
    )
    return list(steps), accuracy(model, images.test, images.test_labels), [before, size(model)]


def images_until(losses: list[float]) -> float:
    """Training images until the loss first reaches the goal, between the reports on either side; NaN if never."""
    for number, (before, after) in enumerate(pairwise(losses), start=1):
        if after <= GOAL:
            return (number + (GOAL - before) / (after - before)) * IMAGES / REPORTS
    return float("nan")


images = load_images(options.data, train=IMAGES, test=TESTED)
courses = {name: [course(seed, change) for seed in range(SEEDS)] for name, change in INITIALISATIONS.items()}
until = {name: np.array([images_until(losses) for losses, _, _ in runs]) for name, runs in courses.items()}
training = [
    {
        "initialisation": name,
        "seeds": SEEDS,
        **with_error("size_before", over_seeds([sizes[0] for _, _, sizes in runs])),
        **with_error("size_after", over_seeds([sizes[1] for _, _, sizes in runs])),
        **with_error("accuracy", over_seeds([accuracy for _, accuracy, _ in runs])),
        **with_error("images_to_goal", over_seeds(until[name])),
        **with_error("speed_up", over_seeds(until["standard"] / until[name])),
    }
    for name, runs in courses.items()
]
write_table(training, options.output / "training.csv")

# %%
figure, axes = new_figure(9, 5.6, 2, 4, width_ratios=(1, 1, 1, 1.9))
for panel, (weights, name), row in zip(axes[:, :3].flat, fields, rows, strict=True):
    error = "" if row["sigma_se"] is None else f" ± {row['sigma_se']:.2f}"
    image = draw_map(panel, fields[weights, name].values, name, f"$\\sigma$ = {row['sigma']:.2f}{error} px")
for panel, weights in zip(axes[:, 0], ("uniform", "random"), strict=True):
    panel.set_ylabel(f"{weights} weights")
figure.colorbar(image, ax=axes[1, :3], location="bottom", label="mean |dy/dx| over its maximum (linear)", shrink=0.6)
grid = axes[0, 3].get_gridspec()
for panel in axes[:, 3]:
    panel.remove()
panel = figure.add_subplot(grid[:, 3])
seen = np.arange(1, REPORTS * EPOCHS + 1) * IMAGES / REPORTS
for (name, runs), colour, marker in zip(courses.items(), PALETTE, MARKERS, strict=False):
    curves = np.array([losses for losses, _, _ in runs])
    mean, error = curves.mean(0), curves.std(0, ddof=1) / sqrt(SEEDS)
    panel.plot(seen, mean, color=colour, marker=marker, markersize=4, label=name)
    panel.fill_between(seen, mean - error, mean + error, color=colour, alpha=0.25, lw=0)
panel.axhline(GOAL, color="0.5", ls=":", lw=1)
panel.set(xlabel="training images seen", ylabel="mean training loss")
panel.legend(frameon=False, loc="best")
caption = (
    f"Left: fields of {DEPTH} layers of 3 x 3 convolutions whose kernels are low in the centre (inverted) or "
    "zero outside their corners; panels are the theoretical receptive field, random weights a mean over "
    f"{DRAWS} draws with its standard error. Right: training eight layers on {images.name}; bands are standard "
    f"errors over {SEEDS} seeds, the dotted line is the goal for speed."
)
save_figure(figure, options.output / "initialisation.png", caption)
