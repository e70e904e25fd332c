"""Compile source text once, keep what comes of it, and trust it again only if not a bit of it has changed.

Compiled code is run without further checks, so it is kept where only this user can write: in a folder of mode 0700, in
regular files that belong to the user, each named after its source and the SHA-256 checksum of its bytes.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from xh2cm.disk.atomic import drafted, is_own, reason
from xh2cm.disk.places import cache_folder
from xh2cm.errors import StoreError
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
    """The fast loop cannot be compiled, kept or loaded here."""


def folder() -> Path:
    """Return the folder for compiled code, which belongs to this user alone.

    Returns
    -------
    Path
        In the cache folder; made if it is not there.

    Raises
    ------
    Unbuilt
        If it cannot be made, is a link, or belongs to another user.
    """
    try:
        place = cache_folder() / (f"compiled-{os.geteuid()}" if hasattr(os, "geteuid") else "compiled")
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (is_own(place) and place.is_dir()):
            raise Unbuilt(f"{place} is a link or belongs to another user; set XH2CM_CACHE to a folder of your own")
        if stat.S_IMODE(place.stat().st_mode) & 0o077:
            place.chmod(0o700)
    except (OSError, StoreError) as error:
        raise Unbuilt(f"the folder for compiled code cannot be used: {reason(error)}; set XH2CM_CACHE") from error
    return place


def told(command: list[str], source: str = "") -> str:
    """Run a compiler on a source and return what it says."""
    environment = os.environ | {"LC_ALL": "C"}  # messages in English, in which "error" is looked for
    try:
        done = subprocess.run(
            command, input=source.encode(), capture_output=True, check=False, timeout=600, env=environment
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unbuilt(f"{command[0]}: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        log.info("%s says: %s", command[0], said)
        first = next((line for line in said.splitlines() if "error" in line), f"exit status {done.returncode}")
        raise Unbuilt(f"{command[0]} failed: {first}")
    return done.stdout.decode(errors="replace")


@functools.cache
def compiler() -> tuple[str, str]:
    """Return the path of the C++ compiler, and all it presumes of itself and of this processor."""
    path = cpp_compiler()
    if path is None:
        raise Unbuilt("no C++ compiler (g++ or clang++) is on the PATH")
    return path, told([path, *FLAGS, "-dM", "-E", "-x", "c++", "-"])


def kept(name: str, suffix: str, make: Callable[[], bytes], *content: str) -> Path:
    """Find what was compiled before by its content, or compile and keep it.

    Parameters
    ----------
    name, suffix : str
        Beginning and end of the name of its file.
    make : callable
        Returns the bytes to keep.
    *content : str
        All that these depend on.

    Returns
    -------
    Path
        Of a file whose checksum has just been compared.

    Raises
    ------
    Unbuilt
        If it cannot be made or kept.
    """
    place, key = folder(), hashlib.sha256("\0".join(content).encode()).hexdigest()[:24]
    try:
        for found in sorted(place.glob(f"{name}-{key}.*{suffix}")):
            if is_intact(found):
                return found
            log.warning("%s is damaged or not a file of this user, and is compiled again", found)
            found.unlink()
        began = time.monotonic()
        log.info("compiling the fast loop for this model; it is kept in %s", place)
        made = make()
        path = place / f"{name}-{key}.{hashlib.sha256(made).hexdigest()}{suffix}"
        with drafted(path) as draft:
            draft.write_bytes(made)
            draft.chmod(0o600)
        log.info("compiled in %.1f s", time.monotonic() - began)
    except (OSError, MemoryError) as error:
        raise Unbuilt(f"{place}: {reason(error)}") from error
    return path


def is_intact(path: Path) -> bool:
    """Return whether a file is as it was kept: regular, of this user, and of the checksum in its name."""
    found = path.lstat()
    if not (is_own(path) and stat.S_ISREG(found.st_mode)) or found.st_mode & 0o022:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == path.name.split(".")[1]


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
    except OSError as error:  # what the compiler made is no library: another run may do better, so it is not kept
        found.unlink(missing_ok=True)
        raise Unbuilt(f"{found}: {error}") from error
