"""Pages generated from the code, claims of the README, and language. `make docs` runs the code of the other pages."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import xh2cm.physics
from xh2cm.accessor import H2CMAccessor
from xh2cm.cli import app
from xh2cm.plots.plots import Plots

ROOT = Path(__file__).resolve().parents[1]
RUN = [ROOT / "docs" / "guide.md", *ROOT.glob("docs/howto/*.md"), *ROOT.glob("docs/tutorials/*.md")]
"""Pages whose code is run when they are made."""

SHOWN = [ROOT / "docs" / "howto" / "command-line.md"]
"""Pages that show what commands print."""


def test_the_page_of_tables_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page(), "run: python docs/tables.py"


def summaries() -> dict[str, str]:
    """Return the first line of every docstring of the package, by file and name."""
    found = {}
    for path in sorted((ROOT / "xh2cm").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
                    found[where] = text.partition("\n")[0]
    return found


def test_summaries_of_docstrings_begin_with_a_verb_or_a_term():
    """Not with a question, a pronoun, a preposition, or a verb in the third person."""
    lines = summaries()
    questions = "what where which whether how who when why"
    others = (
        "its it this that these those they of from for as in on at by to with if all not nothing something everything"
    )
    third = "returns gives trains writes reads computes makes takes converts finds shows draws"
    words = {place: re.match(r"\W*(\w*)", line)[1].lower() for place, line in lines.items()}
    asked = {place: lines[place] for place, word in words.items() if word in questions.split()}
    assert len(asked) <= 0.02 * len(lines), asked
    odd = {place: lines[place] for place, word in words.items() if word in f"{others} {third}".split()}
    assert len(odd) <= 0.02 * len(lines), odd


def test_pages_use_standard_terms():
    """Phrases that once stood for cross-validation, early stopping and the like."""
    riddles = re.compile(r"march|shall not see|at most so many|walk water|how true|is no [a-z]+", re.IGNORECASE)
    pages = [*ROOT.glob("*.md"), *(p for p in ROOT.glob("docs/**/*.md") if not {"_build", "generated"} & set(p.parts))]
    found = [
        f"{p.name}: {line}"
        for p in pages
        for line in p.read_text(encoding="utf-8").splitlines()
        if riddles.search(line)
    ]
    assert found == []


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name} -> {link}"


def test_the_accessor_lists_what_is_public_only(twin):
    assert [n for n in dir(twin.h2cm) if n.startswith("_")] == []
    assert {"check", "fit", "folds", "predict", "to_tensors", "to_zarr"} <= set(dir(twin.h2cm))


def public_names() -> set[str]:
    """What users may call: functions and classes, methods of datasets, pictures, processes, errors."""
    accessor = {f"xarray.Dataset.h2cm.{name}" for name in vars(H2CMAccessor) if name[0] != "_" and name != "plot"}
    pictures = {f"xarray.Dataset.h2cm.plot.{name}" for name in vars(Plots) if name[0] != "_"}
    rooms = (xh2cm, xh2cm.tutorial, xh2cm.physics, xh2cm.plots.plots)
    names = {
        f"{room.__name__.replace('xh2cm.datasets.tutorial', 'xh2cm.tutorial')}.{n}"
        for room in rooms
        for n in room.__all__
    }
    return accessor | pictures | names - {"xh2cm.tutorial", "xh2cm.physics.Processes", "xh2cm.PUBLISHED_NETWORKS"}


def test_every_public_name_has_a_page():
    named = set()
    for page in ROOT.glob("docs/reference/*.md"):
        for module, entries in re.findall(
            r"\.\. currentmodule:: (\S+)\n\n\.\. autosummary::\n(?:   :.*\n)*((?:\n|   \S+\n)+)",
            page.read_text(encoding="utf-8"),
        ):
            named |= {f"{module}.{entry}" for entry in entries.split()}
    assert public_names() <= named


def test_all_code_of_a_page_is_run():
    for page in set(RUN) - set(SHOWN):
        assert "```python" not in page.read_text(encoding="utf-8"), f"{page.name}: write {{code-cell}}"


@pytest.mark.slow("runs the code of a page")
def test_the_code_of_the_readme_runs(tmp_path):
    """In a fresh process."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL))
    assert code
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-2000:]


def without_numbers(text):
    """What two runs on different machines have in common: words, and where the numbers stand."""
    return re.sub(r"─+", "─", re.sub(r"\b[0-9a-f]{16}\b|-?\d[\w.:+-]*", "#", text))


@pytest.mark.slow("runs the commands of a page")
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
