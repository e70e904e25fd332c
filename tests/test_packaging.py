"""The files by which the library is published: their syntax, and their agreement with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import xh2cm

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
CONDA = {"dask": "dask-core", "matplotlib": "matplotlib-base", "torch": "pytorch"}
"""Packages that have another name on conda-forge."""


def parsed(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def bounds(requirements: list[str]) -> dict[str, str]:
    """Return versions by name on conda-forge."""
    found = [Requirement(text) for text in requirements]
    return {CONDA.get(each.name, canonicalize_name(each.name)): str(each.specifier) for each in found if each.specifier}


@pytest.fixture(scope="module")
def recipe() -> dict:
    return parsed(ROOT / "recipe" / "recipe.yaml")


def test_the_recipe_is_of_this_version(recipe):
    context = recipe["context"]
    assert context["version"] == Version(xh2cm.__version__).base_version
    assert PROJECT["requires-python"] == f">={context['python_min']}"
    assert recipe["about"]["license"] == PROJECT["license"]
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["build"]["python"]["entry_points"] == [f"xh2cm = {PROJECT['scripts']['xh2cm']}"]


def test_the_recipe_requires_the_same_versions(recipe):
    extras = PROJECT["optional-dependencies"]
    run = [text for text in recipe["requirements"]["run"] if not text.startswith("python ")]
    assert bounds(run) == bounds(PROJECT["dependencies"] + extras["cli"])  # conda installs the command, too
    optional = bounds(extras["plot"] + extras["distributed"] + extras["tensorboard"])
    assert bounds(recipe["requirements"]["run_constraints"]) == optional
    built_with = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert bounds(built_with).items() <= bounds(recipe["requirements"]["host"][1:]).items()


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_workflows_call_what_there_is(path):
    workflow = parsed(path)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            for target in re.findall(r"make ([a-z]+|\$\{\{ matrix.target \}\})", step.get("run", "")):
                assert set(matrix["target"] if "$" in target else [target]) <= set(targets)
            for script in re.findall(r"\.ci/\S+\.py", step.get("run", "")):
                assert (ROOT / script.strip('"')).exists()
        assert set([job["needs"]] if "needs" in job else []) <= set(workflow["jobs"])


def test_only_a_tested_wheel_is_published_and_without_a_token():
    jobs = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert jobs["publish"]["needs"] == "try"
    assert jobs["try"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_read_the_docs_builds_the_site_with_the_tested_versions():
    site = parsed(ROOT / ".readthedocs.yaml")
    assert site["version"] == 2
    assert (ROOT / site["sphinx"]["configuration"]).exists()
    assert site["sphinx"]["fail_on_warning"] is True
    install = " ".join(site["build"]["jobs"]["install"])
    assert "--constraint constraints.txt" in install
    assert ".[docs]" in install
    assert "docs" in PROJECT["optional-dependencies"]


def test_versions_that_are_tested_are_allowed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if "==" in line)}
    extras = PROJECT["optional-dependencies"].values()
    for requirement in map(Requirement, chain(PROJECT["dependencies"], *extras)):
        name = canonicalize_name(requirement.name)
        if name in pins:
            assert requirement.specifier.contains(pins[name]), requirement
        else:
            assert name == "xh2cm" or requirement.marker or name == "cuda-bindings", f"{name} has no tested version"


def test_only_public_servers_are_named():
    """What is published refers to public package indices, documentation and papers alone."""
    public = r"(^|\.)(pytorch\.org|pypi\.org|doi\.org|keepachangelog\.com|semver\.org)$"
    files = [*WORKFLOWS, *(ROOT / name for name in ("pyproject.toml", "constraints.txt", "Makefile", "README.md"))]
    files += [ROOT / "recipe" / "recipe.yaml", ROOT / ".readthedocs.yaml", ROOT / "CHANGELOG.md", *ROOT.glob(".ci/*")]
    for path in filter(Path.is_file, files):
        for host in re.findall(r"https?://([^/\s\"')]+)", path.read_text(encoding="utf-8")):
            assert re.search(public, host), f"{path.name} names {host}"
