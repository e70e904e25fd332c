"""What is public: documented, typed and shown by an example, all of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

import xh2cm
from xh2cm.accessor import H2CMAccessor
from xh2cm.methods import Method
from xh2cm.plots.plots import Plots

HOLDERS = {"Dataset.h2cm": H2CMAccessor, "Dataset.h2cm.plot": Plots}
DATA = {"PUBLISHED_NETWORKS"}
"""Public names that are neither functions nor classes: documented in the docstring below them."""


def members(holder: type, name: str) -> Iterator[tuple[str, object]]:
    """Methods and properties that a class has of its own, not inherited."""
    for member, value in vars(holder).items():
        function = value.fget if isinstance(value, property) else getattr(holder, member)
        if not member.startswith("_") and (inspect.isfunction(function) or inspect.ismethod(function)):
            yield f"{name}.{member}", function


def public() -> Iterator[tuple[str, object]]:
    """Everything a user is told of, by the name it is told under."""
    for name in sorted(set(xh2cm.__all__) - DATA):
        value = getattr(xh2cm, name)
        if inspect.ismodule(value):
            yield from ((f"{name}.{inner}", getattr(value, inner)) for inner in value.__all__)
        else:
            yield name, value
            if inspect.isclass(value) and value not in HOLDERS.values():
                yield from members(value, name)
    for name, holder in HOLDERS.items():
        yield from members(holder, name)


PUBLIC = dict(public())


def shown(name: str) -> str:
    """Of a method, what its class shows; the accessors' methods each have an example of their own."""
    holder = name.rpartition(".")[0]
    return "" if holder in HOLDERS else inspect.getdoc(PUBLIC.get(holder)) or ""


@pytest.mark.parametrize("name", PUBLIC)
def test_it_is_documented_with_an_example_and_typed(name):
    thing = PUBLIC[name]
    doc = inspect.getdoc(thing) or ""
    assert doc, "no docstring"
    assert ">>> " in doc + shown(name), "no example"
    if inspect.isfunction(thing):
        arguments = [a for a in inspect.signature(thing).parameters.values() if a.name != "self"]
        assert [a.name for a in arguments if a.annotation is inspect.Parameter.empty] == []
        assert inspect.signature(thing).return_annotation is not inspect.Signature.empty
        assert [a.name for a in arguments if not re.search(rf"\b{a.name}\b", doc)] == [], "not a word on these"


def test_methods_that_are_functions_keep_their_signature_and_documentation(twin):
    for holder in HOLDERS.values():
        for name, value in vars(holder).items():
            if isinstance(value, Method):
                bound, function = getattr(holder(twin), name), value.function
                assert bound.__doc__ == function.__doc__
                assert list(inspect.signature(bound).parameters) == list(inspect.signature(function).parameters)[1:]


def test_what_is_public_is_listed_and_there():
    assert set(xh2cm.__all__) <= set(dir(xh2cm))
    assert all(getattr(xh2cm, name) is not None for name in xh2cm.__all__)
