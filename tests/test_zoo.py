"""Every kind of network gives the map that plain autograd gives, and comes back as it was."""

import pytest
import torch
import zoo


def _state(model):
    modules = dict(model.named_modules())
    return {
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=False).items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "values": {
            (name, key): value
            for name, module in modules.items()
            for key, value in vars(module).items()
            if isinstance(value, (bool, int, float, str, tuple))
        },
        "hooks": {
            name: [len(value) for key, value in vars(module).items() if "hooks" in key]
            for name, module in modules.items()
        },
        "gradients": {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()},
    }


def _assert_same(before, after):
    tensors, others = before.pop("tensors"), after.pop("tensors")
    assert tensors.keys() == others.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []
    assert before == after


SPECIMENS = [
    pytest.param(specimen, id=specimen.name, marks=() if specimen.is_quick else pytest.mark.zoo) for specimen in zoo.ZOO
]


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
@pytest.mark.parametrize("specimen", SPECIMENS)
def test_maps_equal_plain_autograd(specimen):
    pytest.importorskip(specimen.package.replace("-", "_"))
    model, inputs = zoo.build(specimen).train(), zoo.images(specimen.shape)
    before = _state(model)
    findings = zoo.measure(specimen, model, inputs)
    _assert_same(before, _state(model))
    for finding in findings:
        assert finding.error < zoo.MAP_TOLERANCE, finding
        assert finding.leak < zoo.ROUNDING, finding
