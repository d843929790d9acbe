"""Recipes: what they tell, and that files and states of versions before go on."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from captum_erf import EffectiveReceptiveField, ERFMap, channels_last, protocols, tokens
from captum_erf.names import plain

IMAGES = torch.randn(10, 3, 20, 20, generator=torch.Generator().manual_seed(0))
FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_the_recipe_tells_how_to_repeat_the_measurement(convnet):
    erf = EffectiveReceptiveField(convnet, "4")
    field = erf.aggregate([IMAGES], position=(0.5, -1), channel=[0, 2], magnitude="square", groups=5)
    recipe = field.recipe
    assert recipe["model"] == "torch.nn.modules.container.Sequential"
    assert recipe["layers"] == ["4"]
    assert recipe["positions"] == [[0.5, -1]]
    assert recipe["channel"] == [0, 2]
    assert recipe["magnitude"] == "square"
    assert recipe["groups"] == 5
    assert recipe["layout"] == "channels_first"
    assert recipe["input_shape"] == [3, 20, 20]
    assert recipe["nonfinite"] == "raise"
    assert recipe["eval_mode"] is True
    assert recipe["window"] == "auto"
    assert recipe["torch"] == torch.__version__.split("+")[0]
    named = {
        "captum_erf",
        "autocast",
        "neuron_selector",
        "input_index",
        "get_inputs",
        "additional_forward_args",
        "route",
    }
    assert named <= recipe.keys()


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        (channels_last, "captum_erf.layouts.channels_last"),
        (tokens(prefix=1), "tokens(prefix=1, grid=None)"),
        (protocols.OPENERF.settings["channel"], "captum_erf.protocols.channel_mean"),
        (protocols.OPENERF.settings["magnitude"], "captum_erf.protocols.rectified_mean"),
        (protocols.REPLKNET.settings["channel"], "captum_erf.protocols.relu_sum"),
        (nn.functional.relu, "torch.nn.functional.relu"),
        (nn.ReLU(), "torch.nn.modules.activation.ReLU"),
        (slice(1, 3), "slice(1, 3, None)"),
        (torch.bfloat16, "torch.bfloat16"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_functions_go_by_the_names_of_version_0_1(setting, name):
    assert plain(setting) == name


def _resnet_in_two_pieces():
    torch.manual_seed(0)
    return EffectiveReceptiveField(resnet18(weights=None).eval(), "layer1")


def test_the_state_of_a_run_of_the_version_before_goes_on():
    state = torch.load(FIXTURES / "resnet18-layer1-0.1.pt", weights_only=True)["accumulator"]
    accumulator = _resnet_in_two_pieces().accumulator(**protocols.OPENERF.settings)
    accumulator.load_state_dict(state)
    assert accumulator.num_samples == 4
    accumulator.update(torch.randn(3, 3, 32, 32))
    (field,) = accumulator.compute()
    assert field.num_samples == 7
    assert field.theoretical.to_dict().items() >= json.loads(state["header"])["entries"][0]["theoretical"].items()


def test_the_state_of_the_version_before_is_that_of_its_protocol_alone():
    state = torch.load(FIXTURES / "resnet18-layer1-0.1.pt", weights_only=True)["accumulator"]
    accumulator = _resnet_in_two_pieces().accumulator(**protocols.REPLKNET.settings)
    with pytest.raises(ValueError, match=r"channel is 'captum_erf\.protocols\.relu_sum' here and .*channel_mean'"):
        accumulator.load_state_dict(state)


def test_a_file_of_the_version_before_is_read_with_its_protocol():
    field = ERFMap.load(FIXTURES / "resnet18-layer1-0.1.npz")
    assert (field.layer, field.num_samples, field.theoretical.size) == ("layer1", 4, (43, 43))
    assert protocols.OPENERF.report(field).num_samples == 4
