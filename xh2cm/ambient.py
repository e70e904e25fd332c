"""Compute in the state that the library needs, whatever its user has set for arrays and tensors elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import numpy as np

__all__ = ["undisturbed"]


class _OfTheProcess:
    """Settings that all threads share: the first to enter sets them, the last to leave puts them back."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.set()

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.before.close()

    def set(self) -> None:
        """Set what is not as needed, and note how to put it back."""
        if (xarray := sys.modules.get("xarray")) is not None:
            self.before.enter_context(xarray.set_options(keep_attrs="default", arithmetic_join="inner"))
        if (torch := sys.modules.get("torch")) is not None and torch.get_default_dtype() != torch.float32:
            self.before.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)


_of_the_process = _OfTheProcess()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Set the state of NumPy, xarray and PyTorch to their defaults, and put it back at the end.

    NumPy's treatment of floating-point errors, xarray's options for attributes and for joining coordinates, and
    PyTorch's default type and device, gradient mode, inference mode and autocast. May decorate a function.

    Examples
    --------
    >>> import numpy as np
    >>> with np.errstate(all="raise"), undisturbed():
    ...     print(np.geterr()["under"])
    ignore
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(_of_the_process)
        if (torch := sys.modules.get("torch")) is not None:
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            if not torch.is_grad_enabled():
                stack.enter_context(torch.enable_grad())
            if torch.get_default_device().type != "cpu":  # entered only then, as it slows every operation down
                stack.enter_context(torch.device("cpu"))
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
        yield
