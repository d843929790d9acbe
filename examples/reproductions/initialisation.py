"""
Does an initialisation that is low in the kernel's centre enlarge the effective receptive field, and does it help
training?

Reproduces section 4 of Luo et al. (NeurIPS 2016), "reduce the Gaussian damage": scale random weights down in the
kernel's centre and up on its outside. The paper gives no formula; here ``scale_outwards`` multiplies a kernel by an
inverted Gaussian of its offsets, 1 - 0.8 exp(-r^2 / 2), and then restores its mean square: 0.34 in the centre, 0.88
at the edges, 1.20 at the corners of 3 x 3. The paper's extreme, weights in the four corners alone, is measured too.

Fields: chains of 20 convolutions as in shapes.py (mean over 100 draws for random weights; --quick: 10 draws, 8
layers), uniform versus inverted weights and random versus inverted random ones. Theory: a layer's variance per axis
is that of its weights, or of their squares for random ones, taken as a distribution over offsets.

Training: eight 3 x 3 convolutions with batch norm and ReLU, 8 channels, mean over positions, linear layer; 1,000
images of Fashion-MNIST (or --data CIFAR-10) for 3 epochs, 5 seeds (--quick: 200 images for 1 epoch, 2 seeds, which
tells nothing of speed). Seeds are paired: the same images in the same order and the same random weights before
scaling. Speed is the number of images until the mean training loss, taken eight times an epoch, has fallen to 1.7 (a
guess has 2.3). About three minutes of one core.

Errors are standard errors, over draws for the fields before training and over seeds in training. Five seeds are few: a
95 % interval is 2.78 errors to both sides, and that is what the figure shows.

Published: "in a few cases we get a 30 % speed-up of training ... but overall the benefit is not always significant";
corners alone "makes learning slow".
"""

# %%
from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import numpy as np
import torch
from helpers import (
    COLOURS,
    MARKERS,
    arguments,
    beta_of,
    colour_bar,
    convolutions,
    draw_map,
    field_of_draws,
    measured,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import Tensor, nn
from training import STUDENT, accuracy, load_images, over_seeds, settle_batch_norm, sizes_of, train

from captum_erf import EffectiveReceptiveField, ERFMap

options = arguments(__doc__, "initialisation", data="folder of CIFAR-10 or Fashion-MNIST")
DRAWS, DEPTH = (10, 8) if options.quick else (100, 20)
IMAGES, TESTED, EPOCHS, SEEDS = (200, 100, 1, 2) if options.quick else (1000, 300, 3, 5)
REPORTS, LAYERS, WIDTH, GOAL = 8, 8, 8, 1.7


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
    """Standard deviation of the map along an axis; a Gaussian does not fit the grid that corners alone make."""
    return float(sqrt(np.trace(field.moments().covariance) / 2))


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
        **measured(field, "diameter_50", "diameter_90", "threshold_size"),
        **with_error("sigma", field.estimate(sigma)),
        "sigma_theory": sigma_in_theory(weights, INITIALISATIONS[name]),
        "beta": beta_of(field),
    }
    for (weights, name), field in fields.items()
]
write_table(rows, options.output / "fields.csv")


# %% Training speed
def network(change: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(LAYERS):
        convolution = nn.Conv2d(WIDTH if number else images.train.shape[1], WIDTH, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(WIDTH), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10)]
    return nn.Sequential(change(nn.Sequential(*layers)), *head)


def sizes(model: nn.Module, stage: str) -> dict[str, float]:
    field = EffectiveReceptiveField(model, model[0][-1]).aggregate(images.test[:100].split(50))
    return {f"{name}_{stage}": size for name, size in sizes_of(field).items() if name != "equivalent_width"}


def course(seed: int, change: Callable[[nn.Module], nn.Module]) -> tuple[list[float], dict[str, float]]:
    """Losses in the course of training, and the numbers of a row."""
    torch.manual_seed(seed)
    model = network(change)
    settle_batch_norm(model, images.train[:500])
    before = sizes(model, "before")
    torch.manual_seed(seed)
    losses = list(
        train(
            model,
            images.train,
            images.train_labels,
            epochs=EPOCHS,
            batch_size=25,
            learning_rate=1e-2,
            reports_per_epoch=REPORTS,
        )
    )
    score = accuracy(model, images.test, images.test_labels)
    return losses, before | sizes(model, "after") | {"accuracy": score, "images_to_goal": images_until(losses)}


def images_until(losses: list[float]) -> float:
    """Training images until the loss first reaches the goal, between the reports on either side; NaN if never."""
    for number, (before, after) in enumerate(pairwise(losses), start=1):
        if after <= GOAL:
            return (number + (GOAL - before) / (after - before)) * IMAGES / REPORTS
    return float("nan")


images = load_images(options.data, train=IMAGES, test=TESTED)
courses = {name: [course(seed, change) for seed in range(SEEDS)] for name, change in INITIALISATIONS.items()}
standard = [numbers["images_to_goal"] for _, numbers in courses["standard"]]
training = [
    {"initialisation": name, "seeds": SEEDS}
    | over_seeds(
        [
            numbers | {"speed_up": until / numbers["images_to_goal"]}
            for until, (_, numbers) in zip(standard, runs, strict=True)
        ]
    )
    for name, runs in courses.items()
]
write_table(training, options.output / "training.csv")

# %%
figure, axes = new_figure(8, 6.8, 3, 3, height_ratios=(1, 1, 1.25))
for panel, (weights, name), row in zip(axes[:2].flat, fields, rows, strict=True):
    error = "" if row["sigma_se"] is None else f" ± {row['sigma_se']:.2f}"
    draw_map(panel, fields[weights, name].values, name, f"$\\sigma$ = {row['sigma']:.2f}{error} px")
for panel, weights in zip(axes[:2, 0], ("uniform", "random"), strict=True):
    panel.set_ylabel(f"{weights} weights")
for panel in axes[:2, 2]:
    colour_bar(panel)
grid = axes[2, 0].get_gridspec()
for panel in axes[2]:
    panel.remove()
panel = figure.add_subplot(grid[2, :])
seen = np.arange(1, REPORTS * EPOCHS + 1) * IMAGES / REPORTS
for (name, runs), colour, marker in zip(courses.items(), COLOURS, MARKERS, strict=False):
    curves = np.array([losses for losses, _ in runs])
    mean, half = curves.mean(0), STUDENT[SEEDS] * curves.std(0, ddof=1) / sqrt(SEEDS)
    panel.plot(seen, mean, color=colour, marker=marker, markersize=4, label=name)
    panel.fill_between(seen, mean - half, mean + half, color=colour, alpha=0.25, lw=0)
panel.axhline(GOAL, color="0.35", ls=":", lw=1)
panel.text(IMAGES / 100, GOAL, "loss at which speed is taken", va="bottom", fontsize="small", color="0.35")
panel.set(xlabel="training images seen", ylabel="mean training loss", xlim=(0, None))
panel.legend(frameon=False, loc="upper right")
caption = (
    f"Above: effective receptive fields of {DEPTH} layers of 3 x 3 convolutions whose kernels are low in the centre "
    "(inverted) or zero outside their corners, each map over its own maximum in its theoretical field, random weights "
    f"a mean over {DRAWS} draws with its standard error. Below: training eight layers on {images.name}; bands are 95 % "
    f"intervals over {SEEDS} seeds ({STUDENT[SEEDS]:.2f} standard errors)."
)
save_figure(figure, options.output / "initialisation.png", caption)
