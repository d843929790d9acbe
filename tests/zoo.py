"""Networks that people use, small and with random weights, each measured in an early and in a deep layer.

``python tests/zoo.py`` measures all of them and prints the table "what works". All is done in float64: in float32 a
ReLU's input that is zero but for rounding falls to either side, as the kernel has it, and the gradient jumps.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_erf import EffectiveReceptiveField, channels_last, tokens

POSITIONS = ("center", "corner", "edge")
MAP_TOLERANCE = 1e-4
ROUNDING = 1e-9


@dataclass(frozen=True)
class Specimen:
    """A network, the size of its input, and two of its layers; ``package`` is what it takes beside torch."""

    name: str
    package: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    layers: tuple[str, str]
    layout: Any = "channels_first"
    early_layout: Any = None
    channel: int | None = None
    is_quick: bool = False

    def layout_of(self, layer: str) -> Any:
        return self.early_layout if self.early_layout and layer == self.layers[0] else self.layout


def tv(name: str, size: int, early: str, deep: str, **options: Any) -> Specimen:
    """A torchvision classifier."""
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}

    def make() -> nn.Module:
        return importlib.import_module("torchvision.models").get_model(name, weights=None, **settings)

    return Specimen(name, "torchvision", make, (3, size, size), (early, deep), **options)


def segmenter(name: str, early: str, deep: str) -> Specimen:
    """A torchvision segmentation model."""

    def make() -> nn.Module:
        models = importlib.import_module("torchvision.models.segmentation")
        return getattr(models, name)(weights=None, weights_backbone=None)

    return Specimen(name, "torchvision", make, (3, 64, 64), (early, deep))


def video(name: str, early: str, deep: str, **options: Any) -> Specimen:
    """A torchvision video model."""

    def make() -> nn.Module:
        return getattr(importlib.import_module("torchvision.models.video"), name)(weights=None)

    return Specimen(name, "torchvision", make, (3, 8, 32, 32), (early, deep), **options)


def tm(name: str, size: int, early: str, deep: str, settings: dict[str, Any] | None = None, **options: Any) -> Specimen:
    """A timm model."""

    def make() -> nn.Module:
        return importlib.import_module("timm").create_model(name, pretrained=False, **(settings or {}))

    return Specimen(name, "timm", make, (3, size, size), (early, deep), **options)


def hf(name: str, size: int, early: str, deep: str, settings: dict[str, Any], **options: Any) -> Specimen:
    """A Hugging Face transformers model."""

    def make() -> nn.Module:
        library = importlib.import_module("transformers")
        return getattr(library, f"{name}Model")(getattr(library, f"{name}Config")(**settings))

    return Specimen(name, "transformers", make, (3, size, size), (early, deep), **options)


def feature_pyramid() -> nn.Module:
    backbones = importlib.import_module("torchvision.models.detection.backbone_utils")
    return backbones.resnet_fpn_backbone(backbone_name="resnet18", weights=None)


def small_maxvit() -> nn.Module:
    return importlib.import_module("torchvision.models").MaxVit(
        input_size=(64, 64),
        stem_channels=16,
        partition_size=2,
        block_channels=[16, 16, 32],
        block_layers=[1, 1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
    )


def small_vit() -> nn.Module:
    return importlib.import_module("torchvision.models").VisionTransformer(64, 8, 3, 4, 64, 128)


def unet() -> nn.Module:
    library = importlib.import_module("segmentation_models_pytorch")
    return library.Unet("resnet18", encoder_weights=None, decoder_channels=(64, 32, 16, 8, 8))


def unet3d() -> nn.Module:
    return importlib.import_module("monai.networks.nets").UNet(3, 1, 2, (4, 8, 16), (2, 2), norm="batch")


def unet3d_instance() -> nn.Module:
    return importlib.import_module("monai.networks.nets").UNet(3, 1, 2, (4, 8, 16), (2, 2))


class WaveNet(nn.Module):
    """Gated, dilated, causal convolutions on a waveform (van den Oord et al., 2016)."""

    def __init__(self, channels: int = 8, depth: int = 5) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, channels, 1)
        self.gates = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 2, dilation=2**i) for i in range(depth))
        self.end = nn.Conv1d(channels, channels, 1)

    def forward(self, waves: Tensor) -> Tensor:
        features = self.start(waves)
        for i, gate in enumerate(self.gates):
            signal, opening = gate(nn.functional.pad(features, (2**i, 0))).chunk(2, 1)
            features = features + signal.tanh() * opening.sigmoid()
        return self.end(features)


def spectrogram_cnn() -> nn.Module:
    """Frequency and time are pooled and convolved apart."""
    return nn.Sequential(
        nn.Conv2d(1, 16, (7, 3), padding=(3, 1)),
        nn.ReLU(),
        nn.MaxPool2d((4, 1)),
        nn.Conv2d(16, 16, (3, 5), stride=(1, 2), padding=(1, 2)),
        nn.ReLU(),
        nn.MaxPool2d((2, 4)),
        nn.Conv2d(16, 8, 3, padding=1),
    )


class Wave2Vec(nn.Module):
    """A Hugging Face speech model; its batches are (N, 1, L) here, as the package's inputs have a channel axis."""

    def __init__(self) -> None:
        super().__init__()
        library = importlib.import_module("transformers")
        self.model = library.Wav2Vec2Model(
            library.Wav2Vec2Config(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                conv_dim=(8, 8, 8),
                conv_stride=(5, 2, 2),
                conv_kernel=(10, 3, 3),
                num_feat_extract_layers=3,
                num_conv_pos_embeddings=8,
                num_conv_pos_embedding_groups=2,
            )
        )

    def forward(self, waves: Tensor) -> Any:
        return self.model(waves.squeeze(1))


def first(output: Any) -> Tensor:
    return output[0]


def finest(output: Any) -> Tensor:
    return output["0"]


SWIN = {"image_size": 64, "embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2]}

ZOO = (
    tv("alexnet", 96, "features.2", "features.12"),
    tv("vgg11_bn", 64, "features.3", "features.21"),
    tv("resnet18", 64, "layer1", "layer4", is_quick=True),
    tv("resnet50", 64, "layer1", "layer4"),
    tv("resnext50_32x4d", 64, "layer1", "layer4"),
    tv("wide_resnet50_2", 64, "layer1", "layer4"),
    tv("densenet121", 64, "features.denseblock1", "features.denseblock4"),
    tv("googlenet", 64, "inception3a", "inception5b"),
    tv("inception_v3", 128, "Mixed_5b", "Mixed_7c"),
    tv("squeezenet1_1", 64, "features.3", "features.12"),
    tv("mobilenet_v2", 64, "features.3", "features.18"),
    tv("mobilenet_v3_small", 64, "features.1", "features.12"),
    tv("shufflenet_v2_x0_5", 64, "stage2", "stage4", is_quick=True),
    tv("mnasnet0_5", 64, "layers.8", "layers.16"),
    tv("efficientnet_b0", 64, "features.0", "features.8"),
    tv("efficientnet_v2_s", 64, "features.2", "features.7"),
    tv("regnet_x_400mf", 64, "trunk_output.block1", "trunk_output.block4"),
    tv("regnet_y_400mf", 64, "stem", "trunk_output.block4"),
    tv("convnext_tiny", 64, "features.1", "features.7", channel=0),
    Specimen(
        "vit",
        "torchvision",
        small_vit,
        (3, 64, 64),
        ("conv_proj", "encoder.layers.encoder_layer_2"),
        tokens(prefix=1),
        "channels_first",
        is_quick=True,
    ),
    tv("swin_t", 64, "features.1", "features.5", layout=channels_last),
    tv("swin_v2_t", 64, "features.1", "features.5", layout=channels_last, channel=0),
    Specimen("maxvit", "torchvision", small_maxvit, (3, 64, 64), ("stem", "blocks.2")),
    segmenter("fcn_resnet50", "backbone.layer1", "classifier.4"),
    segmenter("deeplabv3_mobilenet_v3_large", "backbone.3", "classifier.4"),
    segmenter("lraspp_mobilenet_v3_large", "backbone.3", "classifier.high_classifier"),
    Specimen(
        "resnet18 with FPN",
        "torchvision",
        feature_pyramid,
        (3, 64, 64),
        ("body.layer1", "fpn"),
        finest,
        "channels_first",
    ),
    video("r3d_18", "stem", "layer3"),
    video("swin3d_t", "patch_embed", "features.4", layout=channels_last, channel=0),
    tm("vit_small_patch14_reg4_dinov2", 56, "blocks.0", "blocks.11", {"img_size": 56}, layout=tokens(prefix=5)),
    tm("vit_small_patch14_dinov2", 56, "blocks.0", "blocks.11", {"img_size": 56}, layout=tokens(prefix=1)),
    tm("test_vit", 64, "blocks.0", "blocks.5", {"img_size": 64}, layout=tokens(prefix=1)),
    tm("coatnet_nano_rw_224", 64, "stages.0", "stages.3", {"img_size": 64}),
    tm("maxvit_pico_rw_256", 64, "stem", "stages.2", {"img_size": 64}),
    tm("mambaout_femto", 64, "stages.0", "stages.3", layout=channels_last),
    tm("efficientvim_m1", 64, "patch_embed", "stages.1", layout=first, early_layout="channels_first"),
    tm("convnextv2_atto", 64, "stages.0", "stages.3"),
    tm("efficientvit_b0", 64, "stages.0", "stages.3"),
    tm("efficientvit_m0", 64, "patch_embed", "stages.1", {"img_size": 64}),
    tm("pvt_v2_b0", 64, "stages.0", "stages.3", channel=0),
    tm("poolformer_s12", 64, "stages.0", "stages.3"),
    tm("focalnet_tiny_srf", 64, "layers.0", "layers.3"),
    tm("swin_tiny_patch4_window7_224", 64, "layers.0", "layers.2", {"img_size": 64}, layout=channels_last),
    tm("edgenext_xx_small", 64, "stages.0", "stages.3", channel=0),
    tm("mobilevit_xxs", 64, "stages.0", "stages.4"),
    tm("fastvit_t8", 64, "stages.0", "stages.3"),
    tm("xcit_nano_12_p8_224", 64, "blocks.0", "blocks.11", {"img_size": 64}, layout=tokens()),
    tm("gmlp_ti16_224", 64, "blocks.0", "blocks.29", {"img_size": 64}, layout=tokens()),
    hf("Segformer", 64, "stages.0", "stages.3", SEGFORMER, channel=0, is_quick=True),
    hf(
        "ConvNext",
        64,
        "encoder.stages.0",
        "encoder.stages.3",
        {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]},
        channel=0,
    ),
    hf("Swin", 64, "embeddings", "encoder.layers.1", SWIN, layout=lambda output: tokens()(output[0]), channel=0),
    hf("ViT", 64, "layers.0", "layers.1", {"image_size": 64, **VIT}, layout=tokens(prefix=1)),
    hf(
        "Dinov2",
        56,
        "encoder.layer.0",
        "encoder",
        {"image_size": 56, "patch_size": 14, **VIT},
        layout=lambda output: tokens(1)(output.last_hidden_state),
        early_layout=tokens(1),
    ),
    Specimen(
        "Wav2Vec2",
        "transformers",
        Wave2Vec,
        (1, 800),
        ("model.feature_extractor", "model.encoder.layers.1"),
        channels_last,
        "channels_first",
        channel=0,
    ),
    Specimen("Unet", "segmentation-models-pytorch", unet, (3, 64, 64), ("encoder.layer1", "decoder.blocks.2")),
    Specimen("UNet 3-D", "monai", unet3d, (1, 16, 24, 16), ("model.0", "model.2"), is_quick=True),
    Specimen("UNet 3-D, instance norm", "monai", unet3d_instance, (1, 16, 16, 16), ("model.0.conv", "model.2")),
    Specimen("WaveNet", "torch", WaveNet, (1, 96), ("gates.1", "end"), is_quick=True),
    Specimen("spectrogram CNN", "torch", spectrogram_cnn, (1, 64, 96), ("2", "6"), is_quick=True),
)


@dataclass(frozen=True)
class Finding:
    """What was measured of one layer: its fields, by position, the largest error of a map, and the routes taken."""

    layer: str
    fields: list[Any]
    error: float
    leak: float
    routes: list[str]

    def receptive_field(self) -> str:
        field = self.fields[0].theoretical
        if field.is_global:
            return "global"
        size = " x ".join("all" if g else str(s) for s, g in zip(field.size, field.global_axes, strict=True))
        return f"at least {size}" if field.is_clipped else size


def plain_map(model: nn.Module, layer: str, layout: Any, position: str, channel: int | None, inputs: Tensor) -> Tensor:
    """The map by autograd on the whole input, without any of the package's passes."""
    leaf, kept = inputs.clone().requires_grad_(), []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _a, output: kept.append(output))
    model(leaf)
    handle.remove()
    read = layout(kept[0]) if callable(layout) else kept[0]
    center = tuple(length // 2 for length in read.shape[2:])
    unit = {"center": center, "corner": (0,) * len(center), "edge": (0, *center[1:])}[position]
    values = read[(..., *unit)] if channel is None else read[(slice(None), channel, *unit)]
    return torch.autograd.grad(values.sum(), leaf)[0].abs().sum(1).mean(0)


def measure(specimen: Specimen, model: nn.Module, inputs: Tensor) -> list[Finding]:
    """Both layers at all positions, with and without windows, against the plain computation."""
    findings = []
    for layer in specimen.layers:
        layout = specimen.layout_of(layer)
        model.eval()
        expected = [plain_map(model, layer, layout, position, specimen.channel, inputs) for position in POSITIONS]
        model.train()
        erf = EffectiveReceptiveField(model, layer, layout=layout)
        apart = erf.sweep([inputs], positions=POSITIONS, channel=specimen.channel)
        whole = erf.sweep([inputs], positions=POSITIONS, channel=specimen.channel, window=False)
        error = max(
            _difference(field.values, reference)
            for fields in (apart, whole)
            for field, reference in zip(fields, expected, strict=True)
        )
        leak = max(_outside(field.theoretical, reference) for field, reference in zip(apart, expected, strict=True))
        findings.append(Finding(layer, apart, error, leak, [field.recipe["route"] for field in apart]))
    return findings


def _difference(values: Any, reference: Tensor) -> float:
    assert reference.max() > 0, "a dead unit compares nothing"
    return float((torch.as_tensor(values) - reference).abs().max() / reference.max())


def _outside(theoretical: Any, reference: Tensor) -> float:
    """The largest value outside the theoretical box, as a share of the maximum."""
    outside = reference.clone()
    inside = [slice(max(low, 0), max(high, 0)) for low, high in zip(theoretical.lower, theoretical.upper, strict=True)]
    outside[tuple(inside)] = 0
    return float(outside.max() / reference.max())


def images(shape: tuple[int, ...], samples: int = 2) -> Tensor:
    return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def build(specimen: Specimen) -> nn.Module:
    """The network with random weights."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return specimen.make().double()


def layout_words(layout: Any) -> str:
    if isinstance(layout, tokens):
        return f"`tokens({f'prefix={layout.prefix}' if layout.prefix else ''})`"
    return {"channels_first": "default", channels_last: "`channels_last`"}.get(layout, "a callable")


def table_row(specimen: Specimen, findings: list[Finding]) -> str:
    words = dict.fromkeys(layout_words(specimen.layout_of(layer)) for layer in specimen.layers)
    layers = ", ".join(f"`{layer}`" for layer in specimen.layers)
    fields = ", ".join(finding.receptive_field() for finding in findings)
    error = max(finding.error for finding in findings)
    result = f"{'equal' if error <= MAP_TOLERANCE else 'DIFFERENT'} ({error:.0e})"
    return f"| {' | '.join((specimen.name, specimen.package, layers, ', '.join(words), fields, result))} |"


def main() -> None:
    torch.set_num_threads(1)
    chosen = sys.argv[1:]
    print("| Network | From | Layers measured | Layout | TRF of the center unit | Map against plain autograd |")
    print("| --- | --- | --- | --- | --- | --- |")
    for specimen in ZOO:
        if chosen and specimen.name not in chosen:
            continue
        start = time.perf_counter()
        model = build(specimen)
        try:
            findings = measure(specimen, model, images(specimen.shape))
        except Exception as error:
            print(f"| {specimen.name} | {specimen.package} | | | | fails: {error} |", flush=True)
            continue
        print(table_row(specimen, findings), flush=True)
        for finding in findings:
            print(f"  {finding.layer}: leak {finding.leak:.1e} {finding.routes}", file=sys.stderr)
        print(f"  {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
