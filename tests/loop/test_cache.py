"""Compiled code is trusted only if this user has written it and not a bit of it has changed."""

from __future__ import annotations

import ctypes
import os
import random
import stat
from pathlib import Path

import pytest

from xh2cm.loop import cache

SOURCE = 'extern "C" int answer() { return 42; }'
DICE = random.Random(1)  # noqa: S311


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str) -> Path:  # noqa: ARG001
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "FLAGS", ("-O0", "-shared", "-fPIC"))
    cache.compiler.cache_clear()
    cache.library.cache_clear()
    yield tmp_path / "cache" / f"compiled-{os.geteuid()}"
    cache.compiler.cache_clear()
    cache.library.cache_clear()


def answer() -> int:
    cache.library.cache_clear()
    return cache.library(SOURCE).answer()


def built(place: Path) -> Path:
    assert answer() == 42
    (found,) = place.iterdir()
    return found


def altered(how: str, path: Path) -> None:
    """Damage a file in one of many ways."""
    content = bytearray(path.read_bytes())
    if how == "empty":
        content.clear()
    elif how == "cut":
        del content[DICE.randrange(len(content)) :]
    elif how == "flipped":
        content[DICE.randrange(len(content))] ^= 1 << DICE.randrange(8)
    elif how == "longer":
        content += b"\0"
    elif how == "zeros":
        content[DICE.randrange(len(content)) :] = bytes(len(content) - DICE.randrange(len(content)))
    else:
        content = bytearray(b"no library")
    fresh = path.with_name("other")
    fresh.write_bytes(content)  # not in place: the library that is loaded maps the old one
    fresh.chmod(0o600)
    fresh.replace(path)


@pytest.mark.parametrize("how", ["empty", "longer", "text", *["cut"] * 4, *["flipped"] * 8, *["zeros"] * 2])
def test_damaged_code_is_compiled_again_and_that_is_said(
    place: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    path = built(place)
    right = path.read_bytes()
    altered(how, path)
    assert answer() == 42
    assert path.read_bytes() == right
    assert caplog.text.count("is damaged or not a file of this user, and is compiled again") == 1
    assert answer() == 42
    assert caplog.text.count("compiled again") == 1


def test_the_folder_is_of_this_user_alone(place: Path) -> None:
    path = built(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    place.chmod(0o777)
    assert answer() == 42
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["link", "pipe", "open to others", "of another user"])
def test_what_somebody_else_may_have_put_there_is_not_loaded(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    path = built(place)
    if what == "of another user":
        if os.geteuid():
            pytest.skip("only root can give a file away")
        os.chown(path, 65534, 65534)
    elif what == "open to others":
        path.chmod(0o622)
    else:
        path.rename(tmp_path / "away")
        path.symlink_to(tmp_path / "away") if what == "link" else os.mkfifo(path)
    assert answer() == 42
    assert "compiled again" in caplog.text
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("what", ["a file", "a link", "of another user", "unsearchable", "no home"])
def test_a_folder_that_cannot_be_used_is_a_reason_not_an_error(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "a file":
        (tmp_path / "cache").write_text("")
    elif what == "no home":
        monkeypatch.delenv("XH2CM_CACHE")
        for name in ("HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        place.parent.mkdir(parents=True)
        if what == "a link":
            (tmp_path / "away").mkdir()
            place.symlink_to(tmp_path / "away")
        else:
            place.mkdir(0o700)
            if os.geteuid():
                pytest.skip("only root can give a folder away")
            os.chown(place, 65534, 65534)
    if what == "unsearchable":
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(cache.Unbuilt, match="XH2CM_CACHE"):
        answer()
    assert not list((tmp_path / "away").iterdir()) if what == "a link" else True


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_compiler_that_makes_no_library_is_not_believed_for_good(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, _ = cache.compiler()
    path = tmp_path / "c++"
    path.write_text(
        f'#!/bin/sh\nfor last; do :; done\ncase "$*" in *-dM*) exec {real} "$@";; esac\nprintf x > "$last"\n'
    )
    path.chmod(0o755)
    monkeypatch.setattr(cache, "cpp_compiler", lambda: str(path))
    cache.compiler.cache_clear()
    with pytest.raises(cache.Unbuilt):
        answer()
    assert list(place.iterdir()) == []
    path.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    assert answer() == 42


def test_words_of_a_compiler_may_be_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c++"
    path.write_bytes(b"#!/bin/sh\nprintf 'error: caf\\351\\n' >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setattr(cache, "cpp_compiler", lambda: str(path))
    cache.compiler.cache_clear()
    with pytest.raises(cache.Unbuilt, match="failed: error: caf\ufffd"):
        cache.compiler()


def test_a_library_that_is_loaded_is_not_touched_when_its_file_changes(place: Path) -> None:
    path = built(place)
    loaded = ctypes.CDLL(str(path))
    altered("empty", path)
    assert loaded.answer() == answer() == 42
