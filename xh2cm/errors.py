"""The few errors and warnings xh2cm raises, each saying what, which value, and what to do."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import NamedTuple

from xh2cm.text import printable

__all__ = [
    "Finding",
    "FitError",
    "H2CMError",
    "H2CMWarning",
    "InputError",
    "StoreError",
    "closest",
    "mapping_findings",
    "number_findings",
    "outside",
]


class Finding(NamedTuple):
    """One thing that is wrong with the input.

    Parameters
    ----------
    variable : str
        The variable, coordinate or argument it concerns.
    problem : str
        What is wrong, with the value that is wrong.
    remedy : str
        What to do about it, as code where code is possible.

    Examples
    --------
    >>> import xh2cm
    >>> print(xh2cm.Finding("co2", "has no units", 'units={"co2": "ppm"}'))
    co2: has no units
        -> units={"co2": "ppm"}
    """

    variable: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return printable(f"{self.variable}: {self.problem}\n    -> {self.remedy}")


def closest(name: object, names: Iterable[object]) -> str:
    """Suggest the name that was perhaps meant.

    Parameters
    ----------
    name : object
        What was given.
    names : iterable of str
        What could be given.

    Returns
    -------
    str
        The nearest spelling, without regard to case, or the name whose words begin with its letters; else all names.

    Examples
    --------
    >>> from xh2cm.errors import closest
    >>> closest("precipitaton", ["precipitation", "co2"])
    "did you mean 'precipitation'?"
    >>> closest("lr", ["epochs", "learning_rate"])
    "did you mean 'learning_rate'?"
    """
    folded = {str(other).lower(): str(other) for other in names}
    given = str(name).lower()
    near = difflib.get_close_matches(given, folded, 1, 0.5)
    near = near or [other for other in folded if "_" in other and given == "".join(w[:1] for w in other.split("_"))]
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"choose from: {', '.join(sorted(folded.values())) or 'nothing'}"


def mapping_findings(given: Mapping[str, object], example: str) -> list[Finding]:
    """Return findings about arguments that are not mappings.

    Parameters
    ----------
    given : mapping of str to object
        By the name of the argument; None stands for what is not given.
    example : str
        What one of them may hold.

    Returns
    -------
    list of Finding

    Examples
    --------
    >>> mapping_findings({"weights": 2.0, "priors": None}, '"ET": 2.0')
    [Finding(variable='weights', problem='2.0 is no mapping', remedy='weights={"ET": 2.0}')]
    """
    return [
        Finding(name, f"{value!r:.60} is no mapping", f"{name}={{{example}}}")
        for name, value in given.items()
        if not (value is None or isinstance(value, Mapping))
    ]


def number_findings(
    given: Mapping[str, object], least: Mapping[str, float | int], *, optional: Collection[str] = ()
) -> list[Finding]:
    """Return findings about arguments that are not numbers, or too small.

    Parameters
    ----------
    given : mapping of str to object
    least : mapping of str to float or int
        Where it is an int, only whole numbers will do.
    optional : collection of str
        May be None.

    Returns
    -------
    list of Finding

    Examples
    --------
    >>> number_findings({"epochs": 1.5, "width": None}, {"epochs": 1, "width": 1}, optional=["width"])
    [Finding(variable='epochs', problem='1.5 is no whole number', remedy='give at least 1')]
    """
    found = []
    for name, low in least.items():
        value, whole = given[name], isinstance(low, int)
        if value is None and name in optional:
            continue
        fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        if not fits or not math.isfinite(value):  # type: ignore[arg-type]
            problem = f"{value!r:.60} is no {'whole' if whole else 'finite'} number"
            found.append(Finding(name, problem, f"give at least {low}"))
        elif value < low:  # type: ignore[operator]
            found.append(Finding(name, f"{value} is too small", f"give at least {low}"))
    return found


def outside() -> int:
    """Return the stack level, for `warnings.warn`, of the first caller outside the library.

    Returns
    -------
    int
    """
    own, level = __file__.removesuffix("errors.py"), 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        frame, level = frame.f_back, level + 1
    return level


class H2CMError(Exception):
    """Base of every error xh2cm raises; control characters in its text, which may come from a file, are shown as codes.

    Examples
    --------
    >>> import xh2cm
    >>> try:
    ...     xh2cm.load_fit("nowhere")
    ... except xh2cm.H2CMError as error:
    ...     print(type(error).__name__)
    FitError
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(H2CMError, ValueError):
    """Data or arguments that cannot be used; holds all findings, not only the first.

    Parameters
    ----------
    findings : iterable of Finding

    Examples
    --------
    >>> import xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin").drop_vars(["co2", "vpd"])
    >>> try:
    ...     ds.h2cm.check()
    ... except xh2cm.InputError as error:
    ...     print([finding.variable for finding in error.findings])
    ['vpd', 'co2']
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        count = len(self.findings)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n".join([f"{head} with the input:", *(f"  - {f}" for f in self.findings)]))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Finding, ...]]]:
        return type(self), (self.findings,)


class FitError(H2CMError):
    """A fit that cannot be read, or that does not belong to the data or processes given.

    Examples
    --------
    >>> import xh2cm
    >>> try:
    ...     xh2cm.tutorial.open_dataset("twin").h2cm.predict()
    ... except xh2cm.FitError as error:
    ...     print(str(error).split(":")[0])
    no fit yet
    """


class StoreError(H2CMError, OSError):
    """An output store that cannot be written, or must not be overwritten.

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> try:
    ...     xh2cm.tutorial.open_dataset("twin").h2cm.to_netcdf(tempfile.mkdtemp())
    ... except xh2cm.StoreError as error:
    ...     print(str(error).partition("exists: ")[2])
    give another path, or overwrite=True to replace an earlier NetCDF file
    """


class H2CMWarning(UserWarning):
    """Warning about values that were counted, dropped or assumed.

    Examples
    --------
    Make all of them errors, where nobody reads warnings:

    >>> import warnings, xh2cm
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", xh2cm.H2CMWarning)
    """

    def __str__(self) -> str:
        return printable(super().__str__())
