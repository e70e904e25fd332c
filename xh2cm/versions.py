"""Environment of xh2cm: the machine, and the versions of all dependencies."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any, TextIO

import psutil
from dask.utils import format_bytes
from packaging.requirements import Requirement

__all__ = ["cpp_compiler", "show_versions", "versions"]


def cpp_compiler() -> str | None:
    """Find the C++ compiler that the fast loop is compiled with.

    Returns
    -------
    str or None
        Its path; what the environment variable ``CXX`` names comes first.
    """
    names = [os.environ.get("CXX", ""), "g++", "c++", "clang++"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def versions() -> dict[str, dict[str, str]]:
    """Return the versions of the dependencies, without importing them.

    Returns
    -------
    dict
        ``"system"``: xh2cm, Python, operating system, processors, memory, compiler and GPU. ``"required"`` and
        ``"optional"``: the version of every dependency, ``"not installed"`` where it is not.

    Examples
    --------
    >>> from xh2cm.versions import versions
    >>> sorted(versions())
    ['optional', 'required', 'system']
    >>> versions()["required"]["xarray"] >= "2025"
    True
    """
    compiler = cpp_compiler()
    # A GPU that the driver shows; whether torch can use it is in torch's version (+cpu, +cu128)
    gpus = said(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    system = {
        "xh2cm": importlib.metadata.version("xh2cm"),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "processors": f"{os.cpu_count()} ({platform.machine()})",
        "memory": format_bytes(psutil.virtual_memory().total),
        "C++ compiler": (compiler and said([compiler, "--version"]).partition("\n")[0]) or "none: no fast loop",
        "GPU": "; ".join(gpus.splitlines()) or "none found",
    }
    needs = [Requirement(text) for text in importlib.metadata.requires("xh2cm") or ()]
    required = {need.name for need in needs if need.marker is None}
    optional = {need.name for need in needs} - required - {"xh2cm"}
    return {
        "system": system,
        "required": {name: installed(name) for name in sorted(required, key=str.lower)},
        "optional": {name: installed(name) for name in sorted(optional, key=str.lower)},
    }


def show_versions(file: TextIO | None = None, *, as_json: bool = False) -> None:
    """Print what xh2cm runs on here, for a report of an error.

    Parameters
    ----------
    file : text file, optional
        Standard output if not given.
    as_json : bool

    Examples
    --------
    >>> import io, xh2cm
    >>> text = io.StringIO()
    >>> xh2cm.show_versions(text)
    >>> text.getvalue().split()[0]
    'xh2cm'
    """
    found = versions()
    print(json.dumps(found, indent=1) if as_json else as_text(found), file=file or sys.stdout)


def as_text(found: dict[str, dict[str, Any]]) -> str:
    """The same as lines, under headings but for the first part."""
    first, *others = found
    width = max(len(name) for part in found.values() for name in part)
    lines = {title: [f"{name:<{width}}  {value}" for name, value in part.items()] for title, part in found.items()}
    return "\n".join([*lines[first], *(line for title in others for line in ("", title, *lines[title]))])


def installed(name: str) -> str:
    """Version of a package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def said(command: list[str]) -> str:
    """Return the output of a command, empty if it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
