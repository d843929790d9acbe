"""
Which stem sees how much of its theoretical field: few large kernels or many small ones?

Reproduces the example EffectiveReceptiveField of CAI Neural API: five stems of convolutions at stride 1, untrained, on
inputs of 21 x 21 x 1, with that library's own report, ``protocols.NEURAL_API``: channel 0 of the centre unit, gradients
in absolute value summed over 16 synthetic probes, and the Chebyshev radius around the input's middle that holds 90 %
(``effective_RF_diam``), or the radius along each axis alone (``per_axis_diam``).

Networks: 8 channels, zero padding, ReLU between the convolutions, the last of which is measured; PyTorch's default
initialisation. Probes: uniform random values from -0.5 to 0.5. The original measures one draw of weights; here the map
is the mean over 100 draws (--quick: 10), and its numbers have standard errors over them.

Published diameters of theoretical fields: 3 of 3, 5 of 5, 7 of 9, 9 of 9 and 13 of 17 pixels; the example's README
prints them per axis, and a sigma of 2.00 for 4x 3x3. Measured per axis: the same five numbers, sigma 2.01; a square
that holds 90 % must be larger, 9 of 9 and 15 of 17 for the stacks of four. At equal theoretical field the single large
kernel fills it evenly, the stack does not.
"""

# %%
import torch
from common import PALETTE, arguments, draw_map, new_figure, save_figure, write_table
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, protocols

options = arguments(__doc__, "stem_sweep")
DRAWS = 10 if options.quick else 100
PUBLISHED = {(1, 3): 3, (2, 3): 5, (4, 3): 7, (1, 9): 9, (4, 5): 13}
WIDTH = 8


def make_erf(depth: int, kernel: int) -> EffectiveReceptiveField:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(WIDTH if number else 1, WIDTH, kernel, padding=kernel // 2), nn.ReLU()]
    stem = nn.Sequential(*layers[:-1])
    return EffectiveReceptiveField(stem, stem[-1])


# %%
fields: dict[str, ERFMap] = {}
rows = []
(options.output / "radii").mkdir(exist_ok=True)
for (depth, kernel), published in PUBLISHED.items():
    probes = torch.rand(DRAWS, 16, 1, 21, 21) - 0.5
    config = f"{depth}x {kernel}x{kernel}"
    field = protocols.NEURAL_API.aggregate(lambda depth=depth, kernel=kernel: make_erf(depth, kernel), probes)
    report = protocols.NEURAL_API.report(field)
    fields[config] = field
    rows.append(
        {
            "config": config,
            "theoretical_RF": field.theoretical.size[0],
            "effective_RF_diam": report.diameter,
            "effective_RF_diam_se": report.diameter_se,
            "per_axis_diam": 2 * max(report.half_widths) + 1,
            "eff/theo": report.ratio,
            "sigma": report.sigma,
            "sigma_se": report.sigma_se,
            "published": published,
        }
    )
    (options.output / "radii" / f"{depth}x{kernel}x{kernel}.csv").write_text(report.to_csv())
write_table(rows, options.output / "stem_sweep.csv")

# %%
figure, axes = new_figure(9.5, 3.4, 1, 6, width_ratios=(1, 1, 1, 1, 1, 2))
for panel, row in zip(axes[0], rows, strict=False):
    note = f"{row['per_axis_diam']:.0f} of {row['theoretical_RF']} px per axis"
    image = draw_map(panel, fields[row["config"]].values, row["config"], note)
figure.colorbar(image, ax=axes[0, 4], label="mean |dy/dx| over its max.", shrink=0.6)
for row, colour in zip(rows, (*PALETTE, "0.4"), strict=True):
    report = protocols.NEURAL_API.report(fields[row["config"]])
    axes[0, 5].plot(report.radii, report.mass, color=colour, marker="o", markersize=3, label=row["config"])
axes[0, 5].axhline(0.9, color="0.5", ls=":", lw=1)
axes[0, 5].set(xlabel="Chebyshev radius [px]", ylabel="share of the mass inside", ylim=(0, 1.03))
axes[0, 5].legend(frameon=False, fontsize="small", loc="lower right")
caption = (
    "Effective receptive fields of five stems on 21 x 21 inputs, untrained, and the share of the mass within a radius; "
    f"90 % (dotted) is the published criterion. Mean over {DRAWS} draws of weights, 16 random probes each."
)
save_figure(figure, options.output / "stem_sweep.png", caption)
