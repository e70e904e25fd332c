"""Text from strangers is text: in terminals, tables, logs, and files of commands and options."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

import xh2cm
from xh2cm.cli import app
from xh2cm.cli.output import table, tell
from xh2cm.console import printed
from xh2cm.errors import Finding, H2CMWarning, InputError
from xh2cm.text import not_a_formula, printable

HOSTILE = [
    "[hPa]", "[/bold]", "[link=http://x]y[/link]", "\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "a\rb", "\u202eexe.txt",
    "\x00", "\x08\x08\x08", "\u2066x", "\x7f",
]  # fmt: skip
CONTROL = set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x2066]))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_shows_it_and_does_nothing_else(
    text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, short: xr.Dataset
) -> None:
    tell(False, {}, table([{"name": text, "value": 1.0}]), f"of {text}")
    shown = capsys.readouterr().out
    assert not CONTROL & set(shown)
    assert shown.count(printable(text)) == 2
    ds = short[["vpd"]].assign_attrs(title=text)
    ds["vpd"].attrs["long_name"] = text
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    done = CliRunner().invoke(app, ["info", str(tmp_path / "a.zarr")])
    assert done.exit_code == 0
    assert not CONTROL & set(done.output)
    assert printable(text) in done.output


@pytest.mark.parametrize("text", HOSTILE)
def test_errors_warnings_and_logs_show_it(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError([Finding(text, text, text)])
    assert not CONTROL & set(str(error))
    assert not CONTROL & set(str(Finding(text, text, text)))
    with pytest.warns(H2CMWarning) as caught:
        warnings.warn(text, H2CMWarning, stacklevel=1)
    assert not CONTROL & set(str(caught[0].message))
    with printed("xh2cm.attack"):
        logging.getLogger("xh2cm.attack").info(text)
    assert not CONTROL & set(capsys.readouterr().err)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0", '=HYPERLINK("x")'])
def test_a_spreadsheet_computes_nothing(text: str) -> None:
    assert str(not_a_formula(text)).startswith("'")
    assert not_a_formula(-1.0) == -1.0


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 3_000 + b"]" * 3_000,
        b"a=" + b"[" * 3_000 + b"]" * 3_000,
        b"\xff",
        b" " * (2**20 + 1),
        b"epochs = {",
        b"\0",
    ],
)
def test_options_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "o.toml").write_bytes(b"epochs = " + content if content[:1] == b"[" else content)
    (tmp_path / "d.nc").write_bytes(b"")
    command = ["fit", str(tmp_path / "d.nc"), "--out", str(tmp_path / "r"), "--config", str(tmp_path / "o.toml")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code in (1, 2), done.output
    assert not isinstance(done.exception, RecursionError | ValueError)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "epoch,fold\n",
        "epoch,fold,split,target,loss\n1,0,tr",
        "1,2,3\n",
        "epoch,fold,split,target,loss\nx,0,a,b,1\n",
    ],
)
def test_a_torn_table_of_losses_is_not_a_traceback(tmp_path: Path, content: str) -> None:
    about = {"targets": [{"name": "ET"}], "folds": [0], "period": "2001", "cells": 1}
    (tmp_path / "run.json").write_text(json.dumps(about))
    (tmp_path / "losses.csv").write_text(content)
    done = CliRunner().invoke(app, ["info", str(tmp_path)])
    assert done.exit_code in (0, 1)
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("content", ["[" * 100_000, "", "[]", '{"targets": 3}', "\ud800"])
def test_a_damaged_run_is_not_a_traceback(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_bytes(content.encode(errors="surrogatepass"))
    done = CliRunner().invoke(app, ["info", str(tmp_path)])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)


def test_a_log_that_is_wanted_holds_no_word_of_pint() -> None:
    code = (
        "import logging; logging.basicConfig(); import xh2cm\n"
        "xh2cm.tutorial.open_dataset('twin').isel(time=slice(0, 30)).h2cm.check()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "pint" not in done.stderr


ROOT = Path(xh2cm.__file__).parents[1]


def test_a_run_says_where_nothing_is(short: xr.Dataset, tmp_path: Path) -> None:
    """Neither the host nor the folder in which a run lies is in its files, once it has ended."""
    short.h2cm.fit(2, scheme="cells", epochs=1, width=4, progress=False, loop="plain", run=tmp_path / "run")
    host = socket.gethostname()
    told = {
        str(tmp_path).encode(),
        *([host.encode()] if len(host) > 5 else []),
    }  # a short one stands in weights by chance
    for path in (tmp_path / "run").rglob("*"):
        assert host not in path.name
        assert not path.is_file() or not [text for text in told if text in path.read_bytes()], path
