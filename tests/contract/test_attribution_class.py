"""What DESIGN promises of EffectiveReceptiveField: names, keywords, defaults, kinds of results, errors."""

import inspect

import pytest
import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import nn

from captum_erf import EffectiveReceptiveField, ERFAccumulator, ERFMap

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
AGGREGATE = {
    "position": "center",
    "channel": None,
    "neuron_selector": None,
    "magnitude": "abs",
    "additional_forward_args": None,
    "get_inputs": None,
    "max_samples": None,
    "target_error": None,
    "window": "auto",
    "autocast": None,
    "eval_mode": True,
    "nonfinite": "raise",
    "groups": 10,
    "show_progress": False,
}
SHARED = {
    "channel": 0,
    "magnitude": "square",
    "additional_forward_args": None,
    "get_inputs": lambda batch: batch["images"],
    "input_index": 0,
    "window": False,
    "autocast": torch.bfloat16,
    "eval_mode": False,
    "nonfinite": "skip",
    "groups": 4,
}


@pytest.fixture
def erf(convnet):
    return EffectiveReceptiveField(convnet, "4")


@pytest.fixture
def sweeper(convnet):
    return EffectiveReceptiveField(convnet, ["4", "0"])


def parameters(function):
    return inspect.signature(function).parameters


def test_it_is_one_of_captums_attributions():
    assert issubclass(EffectiveReceptiveField, LayerAttribution)
    assert issubclass(EffectiveReceptiveField, GradientAttribution)


def test_it_is_made_as_captums_are():
    made = parameters(EffectiveReceptiveField)
    assert list(made)[:3] == ["forward_func", "layer", "device_ids"]
    assert made["device_ids"].default is None
    assert {name: made[name].default for name in ("layout", "call")} == {"layout": "channels_first", "call": None}
    assert made["layout"].kind is inspect.Parameter.KEYWORD_ONLY


def test_attribute_is_called_as_captums_is():
    found = parameters(EffectiveReceptiveField.attribute.__wrapped__)
    assert list(found) == [
        "self",
        "inputs",
        "neuron_selector",
        "additional_forward_args",
        "attribute_to_layer_input",
        "position",
        "channel",
        "abs",
    ]
    assert found["abs"].default is True and found["position"].default == "center"


def test_aggregate_has_all_its_keywords():
    found = parameters(EffectiveReceptiveField.aggregate)
    assert {name: found[name].default for name in AGGREGATE} == AGGREGATE
    assert all(found[name].kind is inspect.Parameter.KEYWORD_ONLY for name in AGGREGATE)


@pytest.mark.parametrize("method", ["sweep", "accumulator"])
def test_sweep_and_accumulator_take_the_keywords_of_aggregate(erf, method):
    """Every one of them changes the recipe as it does in aggregate."""
    loader = [{"images": IMAGES}]
    expected = erf.aggregate(loader, position=(0, 1), **SHARED).recipe
    if method == "sweep":
        (field,) = erf.sweep(loader, positions=[(0, 1)], **SHARED)
    else:
        accumulator = erf.accumulator(positions=[(0, 1)], **SHARED)
        accumulator.update(loader[0])
        (field,) = accumulator.compute()
    assert field.recipe == expected
    assert {key for key, value in erf.aggregate([IMAGES]).recipe.items() if value != expected[key]} >= {
        *("channel", "magnitude", "get_inputs", "window", "autocast", "eval_mode", "nonfinite", "groups"),
    }


@pytest.mark.parametrize("method", ["aggregate", "sweep", "accumulator"])
def test_a_misspelt_keyword_is_refused(erf, method):
    with pytest.raises(TypeError, match="unexpected keyword argument 'chanel'"):
        getattr(erf, method)(*([[IMAGES]] if method != "accumulator" else []), chanel=0)


def test_kinds_of_results(erf, sweeper):
    assert isinstance(erf.attribute(IMAGES), torch.Tensor)
    assert isinstance(erf.attribute((IMAGES,)), tuple)
    assert [item.shape for item in sweeper.attribute(IMAGES)] == [IMAGES.shape] * 2
    assert isinstance(erf.aggregate([IMAGES]), ERFMap)
    fields = sweeper.sweep([IMAGES], positions=["center", "corner"])
    assert [(field.layer, field.position) for field in fields] == [
        *(("4", (4, 4)), ("4", (0, 0))),
        *(("0", (8, 8)), ("0", (0, 0))),
    ]
    assert isinstance(erf.accumulator(), ERFAccumulator)


def test_the_accumulator_has_what_streaming_needs():
    methods = ("update", "merge", "all_reduce", "compute", "state_dict", "load_state_dict")
    assert all(callable(getattr(ERFAccumulator, name)) for name in methods)


def test_selector_errors_are_assertion_errors_as_captums_are(erf):
    for selector in [(99, 0, 0), (0,), lambda output: output]:
        with pytest.raises(AssertionError):
            erf.attribute(IMAGES, selector)
    with pytest.raises(AssertionError, match="excludes position and channel"):
        erf.attribute(IMAGES, (0, 0, 0), position="corner")


def test_errors_are_natural_built_ins(erf):
    for error, arguments in [
        (ValueError, {"position": "middle"}),
        (IndexError, {"position": (99, 0)}),
        (IndexError, {"channel": 99}),
        (ValueError, {"channel": "every"}),
        (TypeError, {"position": 3}),
    ]:
        with pytest.raises(error):
            erf.attribute(IMAGES, **arguments)
    with pytest.raises(RuntimeError, match="never ran layer"):
        EffectiveReceptiveField(lambda images: images, nn.ReLU()).attribute(IMAGES)
