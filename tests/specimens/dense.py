"""Detectors, segmentation networks, key points, optical flow and video: layers of their necks and heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from captum_erf import channels_last, tokens

from .specimen import Specimen, item, library


def segmenter(name: str, early: str, deep: str) -> Specimen:
    def make() -> nn.Module:
        return getattr(library("torchvision.models.segmentation"), name)(weights=None, weights_backbone=None)

    return Specimen(name, "torchvision", make, (3, 64, 64), (early, deep))


def video(name: str, shape: tuple[int, ...], early: str, deep: str, **options: Any) -> Specimen:
    def make() -> nn.Module:
        return getattr(library("torchvision.models.video"), name)(weights=None)

    return Specimen(name, "torchvision", make, shape, (early, deep), **options)


def detector(name: str, layers: tuple[str, ...], layouts: dict[str, Any]) -> Specimen:
    """A torchvision detector, which takes a list of images."""

    def make() -> nn.Module:
        models = library("torchvision.models.detection")
        return getattr(models, name)(weights=None, weights_backbone=None, min_size=64, max_size=64)

    return Specimen(
        name,
        "torchvision",
        make,
        (3, 64, 64),
        layers,
        layouts,
        forward=lambda model: lambda images: model(list(images)),
    )


def yolo(name: str, layers: tuple[str, ...], kind: str = "YOLO") -> Specimen:
    """A network of ultralytics, built from its description."""

    def make() -> nn.Module:
        return getattr(library("ultralytics"), kind)(f"{name}.yaml").model

    return Specimen(name, "ultralytics", make, (3, 64, 64), layers, extra="zoo-detection")


def feature_pyramid() -> nn.Module:
    backbones = library("torchvision.models.detection.backbone_utils")
    return backbones.resnet_fpn_backbone(backbone_name="resnet18", weights=None)


def raft() -> nn.Module:
    return library("torchvision.models.optical_flow").raft_small(weights=None)


def mvit() -> nn.Module:
    """Two blocks of MViT v2, the second of which pools its queries."""
    mvit = library("torchvision.models.video.mvit")
    shared = {"num_heads": 2, "input_channels": 16, "output_channels": 16, "kernel_q": [3] * 3, "kernel_kv": [3] * 3}
    blocks = [
        mvit.MSBlockConfig(**shared, stride_q=[1, 1, 1], stride_kv=[1, 2, 2]),
        mvit.MSBlockConfig(**shared, stride_q=[1, 2, 2], stride_kv=[1, 2, 2]),
    ]
    options = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True, "proj_after_attn": True}
    return mvit.MViT((32, 32), 8, blocks, **options)


def unet() -> nn.Module:
    models = library("segmentation_models_pytorch")
    return models.Unet("resnet18", encoder_weights=None, decoder_channels=(64, 32, 16, 8, 8))


def hardnet() -> nn.Module:
    return library("kornia.feature").HardNet(pretrained=False)


def disk() -> nn.Module:
    return library("kornia.feature").DISK()


def dexined() -> nn.Module:
    return library("kornia.models.dexined").DexiNed(pretrained=False)


def proposals() -> nn.Module:
    """MTCNN's first network, with the trained weights that its package ships."""
    return library("facenet_pytorch.models.mtcnn").PNet()


DENSE = (
    segmenter("fcn_resnet50", "backbone.layer1", "classifier.4"),
    segmenter("deeplabv3_mobilenet_v3_large", "backbone.3", "classifier.4"),
    segmenter("lraspp_mobilenet_v3_large", "backbone.3", "classifier.high_classifier"),
    Specimen(
        "resnet18 with FPN",
        "torchvision",
        feature_pyramid,
        (3, 64, 64),
        ("body.layer1", "fpn"),
        {"fpn": item("0")},
    ),
    detector("fasterrcnn_resnet50_fpn", ("backbone.body.layer1", "backbone.fpn"), {"backbone.fpn": item("1")}),
    detector("retinanet_resnet50_fpn", ("backbone.body.layer1", "backbone.fpn"), {"backbone.fpn": item("0")}),
    detector("fcos_resnet50_fpn", ("backbone.body.layer1", "backbone.fpn"), {"backbone.fpn": item("1")}),
    yolo("yolov8n", ("model.15", "model.21", "model.22.cv3.0")),
    yolo("yolo11n", ("model.16", "model.22", "model.23.cv3.0")),
    yolo("yolo12n", ("model.14", "model.20", "model.21.cv3.0")),
    yolo("rtdetr-l", ("model.3", "model.21"), "RTDETR"),
    video("r3d_18", (3, 8, 32, 32), "stem", "layer3"),
    video("s3d", (3, 8, 64, 64), "features.0", "features.4", forward=lambda model: model.features),
    video(
        "swin3d_t",
        (3, 8, 32, 32),
        "patch_embed",
        "features.4",
        layouts=dict.fromkeys(("patch_embed", "features.4"), channels_last),
        channels=dict.fromkeys(("patch_embed", "features.4"), 0),
    ),
    Specimen(
        "MViT v2",
        "torchvision",
        mvit,
        (3, 8, 32, 32),
        ("conv_proj", "blocks.1"),
        {"blocks.1": item(0, tokens(prefix=1, grid=(4, 4, 4)))},
    ),
    Specimen(
        "raft_small",
        "torchvision",
        raft,
        (3, 128, 128),
        ("context_encoder.layer1", "context_encoder"),
        arguments=(torch.zeros(1, 3, 128, 128),),
        dtype=torch.float32,
    ),
    Specimen("Unet", "segmentation-models-pytorch", unet, (3, 64, 64), ("encoder.layer1", "decoder.blocks.2")),
    Specimen("HardNet", "kornia", hardnet, (1, 32, 32), ("features.6", "features.18"), extra="zoo-detection"),
    Specimen("DISK", "kornia", disk, (3, 64, 64), ("unet.path_down.1", "unet"), extra="zoo-detection"),
    Specimen("DexiNed", "kornia", dexined, (3, 64, 64), ("block_1", "up_block_2"), extra="zoo-detection"),
    Specimen(
        "MTCNN's first network, trained",
        "facenet-pytorch",
        proposals,
        (3, 48, 48),
        ("conv2", "conv4_1"),
        extra="zoo-detection",
    ),
)
