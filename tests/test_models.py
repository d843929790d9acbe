"""Models by name, their weights, and the layers that are measured when none is named."""

import importlib
import sys

import pytest
import torch
from torch import nn

from captum_erf import channels_last, tokens
from captum_erf.cli.models import WeightsError, default_layers, detect_layout, load_model, shapes_on

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
    "convnext_tiny": ["features.1", "features.3", "features.5", "features.7"],
    "swin_t": ["features.1", "features.3", "features.5", "features.7"],
    "googlenet": ["conv1", "conv3", "inception3b", "inception4e", "inception5b"],
}


def without_weights(name):
    """The architecture alone: shapes are found without computing anything."""
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None, **options).eval()


@pytest.mark.parametrize("name", STAGES)
def test_default_is_the_last_stage_of_every_resolution(name):
    model = without_weights(name)
    shapes = shapes_on(model, 224)
    layout = detect_layout(shapes, 224)
    assert layout == (channels_last if name == "swin_t" else "channels_first")
    assert default_layers(model, shapes, layout, 224) == STAGES[name]


def test_tokens_are_refused_with_the_option_that_reads_them():
    model = without_weights("vit_b_16")
    shapes = shapes_on(model, 224)
    with pytest.raises(ValueError, match=r"197 tokens of 768 channels.*--layout tokens:1 if they are 14 x 14"):
        detect_layout(shapes, 224)
    assert default_layers(model, shapes, tokens(prefix=1), 224) == ["encoder.layers"]


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

    model = UNet()
    assert default_layers(model, shapes_on(model, 16), "channels_first", 16) == ["down", "leave"]


def test_wrapped_models_are_looked_into():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = without_weights("resnet18")

        def forward(self, image):
            return {"logits": self.net(image)}

    model = Wrapper()
    layers = default_layers(model, shapes_on(model, 64), "channels_first", 64)
    assert layers == [f"net.{name}" for name in STAGES["resnet18"]]


def test_model_without_a_grid_says_what_to_do():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"No module of Sequential hands over a grid of units.*--list-layers"):
        default_layers(model, shapes_on(model, 8), "channels_first", 8)


def test_model_that_takes_no_images_says_so():
    with pytest.raises(ValueError, match=r"does not run on an image of shape \(1, 3, 8, 8\).*Set --size"):
        shapes_on(nn.Linear(5, 5), 8)


def test_looking_at_the_layers_leaves_the_model_as_it_was(convnet):
    convnet.train()
    before = {name: value.clone() for name, value in convnet.state_dict().items()}
    shapes = shapes_on(convnet, 8)
    assert list(shapes)[-1] == ""
    assert shapes["3"] == (1, 6, 4, 4)
    assert all(module.training for module in convnet.modules())
    assert not any(module._forward_hooks for module in convnet.modules())
    assert all(torch.equal(value, before[name]) for name, value in convnet.state_dict().items())


def test_random_weights_follow_the_seed_and_are_called_random():
    one, again, other = (load_model("squeezenet1_1", seed=seed) for seed in (0, 0, 1))
    weights = [named.model.features[0].weight for named in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert one.weights == "random (seed 0), not those of the trained network"
    assert not one.model.training


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A module of one's own in the current directory."""
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n"
        "def tiny():\n    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))\n"
        "made = nn.Conv2d(3, 2, 3)\n"
        "def broken():\n    raise KeyError('oops')\n"
        "def number():\n    return 3\n"
    )
    (tmp_path / "bad_module.py").write_text("1 / 0\n")
    (tmp_path / "netabc.py").write_text("import netab\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("own_models", None)


def test_factory_in_the_current_directory(zoo):
    named = load_model("own_models:tiny", seed=4)
    assert [type(part).__name__ for part in named.model] == ["Conv2d", "BatchNorm2d"]
    assert named.weights == "as own_models:tiny left them (seed 4)"
    assert isinstance(load_model("own_models:made").model, nn.Conv2d)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_models:tine", ValueError, "own_models has no 'tine'; the nearest names are tiny"),
        ("own_models:broken", ImportError, r"broken\(\) failed: KeyError: 'oops' \(.*own_models.py, line 6\)"),
        ("own_models:number", ValueError, "returned a int; expected a torch.nn.Module"),
        ("bad_module:tiny", ImportError, r"bad_module cannot be imported: ZeroDivisionError.*bad_module.py, line 1"),
        ("netabc:tiny", ImportError, r"netabc cannot be imported: .*No module named 'netab' \(.*netabc.py, line 1\)"),
        ("own_models.part:tiny", ValueError, "There is no module 'own_models.part'"),
        ("no_such_module:tiny", ValueError, "There is no module 'no_such_module'"),
        ("resnet81", ValueError, "torchvision has no model 'resnet81'; the nearest names are resnet"),
    ],
)
def test_names_that_are_wrong(zoo, name, error, message):
    with pytest.raises(error, match=message):
        load_model(name)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
def test_weights_from_a_file(zoo, wrap):
    trained = load_model("own_models:tiny", seed=7).model
    torch.save(wrap(trained.state_dict()), zoo / "weights.pt")
    named = load_model("own_models:tiny", "weights.pt")
    assert torch.equal(named.model[0].weight, trained[0].weight)
    assert named.weights == "from the file weights.pt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0.weight": torch.zeros(2, 3, 3, 3), "head": torch.zeros(1)}, "are missing .*, and 1 belong to none"),
        ({"0.weight": torch.zeros(1)}, "does not fit the model: size mismatch for 0.weight"),
        (torch.zeros(3), "holds a Tensor; expected a state dict"),
        ({1: torch.zeros(2)}, "holds a dict; expected a state dict of names and tensors"),
        ({"0.weight": 3}, "does not fit the model: .*expected torch.Tensor"),
        (nn.Conv2d(1, 1, 1), "no weights that can be read without pickle"),
    ],
    ids=["other names", "other shapes", "tensor", "numbered", "numbers", "whole model"],
)
def test_files_that_do_not_fit(zoo, content, message):
    torch.save(content, zoo / "weights.pt")
    with pytest.raises(WeightsError, match=message):
        load_model("own_models:tiny", "weights.pt")


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("resnet18", "IMAGENET1K_V3", "has no weights 'IMAGENET1K_V3'; the nearest names are IMAGENET1K_V1"),
        ("resnet18", "none.pt", "there is no file none.pt"),
        ("own_models:tiny", "DEFAULT", "names no file; a model of one's own takes a file"),
    ],
)
def test_weights_that_are_not_there(zoo, model, weights, message):
    with pytest.raises(ValueError, match=message):
        load_model(model, weights)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "pip install --force-reinstall torch torchvision"),
        (ModuleNotFoundError("No module named 'torchvision'"), r'pip install "captum-erf\[cli\]"'),
    ],
    ids=["other torch", "missing"],
)
def test_torchvision_that_cannot_be_imported(monkeypatch, error, message):
    def refuse(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError, match=message):
        load_model("resnet18")


def test_download_that_fails_is_told(monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.models, "get_model", refuse)
    with pytest.raises(WeightsError, match="could not be made with its weights: OSError: Name or service"):
        load_model("resnet18", "DEFAULT")
