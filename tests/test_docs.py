"""Pages that are written from the code, and claims the README makes."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xh2cm.cli import app

ROOT = Path(__file__).resolve().parents[1]
RUN = [ROOT / "README.md", *sorted(ROOT.glob("docs/howto/*.md"))]
"""Pages whose code a reader can paste."""


SHOWN = [page for page in RUN if "```console\n$ " in page.read_text(encoding="utf-8")]
"""Pages that show what commands print."""


def test_the_page_of_tables_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page(), "run: python docs/tables.py"


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name} -> {link}"


def test_the_accessor_lists_what_is_public_only(twin):
    assert [n for n in dir(twin.h2cm) if n.startswith("_")] == []
    assert {"check", "fit", "folds", "predict", "to_tensors", "to_zarr"} <= set(dir(twin.h2cm))


@pytest.mark.parametrize("page", RUN, ids=[str(page.relative_to(ROOT)) for page in RUN])
def test_the_code_of_a_page_runs(page, tmp_path):
    """Its Python blocks, one after another, in a fresh process."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    code = "\n".join(blocks)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-2000:]


def without_numbers(text):
    """What two runs on different machines have in common: words, and where the numbers stand."""
    return re.sub(r"─+", "─", re.sub(r"\b[0-9a-f]{16}\b|-?\d[\w.:+-]*", "#", text))


@pytest.mark.parametrize("page", SHOWN, ids=[str(page.relative_to(ROOT)) for page in SHOWN])
def test_the_commands_of_a_page_print_what_it_shows(page, tmp_path, monkeypatch):
    """But for numbers, and what the page leaves out (...); its Python blocks are run in between."""
    monkeypatch.chdir(tmp_path)
    for language, block in re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if language == "python":
            subprocess.run([sys.executable, "-c", block], check=True)
        for command, shown in re.findall(r"^\$ xh2cm (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            printed = CliRunner().invoke(app, shlex.split(command), prog_name="xh2cm").output
            how = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            alike = doctest.OutputChecker().check_output(without_numbers(shown), without_numbers(printed), how)
            assert alike, f"xh2cm {command} prints\n{printed}"
