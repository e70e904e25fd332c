"""The list of mutations fits the code as it is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_each_mutation_has_its_place_and_its_test(monkeypatch):
    """`make mutants` applies them and runs the tests."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    listed = importlib.import_module("mutants").listed()
    assert len(listed) >= 24
    for mutant in listed:
        (test,) = mutant.tests
        path, name = re.match(r"(.+)::(\w+)", test).groups()
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{test} of {mutant}"
        assert mutant.before != mutant.after
