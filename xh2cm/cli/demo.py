"""The command ``demo``, a complete run on tutorial data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from xh2cm.cli.options import Overwrite, about_data, about_output, refuse_place
from xh2cm.cli.output import progress_shown
from xh2cm.datasets import tutorial

commands = typer.Typer()


@commands.command(rich_help_panel="First steps", epilog="Example: xh2cm demo --out demo.zarr")
def demo(
    dataset: Annotated[
        Literal["twin", "delaware"],
        about_data(help="Synthetic, on 6 x 8 cells; or the Delaware basin, 765 units, downloaded on first use."),
    ] = "twin",
    out: Annotated[Path, about_output(metavar="STORE", help="Zarr store (a folder) to write.")] = Path("demo.zarr"),
    overwrite: Overwrite = False,
) -> None:
    """Check, train and predict on tutorial data, in about a minute.

    Small networks and few epochs: what it writes shows what outputs look like, not what the model can do.
    """
    refuse_place(out, overwrite, "zarr.json", [])
    about = tutorial.list_datasets().loc[dataset]
    typer.echo(f"{dataset}: {about['description']} ({about['licence']})\n")
    ds = tutorial.open_dataset(dataset)
    typer.echo(f"{ds.h2cm.check()}\n")
    with progress_shown() as drawn:
        done = ds.h2cm.fit(2, scheme="cells", epochs=3, width=16, window=365, spinup=365, progress=drawn)
        typer.echo(f"{done!r}\n")
        predicted = ds.h2cm.predict(done)
        predicted.attrs["comment"] = f"Demonstration after 3 epochs on tutorial data: {about['description']}"
        predicted.h2cm.to_zarr(out, overwrite=overwrite)
    typer.echo(f"{', '.join(map(str, predicted.data_vars))} written to {out}")
    typer.echo("The full job on real data, scored against gauges, with a figure: `make demo` in a checkout of xh2cm")
