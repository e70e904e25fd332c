"""The list of mutations stands for the code as it is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_each_mutation_has_its_place_and_its_test():
    """What the tests make of them, `make mutants` tries."""
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "benchmarks" / "mutants.py")
    mutants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutants)
    listed = mutants.listed()
    assert len(listed) >= 24
    for mutant in listed:
        (test,) = mutant.tests
        path, name = re.match(r"(.+)::(\w+)", test).groups()
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{test} of {mutant}"
        assert mutant.before != mutant.after
