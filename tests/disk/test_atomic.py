"""Files are put in place whole or not at all; links are not followed, and what belongs to others is left alone."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from xh2cm.disk import atomic
from xh2cm.disk.atomic import append, beside, clear, drafted, is_draft, mark, put, reason, replace, writing
from xh2cm.disk.places import as_url, cache_folder, local
from xh2cm.errors import InputError, StoreError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_another_and_nothing_else_is_left(tmp_path: Path) -> None:
    replace(tmp_path / "a.csv", b"one")
    replace(tmp_path / "a.csv", b"two")
    assert (tmp_path / "a.csv").read_bytes() == b"two"
    assert names(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    os.umask(before := os.umask(0))
    return before


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    replace(tmp_path / "a", b"before")
    with suppress(KeyboardInterrupt), drafted(tmp_path / "a") as draft:
        draft.write_bytes(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"before"
    assert names(tmp_path) == ["a"]


def test_what_a_failed_write_keeps_open_holds_no_space(tmp_path: Path) -> None:
    with suppress(RuntimeError), beside(tmp_path / "a") as folder:
        kept = (folder / "a").open("wb")
        kept.write(bytes(10_000))
        kept.flush()
        raise RuntimeError
    with kept:
        assert os.fstat(kept.fileno()).st_size == 0


@pytest.mark.parametrize("write", [replace, append])
def test_a_link_is_not_followed(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "a").symlink_to("mine")
    if write is append:
        with pytest.raises(OSError, match="symbolic links"):
            append(tmp_path / "a", b"x")
    else:
        replace(tmp_path / "a", b"x")
        assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a")
    with pytest.raises(FileExistsError, match="is not a file"):
        replace(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a"]


def killed_within(folder: Path) -> Path:
    """The draft that a process leaves which is killed while it writes."""
    code = (
        "import os, signal, sys; from pathlib import Path; from xh2cm.disk.atomic import drafted\n"
        "with drafted(Path(sys.argv[1]) / 'a') as draft:\n    draft.write_bytes(b'half')\n    os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (draft,) = (path for path in folder.iterdir() if is_draft(path))
    return draft


ROOT = Path(__file__).resolve().parents[2]


def test_the_next_write_clears_what_a_killed_one_has_left(tmp_path: Path) -> None:
    killed_within(tmp_path)
    replace(tmp_path / "b", b"")
    assert names(tmp_path) == ["b"]


def test_the_draft_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with beside(tmp_path / "a") as folder:
        clear(tmp_path)
        assert folder.is_dir()
        replace(tmp_path / "b", b"")
        assert folder.is_dir()
    assert names(tmp_path) == ["b"]


def test_what_only_looks_like_a_draft_is_left_alone(tmp_path: Path) -> None:
    draft = killed_within(tmp_path)
    shutil.copytree(draft, tmp_path / "mine")
    for name in ("unmarked", "other", "pipe", "link"):
        (tmp_path / f".xh2cm-{name}").mkdir()
        (tmp_path / f".xh2cm-{name}" / "precious").write_text("x")
    (tmp_path / ".xh2cm-other" / atomic.MARKER).write_text("something else")
    os.mkfifo(tmp_path / ".xh2cm-pipe" / atomic.MARKER)
    (tmp_path / ".xh2cm-link" / atomic.MARKER).symlink_to(tmp_path / "mine" / atomic.MARKER)
    (tmp_path / ".xh2cm-away").symlink_to(tmp_path / "mine")
    (tmp_path / ".xh2cm-file").write_text("x")
    clear(tmp_path)
    kept = [".xh2cm-away", ".xh2cm-file", ".xh2cm-link", ".xh2cm-other", ".xh2cm-pipe", ".xh2cm-unmarked", "mine"]
    assert names(tmp_path) == kept
    assert names(tmp_path / "mine") == ["lock", "new", atomic.MARKER]


def test_an_empty_draft_is_cleared_once_nobody_is_about_to_use_it(tmp_path: Path) -> None:
    (tmp_path / ".xh2cm-new").mkdir()
    (tmp_path / ".xh2cm-old").mkdir()
    os.utime(tmp_path / ".xh2cm-old", (0, 0))
    clear(tmp_path)
    assert names(tmp_path) == [".xh2cm-new"]


def test_a_draft_in_which_a_link_was_planted_takes_nothing_along(tmp_path: Path) -> None:
    draft = killed_within(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    (draft / "new" / "away").symlink_to(tmp_path / "mine")
    (draft / "away").symlink_to(tmp_path / "mine")
    clear(tmp_path)
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == ["precious"]


def test_a_marker_is_placed_once(tmp_path: Path) -> None:
    mark(tmp_path)
    with pytest.raises(FileExistsError):
        mark(tmp_path)


def test_put_moves_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    put(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device (free some"),
        (OSError(errno.EDQUOT, "x"), "quota exceeded (free"),
        (OSError(errno.EMFILE, "x"), "ulimit -n"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (MemoryError(), "Cannot allocate memory (close"),
        (RuntimeError("can't start new thread"), "no process or thread"),
        (RuntimeError("NetCDF: HDF error"), "RuntimeError: NetCDF: HDF error"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "surrogates"),
    ],
)
def test_a_refusal_says_what_ran_out(error: Exception, says: str) -> None:
    assert says in reason(error)
    with pytest.raises(StoreError, match="out cannot be written: ") as caught, writing("out"):
        raise error
    assert says in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), InputError([]), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, writing("out"):
        raise error
    assert caught.value is error


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_home_is_expanded(home: Path) -> None:
    assert local("~/out.nc") == home / "out.nc"
    assert local(Path("~/out.nc")) == home / "out.nc"
    assert local("file:///out.nc") == local("file:/out.nc") == Path("/out.nc")
    assert local("a~b") == Path("a~b")
    with pytest.raises(StoreError, match="home folder"):
        local("~nobody-of-this-name/x")


@pytest.mark.parametrize("path", [3, None, 1.5, ["a"]])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(StoreError, match="is not a path"):
        local(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["s3://b/o.nc", "gs://b/o", "memory://o", "https://h/o.nc", "simplecache::s3://b/o"])
def test_a_url_is_refused_where_only_files_can_be(url: str) -> None:
    assert as_url(url) == url
    with pytest.raises(StoreError, match="is a URL"):
        local(url)
    assert as_url(Path(url)) == url.replace("//o", "//o")  # pathlib takes a slash


def test_the_cache_has_one_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XH2CM_CACHE", "~/cache")
    assert cache_folder() == home / "cache"
    monkeypatch.delenv("XH2CM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == home / "xdg" / "xh2cm"


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XH2CM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setenv("HOME", "relative")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("relative"))
    with pytest.raises(StoreError, match="set XH2CM_CACHE"):
        cache_folder()
