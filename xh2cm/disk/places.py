"""Find where files belong: paths as users write them, URLs, and the cache folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

from xh2cm.errors import StoreError

__all__ = ["as_url", "cache_folder", "local"]

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+(?:::[A-Za-z][A-Za-z0-9+.-]+)*):/{1,2}(?=[^/]|$)(.*)", re.DOTALL)
"""Protocol and place; one slash where `pathlib` has taken the other."""


def as_url(path: str | os.PathLike[str]) -> str | None:
    """Return a path as a URL that fsspec reads, None if it is a local path.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    str or None

    Examples
    --------
    >>> as_url("s3://bucket/out.zarr"), as_url(Path("memory://out.zarr"))
    ('s3://bucket/out.zarr', 'memory://out.zarr')
    >>> as_url("out.zarr"), as_url("C:/out.zarr"), as_url("file:///data/out.zarr")
    (None, None, None)
    """
    try:
        found = URL.fullmatch(os.fsdecode(path))
    except TypeError:
        return None
    return None if found is None or found[1] in ("file", "local") else f"{found[1]}://{found[2]}"


def local(path: str | os.PathLike[str]) -> Path:
    """Return the path of a local file or folder as the system knows it.

    Parameters
    ----------
    path : str or path
        ``~`` is the user's home, and ``file://`` may stand before it.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        If it is a URL of another kind, or no path at all.

    Examples
    --------
    >>> local("file:///data/out.nc").as_posix()
    '/data/out.nc'
    >>> local("s3://bucket/out.nc")
    Traceback (most recent call last):
    ...
    xh2cm.errors.StoreError: s3://bucket/out.nc is a URL, and only Zarr stores are read from and written to URLs: ...
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise StoreError(f"{path!r:.60} is not a path: give text or a pathlib.Path") from None
    if "\0" in text:
        raise StoreError(f"{text!r:.60} is not a path: it holds a null character")
    if url := as_url(text):
        remedy = "give a local path, and copy the file from or to there"
        raise StoreError(f"{url} is a URL, and only Zarr stores are read from and written to URLs: {remedy}")
    plain = re.sub("^(file|local):(//)?", "", text)
    try:
        return Path(plain).expanduser()
    except RuntimeError:
        raise StoreError(f"{text}: the home folder of the user is not known: give the whole path") from None


def cache_folder() -> Path:
    """Return the folder for what can be made or downloaded again.

    Returns
    -------
    Path
        ``$XH2CM_CACHE``, or ``xh2cm`` in the user's cache folder.

    Raises
    ------
    StoreError
        If the home folder of the user is not known.

    Examples
    --------
    >>> cache_folder().is_absolute()
    True
    """
    if given := os.environ.get("XH2CM_CACHE"):
        return local(given).absolute()
    try:
        found = platformdirs.user_cache_path("xh2cm", appauthor=False)
    except RuntimeError:
        found = Path("~")
    if not found.is_absolute():
        raise StoreError("the home folder of the user is not known: set XH2CM_CACHE to a folder")
    return found
