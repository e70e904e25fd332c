"""Functions of a dataset, as methods of the object that holds it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from functools import cached_property
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

__all__ = ["READ_BY_A_TYPE_CHECKER", "FitMethod", "FittedMethod", "Method", "later"]

READ_BY_A_TYPE_CHECKER: bool = False
"""Never true: what stands below it tells a type checker what `later` gives."""

P = ParamSpec("P")
R = TypeVar("R")


class Later:
    """The functions of a module that is imported when the first of them is called."""

    def __init__(self, module: str) -> None:
        self.module = module

    def __getattr__(self, name: str) -> str:
        return f"{self.module}:{name}"


def later(module: str) -> Any:
    """Name the functions of a module for `Method`, without importing it.

    Parameters
    ----------
    module : str

    Returns
    -------
    object
        Each of whose attributes is a name as `Method` takes it.
    """
    return Later(module)


class Method(Generic[P, R]):
    """A function, as a method of an accessor (called on its dataset) or of another object (called on the object).

    Its signature and its documentation stay those of the function.

    Parameters
    ----------
    function : callable or str
        Takes a dataset or the object first. As ``"module:name"`` it is imported when it is first asked for.

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.methods import Method
    >>> def longest(dataset: xr.Dataset, *, most: int = 9) -> int:
    ...     return min(most, max(dataset.sizes.values()))
    >>> class Holder:
    ...     def __init__(self, dataset):
    ...         self._dataset = dataset
    ...
    ...     longest = Method(longest)
    >>> Holder(xr.Dataset({"a": ("x", [1, 2, 3])})).longest(most=2)
    2
    """

    def __init__(self, function: Callable[Concatenate[Any, P], R] | str) -> None:
        self.given = function

    @cached_property
    def function(self) -> Callable[..., R]:
        """The function itself."""
        if not isinstance(self.given, str):
            return self.given
        module, _, name = self.given.partition(":")
        return cast(Callable[..., R], getattr(importlib.import_module(module), name))

    @overload
    def __get__(self, holder: None, owner: type) -> Callable[Concatenate[Any, P], R]: ...

    @overload
    def __get__(self, holder: object, owner: type) -> Callable[P, R]: ...

    def __get__(self, holder: Any, owner: type) -> Callable[..., R]:
        if holder is None:
            return self.function
        return cast(Callable[..., R], MethodType(self.through, holder))

    @cached_property
    def through(self) -> Callable[..., R]:
        """The function, of a holder."""

        @functools.wraps(self.function)
        def called(holder: Any, *args: Any, **named: Any) -> R:
            return self.call(holder, *args, **named)

        return called

    def call(self, holder: Any, *args: Any, **named: Any) -> R:
        """Call the function for a holder."""
        return self.function(getattr(holder, "_dataset", holder), *args, **named)


class FitMethod(Method[P, R]):
    """A method whose result its holder remembers as its last fit."""

    def call(self, holder: Any, *args: Any, **named: Any) -> R:
        """Call the function, and remember its result."""
        holder._fit = super().call(holder, *args, **named)
        return cast(R, holder._fit)


class FittedMethod(Method[P, R]):
    """A method that takes the last fit of its holder where none is given."""

    def call(self, holder: Any, *args: Any, **named: Any) -> R:
        """Call the function with the fit given, or with the last one."""
        if not args and named.get("fit") is None:
            named["fit"] = getattr(holder, "_fit", None)
        elif args and args[0] is None:
            args = (getattr(holder, "_fit", None), *args[1:])
        return super().call(holder, *args, **named)
