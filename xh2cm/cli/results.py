"""Commands on results: ``predict``, ``score``, ``export``, ``plot``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pandas as pd
import typer
import xarray as xr

import xh2cm
from xh2cm.cli.config import Config, Configured, WriteConfig
from xh2cm.cli.options import (
    DPI,
    AsJson,
    Data,
    Overwrite,
    Progress,
    a_target,
    about_data,
    about_output,
    an_output,
    mark_of,
    refuse_picture,
    refuse_place,
    takes,
)
from xh2cm.cli.output import progress_shown, table, tell
from xh2cm.data.options import NameOptions
from xh2cm.datasets.open import open_path
from xh2cm.disk.atomic import drafted, replace, writing
from xh2cm.evaluate.scores import REASONS
from xh2cm.io.cmip import write_cmip
from xh2cm.settings import PredictOptions
from xh2cm.text import not_a_formula

commands = typer.Typer()
Picture = Literal["map", "skill", "season", "series", "latitudes", "closure", "overview", "losses", "folds"]
EXPORT = {name: p.default for name, p in inspect.signature(write_cmip).parameters.items()}


@commands.command(
    rich_help_panel="Results",
    cls=Configured,
    epilog="Example: xh2cm predict basin.nc --fit basin_fit --out basin_out.zarr --variable ET --member held-out",
)
@takes(PredictOptions, without=("fit", "options", "variables"))
def predict(
    path: Data,
    trained: Annotated[
        Path,
        about_output(
            "--fit", exists=True, metavar="FIT", help="Fit or run written by `xh2cm fit`, or a published .ckpt file."
        ),
    ],
    out: Annotated[Path, about_output(metavar="STORE", help="Zarr store (a folder), or NetCDF file (.nc), to write.")],
    variable: Annotated[
        list[str] | None,
        about_output(
            metavar="NAME",
            autocompletion=an_output,
            help="A flux, storage or learned parameter, or all; the main six if not given. Repeat for more.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        about_output(
            exists=True,
            metavar="STORE",
            help="Start without spin-up from the state kept with --keep-state by a prediction of the days before.",
        ),
    ] = None,
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    config: Config = None,
    write_config: WriteConfig = None,
    **told: Any,
) -> None:
    """Compute fluxes, storages and learned parameters, and write them to Zarr or NetCDF chunk by chunk."""
    refuse_place(out, overwrite, mark_of(out), [path, trained, *([state] if state else [])])
    if out.suffix == ".zip":
        raise typer.BadParameter(f"{out}: this writes a Zarr folder, call it {out.stem}.zarr", param_hint="--out")
    with progress_shown(progress):
        found = open_path(path).h2cm.predict(
            xh2cm.load_fit(trained),
            variables="all" if variable == ["all"] else variable,
            state=open_path(state) if state else None,
            **told | {"member": int(told["member"]) if told["member"].isdigit() else told["member"]},
        )
        (found.h2cm.to_netcdf if out.suffix == ".nc" else found.h2cm.to_zarr)(out, overwrite=overwrite)
    tell(
        as_json,
        {"out": out, "variables": [*found.data_vars], "sizes": found.sizes, "attributes": found.attrs},
        f"{', '.join(map(str, found.data_vars))} written to {out}",
    )


@commands.command(
    rich_help_panel="Results", epilog="Example: xh2cm score out.zarr basin.nc --target runoff --target ET"
)
@takes(NameOptions)
def score(
    prediction: Annotated[
        Path, typer.Argument(exists=True, metavar="PREDICTION", help="Prediction written by `xh2cm predict`.")
    ],
    observations: Annotated[Path, typer.Argument(exists=True, metavar="OBSERVATIONS", help="Data with observations.")],
    target: Annotated[
        list[str] | None,
        about_data(
            metavar="NAME",
            autocompletion=a_target,
            help="Variable to score; all that both hold by default. Repeat for more.",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        about_data(metavar="SOURCE", help="Labels of cells or days in the observations, each scored separately."),
    ] = None,
    out: Annotated[
        Path | None,
        about_output(metavar="FILE", help="Scores per cell (.nc, NetCDF), or the table with more columns (.csv)."),
    ] = None,
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    **told: Any,
) -> None:
    """Score a prediction against observations, by variable and by day, month, season and year.

    They are of all values of all cells as one sample, weighted by area; below stands whether they are held out.
    """
    if out:
        if out.suffix not in (".nc", ".csv"):
            raise typer.BadParameter(f"{out} is neither .nc nor .csv", param_hint="--out")
        refuse_place(out, overwrite, "", [prediction, observations])
    with progress_shown(progress):
        seen = open_path(observations)
        found = open_path(prediction).h2cm.score(seen, groups=groups, targets=target, **told).compute()
    scores = pooled(found)
    if out and out.suffix == ".nc":
        found.h2cm.to_netcdf(out, overwrite=overwrite)
    elif out:
        with writing(out):
            replace(out, scores.map(not_a_formula).to_csv(index=False).encode())
    keys = [str(name) for name in scores if name in found.dims]
    shown = scores[scores["count"] > 0]
    columns = [*keys, "NSE", "KGE", "r", "RMSE", "bias", "units", "count", "cells"]
    silent = scores.groupby("variable")["count"].sum()
    texts = [f"{name}: not scored, {reason}" for name in silent.index[silent == 0] for reason in [why(scores, name)]]
    texts += [f"held out: {found.attrs['held_out']}"] + [f"scores written to {out}"] * bool(out)
    rows = [table(shown[columns].to_dict("records"))] if len(shown) else []
    about = {"held_out": found.attrs["held_out"], "scores": scores.to_dict("records"), "out": out}
    tell(as_json, about, *rows, "\n".join(["", *texts] if rows else texts))


def pooled(found: xr.Dataset) -> pd.DataFrame:
    """Scores of all cells as one sample, a row for each variable and scale."""
    whole = [name for name in found if str(name).endswith("_pooled")]
    picked = found[[*whole, "cells"]].rename({name: str(name).removesuffix("_pooled") for name in whole})
    picked = picked.reset_coords("units")
    rows = picked.drop_vars([name for name in picked.coords if name not in picked.dims]).to_dataframe().reset_index()
    return rows.assign(reason=[[*REASONS][k] for k in rows["reason"]])


def why(scores: pd.DataFrame, variable: str) -> str:
    """The reason that a variable has no scores, of the scales that apply."""
    reasons = scores.loc[scores["variable"] == variable, "reason"]
    return REASONS[next((name for name in reasons if name != "not_at_this_scale"), "not_at_this_scale")]


@commands.command(
    rich_help_panel="Results",
    epilog="Example: xh2cm export out.zarr cmip --variable ET --variable GPP --source-id H2CM-mine",
)
def export(
    store: Annotated[
        Path,
        typer.Argument(exists=True, metavar="STORE", help="Prediction written by `xh2cm predict`, Zarr or NetCDF."),
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder the files are written to.")],
    variable: Annotated[
        list[str] | None,
        about_output(
            metavar="NAME",
            autocompletion=an_output,
            help="A flux or storage; all with a name in CMIP6 if not given. Repeat for more.",
        ),
    ] = None,
    frequency: Annotated[
        Literal["mon", "day"], about_output(help="Means of whole months, as ILAMB wants them, or days.")
    ] = EXPORT["frequency"],
    source_id: Annotated[str, about_output(metavar="ID", help="Model, in the names of the files.")] = EXPORT[
        "source_id"
    ],
    experiment_id: Annotated[str, about_output(metavar="ID", help="Experiment, in the names of the files.")] = EXPORT[
        "experiment_id"
    ],
    member_id: Annotated[
        str, about_output(metavar="ID", help="Member, in the names of the files; folds are numbered.")
    ] = EXPORT["member_id"],
    progress: Progress = True,
    as_json: AsJson = False,
) -> None:
    """Write a prediction under the names of CMIP6, one NetCDF file per variable, for ILAMB and similar tools."""
    with progress_shown(progress):
        files = open_path(store).h2cm.to_cmip(
            directory,
            variables=variable,
            frequency=frequency,
            source_id=source_id,
            experiment_id=experiment_id,
            member_id=member_id,
        )
    tell(as_json, {"files": files}, "\n".join(map(str, files)))


@commands.command(
    rich_help_panel="Results", epilog="Example: xh2cm plot out.zarr --what map --variable ET --out et.png"
)
@takes(NameOptions)
def plot(
    store: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="STORE", help="A prediction or data, Zarr or NetCDF; for losses and folds a fit."
        ),
    ],
    out: Annotated[Path, about_output(metavar="FILE", help="Picture to write: .png, .pdf, .svg, ...")],
    what: Annotated[
        Picture,
        about_output(
            metavar="PICTURE",
            help=f"{', '.join(get_args(Picture))}; skill is that of the observations given.",
        ),
    ] = "overview",
    variable: Annotated[
        str | None, about_output(metavar="NAME", autocompletion=an_output, help="Variable to draw.")
    ] = None,
    observations: Annotated[
        Path | None, about_data(exists=True, metavar="PATH", help="Data with observations.")
    ] = None,
    when: Annotated[str | None, about_output(metavar="DATE", help="A day, month or year to map: 2001-07.")] = None,
    metric: Annotated[str | None, about_output(metavar="NAME", help="A score to map, NSE if not given.")] = None,
    scale: Annotated[
        str | None,
        about_output(metavar="SCALE", help="Time scale: daily, monthly, interannual; for skill also seasonal."),
    ] = None,
    dpi: Annotated[int, about_output(min=10, max=1200, help="Resolution in dots per inch.")] = DPI,
    progress: Progress = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    **told: Any,
) -> None:
    """Draw a map, seasonal cycle, time series, score, budgets, losses, folds or an overview to a file."""
    refuse_picture(out)
    from matplotlib import pyplot as plt

    from xh2cm.plots import plots as pictures

    draw: Callable[..., Any] = pictures.values if what == "map" else getattr(pictures, what)
    refuse_place(out, overwrite, "", [store, *([observations] if observations else [])])
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
    with progress_shown(progress):
        shown: Any = xh2cm.load_fit(store) if what in ("losses", "folds") else open_path(store)
        if observations:
            chosen["observations"] = open_path(observations)
        if what == "skill":
            shown = shown.h2cm.score(chosen.pop("observations"), **{name: chosen.pop(name, None) for name in told})
        axes = draw(shown, **chosen)
    axes = axes if what in ("overview", "closure", "losses") else [axes]  # pages of several
    figure = axes[0].figure
    with writing(out), drafted(out) as draft:
        figure.savefig(draft, dpi=dpi)
    plt.close(figure)
    tell(as_json, {"what": what, "out": out}, f"{what} drawn in {out}")
