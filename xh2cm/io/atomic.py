"""Files that are there whole or not at all, and folders that one process at a time writes to."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from xh2cm.errors import StoreError

__all__ = ["replace", "sole_writer", "synced"]


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder while writing to it; the system lets go of it if the process dies.

    Parameters
    ----------
    folder : Path
        Which exists.

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
        holder.write_text(json.dumps(about))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def told(holder: Path) -> str:
    """Who holds a folder, as far as is known."""
    try:
        about = json.loads(holder.read_text())
        job = f", Slurm job {about['job']}" if about["job"] else ""
        return f"process {about['pid']} on {about['host']}{job} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def synced(path: Path) -> None:
    """Wait until a file or folder is on the disk: a power cut may else leave the new name and none of its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Put a whole file in its place, also should the machine stop in between."""
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    synced(draft)
    draft.replace(path)
    with contextlib.suppress(OSError):  # not every system opens a folder
        synced(path.parent)
