"""
Which stem sees how much of its theoretical field: few large kernels or many small ones?

Reproduces the example EffectiveReceptiveField of CAI Neural API: five stems of convolutions at stride 1, untrained, on
inputs of 21 x 21 x 1, with that library's own report, ``protocols.NEURAL_API``: gradients of channel 0 of the centre
unit, in absolute value, summed over 16 synthetic probes. As there, ``effective_RF_diam`` is measured along x alone: the
width of the strip around the input's middle that holds 90 %; ``square_diam`` is the side of the square that does.

Networks: one channel of input (the "single-channel conv stem" of the original's README) and 4 channels in each
convolution (``cFeatures`` in its source, EffectiveReceptiveField.lpr), zero padding, and a ReLU after each convolution,
the last of which is measured; uniform weights and no bias, so that their scale does not matter. Probes: uniform random
values from -0.5 to 0.5. The original measures one draw of weights; here the map is the mean over 200 draws (--quick:
20), and standard errors are over draws. ``radii/`` holds the table ``radius,mass_fraction`` of each stem.

Published diameters: 3 of 3, 5 of 5, 7 of 9, 9 of 9 and 13 of 17 px. The original also prints the mass within radii of
its 4x 3x3 (crosses in the figure): 46 % within radius 2. The mean over draws here is higher, and few single networks
are as flat as that one; ``single_draws`` counts them. The difference stays unexplained: the original's one network may
be such a draw, or it differs in something that its README and source do not say.
"""

# %%
import numpy as np
import torch
from helpers import (
    COLOURS,
    MARKERS,
    arguments,
    colour_bar,
    draw_map,
    new_figure,
    save_figure,
    with_error,
    write_table,
)
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFMap, protocols

options = arguments(__doc__, "stem_sweep")
DRAWS, SINGLE = (20, 20) if options.quick else (200, 2000)
PUBLISHED = {(1, 3): 3, (2, 3): 5, (4, 3): 7, (1, 9): 9, (4, 5): 13}
PUBLISHED_MASS = (0.02585155, 0.21686888, 0.46353251, 0.78151649, 1)  # of 4x 3x3, within the radii from 0
WIDTH = 4


def make_erf(depth: int, kernel: int) -> EffectiveReceptiveField:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(WIDTH if number else 1, WIDTH, kernel, padding=kernel // 2, bias=False), nn.ReLU()]
    stem = nn.Sequential(*layers)
    return EffectiveReceptiveField(stem, stem[-1])


def diameter(field: ERFMap) -> float:
    along_x = protocols.NEURAL_API.report(field).half_widths[1]
    return 2 * along_x + 1


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
            **with_error("effective_RF_diam", field.estimate(diameter)),
            "published": published,
            "eff/theo": diameter(field) / field.theoretical.size[0],
            **with_error("square_diam", (report.diameter, None)),
            **with_error("sigma", (report.sigma, report.sigma_se)),
        }
    )
    (options.output / "radii" / f"{depth}x{kernel}x{kernel}.csv").write_text(report.to_csv())
write_table(rows, options.output / "stem_sweep.csv")

# %% How many single networks are as flat as the published one?
singles = [make_erf(4, 3).attribute(torch.rand(16, 1, 21, 21) - 0.5, channel=0).sum((0, 1)) for _ in range(SINGLE)]
shares = [(one[8:13, 8:13].sum() / one.sum()).item() for one in singles if one.any()]
mass = protocols.NEURAL_API.report(fields["4x 3x3"]).mass
single = [
    {
        "config": "4x 3x3",
        "alive": len(shares),
        "mass_within_2": mass[2],
        "published": PUBLISHED_MASS[2],
        "least": min(shares),
        "most": max(shares),
        "as_flat": int(np.sum(np.array(shares) <= PUBLISHED_MASS[2])),
    }
]
write_table(single, options.output / "single_draws.csv")

# %%
figure, axes = new_figure(8, 5.9, 2, 3)
for panel, row in zip(axes.flat, rows, strict=False):
    note = f"{row['effective_RF_diam']:.0f} of {row['theoretical_RF']} px\npublished: {row['published']} px"
    draw_map(panel, fields[row["config"]].values, row["config"], note)
colour_bar(axes[0, 2])
for row, colour, marker in zip(rows, COLOURS, MARKERS, strict=True):
    report = protocols.NEURAL_API.report(fields[row["config"]])
    axes[1, 2].plot(report.radii, report.mass, color=colour, marker=marker, markersize=4, label=row["config"])
axes[1, 2].plot(PUBLISHED_MASS, "x", color="black", label="4x 3x3,\npublished")
axes[1, 2].axhline(0.9, color="0.35", ls=":", lw=1)
axes[1, 2].set(xlabel="radius [px]", ylabel="share of the mass", xlim=(-0.4, 10.4), ylim=(0, 1.05))
axes[1, 2].set(xticks=range(0, 11, 2))
axes[1, 2].legend(frameon=False, fontsize="x-small", loc="lower right", handlelength=1.2, labelspacing=0.3)
caption = (
    "Effective receptive fields of five untrained stems on 21 x 21 inputs: mean |dy/dx| over its maximum. Below: "
    "the width along x that holds 90 % of the mass, of the theoretical width. Lower right: the mass within squares of "
    f"each radius around the input's middle (dotted: 90 %). Mean over {DRAWS} draws of weights, 16 random probes each. "
    f"The published curve (crosses) is of one draw and lies below the mean, {PUBLISHED_MASS[2]:.2f} against "
    f"{mass[2]:.2f} at radius 2: {single[0]['as_flat']} of {len(shares)} single networks are as flat, and that the "
    "original's is stays unexplained."
)
save_figure(figure, options.output / "stem_sweep.png", caption)
