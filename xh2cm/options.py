"""Options of functions: declared once as the fields of a dataclass, given as keywords or as a value."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from xh2cm.errors import Finding, InputError, closest

__all__ = ["described", "keywords_of", "part"]

P = ParamSpec("P")
D = TypeVar("D")
O = TypeVar("O")  # noqa: E741 - of options
R = TypeVar("R")

SECTION = re.compile(r"^(\w[\w ]*)\n-+\n", re.MULTILINE)
"""The heading of a section of a docstring."""


def keywords_of(options: Callable[P, O]) -> Callable[[Callable[[D, O], R]], Callable[Concatenate[D, P], R]]:
    """Let a function of something and its options be called with the options as keywords.

    Parameters
    ----------
    options : dataclass
        Each field is a keyword: its type, default and description (an entry of "Parameters" in the docstring of the
        class that declares it) become those of the function. A field whose metadata name a ``value``, another
        dataclass that `options` inherits from, takes the fields of that one together.

    Returns
    -------
    callable
        A decorator.

    Raises
    ------
    InputError
        If the function is called with a keyword that it does not have, or with a value and a keyword that contradict
        each other; all findings at once.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from xh2cm.options import keywords_of
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Growth:
    ...     '''How it grows.
    ...
    ...     Parameters
    ...     ----------
    ...     rate : float
    ...         Of a day.
    ...     '''
    ...
    ...     rate: float = 0.5
    >>> @keywords_of(Growth)
    ... def grown(size: float, options: Growth) -> float:
    ...     return size * (1 + options.rate)
    >>> grown(2.0, rate=1.0)
    4.0
    >>> grown(2.0, rates=1.0)
    Traceback (most recent call last):
    ...
    xh2cm.errors.InputError: 1 problem with the input:
      - rates: is not an argument of grown
        -> did you mean 'rate'?
    """

    def spelled_out(function: Callable[[D, O], R]) -> Callable[Concatenate[D, P], R]:
        own = inspect.signature(function)
        first = next(iter(own.parameters.values())).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = [p.replace(annotation=str(p.annotation)) for p in inspect.signature(options).parameters.values()]
        signature = own.replace(parameters=[first, *named])

        @functools.wraps(function)
        def called(*args: Any, **given: Any) -> R:
            merged = spread(options, function.__name__, given, {first.name})
            bound = signature.bind(*args, **merged)
            subject = bound.arguments.pop(first.name)
            return function(subject, options(**bound.arguments))  # type: ignore[call-arg]

        del called.__dict__["__wrapped__"]
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in (first, *named)} | {"return": own.return_annotation}
        called.__doc__ = with_entries(function.__doc__, described(cast(type, options)))
        return cast(Callable[Concatenate[D, P], R], called)

    return spelled_out


def spread(options: Any, name: str, given: Mapping[str, Any], beside: set[str]) -> dict[str, Any]:
    """Merge the keywords of a call with the fields of the values among them.

    Raises
    ------
    InputError
        If a keyword is unknown, a value is of another type, or both contradict each other.
    """
    fields = {f.name: f for f in dataclasses.fields(options)}
    findings = [
        Finding(key, f"is not an argument of {name}", closest(key, fields))
        for key in given
        if key not in fields and key not in beside
    ]
    merged = dict(given)
    for key, value in given.items():
        kind = fields[key].metadata.get("value") if key in fields else None
        if kind is None or value is None:
            continue
        if not isinstance(value, kind):
            example = f"{key}=xh2cm.{kind.__name__}(...)"
            findings.append(Finding(key, f"is a {type(value).__name__}, not a {kind.__name__}", example))
            continue
        plain = kind()
        for f in dataclasses.fields(value):
            held = getattr(value, f.name)
            if same(held, getattr(plain, f.name)):
                continue
            if f.name in given and not same(held, given[f.name]):
                problem = f"is {given[f.name]!r:.60} as a keyword and {held!r:.60} in {key}"
                findings.append(Finding(f.name, problem, "give one of the two"))
            merged.setdefault(f.name, held)
    if findings:
        raise InputError(findings)
    return merged


def same(one: object, other: object) -> bool:
    """Say whether two values are equal, also where comparing them gives an array."""
    try:
        return one is other or bool(one == other)
    except (TypeError, ValueError):
        return False


def part(options: Any, kind: type[O]) -> O:
    """Return the fields of options that another dataclass declares, as its value.

    Parameters
    ----------
    options : dataclass instance
    kind : dataclass
        Which its class inherits from.

    Returns
    -------
    object
        Of that class.
    """
    return kind(**{f.name: getattr(options, f.name) for f in dataclasses.fields(cast(Any, kind)) if f.init})


def described(options: type) -> dict[str, tuple[str, str]]:
    """Return the type and the description of every field, as the docstrings of its class and their bases give them.

    Parameters
    ----------
    options : dataclass

    Returns
    -------
    dict of str to (str, str)
        In the order of the fields.
    """
    found: dict[str, tuple[str, str]] = {}
    for kind in options.__mro__:
        for names, about, text in entries(kind.__doc__):
            for name in names:
                found.setdefault(name, (about, text))
    return {f.name: found[f.name] for f in dataclasses.fields(options) if f.name in found}


def entries(doc: str | None) -> Iterator[tuple[Sequence[str], str, str]]:
    """Take the section "Parameters" of a docstring apart: names, type and description of each entry."""
    parts = SECTION.split(inspect.cleandoc(doc or ""))
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    for entry in re.split(r"\n(?=\S)", sections.get("Parameters", "").rstrip()):
        head, _, text = entry.partition("\n")
        names, _, about = head.partition(" : ")
        yield [name.strip() for name in names.split(",")], about.strip(), inspect.cleandoc(text)


def with_entries(doc: str | None, told: Mapping[str, tuple[str, str]]) -> str | None:
    """Add entries to the end of the section "Parameters" of a docstring, where they are not there already."""
    if doc is None:
        return None
    text = inspect.cleandoc(doc)
    there = {name for names, _, _ in entries(text) for name in names}
    lines = []
    for name, (about, more) in told.items():
        if name not in there:
            lines += [
                f"{name} : {about}" if about else name,
                *(f"    {line}" if line else "" for line in more.split("\n")),
            ]
    headings = list(SECTION.finditer(text))
    at = next((i for i, heading in enumerate(headings) if heading[1] == "Parameters"), None)
    if at is None:
        return text
    end = headings[at + 1].start() if at + 1 < len(headings) else len(text)
    return "\n".join([text[:end].rstrip(), *lines, "", text[end:]]).rstrip() + "\n"
