"""Write docs/variables.md from the code: `python docs/tables.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path

import xh2cm.physics
from xh2cm.model import PUBLISHED_NETWORKS, WATER_NETWORKS, Net
from xh2cm.physics import Processes
from xh2cm.physics.processes import SLOTS, homes
from xh2cm.targets import PRIORS, TARGET_TABLE
from xh2cm.variables import FORCING, OUTPUTS, TARGETS, Parameter, Var

PAGE = Path(__file__).with_name("variables.md")


def table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def variables(found: Mapping[str, Var]) -> str:
    """Return the table of variables."""
    heads = ("name", "description", "units", "CF standard name", "CMIP6", "other names")
    rows = (
        (v.name, v.long_name, v.units, v.standard_name or "", v.cmip or "", ", ".join(v.aliases))
        for v in found.values()
    )
    return table(heads, rows)


def networks(nets: Iterable[Net]) -> str:
    """Return a table of networks."""
    rows = ((n.name, n.kind, ", ".join(n.inputs) or "static features", ", ".join(n.outputs)) for n in nets)
    return table(("network", "kind", "inputs", "outputs"), rows)


def bounds(p: Parameter) -> str:
    """Return the bounds as an interval."""
    return f"({p.lower:g}, {'inf' if p.upper == float('inf') else format(p.upper, 'g')})"


def described(slot: str, kind: type) -> tuple[str, ...]:
    """Return the row of a process."""
    summary, _, rest = inspect.getdoc(kind).partition("\n")
    source = " ".join(rest.partition("----------\n")[2].partition("\n\n")[0].split())
    learned = (f"`{p.name}` {bounds(p)}{f' {p.units}' if p.units != '1' else ''}, {p.varies}" for p in kind.parameters)
    return slot, f"`{kind.__name__}`", summary, "<br>".join(learned), source


def processes() -> str:
    """Return the table of processes, by slot, the published one first."""
    rows = []
    published = Processes()
    for slot in SLOTS:
        named = (getattr(xh2cm.physics, name) for name in xh2cm.physics.__all__)
        kinds = [kind for kind in named if inspect.isclass(kind) and slot in homes(kind)]
        kinds.sort(key=lambda kind: kind is not type(getattr(published, slot)))
        rows += [described(slot, kind) for kind in kinds]
    for name in xh2cm.physics.__all__:
        kind = getattr(xh2cm.physics, name)
        if inspect.isclass(kind) and hasattr(kind, "after") and not homes(kind) and kind is not Processes:
            rows += [described("more", kind)]
    return table(("slot", "process", "description", "learned parameters", "source"), rows)


def page() -> str:
    """Return the whole page."""
    parameters = (
        (p.name, p.long_name, p.units, bounds(p), f"{p.default:.4g}", p.varies) for p in Processes().parameters
    )
    targets = ((t.name, TARGETS[t.name].units, t.compare, " / ".join(t.fields)) for t in TARGET_TABLE)
    priors = ((p.parameter, p.mean, p.std) for p in PRIORS)
    parts = [
        "# Variables, parameters, networks and targets",
        "Generated from the code by `python docs/tables.py`; do not edit.",
        "## Forcing\n\nIdentified by CF standard name, by name (case is ignored) or by `names={...}`.",
        variables(FORCING),
        "## Outputs\n\nSelect outputs by name: `ds.h2cm.predict(fit, variables=[...])`.",
        variables(OUTPUTS),
        "## Learned parameters\n\nOutputs, too, under the same names (`fapar` as `fAPAR`).",
        table(("name", "description", "units", "bounds", "default", "varies"), parameters),
        "## Processes\n\nThe published process of each slot is first. [Exchange a process](howto/swap-a-process.md).",
        processes(),
        "## Networks\n\n`*` stands for every daily parameter that no other row names.",
        networks(PUBLISHED_NETWORKS),
        "The water-only model, `Processes.water()`:",
        networks(WATER_NETWORKS),
        "## Targets\n\nThe default comparison of each target; `targets={...}` changes it.",
        table(("target", "units", "comparison", "computed from"), targets),
        "## Priors",
        table(("parameter", "mean", "standard deviation"), priors),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
