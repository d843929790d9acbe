"""The class among Captum's own: its types, its other tools, and equality with NeuronGradient."""

import pytest
import torch
from captum.attr import (
    GradientAttribution,
    LayerAttribution,
    NeuronGradient,
    NoiseTunnel,
)
from captum.attr._utils.attribution import InternalAttribution
from captum.metrics import infidelity, sensitivity_max
from captum.testing.attr.helpers.gen_test_utils import get_target_layer, parse_test_config
from captum.testing.attr.helpers.test_config import config
from captum.testing.helpers.basic_models import (
    BasicModel_ConvNet,
    BasicModel_MultiLayer,
    BasicModel_MultiLayer_MultiInput,
)
from torch import nn
from torch.testing import assert_close

from captum_erf import EffectiveReceptiveField

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor .* did not already require gradients")  # NeuronGradient's

NEURON_CONFIGS = [case for case in config if NeuronGradient in case["algorithms"]]
neuron_configs = pytest.mark.parametrize("case", NEURON_CONFIGS, ids=lambda case: case["name"])

INPUTS = torch.randn(4, 1, 10, 10, generator=torch.Generator().manual_seed(0)) * 100


def absolute(attributions):
    if isinstance(attributions, tuple):
        return tuple(item.abs() for item in attributions)
    return attributions.abs()


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [hook for module in model.modules() for kind in kinds for hook in getattr(module, kind)]


def test_five_configurations_list_neuron_gradient():
    assert len(NEURON_CONFIGS) == 5


def test_is_one_of_captums_attributions():
    erf = EffectiveReceptiveField(BasicModel_ConvNet(), "conv2")
    assert isinstance(erf, LayerAttribution)
    assert isinstance(erf, InternalAttribution)
    assert isinstance(erf, GradientAttribution)
    assert erf.get_name() == "Effective Receptive Field"
    assert not erf.has_convergence_delta()


@neuron_configs
def test_equals_neuron_gradient(case):
    _, model, arguments, layer_name, _, _ = parse_test_config(case)
    layer = get_target_layer(model, layer_name)
    found = EffectiveReceptiveField(model, layer).attribute(**arguments)
    expected = absolute(NeuronGradient(model, layer).attribute(**arguments))
    assert type(found) is type(expected)
    assert_close(found, expected)


@neuron_configs
def test_equals_neuron_gradient_with_its_sign_and_a_layer_by_name(case):
    _, model, arguments, layer_name, _, _ = parse_test_config(case)
    found = EffectiveReceptiveField(model, layer_name).attribute(**arguments, abs=False)
    expected = NeuronGradient(model, get_target_layer(model, layer_name)).attribute(**arguments)
    assert_close(found, expected)


@neuron_configs
def test_equals_neuron_gradient_of_the_layers_input(case):
    _, model, arguments, layer_name, _, _ = parse_test_config(case)
    layer = get_target_layer(model, layer_name)
    if case["name"].startswith("conv_neuron"):
        arguments = {**arguments, "neuron_selector": (1, 2, 3)}
    found = EffectiveReceptiveField(model, layer).attribute(**arguments, attribute_to_layer_input=True)
    expected = NeuronGradient(model, layer).attribute(**arguments, attribute_to_neuron_input=True)
    assert_close(found, absolute(expected))


@neuron_configs
def test_noise_tunnel_smooths_it_as_it_smooths_neuron_gradient(case):
    _, model, arguments, layer_name, _, _ = parse_test_config(case)
    layer = get_target_layer(model, layer_name)
    noise = {"nt_type": "smoothgrad_sq", "nt_samples": 3, "stdevs": 0.5}
    torch.manual_seed(1)
    found = NoiseTunnel(EffectiveReceptiveField(model, layer)).attribute(**arguments, **noise)
    torch.manual_seed(1)
    expected = NoiseTunnel(NeuronGradient(model, layer)).attribute(**arguments, **noise)
    assert_close(found, expected)


def test_noise_tunnel_on_a_position():
    erf = EffectiveReceptiveField(BasicModel_ConvNet(), "conv2")
    without = erf.attribute(INPUTS, position=(0, 1))
    assert without.count_nonzero() > 0
    assert_close(NoiseTunnel(erf).attribute(INPUTS, nt_samples=2, stdevs=0.0, position=(0, 1)), without)


def test_sensitivity_max_equals_that_of_neuron_gradient():
    model = BasicModel_ConvNet()
    gradient = NeuronGradient(model, model.conv2)
    arguments = {"neuron_selector": (0, 1, 1), "perturb_radius": 30.0}
    torch.manual_seed(1)
    found = sensitivity_max(EffectiveReceptiveField(model, model.conv2).attribute, INPUTS, **arguments)
    torch.manual_seed(1)
    expected = sensitivity_max(
        lambda *args, **kwargs: absolute(gradient.attribute(*args, **kwargs)), INPUTS, **arguments
    )
    assert found.shape == (4,)
    assert found.max() > 0
    assert_close(found, expected)


def test_a_linear_units_gradient_is_faithful(linear_convs):
    """Infidelity of the true gradient of a linear function is zero; of its absolute values it is not."""
    inputs = torch.randn(3, 3, 9, 9)
    erf = EffectiveReceptiveField(linear_convs, "1")

    def unit(images):
        return linear_convs(images)[:, :, 4, 4].sum(1)

    def perturb(images):
        noise = torch.randn_like(images)
        return noise, images - noise

    signed = infidelity(unit, perturb, inputs, erf.attribute(inputs, abs=False))
    absolute_values = infidelity(unit, perturb, inputs, erf.attribute(inputs))
    assert_close(signed, torch.zeros(3), atol=1e-9, rtol=0)
    assert (absolute_values > 1e-3).all()


@pytest.mark.parametrize("name", ["conv_neuron", "basic_neuron_multi_input"])
def test_one_sample_alone_equals_its_row_of_the_batch(name):
    case = next(case for case in NEURON_CONFIGS if case["name"] == name)
    _, model, arguments, layer_name, _, _ = parse_test_config(case)
    erf = EffectiveReceptiveField(model, layer_name)
    together = erf.attribute(**arguments)
    for row in range(3):
        cut = {key: one_row(value, row) for key, value in arguments.items() if key != "neuron_selector"}
        alone = erf.attribute(neuron_selector=arguments["neuron_selector"], **cut)
        assert_close(alone, one_row(together, row))


def one_row(value, row):
    if isinstance(value, tuple):
        return tuple(one_row(item, row) for item in value)
    return value[row : row + 1] if isinstance(value, torch.Tensor) else value


class Raises(nn.Module):
    """A layer that raises, as often as it runs."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, inputs):
        raise self.error


def frozen_in_part():
    model = BasicModel_ConvNet()
    model.conv1.weight.requires_grad_(False)
    return model


ENDINGS = {
    "normal": (None, {}, None),
    "bad selector": (AssertionError, {"neuron_selector": (0, 1)}, None),
    "selector outside": (AssertionError, {"neuron_selector": (0, 1, 99)}, None),
    "bad position": (IndexError, {"position": (0, 99)}, None),
    "bad channel": (IndexError, {"channel": 99}, None),
    "layer raises": (RuntimeError, {}, RuntimeError("broken layer")),
    "interrupt": (KeyboardInterrupt, {}, KeyboardInterrupt()),
}


@pytest.mark.parametrize(("expected", "arguments", "error"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("method", ["attribute", "aggregate"])
def test_the_model_comes_back_as_it_was(method, expected, arguments, error):
    model = frozen_in_part()
    if error is not None:
        model.relu1 = Raises(error)
    before = {name: (p.requires_grad, p.detach().clone()) for name, p in model.named_parameters()}
    inputs = INPUTS.clone()
    erf = EffectiveReceptiveField(model, "conv2")
    given = inputs if method == "attribute" else [inputs]
    if expected is None:
        getattr(erf, method)(given, **arguments)
    else:
        with pytest.raises(expected):
            getattr(erf, method)(given, **arguments)
    assert hooks(model) == []
    assert not inputs.requires_grad
    assert_close(inputs, INPUTS)
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert parameter.requires_grad == before[name][0]
        assert_close(parameter.detach(), before[name][1])


def test_inputs_that_record_gradients_stay_untouched():
    model = BasicModel_ConvNet()
    leaf = INPUTS.clone().requires_grad_()
    derived = leaf * 2
    attributions = EffectiveReceptiveField(model, "conv2").attribute(derived)
    assert leaf.requires_grad and leaf.grad is None
    assert derived.grad_fn is not None
    assert not attributions.requires_grad


def test_the_users_own_graph_survives():
    """A loss computed before can still be differentiated afterwards: nothing it saved was written to."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    loss = model(INPUTS).square().mean()
    model.train()
    with pytest.warns(UserWarning, match="BatchNorm2d in training mode"):
        EffectiveReceptiveField(model, "0").attribute(INPUTS)
    loss.backward()
    assert model[0].weight.grad is not None


def test_selector_together_with_position_or_channel_is_an_error():
    erf = EffectiveReceptiveField(BasicModel_ConvNet(), "conv2")
    for other in ({"position": "corner"}, {"channel": 0}, {"channel": "random"}):
        with pytest.raises(AssertionError, match="neuron_selector excludes position and channel") as caught:
            erf.attribute(INPUTS, neuron_selector=(0, 1, 1), **other)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ((0, 1), r"neuron_selector \(0, 1\) .*\(4, 4, 2, 2\)"),
        ((0, 1, 9), r"neuron_selector \(0, 1, 9\) does not fit .*\(4, 4, 2, 2\)"),
        (lambda output: output.sum(), r"must return one scalar per sample, shape \(4,\), got \(\)"),
        (lambda output: output, r"must return one scalar per sample, shape \(4,\), got \(4, 4, 2, 2\)"),
    ],
    ids=["too short", "outside", "one number for all", "whole output"],
)
def test_bad_selectors_say_what_fits(selector, message):
    erf = EffectiveReceptiveField(BasicModel_ConvNet(), "conv2")
    with pytest.raises(AssertionError, match=message):
        erf.attribute(INPUTS, neuron_selector=selector)


def test_tuple_in_tuple_out():
    model = BasicModel_MultiLayer_MultiInput()
    inputs = (torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 3))
    erf = EffectiveReceptiveField(model, "model.linear1")
    attributions = erf.attribute(inputs, 0, additional_forward_args=4)
    assert isinstance(attributions, tuple)
    assert [item.shape for item in attributions] == [(5, 3)] * 3
    single = EffectiveReceptiveField(BasicModel_MultiLayer(), "linear1")
    assert isinstance(single.attribute((inputs[0],), 0), tuple)
    assert isinstance(single.attribute(inputs[0], 0), torch.Tensor)


def test_device_ids_and_data_parallel_run_the_whole_network(count_calls):
    model = BasicModel_ConvNet()
    expected = EffectiveReceptiveField(model, "conv2").attribute(INPUTS)
    erf = EffectiveReceptiveField(model, "conv2", device_ids=[0])
    erf.attribute(INPUTS)
    head = count_calls(model.fc2)
    listed = erf.attribute(INPUTS)
    assert len(head) == 1
    parallel = nn.DataParallel(model)
    wrapped = EffectiveReceptiveField(parallel, model.conv2).attribute(INPUTS)
    assert_close(listed, expected)
    assert_close(wrapped, expected)
