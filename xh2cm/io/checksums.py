"""Folders of files of which every byte is checked when they are read, and which are replaced as a whole.

A sealed folder holds plain files and the list of their SHA-256 checksums in the format of ``sha256sum``, so that a
folder can be checked without this library as well: ``sha256sum -c SHA256SUMS``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from xh2cm.disk.atomic import beside, is_own, synced
from xh2cm.errors import FitError

__all__ = ["SUMS", "aside", "intact", "read_file", "read_sums", "replaced", "seal"]

SUMS = "SHA256SUMS"
"""Name of the list of checksums."""

LINE = re.compile(r"([0-9a-f]{64})  (\w[\w.-]*)\n", re.ASCII)
"""A line of it; a name leads nowhere but into the folder."""

MOST = 2**20
"""Bytes of the longest list that is read."""

AGAIN = "take another copy of the folder"


def aside(target: Path) -> Path:
    """Return where the earlier folder stands while a new one takes its place."""
    target = Path(os.path.realpath(target))
    return target.with_name(f".{target.name}.earlier")


@contextlib.contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Return a new folder for writing, which replaces another once the block has ended without an error.

    Parameters
    ----------
    target : Path
        Stays as it is until the new folder is whole and on the disk. Between the two renames the earlier one stands
        `aside`, where it stays if the process is killed there. A link of this user is followed: what it leads to is
        replaced.

    Yields
    ------
    Path

    Raises
    ------
    OSError
        If the disk does not take it, the target is a link of another user, or a folder that is not a sealed one
        stands where the earlier one would.
    """
    if target.is_symlink() and not is_own(target, link=True):
        raise FileExistsError(errno.EEXIST, "is a link of another user, and is not followed", str(target))
    target = Path(os.path.realpath(target))
    earlier = aside(target)
    if os.path.lexists(target) and os.path.lexists(earlier) and not is_sealed(earlier):
        raise FileExistsError(errno.EEXIST, "is in the way, and is not an earlier fit", str(earlier))
    with beside(target) as folder:
        written, gone = folder / target.name, folder.parent
        written.mkdir()
        yield written
        for path in (*written.iterdir(), written):
            synced(path)
        is_ours = is_sealed(earlier)
        if os.path.lexists(target):
            if os.path.lexists(earlier):
                earlier.rename(gone / "before")
            target.rename(earlier)
            is_ours = True
        try:
            written.rename(target)
        except OSError:
            if os.path.lexists(earlier):
                earlier.rename(target)
            raise
        synced(target.parent)
        if is_ours:
            earlier.rename(gone / "after")


def is_sealed(folder: Path) -> bool:
    """Return whether a folder belongs to this user and holds a list of checksums and the files on it, nothing else."""
    try:
        return is_own(folder) and {path.name for path in folder.iterdir()} == {SUMS, *read_sums(folder)}
    except (OSError, FitError):
        return False


def seal(folder: Path) -> None:
    """Write the checksums of all files of a folder into it."""
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    (folder / SUMS).write_text(listed(sums), newline="\n")


def listed(sums: Mapping[str, str]) -> str:
    """Write checksums by name, as ``sha256sum`` does."""
    return "".join(f"{checksum}  {name}\n" for name, checksum in sums.items())


def read_sums(folder: Path) -> dict[str, str]:
    """Read the list of checksums of a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of str to str
        By name of the file.

    Raises
    ------
    FitError
        If it is not such a list from beginning to end.
    """
    path = folder / SUMS
    content = read_file(path, MOST).decode("ascii", errors="replace")
    sums = {name: checksum for checksum, name in LINE.findall(content)}
    if not sums or listed(sums) != content:
        raise FitError(f"{path} is {'damaged' if content else 'empty'}: {AGAIN}")
    return sums


def read_file(path: Path, most: int) -> bytes:
    """Read a regular file of at most a given number of bytes."""
    if not path.is_file():
        raise FitError(f"{path} is {'not a file' if path.exists() else 'missing'}: {AGAIN}")
    if path.stat().st_size > most:
        raise FitError(f"{path} is larger than any such file, {path.stat().st_size:,} bytes: {AGAIN}")
    return path.read_bytes()


def intact(folder: Path, sums: Mapping[str, str], others: Collection[str] = (SUMS,)) -> dict[str, bytes]:
    """Read all files of a folder, if they are those that were written and no others.

    Parameters
    ----------
    folder : Path
    sums : mapping of str to str
        Checksum of each file by name.
    others : collection of str
        Names of other files that belong there.

    Returns
    -------
    dict of str to bytes
        The bytes that were checked: a file is read once.

    Raises
    ------
    FitError
        Naming each file that is missing, foreign, empty or changed.
    """
    there = {path.name: path for path in folder.iterdir()}
    wrong = [f"{folder / name} is missing" for name in sums if name not in there]
    foreign = [name for name in there if name not in {*sums, *others}]
    wrong += [f"{folder / name} does not belong to it (remove it, if it is yours)" for name in sorted(foreign)]
    files = {}
    for name, checksum in sums.items():
        if name not in there:
            continue
        if not there[name].is_file():
            wrong.append(f"{folder / name} is not a file")
            continue
        files[name] = there[name].read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != checksum:
            how = "its checksum differs" if files[name] else "it is empty"
            wrong.append(f"{folder / name} is not what was written ({how})")
    if wrong:
        raise FitError(f"{'; '.join(wrong)}: {AGAIN}")
    return files
