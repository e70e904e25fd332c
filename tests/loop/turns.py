"""Blocks of a GPU on a CPU: compiled by a C++ compiler, their threads take turns."""

from __future__ import annotations

import ctypes

from xh2cm.loop import cache


class Turns:
    """A `xh2cm.loop.cuda.Module` whose threads take turns, in either order.

    A phase whose threads read what others write would give other numbers in the other order.
    """

    processors = 3

    def __init__(self, source: str, shared: int = 2**40, *, backwards: bool = False) -> None:
        self.library = cache.library(source)
        self.shared, self.backwards = shared, backwards

    def needs(self, kernel: str) -> int:
        return ctypes.c_int64.in_dll(self.library, f"{kernel}_shared").value

    def launch(self, kernel: str, blocks: int, threads: int, arguments: ctypes.Array[ctypes.c_int64]) -> None:
        assert ctypes.sizeof(arguments) == ctypes.c_int64.in_dll(self.library, "walk_bytes").value
        ctypes.c_int.in_dll(self.library, "backwards").value = self.backwards
        getattr(self.library, kernel)(ctypes.byref(arguments), ctypes.c_int64(blocks))
