"""
Does training make the effective receptive field of a classifier grow?

Reproduces the classifier of Luo et al. (NeurIPS 2016), section 3.2 and figure 5: a residual network of 17 blocks
without pooling or subsampling, on 32 x 32 images, before and after training.

Network: a 3 x 3 convolution, 17 blocks of two 3 x 3 convolutions (batch norm and ReLU before each), a 3 x 3
convolution ``top``, whose centre unit is measured; then batch norm, ReLU, the mean over positions and a linear layer.
8 channels throughout, He initialisation. The paper gives a theoretical field of 74 x 74 and no layout. Chains of 3 x
3 convolutions at stride 1 have odd fields; 17 blocks with one convolution before and one after them have 73 x 73, the
nearest one can get.

Data: Fashion-MNIST, padded to 32 x 32, unless --data names a folder of CIFAR-10 (with ``cifar-10-batches-py``) or
Fashion-MNIST. The first 6,000 training images, mirrored at random, for 8 epochs (--quick: 500 for 2), AdamW on a
one-cycle schedule; accuracy over 2,000 test images and fields over 200 of these (--quick: 300 and 40). Batch norm's
running statistics are set on training images before the first measurement.

Published, on CIFAR-10 at 89 % accuracy: the field "has grown significantly", without a number, and does not fill the
image. Measured, on Fashion-MNIST from 9 % to 84.2 % accuracy in six minutes of one core: the threshold size grows from
19.8 ± 0.1 to 22.5 ± 0.2 px, the box with half of the map from 11 to 13 px, that with 90 % from 19 to 21 px; growth
starts when the accuracy passes 70 %, and stops short of the image's 32 px.

The numbers above were measured with version 0.1, whose boxes were centred on the unit and moved in steps of 2 px.
"""

# %%
import time

from common import (
    MARKERS,
    PALETTE,
    TOP,
    ResidualClassifier,
    accuracy,
    arguments,
    diameter,
    draw_curves,
    draw_map,
    flip,
    load_images,
    new_figure,
    save_checkpoint,
    save_figure,
    settle_batch_norm,
    train,
    with_error,
    write_table,
)

from captum_erf import EffectiveReceptiveField, ERFMap, theoretical_receptive_field

options = arguments(__doc__, "training_classifier", data="folder of CIFAR-10 or Fashion-MNIST")
IMAGES, EPOCHS, TESTED, MEASURED = (500, 2, 300, 40) if options.quick else (6000, 8, 2000, 200)

images = load_images(options.data, train=IMAGES, test=TESTED)
model = ResidualClassifier(images.channels, images.classes, width=8)
trf = theoretical_receptive_field(model, TOP, images.test[0].shape)
assert trf.size == (73, 73), trf
settle_batch_norm(model, images.train[:500])


# %%
def measure() -> ERFMap:
    return EffectiveReceptiveField(model, TOP).aggregate(images.test[:MEASURED].split(20))


def numbers(epoch: int, loss: float | None, field: ERFMap) -> dict[str, object]:
    return {
        "epoch": epoch,
        "loss": loss,
        "accuracy": accuracy(model, images.test, images.test_labels),
        "trf": field.theoretical.size[0],
        **with_error("threshold_size", field.estimate(ERFMap.threshold_size)),
        **with_error("diameter_50", field.estimate(diameter(0.5))),
        **with_error("diameter_90", field.estimate(diameter(0.9))),
        **with_error("effective_pixels", field.estimate(ERFMap.effective_pixels)),
    }


# %% Training
start = time.perf_counter()
fields = [measure()]
rows = [numbers(0, None, fields[0])]
training = train(
    model, images.train, images.train_labels, epochs=EPOCHS, batch_size=20, learning_rate=1e-2, augment=flip
)
for epoch, loss in enumerate(training, start=1):
    fields.append(measure())
    rows.append(numbers(epoch, loss, fields[-1]))
    print(f"epoch {epoch} of {EPOCHS}: loss {loss:.3f}, accuracy {rows[-1]['accuracy']:.3f}", flush=True)
print(f"Trained on {len(images.train)} images of {images.name} in {time.perf_counter() - start:.0f} s\n")
write_table(rows, options.output / "training_classifier.csv")
save_checkpoint(model, options.output / "checkpoint.pt")
fields[-1].save(options.output / "after.npz", overwrite=True)

# %%
figure, axes = new_figure(7.2, 6.4, 2, 2, height_ratios=(1, 0.8))
for panel, row, field in zip(axes[0], (rows[0], rows[-1]), (fields[0], fields[-1]), strict=True):
    title = f"{'after' if row['epoch'] else 'before'} training"
    size = f"{row['threshold_size']:.1f} ± {row['threshold_size_se']:.1f} px"
    note = f"accuracy {row['accuracy']:.1%}\nthreshold size {size}"
    image = draw_map(panel, field.values, title, note)
figure.colorbar(image, ax=axes[0], label="mean |dy/dx| over its max. (linear)")
curves = {"threshold_size": "threshold size", "diameter_90": "box with 90 %", "diameter_50": "box with 50 %"}
sizes, scores = axes[1]
draw_curves(sizes, rows, "epoch", curves)
sizes.axhline(32, color="0.5", ls=":", lw=1)
sizes.set(xlabel="epoch", xticks=range(EPOCHS + 1), ylabel="diameter [px]", ylim=(0, 34))
sizes.legend(frameon=False, fontsize="small", loc="best")
course = [row["accuracy"] for row in rows]
scores.plot(range(EPOCHS + 1), course, color=PALETTE[3], marker=MARKERS[3], markersize=4)
scores.set(xlabel="epoch", xticks=range(EPOCHS + 1), ylabel="accuracy", ylim=(0, 1))
caption = (
    "Effective receptive field of the top convolution's centre unit in a residual classifier of 17 blocks on "
    f"32 x 32 images of {images.name}; its theoretical field, 73 x 73, is larger than the image (dotted). Mean "
    f"over {MEASURED} test images; bars and ± are standard errors over images."
)
save_figure(figure, options.output / "training_classifier.png", caption)
