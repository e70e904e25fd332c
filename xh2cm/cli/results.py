"""Commands on what comes of training: ``predict``, ``export``, ``plot``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import xh2cm
from xh2cm.accessor import H2CMAccessor
from xh2cm.cli.options import (
    Data,
    Device,
    Loop,
    Mask,
    Missing,
    Names,
    NoStatic,
    Overwrite,
    Progress,
    Static,
    Units,
    about_data,
    about_output,
    bar,
    defaults,
    described,
    mapping,
    number_or_name,
    refuse_place,
)
from xh2cm.data.files import open_path

commands = typer.Typer()
PREDICT, EXPORT = defaults(H2CMAccessor.predict), defaults(H2CMAccessor.to_cmip)


@commands.command(
    epilog="Example: xh2cm predict basin.nc --fit basin_fit --out basin_out.zarr --variable ET --member held-out"
)
def predict(
    path: Data,
    trained: Annotated[
        Path,
        about_output(
            "--fit", exists=True, metavar="FIT", help="What `xh2cm fit` has saved, or a published .ckpt file."
        ),
    ],
    out: Annotated[Path, about_output(metavar="STORE", help="Zarr store (a folder), or NetCDF file (.nc), to write.")],
    variable: Annotated[
        list[str] | None,
        about_output(
            metavar="NAME",
            help="A flux, storage or learned parameter, or all; the main six if not given. Repeat for more.",
        ),
    ] = None,
    member: Annotated[
        str,
        about_output(
            metavar="mean|all|held-out|FOLD",
            help="Mean over the folds, every fold, in each cell the fold that did not see it, or one fold.",
        ),
    ] = PREDICT["member"],
    spinup: Annotated[
        int | None, about_output(metavar="DAYS", help="Days walked once beforehand; as in training if not given.")
    ] = None,
    state: Annotated[
        Path | None,
        about_output(
            exists=True,
            metavar="STORE",
            help="Start, without a spin-up, from what a prediction of the days before has kept with --keep-state.",
        ),
    ] = None,
    keep_state: Annotated[
        bool, about_output("--keep-state", help="Also write the state at the end, to predict on from.")
    ] = PREDICT["keep_state"],
    pin: Annotated[
        list[str] | None,
        about_data(
            metavar="NAME=SOURCE",
            help="Another map or number for a parameter that the fit has pinned to a map. Repeat for more.",
        ),
    ] = None,
    names: Names = None,
    units: Units = None,
    static: Static = None,
    no_static: NoStatic = False,
    mask: Mask = None,
    missing: Missing = "drop",
    loop: Loop = PREDICT["loop"],
    device: Device = None,
    progress: Progress = True,
    overwrite: Overwrite = False,
) -> None:
    """Compute fluxes, storages and learned parameters, and write them to Zarr or NetCDF chunk by chunk."""
    told = described(names, units, static, no_static, mask, missing)
    as_netcdf = out.suffix == ".nc"
    refuse_place(out, overwrite, "" if as_netcdf else "zarr.json", [path, trained, *([state] if state else [])])
    if out.suffix == ".zip":
        raise typer.BadParameter(f"{out}: this writes a Zarr folder, call it {out.stem}.zarr", param_hint="--out")
    with bar(progress):
        found = open_path(path).h2cm.predict(
            xh2cm.load_fit(trained),
            variables="all" if variable == ["all"] else variable,
            member=int(member) if member.isdigit() else member,
            spinup=spinup,
            state=open_path(state) if state else None,
            keep_state=keep_state,
            pin=mapping("--pin", pin, number_or_name),
            loop=loop,
            device=device,
            **told,
        )
        (found.h2cm.to_netcdf if as_netcdf else found.h2cm.to_zarr)(out, overwrite=overwrite)
    typer.echo(f"{', '.join(map(str, found.data_vars))} written to {out}")


@commands.command(epilog="Example: xh2cm export out.zarr cmip --variable ET --variable GPP --source-id H2CM-mine")
def export(
    store: Annotated[
        Path, typer.Argument(exists=True, metavar="STORE", help="What `xh2cm predict` has written, Zarr or NetCDF.")
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder the files are written to.")],
    variable: Annotated[
        list[str] | None,
        about_output(metavar="NAME", help="A flux or storage; all with a name in CMIP6 if not given. Repeat for more."),
    ] = None,
    frequency: Annotated[
        Literal["mon", "day"], about_output(help="Means of whole months, as ILAMB wants them, or days.")
    ] = EXPORT["frequency"],
    source_id: Annotated[str, about_output(metavar="ID", help="Model, in the names of the files.")] = EXPORT[
        "source_id"
    ],
    experiment_id: Annotated[str, about_output(metavar="ID", help="Experiment, likewise.")] = EXPORT["experiment_id"],
    member_id: Annotated[str, about_output(metavar="ID", help="Member, likewise; folds count themselves.")] = EXPORT[
        "member_id"
    ],
    progress: Progress = True,
) -> None:
    """Write a prediction as CMIP6 names it, one NetCDF file a variable, for ILAMB and its like."""
    with bar(progress):
        files = open_path(store).h2cm.to_cmip(
            directory,
            variables=variable,
            frequency=frequency,
            source_id=source_id,
            experiment_id=experiment_id,
            member_id=member_id,
        )
    typer.echo("\n".join(map(str, files)))


@commands.command(epilog="Example: xh2cm plot out.zarr --what map --variable ET --out et.png")
def plot(
    store: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="STORE", help="A prediction or data, Zarr or NetCDF; for losses and folds a fit."
        ),
    ],
    out: Annotated[Path, about_output(metavar="FILE", help="Picture to write: .png, .pdf, .svg, ...")],
    what: Annotated[
        Literal["map", "skill", "season", "series", "latitudes", "closure", "overview", "losses", "folds"],
        about_output(help="What to show; skill is that of the observations given."),
    ] = "overview",
    variable: Annotated[str | None, about_output(metavar="NAME", help="What to show it of.")] = None,
    observations: Annotated[
        Path | None, about_data(exists=True, metavar="PATH", help="Data that hold what was observed.")
    ] = None,
    names: Names = None,
    units: Units = None,
    when: Annotated[str | None, about_output(metavar="DATE", help="A day, month or year to map: 2001-07.")] = None,
    metric: Annotated[str | None, about_output(metavar="NAME", help="A score to map, NSE if not given.")] = None,
    scale: Annotated[
        str | None,
        about_output(metavar="SCALE", help="Of skill and series: daily, monthly, interannual; of skill also seasonal."),
    ] = None,
    dpi: Annotated[int, about_output(min=10, max=1200, help="Points of the picture in an inch.")] = 150,
    progress: Progress = True,
    overwrite: Overwrite = False,
) -> None:
    """Draw a map, seasonal cycle, series, score, budgets, losses, folds, or one page of them, into a file."""
    from xh2cm.results import plot as pictures  # which says how to install matplotlib where it is not there

    draw: Callable[..., Any] = pictures.values if what == "map" else getattr(pictures, what)
    import matplotlib as mpl
    from matplotlib.backend_bases import FigureCanvasBase

    mpl.use("Agg")
    formats = FigureCanvasBase.get_supported_filetypes()
    if out.suffix.removeprefix(".") not in formats:
        raise typer.BadParameter(f"{out} is none of .{', .'.join(formats)}", param_hint="--out")
    refuse_place(out, overwrite, "", [store, *([observations] if observations else [])])
    told = {"names": mapping("--names", names, number_or_name), "units": mapping("--units", units)}
    given: dict[str, Any]
    given = {"variable": variable, "observations": observations, **told, "when": when, "metric": metric, "scale": scale}
    takes = {*inspect.signature(draw).parameters} | ({"observations", *told} if what == "skill" else set())
    for option, value in given.items():
        if value is not None and option not in takes:
            raise typer.BadParameter(f"is not for --what {what}", param_hint=f"--{option}")
    for option in ("variable", *(["observations"] if what == "skill" else [])):
        if option in takes and given[option] is None:
            raise typer.BadParameter(f"is needed for --what {what}", param_hint=f"--{option}")
    chosen = {option: value for option, value in given.items() if value is not None}
    with bar(progress):
        shown: Any = xh2cm.load_fit(store) if what in ("losses", "folds") else open_path(store)
        if observations:
            chosen["observations"] = open_path(observations)
        if what == "skill":
            shown = shown.h2cm.score(chosen.pop("observations"), **{name: chosen.pop(name, None) for name in told})
        axes = draw(shown, **chosen)
    axes = axes if what in ("overview", "closure", "losses") else [axes]  # pages of several
    axes[0].figure.savefig(out, dpi=dpi)
    typer.echo(f"{what} drawn in {out}")
