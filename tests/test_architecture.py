"""The rooms of the house: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xh2cm.variables import (
    FORCING,
    OUTPUTS,
    SOURCES,
    STATIC,
    TARGETS,
    Fluxes,
    Forcing,
)

PACKAGE = Path(__file__).resolve().parents[1] / "xh2cm"

FLOORS = (
    {"variables", "errors", "versions", "text"},
    {"console", "html", "methods", "options", "disk", "ambient"},
    {"targets"},
    {"physics"},
    {"loop"},
    {"model", "data"},
    {"io", "datasets"},
    {"fitted"},
    {"settings"},
    {"train"},
    {"prediction", "evaluate"},
    {"plots"},
    {"page"},
    {"jobs"},
    {"workflow"},
    {"prepared"},
    {"accessor"},
    {""},
    {"cli", "__main__"},
)
"""From the ground up; a room imports only from its own floor and those below it. "" is ``xh2cm/__init__.py``."""

FORBIDDEN = {"physics": {"xarray"}, "loop": {"xarray"}}
"""What a room must not know of."""

LIGHT = [
    "xh2cm",
    "xh2cm.data.check",
    "xh2cm.data.folds",
    "xh2cm.datasets.published",
    "xh2cm.datasets.tutorial",
    "xh2cm.data.units",
    "xh2cm.targets",
    "xh2cm.versions",
]
"""What is imported without torch."""

FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(module: str) -> Iterator[str]:
    """Full names of the modules that ``module`` imports, also inside functions."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
            start = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*start, *([node.module] if node.module else [])])
            inner = [f"{name}.{alias.name}" for alias in node.names]
            yield from (one if one in FILES else name for one in inner)


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def floor(module: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room(module) in rooms)


IMPORTS = {module: {name for name in imported(module) if name.split(".")[0] == "xh2cm"} for module in FILES}


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module: str) -> None:
    assert any(room(module) in rooms for rooms in FLOORS), f"{module} is in no room of FLOORS"
    assert [name for name in IMPORTS[module] if floor(name) > floor(module)] == []


@pytest.mark.parametrize("unit", [room, str], ids=["room", "file"])
def test_imports_form_no_circle(unit: Callable[[str], str]) -> None:
    needs = {unit(module): set[str]() for module in FILES}
    for module, names in IMPORTS.items():
        needs[unit(module)] |= {unit(name) for name in names} - {unit(module)}
    while free := [name for name, wants in needs.items() if not wants & needs.keys()]:
        for name in free:
            del needs[name]
    assert needs == {}


@pytest.mark.parametrize(("place", "libraries"), FORBIDDEN.items())
def test_room_knows_nothing_of(place: str, libraries: set[str]) -> None:
    inside = [module for module in FILES if room(module) == place]
    assert inside
    assert [(m, name) for m in inside for name in imported(m) if name.split(".")[0] in libraries] == []


def test_every_file_is_named_after_what_it_holds() -> None:
    assert [
        name for name in FILES if name.rsplit(".", 1)[-1].strip("_") in {"utils", "util", "helpers", "common", "misc"}
    ] == []


@pytest.mark.parametrize("module", LIGHT)
def test_import_leaves_torch_alone(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode == 0


def written(module: str) -> Iterator[str]:
    """Text in the code of a module, other than its docstrings."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def test_a_variable_is_written_once() -> None:
    """Its long_name and standard_name, where these are more than the word that the code calls it by."""
    known = {**FORCING, **OUTPUTS, **TARGETS, **STATIC, **SOURCES}
    keys = set(known) | {var.name for var in known.values()} | {field for t in (Forcing, Fluxes) for field in t._fields}
    told = {text for var in known.values() for text in (var.long_name, var.standard_name) if text} - keys
    assert len(told) > 80
    elsewhere = {(module, text) for module in FILES if module != "xh2cm.variables" for text in written(module)}
    assert sorted((module, text) for module, text in elsewhere if text in told) == []
    names = {v.long_name for v in known.values()} - keys - {alias for v in known.values() for alias in v.aliases}
    inside = [text for text in written("xh2cm.variables") if text in names]
    assert sorted(text for text in set(inside) if inside.count(text) > 1) == []
