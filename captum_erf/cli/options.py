"""The options of the command ``captum-erf``, and what is wrong with them as far as the options alone can tell."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any, NoReturn

from ..spacing import Spacing
from ..version import __version__
from . import texts
from .texts import Wanted

PROTOCOLS = ("LUO2016", "REPLKNET", "OPENERF", "NEURAL_API", "VMAMBA", "ENERGY")
PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}
WEIGHTS_FILES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")
EPILOG = """examples:
  captum-erf resnet18
  captum-erf resnet50 --weights none,DEFAULT --data photos --num-samples 200 --target-error 0.02
  captum-erf resnet50 convnext_tiny vit_b_16@encoder.layers.encoder_layer_11
  captum-erf timm:convnext_tiny --layers 'stages.*' --position corner
  captum-erf my_package.my_module:make_model --weights checkpoint.pt
  captum-erf './nets.py:make(16, depth=3)' --shape 1,32,64,64 --spacing 3,0.7,0.7mm"""


class UsageError(Exception):
    """Something that the user can put right on the command line."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help explains the options.\n")


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; a SystemExit after ``--help`` or ``--version``, or a mistake, which is told."""
    command = parser()
    _complete(command)
    options = command.parse_intermixed_args(_joined(arguments))
    try:
        _check(options)
        options.weights = split_weights(options.weights, options.models)
    except ValueError as error:
        command.exit(2, f"{command.prog}: error: {error}\n")
    return options


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--position -1,-1`` as one argument; argparse would take the second for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1].startswith("--") and "=" not in joined[-1] and re.fullmatch(r"-\d[\d.,-]*", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _complete(command: argparse.ArgumentParser) -> None:
    """Shell completion where argcomplete is installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(command)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    command = _Parser(
        prog="captum-erf",
        usage="%(prog)s MODEL [MODEL ...] [options]",
        description="Measures effective receptive fields of networks on real images,\ndraws them and writes them down.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = command.add_argument
    add(
        "models",
        metavar="MODEL",
        nargs="+",
        type=texts.model,
        help="torchvision name, timm:NAME, package.module:factory or ./file.py:factory; MODEL@LAYER names its layer, "
        "factory(16, depth=3) its arguments",
    )
    add("--version", action="version", version=f"captum-erf {__version__}")
    add("--list-layers", action="store_true", help="print the layers with the shapes of their outputs, and stop")
    add("--show-code", action="store_true", help="print the Python that does the same, and stop")
    _add_what(command.add_argument_group("what is measured"))
    _add_data(command.add_argument_group("on which images"))
    _add_how(command.add_argument_group("how"))
    _add_results(command.add_argument_group("what is written"))
    return command


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--layers",
        nargs="+",
        metavar="NAME",
        help="names, or patterns such as 'layer*'; default: of one model for every resolution the last stage that "
        "produces it, of several models the last layer with a grid",
    )
    add("--layout", type=texts.layout, help=f"{texts.LAYOUT_WORDS}, PREFIX class tokens")
    add("--call", type=texts.whole, metavar="N", help="which call of a layer that runs several times; -1 is the last")
    add(
        "--position",
        type=texts.position,
        help="center, corner, edge, or Y,X in units or in shares such as 0.5,0.5; -1,-1 counts from the end",
    )
    add(
        "--channel",
        type=texts.channel,
        help="a number, a comma list (summed), or random for random signs; default: all, summed",
    )
    add(
        "--weights",
        metavar="W[,W...]",
        help="none (random), DEFAULT or another name of published ones, or a file; several, with commas, are measured "
        "one after the other; MODEL=FILE for one of several models; default: none",
    )
    add("--protocol", type=str.upper, choices=PROTOCOLS, help="report another tool's numbers as well")


def _add_data(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of images, without labels, or of .npy arrays (C,H,W or C,D,H,W); default: crops of one "
        "photograph, noise for networks of other inputs",
    )
    add("--size", type=texts.size, metavar="S|H,W", help="of the crops; default: 224, or timm's for the model")
    add("--shape", type=texts.shape, metavar="C,D,H,W", help="of one input, channels first, where it is no image")
    add(
        "--crop",
        choices=("center", "random", "resize"),
        help="of every image the middle, random places, or the whole of it; default: the middle, then random places",
    )
    add("--short-side", type=texts.count, metavar="N", help="scale images to this shorter side before they are cropped")
    add("--num-samples", type=texts.count, metavar="N", help="default: 32, and no more than one an image")
    add(
        "--target-error",
        type=texts.share,
        metavar="E",
        help="stop when the relative standard error of the size that holds half of the map is this small",
    )
    add("--min-samples", type=texts.count, metavar="N", help="with --target-error, look at no fewer samples than these")
    add("--normalize", action="store_true", help="let every sample weigh the same, however large its gradient")


def _add_how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--batch-size", type=texts.count, default=8, metavar="N", help="default: %(default)s")
    add("--device", help="such as cpu or cuda:1; default: cuda where there is one")
    add("--autocast", choices=list(PRECISIONS), help="precision of the passes")
    add("--no-window", dest="window", action="store_false", help="always take the whole input")
    add("--seed", type=texts.seed, default=0, help="of random weights, crops and signs; default: %(default)s")
    add(
        "--resume",
        type=Path,
        metavar="FILE",
        help="write the state to FILE now and then, and go on from it if it is there",
    )
    add("--save-every", type=texts.count, default=10, metavar="N", help="batches between two writes; default: 10")


def _add_results(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--output", type=Path, metavar="DIR", help="folder for the results; default: erf-MODEL")
    add(
        "--format",
        type=texts.formats,
        default=["png"],
        metavar="F[,F...]",
        help=f"of the picture: {', '.join(texts.FORMATS)}; default: png",
    )
    add("--spacing", type=texts.spacing, metavar="LENGTH", help="of a pixel, such as 0.5mm or 3,0.7,0.7mm")
    add(
        "--page",
        action="store_true",
        help="write a page, page.html, to explore in a browser the maps of units all over the layers; of a ResNet-50 "
        "it takes about four minutes on two cores, with fewer samples less",
    )


def _check(options: argparse.Namespace) -> None:
    """Refuses what cannot be, as far as it shows without the networks."""
    names = [entry for given in options.layers or () for entry in texts.entries(given)]
    if options.layers is not None and not names:
        raise ValueError("--layers names no layer; drop it for the default ones, or see --list-layers.")
    options.layers = names or None
    for layers in (names, *(wanted.layers for wanted in options.models)):
        for name in _repeated(layers):
            raise ValueError(f"Layer {name} is named twice; name it once.")
    if names and any(wanted.layers for wanted in options.models):
        raise ValueError("Layers are named by MODEL@LAYER and by --layers; keep one of the two.")
    for wanted in _repeated(options.models):
        raise ValueError(f"{wanted.name} is named twice; name it once, or with another layer (MODEL@LAYER).")
    if options.data is not None and not options.data.is_dir():
        kind = "is a file; name its folder" if options.data.exists() else "is not there"
        raise ValueError(f"--data: the folder {options.data} {kind}.")
    if options.resume is not None and not options.resume.absolute().parent.is_dir():
        raise ValueError(f"--resume: there is no folder {options.resume.parent} to write the file to.")
    if options.short_side is not None and options.crop == "resize":
        raise ValueError("--short-side and --crop resize exclude each other; drop one.")
    if options.size is not None and options.shape is not None:
        raise ValueError("--size and --shape exclude each other; --shape C,H,W says both.")
    if (options.min_samples or 0) > (options.num_samples or inf):
        raise ValueError(f"--min-samples {options.min_samples} is more than --num-samples {options.num_samples}.")
    if options.min_samples is not None and options.target_error is None:
        raise ValueError("--min-samples goes with --target-error; for a fixed number there is --num-samples.")


def _repeated(items: Sequence[Any]) -> list[Any]:
    return [item for item in items if items.count(item) > 1]


def split_weights(text: str | None, models: Sequence[Wanted]) -> list[list[str | None]]:
    r"""
    The weights of every model, in the order given: None for random ones, a name of published ones, or a file.

    Examples::

        >>> models = [Wanted("resnet18"), Wanted("vgg11")]
        >>> split_weights("none,DEFAULT", models)
        [[None, 'DEFAULT'], [None, 'DEFAULT']]
        >>> split_weights(None, models)
        [[None], [None]]
    """
    given: list[list[str | None]] = [[] for _ in models]
    alone = text is None or Path(text).is_file()
    parts = ["none" if text is None else text] if alone else texts.entries(text or "")
    if not parts:
        raise ValueError("--weights names none; write none, DEFAULT or a file, with commas between several.")
    for part in parts:
        named = [place for place, wanted in enumerate(models) if part.startswith(f"{wanted.name}=")]
        value = part.removeprefix(f"{models[named[0]].name}=") if named else part
        _check_weights(value, alone=bool(named) or len({wanted.name for wanted in models}) == 1)
        for place in named or range(len(models)):
            given[place].append(texts.weights(value))
    for wanted, weights in zip(models, given, strict=True):
        if not weights:
            raise ValueError(f"--weights says nothing of {wanted.name}; add {wanted.name}=FILE, none or DEFAULT.")
        if _repeated(weights):
            raise ValueError(f"--weights names weights of {wanted.name} twice; name each once.")
    return given


def _check_weights(value: str, *, alone: bool) -> None:
    owner, equals, file = value.partition("=")
    if equals and Path(file).is_file():
        raise ValueError(f"--weights {value}: {owner!r} is none of the models.")
    named = file_of(value)
    if named and not named.is_file():
        raise ValueError(f"--weights: there is no file {value}.")
    if named and not alone:
        raise ValueError(f"--weights {value}: say whose they are, MODEL={value}.")


def file_of(weights: str | None) -> Path | None:
    """The file that weights are meant to be; None for random ones and for names of published ones."""
    path = Path(weights or "")
    return path if path.is_file() or path.suffix in WEIGHTS_FILES or len(path.parts) > 1 else None


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """The options as they were given, ready for JSON."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    return given | {
        "models": ["@".join([wanted.name, ",".join(wanted.layers)]).strip("@") for wanted in options.models],
        **{name: str(value) for name, value in given.items() if isinstance(value, (Path, Spacing))},
    }
