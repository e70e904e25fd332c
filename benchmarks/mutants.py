"""Mutation testing: change the package in one place, run the tests, and count the changes that no test notices.

    python benchmarks/mutants.py --listed                  # the mutations of mutants.toml, each with its test
    python benchmarks/mutants.py --draw 300 --seed 1       # mutations drawn at random, with the tests of a wing
    python benchmarks/mutants.py --draw 300 --seed 1 --minutes 25 --jobs 2

A mutation is made in a copy of the checkout. Its tests run in a child process that has the libraries imported already,
the fastest files first, and end at the first failure. A mutation is noticed if a test fails or the time is up.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
WINGS = {
    "data": ("data", "datasets"),
    "model": ("model", "train"),
    "physics": ("physics", "model"),
    "train": ("train", "model"),
    "prediction": ("prediction", "train"),
    "io": ("io", "data"),
    "disk": ("disk", "io"),
}
"""Folders of the package in which mutations are drawn, to the folders of tests that must notice them, in this order."""

SLOW_FILES = ("data/test_faults.py", "io/test_trust.py")
"""Tests of generated faults: what they notice, others notice sooner."""


# -- mutations -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A change of one place of a file."""

    file: str
    line: int
    before: str
    after: str
    start: int  # bytes from the beginning of the file
    end: int
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before} -> {self.after}"


COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
UNTESTED = {"Finding", "warn", "warning", "info", "debug", "TypeVar", "Literal", "cast"}
"""Calls whose arguments are words for people or for the type checker."""


def changed(node: ast.AST) -> list[ast.AST]:
    """Return what may stand in place of an expression or a return."""
    if isinstance(node, ast.Compare):
        return [
            ast.Compare(node.left, [*node.ops[:k], other(), *node.ops[k + 1 :]], node.comparators)
            for k, op in enumerate(node.ops)
            if (other := COMPARISONS.get(type(op)))
        ]
    if isinstance(node, ast.BoolOp):
        return [ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        return [node.operand]
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and isinstance(node.right.value, str):
        return []  # a path and a name, which cannot be anything else
    if isinstance(node, ast.BinOp) and (other := ARITHMETIC.get(type(node.op))):
        return [ast.BinOp(node.left, other(), node.right)]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [ast.Constant(not node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [ast.Constant(node.value + 1)]
    if isinstance(node, ast.Return) and node.value is not None and getattr(node.value, "value", ...) is not None:
        return [ast.Return(ast.Constant(None))]
    return []


def inner(node: ast.AST) -> Iterator[ast.AST]:
    """Walk through the code that runs: no annotations, messages, strings or blocks for the type checker."""
    if isinstance(node, ast.JoinedStr | ast.Raise):
        return
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in UNTESTED:
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from inner(child)


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield all mutations of a file."""
    source = path.read_bytes()
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    file = path.relative_to(ROOT).as_posix()
    for node in inner(ast.parse(source)):
        for other in changed(node):
            start, end = (
                lines[row - 1] + column
                for row, column in ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
            )
            text = ast.unparse(
                ast.fix_missing_locations(ast.Expression(other) if isinstance(other, ast.expr) else other)
            )
            after = f"({text})" if isinstance(other, ast.expr) and not isinstance(other, ast.Constant) else text
            before = source[start:end].decode()
            yield Mutant(file, node.lineno, before, after, start, end, WINGS[path.relative_to(ROOT).parts[1]])


def listed() -> list[Mutant]:
    """Return the mutations of the list."""
    found = []
    for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]:
        source, before = (ROOT / row["file"]).read_bytes(), row["before"].encode()
        if source.count(before) != 1:
            raise SystemExit(f"{row['file']} holds {row['before']!r} {source.count(before)} times: renew {LIST.name}")
        start = source.index(before)
        line = source[:start].count(b"\n") + 1
        found.append(Mutant(row["file"], line, row["before"], row["after"], start, start + len(before), (row["test"],)))
    return found


# -- running the tests -----------------------------------------------------------------------------------------------


def import_libraries() -> None:
    """Import what every child needs, so that it starts at once."""
    import cf_xarray  # noqa: F401
    import dask.array  # noqa: F401
    import hypothesis  # noqa: F401
    import netCDF4  # noqa: F401
    import pandas  # noqa: F401
    import pint  # noqa: F401
    import pytest  # noqa: F401
    import scipy.sparse.csgraph  # noqa: F401
    import torch
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    torch.set_num_threads(1)


class Fastest:
    """A pytest plugin: run the files that take the least time first, and within a file the fastest tests."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list) -> None:
        of_file: Counter[str] = Counter()
        for item in items:
            of_file[item.path.name] += self.seconds.get(item.nodeid, 0.0)
        items.sort(key=lambda item: (of_file[item.path.name], item.path.name, self.seconds.get(item.nodeid, 0.0)))

    def pytest_runtest_logreport(self, report) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def run_tests(
    copy: Path, tests: list[str], log: Path, seconds: dict[str, float], *, timings: Path | None = None, limit: int = 0
) -> int:
    """Run tests in a copy, in a process of their own; return its number."""
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        os.setsid()
        if limit:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))  # the wall clock knows nothing of a busy machine
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        sys.dont_write_bytecode = True
        os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        with log.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        import pytest

        plugin = Fastest(dict(seconds))
        options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header"]
        code = int(pytest.main([*options, *tests], plugins=[plugin]))
        if timings is not None:
            timings.write_text("".join(f"{name}\t{value}\n" for name, value in plugin.seconds.items()))
    finally:
        sys.stdout.flush()
        os._exit(code)


def existing(copy: Path, tests: tuple[str, ...]) -> list[str]:
    """Return the paths of tests: those of a wing without the slowest files, or a single test."""
    if "::" in tests[0]:
        return list(tests)
    slow = [f"--ignore=tests/{name}" for name in SLOW_FILES]
    return [*slow, *(f"tests/{wing}" for wing in tests if (copy / "tests" / wing).exists())]


def whole_time(tests: tuple[str, ...], seconds: dict[str, float]) -> float:
    """Return how long some tests take as it is."""
    starts = tuple(f"tests/{one}/" for one in tests) + tests
    return sum(value for name, value in seconds.items() if name.startswith(starts))


def survivors(mutants: list[Mutant], jobs: int, until: float, times: Path | None) -> tuple[list[Mutant], int]:
    """Run the tests of each mutant; return those that passed all tests, and how many mutants were tried."""
    import_libraries()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [Path(folder) / str(job) for job in range(jobs)]
        for copy in copies:
            for part in ("xh2cm", "tests", "docs", "examples", "benchmarks"):
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "_build"))
            for part in ("pyproject.toml", "README.md"):
                shutil.copy(ROOT / part, copy / part)
        wanted = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        timings = times or Path(folder) / "times"
        if not timings.exists():  # as it is, all tests must pass
            log = Path(folder) / "log"
            _, status = os.waitpid(run_tests(copies[0], existing(copies[0], wanted), log, {}, timings=timings), 0)
            if status:
                timings.unlink(missing_ok=True)
                print(log.read_text()[-3000:])
                raise SystemExit("a test fails without any mutation")
        seconds = {n: float(s) for n, s in (row.split("\t") for row in timings.read_text().splitlines())}
        waiting, running, left, done = list(mutants), {}, [], 0
        free = list(range(jobs))
        while waiting or running:
            while waiting and free and time.monotonic() < until:
                mutant, job = waiting.pop(0), free.pop()
                source = (copies[job] / mutant.file).read_bytes()
                whole = source[: mutant.start] + mutant.after.encode() + source[mutant.end :]
                (copies[job] / mutant.file).write_bytes(whole)
                log = Path(folder) / f"log{job}"
                limit = 60 + 3 * int(whole_time(mutant.tests, seconds))
                number = run_tests(copies[job], existing(copies[job], mutant.tests), log, seconds, limit=limit)
                running[number] = (mutant, job, source, time.monotonic())
            if not running:
                break
            time.sleep(0.05)
            for number, (mutant, job, source, begun) in list(running.items()):
                ended, status = os.waitpid(number, os.WNOHANG)
                took = time.monotonic() - begun
                late = not ended and took > 1800  # it waits for something
                if late:
                    os.killpg(number, signal.SIGKILL)
                    os.waitpid(number, 0)
                if ended or late:
                    del running[number]
                    free.append(job)
                    (copies[job] / mutant.file).write_bytes(source)
                    code = os.waitstatus_to_exitcode(status)
                    if code == 5:
                        raise SystemExit(f"pytest found no test for {mutant}")
                    noticed = late or code != 0
                    done += 1
                    late = late or code == -signal.SIGXCPU or code == -signal.SIGKILL
                    how = "time is up" if late else "noticed" if noticed else "SURVIVED"
                    print(f"{done:4d} {how:10s} {took:5.1f} s  {mutant}", flush=True)
                    if not noticed:
                        left.append(mutant)
    return left, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listed", action="store_true", help="try the mutations of mutants.toml")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="number of mutations to draw")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N of the draw")
    parser.add_argument("--wings", nargs="+", choices=WINGS, default=list(WINGS), help="folders of the package")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument(
        "--times", type=Path, metavar="FILE", help="where to keep what the tests take, for a further run"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further mutation after this time")
    asked = parser.parse_args()
    if asked.listed:
        mutants = listed()
    else:
        paths = sorted(p for wing in asked.wings for p in (ROOT / "xh2cm" / wing).glob("*.py"))
        every = [mutant for path in paths for mutant in mutants_of(path)]
        mutants = random.Random(asked.seed).sample(every, min(asked.draw, len(every)))[asked.skip :]  # noqa: S311
        print(f"{len(mutants)} of {len(every):,} mutations in {len(paths)} files")
    left, done = survivors(mutants, asked.jobs, time.monotonic() + 60 * asked.minutes, asked.times)
    print(f"\nnoticed {done - len(left)} of {done}")
    for mutant in left:
        print(f"  {mutant}")
    raise SystemExit(asked.listed and bool(left))


if __name__ == "__main__":
    main()
