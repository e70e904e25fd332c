"""Pages that are written from the code, and claims the README makes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUN = [ROOT / "README.md", *sorted(ROOT.glob("docs/howto/*.md"))]
"""Pages whose code a reader can paste."""


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
