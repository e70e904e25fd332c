"""Functions of a dataset, as methods of what holds one."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import xarray as xr

__all__ = ["Method"]

P = ParamSpec("P")
R = TypeVar("R")


class Method(Generic[P, R]):
    """A function whose first argument is the dataset of the object it is asked of.

    Its signature and its documentation stay those of the function, so neither is written twice.

    Parameters
    ----------
    function : callable
        Takes a Dataset first.

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

    def __init__(self, function: Callable[Concatenate[xr.Dataset, P], R]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, holder: None, owner: type) -> Callable[Concatenate[xr.Dataset, P], R]: ...

    @overload
    def __get__(self, holder: object, owner: type) -> Callable[P, R]: ...

    def __get__(self, holder: Any, owner: type) -> Callable[..., R]:
        return self.function if holder is None else MethodType(self.function, holder._dataset)
