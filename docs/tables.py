"""Write docs/variables.md from the code: `python docs/tables.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from xh2cm.model import PUBLISHED_NETWORKS
from xh2cm.physics import Processes
from xh2cm.targets import PRIORS, TARGET_TABLE
from xh2cm.variables import FORCING, OUTPUTS, TARGETS, Parameter, Var

PAGE = Path(__file__).with_name("variables.md")


def table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def variables(found: Mapping[str, Var]) -> str:
    """Rows of the variable table."""
    heads = ("name", "what it is", "units", "CF standard name", "CMIP6", "also found as")
    rows = (
        (v.name, v.long_name, v.units, v.standard_name or "", v.cmip or "", ", ".join(v.aliases))
        for v in found.values()
    )
    return table(heads, rows)


def bounds(p: Parameter) -> str:
    """Bounds as mathematicians write them."""
    return f"({p.lower:g}, {'inf' if p.upper == float('inf') else format(p.upper, 'g')})"


def page() -> str:
    """The whole page."""
    parameters = ((p.name, p.long_name, p.units, bounds(p), p.varies) for p in Processes().parameters)
    networks = (
        (n.name, n.kind, ", ".join(n.inputs) or "static features", ", ".join(n.outputs)) for n in PUBLISHED_NETWORKS
    )
    targets = ((t.name, TARGETS[t.name].units, t.compare, " / ".join(t.fields)) for t in TARGET_TABLE)
    priors = ((p.parameter, p.mean, p.std) for p in PRIORS)
    parts = [
        "# Variables, parameters, networks and targets",
        "Written by `python docs/tables.py` from the tables in the code; do not edit.",
        "## Forcing\n\nFound by CF standard name, by name (without case) or by `names={...}`.",
        variables(FORCING),
        "## Outputs\n\nAll may be asked for by name: `ds.h2cm.predict(fit, variables=[...])`.",
        variables(OUTPUTS),
        "## Learned parameters\n\nOutputs too, by the same names; `fapar` as `fAPAR`.",
        table(("name", "what it is", "units", "bounds", "varies"), parameters),
        "## Networks\n\n`*` takes every daily parameter that no other row names.",
        table(("net", "kind", "sees", "gives"), networks),
        "## Targets\n\nHow each is compared unless `targets={...}` says otherwise.",
        table(("target", "units", "compared as", "computed from"), targets),
        "## Priors",
        table(("parameter", "mean", "standard deviation"), priors),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
