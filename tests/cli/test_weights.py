"""Checkpoints: nested, with prefixes, with other heads; what is refused, and what is said about it."""

import argparse

import numpy as np
import pytest
import torch
from torch import nn

from captum_erf.cli import options
from captum_erf.cli.models import WeightsError
from captum_erf.cli.weights import read_weights

SHAPE = (3, 8, 8)


def network(classes=4, *, width=5, seed=0):
    """A body that is measured, and a head behind it."""
    torch.manual_seed(seed)
    return nn.ModuleDict(
        {
            "body": nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3)),
            "head": nn.Linear(width, classes),
        }
    )


class Network(nn.Module):
    def __init__(self, classes=4, *, width=5, seed=0):
        super().__init__()
        self.update(network(classes, width=width, seed=seed))

    def update(self, parts):
        self.body, self.head = parts["body"], parts["head"]

    def forward(self, image):
        return self.head(self.body(image).mean((2, 3)))


@pytest.fixture
def trained():
    model = Network(seed=7)
    model.body[1].running_mean.fill_(0.5)
    return model


def read(model, file):
    return read_weights(model, file, [model.body], SHAPE)


def prefixed(prefix):
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


WRAPPINGS = {
    "plain": lambda state: state,
    **{
        key: lambda state, key=key: {key: state, "epoch": 3}
        for key in ("state_dict", "model", "model_state_dict", "model_ema", "ema", "teacher", "student")
    },
    **{
        prefix: prefixed(prefix)
        for prefix in ("module.", "model.", "_orig_mod.", "backbone.", "encoder.", "module.backbone.")
    },
    "options beside": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)},
    "averaged in parallel": lambda state: {"model_ema": prefixed("module.")(state), "model": {}},
    "ema beside the last": lambda state: {"state_dict": prefixed("model.")(state), "optimizer": {"lr": torch.ones(1)}},
    "number of updates": lambda state: {"n_averaged": torch.tensor(3), **prefixed("module.")(state)},
    "without counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_checkpoints_as_people_have_them(tmp_path, trained, wrap):
    torch.save(wrap(trained.state_dict()), tmp_path / "weights.pt")
    model = Network()
    assert read(model, tmp_path / "weights.pt") is None
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    for name, value in model.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, trained.state_dict()[name]), name


def test_safetensors(tmp_path, trained):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    model = Network()
    assert read(model, tmp_path / "weights.safetensors") is None
    assert torch.equal(model.body[0].weight, trained.body[0].weight)
    (tmp_path / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="is no safetensors file, or a damaged one"):
        read(model, tmp_path / "weights.safetensors")


def test_head_of_another_width_is_left_out_and_named(tmp_path, trained):
    torch.save(Network(10, seed=7).state_dict(), tmp_path / "weights.pt")
    model = Network()
    said = read(model, tmp_path / "weights.pt")
    assert "head.weight, head.bias of the model stay random" in said
    assert torch.equal(model.body[3].weight, trained.body[3].weight)


def test_body_without_a_head_and_with_the_head_of_another_task(tmp_path, trained):
    state = {f"backbone.{name}": value for name, value in trained.body.state_dict(prefix="body.").items()}
    state |= {"backbone.projector.weight": torch.zeros(2, 2)}
    torch.save(state, tmp_path / "weights.pt")
    model = Network()
    said = read(model, tmp_path / "weights.pt")
    assert "head.weight, head.bias of the model stay random" in said
    assert "projector.weight of the file are not used" in said
    assert torch.equal(model.body[1].running_mean, trained.body[1].running_mean)


def test_what_lies_before_the_measured_layer_must_fit(tmp_path):
    torch.save(Network(width=6).state_dict(), tmp_path / "weights.pt")
    model = Network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        read(model, tmp_path / "weights.pt")
    said = str(caught.value)
    assert (
        "of the weights before the measured layer, such as body.0.weight (5, 3, 3, 3), in the file (6, 3, 3, 3);"
        in said
    )
    assert said.count(", in the file") == 5
    assert "head" not in said
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_names_that_are_nearly_right_are_shown(tmp_path, trained):
    torch.save({name.replace("body.0", "body.conv0"): v for name, v in trained.state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"body.0.weight \(5, 3, 3, 3\), not in the file \(nearest: body.conv0.weight\)"
    ):
        read(Network(), tmp_path / "w.pt")


def test_deeper_network_of_the_same_kind_is_refused(tmp_path, trained):
    torch.save(trained.state_dict() | {"body.4.weight": torch.zeros(5, 5, 3, 3)}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"holds 1 weights that the model has not, such as body.4.weight"):
        read(Network(), tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor; expected a state dict"),
        ({1: torch.zeros(2)}, "holds a dict; expected a state dict of names and tensors"),
        ({"0.weight": 3}, "holds a dict; expected a state dict of names and tensors"),
        (nn.Conv2d(1, 1, 1), "no weights that can be read without pickle"),
    ],
    ids=["tensor", "numbered", "numbers", "whole model"],
)
def test_files_that_hold_no_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=message):
        read(Network(), tmp_path / "weights.pt")


def test_weights_of_nan_are_refused(tmp_path, trained):
    nn.init.constant_(trained.body[3].bias, np.nan)
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"holds NaN in 1 weights \(body.3.bias, ...\)"):
        read(Network(), tmp_path / "weights.pt")


def test_finding_out_what_matters_leaves_the_model_as_it_was(tmp_path):
    torch.save(Network(10).state_dict(), tmp_path / "weights.pt")
    model = Network().eval().requires_grad_(False)
    read(model, tmp_path / "weights.pt")
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_random_and_default_may_be_said_in_other_words():
    given = options.read(["resnet18", "--weights", "random,default"]).weights
    assert given == options.read(["resnet18", "--weights", "none,DEFAULT"]).weights == [[None, "DEFAULT"]]
