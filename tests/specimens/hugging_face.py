"""Models of transformers, diffusers and peft, of small configurations and never run before."""

from __future__ import annotations

from typing import Any

from torch import nn

from captum_erf import channels_last, tokens

from .specimen import Specimen, item, library

VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
DEEP_VIT = VIT | {"num_hidden_layers": 4}
SWIN = {"image_size": 64, "embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}
SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2]}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def hf(
    name: str,
    shape: tuple[int, ...],
    layers: tuple[str, ...],
    settings: dict[str, Any],
    layouts: dict[str, Any] | None = None,
    *,
    head: str = "Model",
    channel: int | None = None,
    **options: Any,
) -> Specimen:
    """A model of transformers: ``head`` is the end of its class's name."""

    def make() -> nn.Module:
        transformers = library("transformers")
        return getattr(transformers, f"{name}{head}")(getattr(transformers, f"{name}Config")(**settings))

    channels = {} if channel is None else dict.fromkeys(layers, channel)
    label = name if head == "Model" else f"{name}{head}"
    return Specimen(label, "transformers", make, shape, layers, layouts or {}, channels, **options)


def backboned(
    name: str, backbone: str, backbone_settings: dict[str, Any], layers: tuple[str, ...], side: int, **settings: Any
) -> Specimen:
    """A model of transformers around a backbone with a configuration of its own."""

    def make() -> nn.Module:
        transformers = library("transformers")
        inner = getattr(transformers, f"{backbone}Config")(**backbone_settings)
        config = getattr(transformers, f"{name.rpartition('For')[0]}Config")(backbone_config=inner, **settings)
        return getattr(transformers, name)(config)

    return Specimen(name, "transformers", make, (3, side, side), layers)


def sam_encoder() -> nn.Module:
    transformers = library("transformers")
    config = transformers.SamVisionConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_dim=32,
        image_size=64,
        patch_size=8,
        window_size=4,
        global_attn_indexes=[1],
        output_channels=8,
    )
    return transformers.SamVisionModel(config)


def whisper_encoder() -> nn.Module:
    transformers = library("transformers")
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=8,
        max_source_positions=32,
        vocab_size=50,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return transformers.WhisperModel(config).encoder


def wav2vec() -> nn.Module:
    transformers = library("transformers")
    return transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
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


def lora_vit() -> nn.Module:
    transformers, peft = library("transformers"), library("peft")
    settings = peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2)
    return peft.get_peft_model(transformers.ViTModel(transformers.ViTConfig(image_size=64, **VIT)), settings)


def denoiser() -> nn.Module:
    return library("diffusers").UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def autoencoder() -> nn.Module:
    return library("diffusers").AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )


def last_state(read: Any) -> Any:
    """A layout for a model's output, of which the last hidden state is read by another one."""
    return lambda output: read(output.last_hidden_state)


HUGGING_FACE = (
    hf("Segformer", (3, 64, 64), ("stages.0", "stages.3"), SEGFORMER, channel=0, is_quick=True),
    hf(
        "Segformer",
        (3, 64, 64),
        ("segformer.stages.0", "decode_head.linear_fuse"),
        SEGFORMER | {"decoder_hidden_size": 8},
        head="ForSemanticSegmentation",
        channel=0,
        is_quick=True,
    ),
    hf(
        "ConvNext",
        (3, 64, 64),
        ("encoder.stages.0", "encoder.stages.3"),
        {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]},
        channel=0,
    ),
    hf(
        "Swin",
        (3, 64, 64),
        ("embeddings", "encoder.layers.1"),
        SWIN,
        dict.fromkeys(("embeddings", "encoder.layers.1"), item(0, tokens())),
        channel=0,
    ),
    hf("Swinv2", (3, 64, 64), ("encoder.layers.0",), SWIN, {"encoder.layers.0": item(0, tokens())}, channel=0),
    hf(
        "ViT",
        (3, 64, 64),
        ("layers.0", "layers.1"),
        {"image_size": 64, **VIT},
        dict.fromkeys(("layers.0", "layers.1"), tokens(prefix=1)),
    ),
    hf(
        "Dinov2",
        (3, 56, 56),
        ("encoder.layer.0", "encoder"),
        {"image_size": 56, "patch_size": 14, **VIT},
        {"encoder.layer.0": tokens(1), "encoder": last_state(tokens(1))},
    ),
    hf(
        "DINOv3ViT",
        (3, 64, 64),
        ("embeddings.patch_embeddings", "model.layer.1"),
        {"image_size": 64, "patch_size": 16, **VIT},
        {"model.layer.1": tokens(prefix=1)},
    ),
    Specimen(
        "SAM's image encoder",
        "transformers",
        sam_encoder,
        (3, 64, 64),
        ("vision_encoder.layers.0", "vision_encoder.neck.conv2"),
        {"vision_encoder.layers.0": channels_last},
    ),
    hf(
        "Hiera",
        (3, 64, 64),
        ("encoder.stages.1",),
        {
            "image_size": [64, 64],
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "query_stride": [2, 2],
            "num_query_pool": 1,
            "masked_unit_size": [4, 4],
            "masked_unit_attention": [True, False],
        },
        {"encoder.stages.1": item(0, tokens())},
        channel=0,
    ),
    hf(
        "MobileViT",
        (3, 64, 64),
        ("encoder.layer.1", "conv_1x1_exp"),
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 16],
            "num_attention_heads": 2,
        },
    ),
    hf(
        "CLIPVision",
        (3, 32, 32),
        ("embeddings.patch_embedding", "encoder.layers.1"),
        {"image_size": 32, "patch_size": 8, **VIT},
        {"encoder.layers.1": tokens(prefix=1)},
    ),
    hf("Beit", (3, 32, 32), ("layers.1",), {"image_size": 32, "patch_size": 8, **VIT}, {"layers.1": tokens(prefix=1)}),
    hf(
        "DPT",
        (3, 32, 32),
        ("neck.convs.0", "head.head.0"),
        {
            "image_size": 32,
            "patch_size": 8,
            "neck_hidden_sizes": [8] * 4,
            "fusion_hidden_size": 8,
            "backbone_out_indices": [0, 1, 2, 3],
            "is_hybrid": False,
            **DEEP_VIT,
        },
        head="ForDepthEstimation",
    ),
    backboned(
        "DepthAnythingForDepthEstimation",
        "Dinov2",
        {"image_size": 28, "patch_size": 14, "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False, **DEEP_VIT},
        ("neck.convs.0", "head.conv2"),
        56,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        reassemble_hidden_size=16,
        patch_size=14,
    ),
    backboned(
        "Mask2FormerForUniversalSegmentation",
        "Swin",
        {
            "image_size": 64,
            "embed_dim": 8,
            "depths": [1] * 4,
            "num_heads": [1, 1, 2, 2],
            "window_size": 2,
            "out_features": STAGES,
        },
        ("model.pixel_level_module.decoder.mask_projection",),
        64,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=4,
    ),
    backboned(
        "UperNetForSemanticSegmentation",
        "ConvNext",
        {"depths": [1] * 4, "hidden_sizes": [8] * 4, "out_features": STAGES},
        ("decode_head.fpn_bottleneck", "auxiliary_head.convs"),
        64,
        hidden_size=8,
        auxiliary_in_channels=8,
        auxiliary_channels=8,
        pool_scales=[1, 2],
    ),
    hf(
        "VideoMAE",
        (4, 3, 32, 32),
        ("embeddings.patch_embeddings.projection", "encoder.layer.1"),
        {"image_size": 32, "patch_size": 8, "num_frames": 4, **VIT},
        {"encoder.layer.1": tokens(grid=(2, 4, 4))},
        input_layout=lambda clips: clips.transpose(1, 2),
    ),
    Specimen(
        "Whisper's encoder",
        "transformers",
        whisper_encoder,
        (8, 64),
        ("conv2", "layers.1"),
        {"layers.1": channels_last},
    ),
    Specimen(
        "Wav2Vec2",
        "transformers",
        wav2vec,
        (1, 800),
        ("feature_extractor", "encoder.layers.1"),
        {"encoder.layers.1": channels_last},
        {"feature_extractor": 0, "encoder.layers.1": 0},
        forward=lambda model: lambda waves: model(waves.squeeze(1)),
    ),
    Specimen(
        "ViT with LoRA",
        "peft",
        lora_vit,
        (3, 64, 64),
        ("base_model.model.layers.0", "base_model.model.layers.1"),
        dict.fromkeys(("base_model.model.layers.0", "base_model.model.layers.1"), tokens(prefix=1)),
    ),
    Specimen(
        "UNet2DModel",
        "diffusers",
        denoiser,
        (3, 16, 16),
        ("conv_in", "up_blocks.1"),
        arguments=(10,),
    ),
    Specimen("AutoencoderKL", "diffusers", autoencoder, (3, 16, 16), ("encoder.down_blocks.0", "decoder.up_blocks.1")),
)
