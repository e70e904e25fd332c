"""A model printed: one table of its parameters and one of its networks, as text and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import NamedTuple

from xh2cm.html import Markup, table
from xh2cm.variables import Parameter

__all__ = ["Tables"]

PARAMETERS = ("parameter", "units", "lower", "upper", "default", "varies", "given by")
NUMBERS = ("lower", "upper", "default")
FLOWS = ("flux", "from -> to", "units")
NETWORKS = ("network", "kind", "width", "inputs", "outputs")


class Row(NamedTuple):
    """A network in print."""

    name: str
    kind: str
    width: str
    inputs: str
    outputs: str


class Tables(NamedTuple):
    """The printed form of a model.

    Parameters
    ----------
    title : str
    parameters : mapping of str to Parameter
    given_by : mapping of str to str
        What gives each parameter: ``"network <name>"``, a learned constant, or what it is pinned to.
    networks : sequence of Row
    forcing : sequence of str
        Names of the forcing that a process or network asks for.
    flows : sequence of (str, str, str)
        Fluxes that processes bring: name, source and sink, units.
    """

    title: str
    parameters: Mapping[str, Parameter]
    given_by: Mapping[str, str]
    networks: Sequence[Row]
    forcing: Sequence[str] = ()
    flows: Sequence[tuple[str, str, str]] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Rows of the table of parameters."""
        return [
            (name, p.units, f"{p.lower:g}", f"{p.upper:g}", f"{p.default:.4g}", p.varies, self.given_by[name])
            for name, p in self.parameters.items()
        ]

    def text(self, name: str) -> str:
        """Return both tables as text, under the name of the class."""
        lines = [f"<xh2cm.{name}> {self.title}", f"forcing: {', '.join(self.forcing)}", ""]
        lines += [line.rstrip() for line in aligned([PARAMETERS, *self.rows], NUMBERS)]
        begins = aligned([NETWORKS[:3], *(net[:3] for net in self.networks)], ("width",))
        lines += ["", f"{begins[0]}  {NETWORKS[3]} -> {NETWORKS[4]}"]
        for begin, net in zip(begins[1:], self.networks, strict=True):
            inside = wrap(net.inputs, 80) + wrap(f"-> {net.outputs}", 80, subsequent_indent="   ")
            lines += [f"{begin if i == 0 else ' ' * len(begin)}  {line}" for i, line in enumerate(inside)]
        if self.flows:
            lines += ["", *(line.rstrip() for line in aligned([FLOWS, *self.flows], ()))]
        return "\n".join(lines)

    def html(self, name: str) -> Markup:
        """Return both tables as HTML, with the inputs that each parameter is given from."""
        inputs = {f"network {net.name}": net.inputs for net in self.networks}
        rows = [(*row, inputs.get(row[-1], "")) for row in self.rows]
        heading = Markup("<p><b>xh2cm {}</b> {}</p><p>Forcing: {}</p>").format(
            name, self.title, ", ".join(self.forcing)
        )
        parameters = table("Parameters", (*PARAMETERS, "from"), rows, numbers=NUMBERS)
        networks = table("Networks", NETWORKS, self.networks, numbers=("width",))
        flows = table("Fluxes that processes bring", FLOWS, self.flows) if self.flows else Markup("")
        return heading + parameters + networks + flows


def aligned(rows: Sequence[Sequence[str]], right: Sequence[str]) -> list[str]:
    """Return rows as lines of aligned columns, those named in `right` set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if head in right else cell.ljust(width)
            for cell, width, head in zip(row, widths, rows[0], strict=True)
        )
        for row in rows
    ]
