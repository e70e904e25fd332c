"""Put files and folders in place whole or not at all, and hold a folder as its only writer.

A new file is written in a draft folder beside its target and renamed once it is whole and on the disk. A draft folder
has a name that nobody can predict, is open to this user alone, and holds a marker and a lock: the marker tells that it
belongs to xh2cm, the lock whether the process that made it is still alive. Links are replaced, never followed.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from xh2cm.errors import H2CMError, StoreError

__all__ = [
    "append",
    "beside",
    "delete",
    "drafted",
    "is_draft",
    "is_marked",
    "is_own",
    "mark",
    "put",
    "reason",
    "replace",
    "shortage",
    "sole_writer",
    "synced",
    "writing",
]

PREFIX = ".xh2cm-"
"""Beginning of the name of a draft folder."""

MARKER = "xh2cm-draft"
"""File in a folder that xh2cm may delete."""

BEGUN = 60.0
"""Seconds after which an empty draft folder is not about to be used."""

MARK = b"A draft of xh2cm. It may be deleted while xh2cm does not write to this place.\n"
"""Content of that file."""

RAN_OUT = {
    errno.ENOSPC: "free some space, or give another path",
    errno.EDQUOT: "free some space, or give another path",
    errno.EFBIG: "give a path on another disk, or raise `ulimit -f`",
    errno.EMFILE: "close some files of this process, or raise `ulimit -n`",
    errno.ENFILE: "close some files of this machine",
    errno.ENOMEM: "close other programs, or ask for more memory",
    errno.EAGAIN: "no process or thread can be started; close other programs, or raise `ulimit -u`",
}
"""Remedy by the number of the system's error, where something ran out."""


# -- drafts --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Make a folder for drafts on the disk of a target, and delete it at the end.

    Parameters
    ----------
    target : Path
        A file or folder, there or not. Drafts that processes which are gone have left beside it are deleted.

    Yields
    ------
    Path
        An empty folder.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clear(target.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=target.parent))
    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
        mark(folder)
        (folder / "new").mkdir()
        yield folder / "new"
    except BaseException:
        empty(folder / "new")
        raise
    finally:
        delete(folder)
        lock.release()


@contextlib.contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of another once the block has ended well.

    Parameters
    ----------
    target : Path

    Yields
    ------
    Path

    Raises
    ------
    OSError
        If the disk does not take it; what was there before is intact.
    """
    with beside(target) as folder:
        draft = folder / target.name
        yield draft
        put(draft, target)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole, in place of what is there.

    Parameters
    ----------
    path : Path
    content : bytes

    Raises
    ------
    OSError
        If the disk does not take it; what was there before is intact.
    """
    with drafted(path) as draft:
        draft.write_bytes(content)


def put(draft: Path, target: Path) -> None:
    """Move a file into place once all of it is on the disk."""
    with contextlib.suppress(FileNotFoundError):
        kind = target.lstat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise FileExistsError(errno.EEXIST, "is in the way, and is not a file", str(target))
    synced(draft)
    draft.replace(target)
    with contextlib.suppress(OSError):  # not every system opens a folder
        synced(target.parent)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file that this process alone writes, and wait until it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        file.write(content)
        os.fsync(descriptor)


def synced(path: Path) -> None:
    """Wait until a file or folder is on the disk: a power cut may otherwise leave a new name without its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- ownership -----------------------------------------------------------------------------------------------------


def mark(folder: Path) -> None:
    """Mark a folder as one that xh2cm may delete."""
    descriptor = os.open(folder / MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(MARK)


def is_own(path: Path, *, link: bool = False) -> bool:
    """Return whether something is there, belongs to this user, and is a link or is not one."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(found.st_mode) == link and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())


def is_marked(folder: Path) -> bool:
    """Return whether a folder of this user holds the marker."""
    marker = folder / MARKER
    try:
        regular = is_own(folder) and stat.S_ISREG(marker.lstat().st_mode) and marker.stat().st_size == len(MARK)
        return regular and marker.read_bytes() == MARK
    except OSError:
        return False


def is_draft(path: Path) -> bool:
    """Return whether a path is a draft folder of this library."""
    return path.name.startswith(PREFIX) and is_marked(path)


def clear(folder: Path) -> None:
    """Delete the drafts in a folder whose processes are gone; leave everything else alone."""
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, NotImplementedError):
            if is_draft(path):
                lock = filelock.FileLock(path / "lock")
                lock.acquire(timeout=0)  # Timeout, which is an OSError, where its process is alive
                delete(path)
                lock.release()
            elif is_own(path) and time.time() - path.lstat().st_mtime > BEGUN:
                path.rmdir()  # empty: its process was killed before it placed the marker, or just after it removed it


def delete(folder: Path) -> None:
    """Delete a draft folder, its marker last: what a kill leaves is still known as a draft."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != MARKER:
                path.unlink()
        (folder / MARKER).unlink(missing_ok=True)
        folder.rmdir()


def empty(folder: Path) -> None:
    """Cut the files below a folder to nothing, so that one that a library keeps open holds no disk space."""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                os.truncate(path, 0)


# -- errors --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Turn what the system or a format refuses while a target is written into a `StoreError`.

    Parameters
    ----------
    target : Path or str

    Raises
    ------
    StoreError
        Naming the target, what is wrong or ran out, and what to do.
    """
    try:
        yield
    except H2CMError:
        raise
    except (OSError, MemoryError, RuntimeError, UnicodeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(("NetCDF:", "can't start new thread")):
            raise
        raise StoreError(f"{target} cannot be written: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Say why something failed: what ran out and what to do, where that is known."""
    if ran_out := shortage(error):
        return f"{ran_out[0]} ({ran_out[1]})"
    return str(error) if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {error}"


def shortage(error: BaseException) -> tuple[str, str] | None:
    """Return what ran out and what to do, if that is why something failed."""
    for one in (error, error.__cause__, error.__context__):
        number = one.errno if isinstance(one, OSError) else errno.ENOMEM if isinstance(one, MemoryError) else None
        if isinstance(one, RuntimeError) and "can't start new thread" in str(one):
            number = errno.EAGAIN
        if isinstance(one, RuntimeError) and "can't allocate memory" in str(one):
            number = errno.ENOMEM
        if number in RAN_OUT:
            return os.strerror(number), RAN_OUT[number]
    return None


# -- one writer ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder while writing to it; the system lets go of it if the process dies.

    Parameters
    ----------
    folder : Path
        An existing folder. Drafts that processes which are gone have left in it are deleted.

    Raises
    ------
    StoreError
        If another process holds it: which, on which host, and since when.
    """
    lock, holder = filelock.FileLock(folder / "lock"), folder / "writer.json"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StoreError(f"{folder} is being written by {told(holder)}: wait, or give another folder") from None
    try:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": now, "job": os.environ.get("SLURM_JOB_ID")}
        replace(holder, json.dumps(about).encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def told(holder: Path) -> str:
    """Describe who holds a folder, as far as is known."""
    try:
        about = json.loads(holder.read_text())
        job = f", Slurm job {about['job']}" if about["job"] else ""
        return f"process {about['pid']} on {about['host']}{job} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
