"""Models by name, and what is said to names that are wrong."""

import importlib
import sys

import pytest
import torch
from torch import nn

from captum_erf.cli.models import WeightsError, load_model
from captum_erf.cli.texts import model

torchvision = pytest.importorskip("torchvision")


def named(name, *weights, **options):
    return load_model(model(name), *weights, **options)


def test_random_weights_follow_the_seed_and_are_called_random():
    one, again, other = (named("squeezenet1_1", seed=seed) for seed in (0, 0, 1))
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
        "def wide(width, depth):\n    return nn.Sequential(*[nn.Conv2d(3, width, 3)] * depth)\n"
        "settings = {}\n"
        "class Holder:\n    def __init__(self):\n        self.model = tiny()\n"
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
    found = named("own_models:tiny", seed=4)
    assert [type(part).__name__ for part in found.model] == ["Conv2d", "BatchNorm2d"]
    assert found.weights == "as its code left them (seed 4)"
    assert isinstance(named("own_models:made").model, nn.Conv2d)


def test_factory_takes_arguments_and_may_stand_in_a_file(zoo):
    found = named("./own_models.py:wide(5, depth=2)").model
    assert [part.out_channels for part in found] == [5, 5]
    assert [part.out_channels for part in named("own_models:wide(width=4, depth=1)").model] == [4]


def test_object_that_holds_the_network_as_model_will_do(zoo):
    assert isinstance(named("own_models:Holder").model, nn.Sequential)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_models:tine", ValueError, "own_models has no 'tine'; the nearest names are tiny"),
        ("own_models:broken", ImportError, r"broken\(\) failed: KeyError: 'oops' \(.*own_models.py, line 6\)"),
        ("own_models:settings", ValueError, "settings is of type dict; expected a torch.nn.Module or a function"),
        ("own_models:made(3)", ValueError, "own_models:made is a model already; expected no arguments"),
        ("own_models:wide(2)", ImportError, r"own_models:wide\(2\) failed: TypeError: .*'depth'"),
        ("./own_models.py:tine", ValueError, "own_models.py has no 'tine'; the nearest names are tiny"),
        ("own_models", ValueError, r"name its factory as well: ./own_models.py:FACTORY"),
        ("own_models:number", ValueError, "returned something of type int; expected a torch.nn.Module"),
        ("bad_module:tiny", ImportError, r"bad_module cannot be imported: ZeroDivisionError.*bad_module.py, line 1"),
        ("netabc:tiny", ImportError, r"netabc cannot be imported: .*No module named 'netab' \(.*netabc.py, line 1\)"),
        ("own_models.part:tiny", ValueError, "There is no module 'own_models.part'"),
        ("resnet81", ValueError, "torchvision has no model 'resnet81'; the nearest names are resnet"),
    ],
)
def test_names_that_are_wrong(zoo, name, error, message):
    with pytest.raises(error, match=message):
        named(name)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet18", "IMAGENET1K_V3", "has no weights 'IMAGENET1K_V3'; the nearest names are IMAGENET1K_V1"),
        ("own_models:tiny", "DEFAULT", "names no file; own_models:tiny takes none or a file"),
    ],
)
def test_weights_that_are_not_there(zoo, name, weights, message):
    with pytest.raises(ValueError, match=message):
        named(name, weights)


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
        named("resnet18")


def test_download_that_fails_says_which_file_to_get_and_how_to_pass_it(monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.models, "get_model", refuse)
    with pytest.raises(WeightsError) as caught:
        named("resnet18", "DEFAULT")
    said = str(caught.value)
    assert "The weights DEFAULT could not be had: OSError: Name or service not known" in said
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    assert said.endswith(f"download {url} and pass --weights {url.rpartition('/')[2]}.")
