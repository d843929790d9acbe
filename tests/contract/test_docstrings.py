"""Every public name says in Captum's form what it takes, gives and is for; doctest runs the examples."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any

import pytest

import captum_erf
from captum_erf import protocols, summaries, theory, visualization

MODULES = (captum_erf, protocols, summaries, theory, visualization)
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Warns|Examples)::?$", re.MULTILINE)
INSIDE = {  # public by name, for the package's own modules: a summary will do
    *("expect", "from_box", "from_dict", "halo_in_words", "has_dead_unit", "holds", "leave_one_out"),
    *("narrowed", "replicates", "start_over", "to_dict", "unprobed"),
}

PUBLIC = {f"{module.__name__}.{name}": getattr(module, name) for module in MODULES for name in module.__all__}
CLASSES = {name: found for name, found in PUBLIC.items() if inspect.isclass(found)}
FUNCTIONS = {name: found for name, found in PUBLIC.items() if inspect.isfunction(found)}
REPORTS = {protocol.report_type.__name__: protocol.report_type for protocol in protocols.PROTOCOLS.values()}
MEMBERS = {
    f"{home}.{name}": (found, name)
    for home, found in CLASSES.items()
    for base in found.__mro__
    if base.__module__.startswith("captum_erf")
    for name, member in vars(base).items()
    if not name.startswith("_") and (isinstance(member, (property, cached_property, classmethod)) or callable(member))
}
METHODS = {name: (home, own) for name, (home, own) in MEMBERS.items() if callable(getattr(home, own))}
PROPERTIES = {name: member for name, member in MEMBERS.items() if name not in METHODS}
PROMISED = {name: member for name, member in METHODS.items() if member[1] not in INSIDE}


def sections(found: Any) -> dict[str, str]:
    """The parts of a docstring by their heading."""
    summary, *rest = SECTION.split(inspect.getdoc(found) or "")
    return {"summary": summary.strip(), **dict(zip(rest[::2], rest[1::2], strict=True))}


def parameters(found: Any) -> list[str]:
    return [name for name in inspect.signature(found).parameters if name not in ("self", "cls")]


def gives_something(found: Any) -> bool:
    return inspect.signature(found).return_annotation not in (None, "None")


def missing(names: Iterable[str], text: str) -> list[str]:
    return [name for name in names if not re.search(rf"\b{name}\b", text)]


def table(names: dict[str, Any]) -> Any:
    return {"argvalues": names.values(), "ids": names.keys()}


def test_what_is_looked_at():
    assert len(FUNCTIONS) > 20
    assert {"captum_erf.ERFMap.radius_mass", "captum_erf.EffectiveReceptiveField.attribute"} <= PROMISED.keys()
    assert "captum_erf.ERFMap.center" in PROPERTIES
    assert "LuoReport" in REPORTS
    assert {own for _, own in MEMBERS.values()} >= INSIDE


@pytest.mark.parametrize("found", **table(CLASSES | FUNCTIONS | REPORTS))
def test_all_say_what_they_are(found):
    assert re.match(r"[A-Z].*[.:]", sections(found)["summary"], re.DOTALL)


@pytest.mark.parametrize(("home", "name"), **table(MEMBERS))
def test_members_say_what_they_are_or_their_class_does(home, name):
    of_its_own = inspect.getdoc(getattr(home, name))
    assert of_its_own or not missing([name], sections(home).get("Attributes", ""))


@pytest.mark.parametrize("found", **table(FUNCTIONS))
def test_functions_name_arguments_and_result_and_show_an_example(found):
    parts = sections(found)
    assert missing(parameters(found), parts.get("Args", "")) == []
    assert "Returns" in parts or not gives_something(found)
    assert ">>>" in parts.get("Examples", "")


@pytest.mark.parametrize(("home", "name"), **table(PROMISED))
def test_methods_name_arguments_and_result(home, name):
    found = getattr(home, name)
    parts = sections(found)
    formula = re.search(r"see :func:`summaries\.(\w+)`", parts["summary"])
    if formula:  # what is not said here is said there
        parts = sections(getattr(summaries, formula[1])) | parts
    assert missing(parameters(found), parts.get("Args", "")) == []
    assert "Returns" in parts or not parameters(found) or not gives_something(found)


@pytest.mark.parametrize(("home", "name"), **table(PROMISED))
def test_methods_are_shown_in_an_example_of_their_own_or_their_class(home, name):
    shown = [sections(part).get("Examples", "") for part in (getattr(home, name), home)]
    assert re.search(rf"(>>>|\.\.\.) .*\.{name}\(", "".join(shown))


@pytest.mark.parametrize("found", **table({name: found for name, found in CLASSES.items() if is_dataclass(found)}))
def test_results_name_what_they_hold(found):
    parts = sections(found)
    held = [field.name for field in fields(found)]
    assert missing(held, parts.get("Attributes") or parts["Args"]) == []


@pytest.mark.parametrize("found", **table(REPORTS))
def test_reports_name_what_they_hold(found):
    told = "".join(sections(base).get("Attributes", "") for base in found.__mro__)
    assert missing([field.name for field in fields(found) if not field.name.endswith("_se")], told) == []


@pytest.mark.parametrize(
    "found", **table({name: found for name, found in CLASSES.items() if "__init__" in vars(found)})
)
def test_classes_name_what_they_take(found):
    assert is_dataclass(found) or missing(parameters(found), sections(found)["Args"]) == []


@pytest.mark.parametrize("found", **table(CLASSES))
def test_classes_show_an_example(found):
    members = [getattr(found, name) for name in dir(found) if not name.startswith("_")]
    makers = [
        other for other in FUNCTIONS.values() if inspect.signature(other).return_annotation in (found, found.__name__)
    ]
    shown = [sections(part).get("Examples", "") for part in (found, *filter(callable, members), *makers)]
    assert ">>>" in "".join(shown)
