"""Options: declared once, given as keywords or as a value, and misspelt ones recognised."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest

import xh2cm
from xh2cm.errors import closest
from xh2cm.options import described, keywords_of, part
from xh2cm.train.fitting import FitOptions

PACKAGE = Path(xh2cm.__file__).parent


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast.

    Parameters
    ----------
    rate : float
        Growth of a day.
    days : int
        Number of days.
    """

    rate: float = 0.5
    days: int = 1


@dataclass(frozen=True)
class Options(Rate):
    """Options of growth.

    Parameters
    ----------
    name : str
        What grows.
    """

    name: str = "moss"


@keywords_of(Options)
def grown(size: float, options: Options) -> str:
    """Let something grow.

    Parameters
    ----------
    size : float
        On the first day.

    Returns
    -------
    str
    """
    return f"{options.name} {size * (1 + options.rate) ** options.days:g}"


def test_a_function_shows_the_options_as_its_own_arguments() -> None:
    assert [*inspect.signature(grown).parameters] == ["size", "name", "rate", "days"]
    assert inspect.signature(grown).parameters["days"].default == 1
    assert grown(2.0, "fern", days=2) == "fern 4.5"
    assert grown(size=2.0) == "moss 3"
    doc = inspect.getdoc(grown) or ""
    assert doc.index("size : float") < doc.index("rate : float\n    Growth of a day.") < doc.index("Returns")
    assert part(Options("fern", days=3), Rate) == Rate(days=3)
    with pytest.raises(TypeError, match="too many positional arguments"):
        grown(2.0, "fern", 3)  # type: ignore[call-arg]


def test_every_option_of_fit_is_declared_and_described_once() -> None:
    asked = {p.name for p in inspect.signature(xh2cm.fit).parameters.values()} - {"ds"}
    found: dict[str, list[str]] = {name: [] for name in asked}
    fields = {(kind.__module__, kind.__name__) for kind in FitOptions.__mro__}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and (module, node.name) in fields:
                for line in node.body:
                    if isinstance(line, ast.AnnAssign) and getattr(line.target, "id", "") in found:
                        found[line.target.id].append(f"{module}.{node.name}")  # type: ignore[union-attr]
            elif isinstance(node, ast.FunctionDef) and node.name in ("fit", "fit_dataset", "check", "predict"):
                again = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)} & asked - {"options"}
                known = (
                    {"width", "pin", "progress"} if "cli" in module else set()
                )  # what the model declares, with torch
                assert again <= known, f"{module}.{node.name} declares {again}"
    assert {name: places for name, places in found.items() if len(places) != 1} == {}
    assert described(FitOptions).keys() == asked


@pytest.mark.parametrize(
    ("given", "meant"),
    [("target", "targets"), ("lr", "learning_rate"), ("n_folds", "folds"), ("Epoch", "epochs"), ("unit", "units")],
)
def test_a_misspelt_argument_is_told_the_right_one(twin, given: str, meant: str) -> None:
    with pytest.raises(xh2cm.InputError, match=f"{given}: is not an argument of fit\n.*did you mean '{meant}'"):
        twin.h2cm.fit(**{given: 1, "progress": False})
    assert closest(given, [meant, "x"]) == f"did you mean {meant!r}?"


def test_values_and_keywords_are_merged_unless_they_contradict(twin) -> None:
    ds = twin.isel(time=slice(0, 60), month=slice(0, 2))
    how = {"scheme": "cells", "progress": False, "loop": "plain"}
    whole = ds.h2cm.fit(2, epochs=1, width=4, seed=3, **how)
    training, model = xh2cm.Training(epochs=1), xh2cm.Model(width=4)
    assert ds.h2cm.fit(2, training=training, model=model, seed=3, **how) == whole
    options = xh2cm.DataOptions(static=[])
    assert ds.h2cm.check(options=options, missing="raise").dataset.sizes["feature"] == 0
    with pytest.raises(xh2cm.InputError) as refused:
        ds.h2cm.fit(2, training=training, epochs=2, model={"width": 4}, **how)
    assert [finding.variable for finding in refused.value.findings] == ["epochs", "model"]
    assert refused.value.findings[0].problem == "is 2 as a keyword and 1 in training"
    assert refused.value.findings[1].problem == "is a dict, not a Model"
