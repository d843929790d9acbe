"""Layers: what they hand over, how it is read, and which are measured when none is named."""

import pytest
import torch
from torch import nn

from captum_erf import channels_last, tokens
from captum_erf.cli.layers import default_layers, detect_layout, look, wanted_layers

torchvision = pytest.importorskip("torchvision")

STAGES = {
    "resnet18": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "resnet50": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "vgg16": ["features.3", "features.8", "features.15", "features.22", "features.29", "features.30"],
    "densenet121": [
        "features.relu0",
        "features.denseblock1",
        "features.denseblock2",
        "features.denseblock3",
        "features.norm5",
    ],
    "mobilenet_v2": ["features.1", "features.3", "features.6", "features.13", "features.18"],
    "efficientnet_b0": ["features.1", "features.2", "features.3", "features.5", "features.8"],
    "swin_t": ["features.1", "features.3", "features.5", "features.7"],
    "googlenet": ["conv1", "conv3", "inception3b", "inception4e", "inception5b"],
    "vit_b_16": ["encoder.layers"],
}
LAYOUTS = {"swin_t": channels_last, "vit_b_16": tokens(1, (14, 14))}


def without_weights(name):
    """The architecture alone: shapes are found without computing anything."""
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None, **options).eval()


def defaults(model, *size):
    outputs = look(model, (3, *size))
    return default_layers(outputs, detect_layout(outputs).layout)


@pytest.mark.parametrize("name", STAGES)
def test_default_is_the_last_stage_of_every_resolution(name):
    model = without_weights(name)
    outputs = look(model, (3, 224, 224))
    layout = detect_layout(outputs).layout
    assert layout == LAYOUTS.get(name, "channels_first")
    assert default_layers(outputs, layout) == STAGES[name]


def test_default_layers_have_a_sum_over_channels_that_means_something():
    model = torchvision.models.convnext_tiny(weights=None).eval()
    outputs = look(model, (3, 64, 64))
    assert outputs["features.1"].even_axes == (1,)
    layers = default_layers(outputs, "channels_first")
    assert layers[1:] == ["features.3", "features.5", "features.7"]
    assert layers[0].startswith("features.1.2.")
    assert not any(outputs[layer].even_axes for layer in layers)


def test_softmax_over_channels_is_no_default():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(1))
    assert defaults(model, 8, 8) == ["0"]


def test_modules_that_run_several_times_are_no_default():
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.SiLU()

        def forward(self, image):
            return {"features": self.act(self.second(self.act(self.first(image))))}

    model = Reused()
    outputs = look(model, (3, 8, 8))
    assert outputs["act"].calls == 2
    assert defaults(model, 8, 8) == ["first", "second"]
    with pytest.raises(ValueError, match=r"act runs 2 times in one pass; add --call 0 for the first time, --call -1"):
        wanted_layers(outputs, ["act"], None)
    assert wanted_layers(outputs, ["act"], -1) == ["act"]


class Patches(nn.Module):
    """Tokens of 4 x 4 patches behind a class token, as vision transformers have them."""

    def __init__(self, patch=4, is_shown=True):
        super().__init__()
        self.cut = nn.Conv2d(3, 5, patch, patch) if is_shown else nn.Unfold(patch, stride=patch)
        self.enter = nn.Linear(5 if is_shown else 48, 5)
        self.block = nn.Linear(5, 5)

    def forward(self, image):
        tokens = self.enter(self.cut(image).flatten(2).mT)
        return self.block(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))


def test_tokens_are_read_in_the_grid_that_a_module_before_them_shows():
    outputs = look(Patches(), (3, 16, 24))
    reading = detect_layout(outputs, ["block"])
    assert reading.layout == tokens(1, (4, 6))
    assert reading.words == "tokens:1, as the grid of cut, 4 x 6, shows"


def test_tokens_without_a_grid_are_refused_with_the_option_that_reads_them():
    outputs = look(Patches(is_shown=False), (3, 16, 16))
    with pytest.raises(ValueError, match=r"17 tokens of 5 channels.*--layout tokens:1 if they are 4 x 4"):
        detect_layout(outputs, ["block"])


def test_upsampling_networks_give_the_decoder_where_both_have_a_resolution():
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter = nn.Conv2d(3, 4, 3, padding=1)
            self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
            self.up = nn.ConvTranspose2d(4, 4, 2, 2)
            self.leave = nn.Conv2d(8, 2, 1)

        def forward(self, image):
            wide = self.enter(image)
            return self.leave(torch.cat([wide, self.up(self.down(wide))], 1))

    assert defaults(UNet(), 16, 16) == ["down", "leave"]


def test_wrapped_models_are_looked_into():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = without_weights("resnet18")

        def forward(self, image):
            return {"logits": self.net(image)}

    assert defaults(Wrapper(), 64, 64) == [f"net.{name}" for name in STAGES["resnet18"]]


def test_signals_and_volumes_have_default_layers():
    signals = nn.Sequential(nn.Conv1d(2, 4, 3, 2), nn.ReLU(), nn.Conv1d(4, 4, 3, 2))
    volumes = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.MaxPool3d(2))
    for model, shape in ((signals, (2, 64)), (volumes, (1, 8, 8, 8))):
        outputs = look(model, shape)
        layout = detect_layout(outputs).layout
        assert default_layers(outputs, layout) == [str(len(model) - 2), str(len(model) - 1)]


def test_model_without_a_grid_says_what_to_do():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"No module of Sequential hands over a grid of units.*--list-layers"):
        defaults(model, 8, 8)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 5), r"does not run on an input of shape \(1, 3, 8, 8\).*Set --size"),
        (nn.Conv2d(3, 1, 1).double(), r"weights of float32, as the images, instead of torch.float64"),
    ],
    ids=["other inputs", "float64"],
)
def test_model_that_takes_no_images_says_so(model, message):
    with pytest.raises(ValueError, match=message):
        look(model, (3, 8, 8))


def test_patterns_stand_for_the_layers_of_their_depth_in_the_networks_order():
    model = torchvision.models.resnet18()
    outputs = look(model, (3, 64, 64))
    assert wanted_layers(outputs, ["layer*"], None) == ["layer1", "layer2", "layer3", "layer4"]
    assert wanted_layers(outputs, ["layer4.*", "relu"], None) == ["layer4.0", "layer4.1", "relu"]
    assert wanted_layers(outputs, ["layer[12]", "layer1"], None) == ["layer1", "layer2"]
    with pytest.raises(ValueError, match=r"no layer that runs is called 'block\*'; --list-layers"):
        wanted_layers(outputs, ["block*"], None)


def test_looking_at_the_layers_leaves_the_model_as_it_was(convnet):
    convnet.train()
    before = {name: value.clone() for name, value in convnet.state_dict().items()}
    outputs = look(convnet, (3, 8, 8))
    assert list(outputs)[-1] == ""
    assert outputs["3"].shape == (1, 6, 4, 4)
    assert all(module.training for module in convnet.modules())
    assert not any(module._forward_hooks for module in convnet.modules())
    assert all(torch.equal(value, before[name]) for name, value in convnet.state_dict().items())
