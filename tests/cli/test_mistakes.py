"""What the command says to mistakes and failures."""

import math

import pytest
import torch
from command import NET
from torch import nn

from captum_erf import cli, images

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace", "no_pictures")

USAGE = {
    "no model": ([], "the following arguments are required: MODEL"),
    "unknown option": (["resnet18", "--frobnicate"], "unrecognized arguments: --frobnicate; captum-erf --help"),
    "misspelt model": (["resnet81"], "torchvision has no model 'resnet81'; the nearest names are resnet18"),
    "no such module": (["nowhere:net"], "there is no module 'nowhere'"),
    "factory that cannot be read": (["cli_models:net(1,"], "write package.module:FACTORY or ./FILE.py:FACTORY(16"),
    "arguments that are no values": (["cli_models:net(x)"], "(x) is no list of plain values"),
    "no such file": (["./cli_model.py:net"], "there is no file cli_model.py"),
    "misspelt factory in a file": (["./cli_models.py:nett"], "the nearest names are net"),
    "file without a factory": (["cli_models.py"], "name its factory as well: ./cli_models.py:FACTORY"),
    "no layer": ([*NET, "--layers", ""], "--layers names no layer"),
    "layer twice": ([*NET, "--layers", "4", "1,4"], "Layer 4 is named twice"),
    "layers named in two ways": ([NET[0] + "@4", "--layers", "1"], "by MODEL@LAYER and by --layers; keep one"),
    "model twice": (["cli_models:net", "cli_models:net"], "cli_models:net is named twice"),
    "pattern without a layer": ([*NET, "--layers", "block*"], "no layer that runs is called 'block*'"),
    "size with three sides": ([*NET, "--size", "1,2,3"], "'1,2,3' is no side, such as 224, and no H,W"),
    "size and shape": ([*NET, "--shape", "3,8,8"], "--size and --shape exclude each other"),
    "shape of one number": (["cli_models:net", "--shape", "3"], "'3' is no channels and one to three lengths"),
    "whole image and short side": ([*NET, "--crop", "resize", "--short-side", "40"], "exclude each other; drop one"),
    "short side below the size": ([*NET, "--short-side", "8"], "a shorter side of 8 hold no crop of 16 x 16"),
    "one photograph, many central crops": (
        [*NET, "--crop", "center", "--num-samples", "4"],
        "one crop of each of 1 image",
    ),
    "unknown format": ([*NET, "--format", "png,doc"], "'png,doc' is no comma list of png, pdf"),
    "spacing without a number": ([*NET, "--spacing", "mm"], "'mm' is no length of a pixel"),
    "more samples at least than at most": (
        [*NET, "--num-samples", "4", "--min-samples", "8", "--target-error", "0.1"],
        "--min-samples 8 is more than --num-samples 4",
    ),
    "fewest samples without a target": ([*NET, "--min-samples", "8"], "--min-samples goes with --target-error"),
    "weights twice": ([*NET, "--weights", "none,none"], "names weights of cli_models:net twice"),
    "weights of no model": ([*NET, "--weights", "vgg=cli_models.py"], "'vgg' is none of the models"),
    "weights for one of two": (
        [*NET, "cli_models:other", "--weights", "cli_models:net=cli_models.py"],
        "--weights says nothing of cli_models:other",
    ),
    "no such factory": (["cli_models:nett"], "the nearest names are net"),
    "misspelt layer": (
        ["resnet18", "--layers", "layer5"],
        "ResNet has no layer 'layer5'; the nearest names are 'layer",
    ),
    "position outside": ([*NET, "--position", "3,9"], "position 9 is outside an axis of 8 units"),
    "position with one axis": ([*NET, "--position", "3"], "position (3,) has 1 entries, but the layer's grid"),
    "position with three axes": ([*NET, "--position", "1,2,3"], "has 3 entries, but the layer's grid"),
    "position of words": ([*NET, "--position", "a,b"], "'a,b' holds something that is no number"),
    "channel outside": ([*NET, "--channel", "7"], "--channel 7 is outside the 4 channels of 1: 0 to 3"),
    "call outside": ([*NET, "--call", "2", "--layers", "4"], "--call 2: 4 runs 1 time in one pass; use -1 to 0"),
    "number in place of a model": (["cli_models:nn.modules.__name__"], "is of type str; expected a torch.nn.Module"),
    "lengths for other axes": ([*NET, "--spacing", "1,2,3mm"], "The spacing 1,2,3mm has 3 lengths; expected 1 or 2"),
    "channel of words": ([*NET, "--channel", "red"], "'red' is not random, a whole number"),
    "no samples": ([*NET, "--num-samples", "0"], "'0' is no whole number of 1 or more"),
    "no batch": ([*NET, "--batch-size", "-1"], "--batch-size"),
    "target above one": ([*NET, "--target-error", "2"], "'2' is no share between 0 and 1"),
    "unknown layout": ([*NET, "--layout", "last"], "'last' is not channels_first, channels_last"),
    "wrong layout": ([*NET, "--layout", "tokens", "--layers", "4"], "Here: --layout channels_last or --layout tokens"),
    "unknown device": ([*NET, "--device", "abacus"], "--device abacus cannot be used"),
    "no such weights": (["resnet18", "--weights", "BEST"], "resnet18 has no weights 'BEST'"),
    "no such weights file": ([*NET, "--weights", "best.pt"], "there is no file best.pt"),
    "no such folder": ([*NET, "--data", "nowhere"], "--data: the folder nowhere is not there"),
    "device without values": ([*NET, "--device", "meta"], "--device meta cannot be used: Tensor.item() cannot"),
    "seed of more than 64 bits": ([*NET, "--seed", str(10**20)], f"'{10**20}' is no whole number of 64 bits"),
    "seed of words": ([*NET, "--seed", "x"], "'x' is no whole number of 64 bits"),
    "output is a file": ([*NET, "--output", "cli_models.py"], "--output: cli_models.py cannot be made a folder"),
    "output in a file": ([*NET, "--output", "cli_models.py/x"], "folder (Not a directory); name another one"),
    "double model": (["cli_models:double", "--size", "16"], "float32, as the images, instead of torch.float64"),
    "volumes without a shape": (["cli_models:volumes"], "takes volumes of 1 channel; say how large: --shape C,D,H,W"),
    "protocol and channel": ([*NET, "--protocol", "NEURAL_API", "--channel", "1"], "NEURAL_API fixes the channel"),
    "protocol and position": ([*NET, "--protocol", "OPENERF", "--position", "edge"], "OPENERF fixes the position"),
    "protocol and normalize": (
        [*NET, "--protocol", "LUO2016", "--normalize"],
        "LUO2016 takes the mean of the sample maps",
    ),
    "resume into nowhere": ([*NET, "--resume", "nowhere/run.pt"], "no folder nowhere to write"),
    "resume from a model": ([*NET, "--resume", "cli_models.py"], "cli_models.py is no file that --resume wrote"),
}


@pytest.mark.parametrize("case", USAGE)
def test_mistakes_are_answered_in_one_line_and_exit_2(case, capsys):
    arguments, message = USAGE[case]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("captum-erf: error: ")
    assert "Traceback" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([*NET, "--data", "empty"], "empty holds no image that can be read, among 0 files", id="no images"),
        pytest.param(["cli_models:dead", "--size", "16"], "are dead", id="dead unit"),
        pytest.param([*NET, "--weights", "cli_models.py"], "no weights that can be read", id="weights"),
        pytest.param([*NET, "--weights", "nan.pt"], "nan.pt holds NaN in 1 weights (4.bias, ...)", id="weights of NaN"),
    ],
)
def test_failures_are_told_in_one_line_and_exit_1(tmp_path, arguments, message, capsys):
    (tmp_path / "empty").mkdir()
    broken = nn.ModuleDict({"0": nn.Conv2d(3, 4, 3), "4": nn.Conv2d(4, 4, 3)})
    nn.init.constant_(broken["4"].bias, math.nan)
    torch.save(broken.state_dict(), "nan.pt")
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("captum-erf: error: ")
    assert message in said


def test_failure_on_the_way_is_not_hidden_by_a_dead_layer(tmp_path, monkeypatch, capsys):
    read = images.Crops.__getitem__

    def fail_late(crops, number):
        if number == 5:
            raise ValueError("the disk is gone")
        return read(crops, number)

    monkeypatch.setattr(images.Crops, "__getitem__", fail_late)
    arguments = ["cli_models:dead", "--size", "16", "--layers", "0", "1", "--batch-size", "2", "--output", "out"]
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "captum-erf: error: the disk is gone"
    assert not list((tmp_path / "out").iterdir())
