"""Compile source text once and find it again by its content."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from xh2cm.versions import cpp_compiler

__all__ = ["Unbuilt", "folder", "kept", "library"]

log = logging.getLogger(__name__)

FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-shared",
    "-fPIC",
    "-pthread",
)


class Unbuilt(Exception):  # noqa: N818
    """There is no compiler, or it refused."""


def folder() -> Path:
    """Where what was compiled is kept: ``XH2CM_CACHE``, or ``xh2cm`` in the user's cache folder."""
    if given := os.environ.get("XH2CM_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or (
        "~/Library/Caches" if sys.platform == "darwin" else os.environ.get("LOCALAPPDATA") or "~/.cache"
    )
    return Path(base).expanduser() / "xh2cm"


def told(command: list[str], source: str = "") -> str:
    """Run a compiler on a source and give what it says."""
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unbuilt(f"{command[0]}: {error}") from error
    if done.returncode:
        log.info("%s says: %s", command[0], done.stderr)
        first = next((line for line in done.stderr.splitlines() if "error" in line), f"exit status {done.returncode}")
        raise Unbuilt(f"{command[0]} failed: {first}")
    return done.stdout


@functools.cache
def compiler() -> tuple[str, str]:
    """Path of the C++ compiler, and all it presumes of itself and of this processor."""
    path = cpp_compiler()
    if path is None:
        raise Unbuilt("no C++ compiler (g++ or clang++) is on the PATH")
    return path, told([path, *FLAGS, "-dM", "-E", "-x", "c++", "-"])


def kept(name: str, suffix: str, make: Callable[[], bytes], *content: str) -> Path:
    """Find what was compiled before by its content, or compile and keep it.

    Parameters
    ----------
    name, suffix : str
        What its file is called, around the key.
    make : callable
        Gives what is to be kept.
    *content : str
        All that it depends on.

    Returns
    -------
    Path

    Raises
    ------
    Unbuilt
        If it cannot be made or kept.
    """
    key = hashlib.sha256("\0".join(content).encode()).hexdigest()[:24]
    path = folder() / f"{name}-{key}{suffix}"
    if not path.exists():
        began = time.monotonic()
        log.info("compiling the fast loop for this model; it is kept in %s", path.parent)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as place:  # another process may do the same just now
                made = Path(place) / path.name
                made.write_bytes(make())
                made.replace(path)
        except OSError as error:
            raise Unbuilt(f"{path.parent}: {error}") from error
        log.info("compiled in %.1f s", time.monotonic() - began)
    return path


@functools.cache
def library(source: str) -> ctypes.CDLL:
    """Load a library, compiled from C++ unless that was done before on a machine like this.

    Parameters
    ----------
    source : str

    Returns
    -------
    ctypes.CDLL

    Raises
    ------
    Unbuilt
        If there is no compiler, or it refuses.
    """
    path, presumed = compiler()

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "made.so"
            told([path, *FLAGS, "-x", "c++", "-", "-o", str(made)], source)
            return made.read_bytes()

    found = kept("lanes", ".so", make, source, path, *FLAGS, presumed)
    try:
        return ctypes.CDLL(str(found))
    except OSError as error:
        raise Unbuilt(f"{found}: {error}") from error
