"""The options of the command ``captum-erf``, and how their texts are read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

import torch

from ..network.layouts import Layout, channels_last, tokens
from ..network.units import Channel, Position
from ..protocols import PROTOCOLS
from ..version import __version__

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
EPILOG = """examples:
  captum-erf resnet18
  captum-erf resnet50 --weights DEFAULT --data photos --num-samples 200 --target-error 0.02
  captum-erf timm:convnext_tiny --layers stages.1 stages.2 --position corner
  captum-erf vit_b_16 --layout tokens:1 --layers encoder.layers.encoder_layer_3
  captum-erf my_package.my_module:make_model --weights checkpoint.pt"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help explains the options.\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    command = _Parser(
        prog="captum-erf",
        description="Measures effective receptive fields of a network's layers on real images, draws them and writes "
        "them down.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="torchvision name, timm:NAME, or package.module:factory")
    add("--version", action="version", version=f"captum-erf {__version__}")
    add("--list-layers", action="store_true", help="print the layers with the shapes of their outputs, and stop")

    what = command.add_argument_group("what is measured")
    add = what.add_argument
    add("--layers", nargs="+", metavar="NAME", help="default: for every resolution the last stage that produces it")
    add(
        "--layout",
        type=_layout,
        help="channels_first, channels_last, or tokens[:PREFIX] with PREFIX class tokens in front",
    )
    add(
        "--position",
        type=_position,
        help="center, corner, edge, or Y,X in units or in shares such as 0.5,0.5; from the end: --position=-1,-1",
    )
    add(
        "--channel",
        type=_channel,
        help="a number, a comma list (summed), or random for random signs; default: all, summed",
    )
    add(
        "--weights", help="DEFAULT or another name of published ones, or a file with a state dict; default: random ones"
    )
    add("--protocol", type=str.upper, choices=list(PROTOCOLS), help="report another tool's numbers as well")

    data = command.add_argument_group("on which images")
    add = data.add_argument
    add("--data", type=Path, metavar="DIR", help="folder of images, without labels; default: crops of one photograph")
    add("--size", type=_count, help="side of the square crops; default: 224, or what a timm model was made for")
    add("--num-samples", type=_count, metavar="N", help="number of crops; default: 32, and no more than one an image")
    add(
        "--target-error",
        type=_share,
        metavar="E",
        help="stop when the relative standard error of radius(0.5) is this small",
    )

    how = command.add_argument_group("how")
    add = how.add_argument
    add("--batch-size", type=_count, default=8, metavar="N", help="default: %(default)s")
    add("--device", help="such as cpu or cuda:1; default: cuda where there is one")
    add("--autocast", choices=list(PRECISIONS), help="precision of the passes")
    add("--no-window", dest="window", action="store_false", help="always take the whole input")
    add("--seed", type=_seed, default=0, help="of random weights, crops and signs; default: %(default)s")
    add("--output", type=Path, metavar="DIR", help="folder for the results; default: erf-MODEL")
    add(
        "--resume",
        type=Path,
        metavar="FILE",
        help="write the state to FILE now and then, and go on from it if it is there",
    )
    add("--save-every", type=_count, default=10, metavar="N", help="batches between two writes; default: %(default)s")
    return command


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    try:
        torch.Generator().manual_seed(int(text))
    except (ValueError, RuntimeError):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 64 bits") from None
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1, such as 0.02 for 2 %")
    return share


def _position(text: str) -> Position:
    if "," not in text:
        if text in ("center", "corner", "edge"):
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is not center, corner, edge or Y,X such as 3,3")
    try:
        return tuple(float(entry) if "." in entry else int(entry) for entry in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} holds something that is no number; write Y,X such as 3,3") from None


def _channel(text: str) -> Channel:
    if text == "random":
        return text
    try:
        found = [int(entry) for entry in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not random, a whole number or a comma list of them") from None
    return found if len(found) > 1 else found[0]


def _layout(text: str) -> Layout:
    kind, _, prefix = text.partition(":")
    if text == "channels_first":
        return text
    if text == "channels_last":
        return channels_last
    if kind == "tokens" and (not prefix or prefix.isdecimal()):
        return tokens(prefix=int(prefix or 0))
    raise argparse.ArgumentTypeError(f"{text!r} is not channels_first, channels_last, tokens or tokens:PREFIX")
