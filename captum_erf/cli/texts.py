"""The texts of options, and what they stand for. No torch here: a mistake is answered at once."""

from __future__ import annotations

import ast
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..spacing import Spacing

LARGEST_SEED = 2**64 - 1
FORMATS = ("png", "pdf", "svg", "eps", "jpg", "tif", "webp")
UNNAMED = ("none", "random", "")
LAYOUTS = {"channels_first": "", "channels_last": "", "tokens": "[:PREFIX]"}  # and what may stand behind them
LAYOUT_WORDS = ", or ".join(", ".join(map("".join, LAYOUTS.items())).rsplit(", ", 1))


@dataclass(frozen=True)
class Wanted:
    """``MODEL@LAYER,LAYER``: a model's name, and its layers where the user named them."""

    name: str
    layers: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The module or file that holds the factory; empty for a name of torchvision's or timm's."""
        return "" if self.name.startswith("timm:") else self._parts[0]

    @property
    def attribute(self) -> str:
        """The factory's name."""
        return self._parts[1]

    @property
    def arguments(self) -> str | None:
        """What stands in the factory's brackets; None where there are none."""
        return self._parts[2]

    @property
    def short(self) -> str:
        """The name without the place that it comes from."""
        found = FACTORY.fullmatch(self.name)
        return self.name.removeprefix("timm:") if found is None else self.name[found.start("name") :]

    @property
    def _parts(self) -> tuple[str, str, str | None]:
        found = FACTORY.fullmatch(self.name)
        return ("", self.name, None) if found is None else (found["place"], found["name"], found["arguments"])


FACTORY = re.compile(r"(?P<place>[^(]+?):(?P<name>\w[\w.]*)(?:\((?P<arguments>.*)\))?", re.DOTALL)
LAYERS = re.compile(r"@([^@()]*)$")


def model(text: str) -> Wanted:
    name, _, layers = text.rpartition("@") if LAYERS.search(text) else (text, "", "")
    if not name or ("@" in text[len(name) :] and not layers):
        raise ArgumentTypeError(f"{text!r} lacks the model or the layer; write MODEL or MODEL@LAYER")
    wanted = Wanted(name, tuple(entries(layers)))
    if ":" in name and not name.startswith("timm:") and not wanted.place:
        raise ArgumentTypeError(
            f"{text!r} cannot be read; write package.module:FACTORY or ./FILE.py:FACTORY(16, depth=3)"
        )
    if wanted.place:
        _check_factory(wanted)
    return wanted


def _check_factory(wanted: Wanted) -> None:
    place = Path(wanted.place)
    if place.suffix == ".py" and not place.is_file():
        raise ArgumentTypeError(f"there is no file {place}; write ./FILE.py:FACTORY or package.module:FACTORY")
    if place.suffix != ".py" and not _is_module(wanted.place.split(".")[0]):
        raise ArgumentTypeError(
            f"there is no module {wanted.place!r} here or among the installed packages; MODEL is a torchvision name, "
            "timm:NAME, package.module:FACTORY or ./FILE.py:FACTORY"
        )
    if wanted.arguments is not None:
        call_arguments(wanted.arguments)


def _is_module(name: str) -> bool:
    here = [Path(f"{name}.py"), Path(name)]
    return any(path.exists() for path in here) or (name.isidentifier() and find_spec(name) is not None)


def call_arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of a call, of plain values alone: ``16, depth=3``."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        given = [ast.literal_eval(argument) for argument in call.args]
        named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except (SyntaxError, ValueError, AssertionError) as error:
        raise ArgumentTypeError(
            f"({text}) is no list of plain values (numbers, strings, lists, True, None), such as (16, depth=3)"
        ) from error
    return given, named


def entries(text: str) -> list[str]:
    """What stands between the commas that are not inside brackets or quotes."""
    parts = re.findall(r"""(?:[^,()\[\]"']|\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\]|"[^"]*"|'[^']*')+""", text)
    return [part.strip() for part in parts if part.strip()]


def weights(text: str) -> str | None:
    """None for random ones; ``default`` may be written small."""
    return None if text in UNNAMED else "DEFAULT" if text == "default" else text


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise ArgumentTypeError(f"{text!r} is no whole number of 64 bits")
    return int(text)


def share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise ArgumentTypeError(f"{text!r} is no share between 0 and 1, such as 0.02 for 2 %")
    return found


def size(text: str) -> tuple[int, int]:
    """``224`` or ``224,320``."""
    lengths = [count(entry) for entry in re.split("[,x]", text)]
    if len(lengths) > 2:
        raise ArgumentTypeError(f"{text!r} is no side, such as 224, and no H,W, such as 224,320; --shape takes more")
    return lengths[0], lengths[-1]


def shape(text: str) -> tuple[int, ...]:
    """``C,D,H,W``."""
    lengths = tuple(count(entry) for entry in re.split("[,x]", text))
    if not 2 <= len(lengths) <= 4:
        raise ArgumentTypeError(f"{text!r} is no channels and one to three lengths, such as 1,32,64,64 (C,D,H,W)")
    return lengths


def position(text: str) -> Any:
    if "," not in text:
        if text in ("center", "corner", "edge"):
            return text
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            return (float(text) if "." in text else int(text),)
        raise ArgumentTypeError(f"{text!r} is not center, corner, edge or Y,X such as 3,3")
    try:
        return tuple(float(entry) if "." in entry else int(entry) for entry in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} holds something that is no number; write Y,X such as 3,3") from None


def channel(text: str) -> Any:
    if text == "random":
        return text
    try:
        found = [int(entry) for entry in text.split(",")]
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not random, a whole number or a comma list of them") from None
    return found if len(found) > 1 else found[0]


def layout(text: str) -> str:
    kind, colon, prefix = text.partition(":")
    if kind in LAYOUTS and (prefix.isdecimal() and LAYOUTS[kind] if colon else True):
        return text
    raise ArgumentTypeError(f"{text!r} is not {LAYOUT_WORDS}")


def formats(text: str) -> list[str]:
    found = entries(text)
    unknown = [entry for entry in found if entry not in FORMATS]
    if unknown or not found:
        raise ArgumentTypeError(f"{text!r} is no comma list of {', '.join(FORMATS)}")
    return list(dict.fromkeys(found))


def spacing(text: str) -> Spacing:
    try:
        return Spacing.read(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
