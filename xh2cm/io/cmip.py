"""Write CMIP and ILAMB files.

References
----------
Eyring et al. (2016), doi:10.5194/gmd-9-1937-2016 (CMIP6); Collier et al. (2018), doi:10.1029/2018MS001354 (ILAMB)
"""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from xh2cm.data.cf import CONVENTIONS, encoded, horizontal, time_attrs
from xh2cm.data.read_land import EARTH_RADIUS
from xh2cm.data.times import daily_findings
from xh2cm.data.units import conversion
from xh2cm.disk.atomic import beside, put, writing
from xh2cm.disk.places import local
from xh2cm.errors import Finding, H2CMWarning, InputError, StoreError, closest
from xh2cm.io.netcdf import what_netcdf_refuses, what_the_disk_says, with_history
from xh2cm.variables import DAY_MEAN, OUTPUTS, STATIC, Quantity, Var

CMIP_UNITS: Mapping[Quantity, str] = {
    "water flux": "kg m-2 s-1",
    "carbon flux": "kg m-2 s-1",  # of carbon
    "water amount": "kg m-2",
}
"""Units of the CMIP6 tables."""

CMIP_FILL = np.float32(1e20)
"""What stands for nothing in files of CMIP6."""

RECORDS: Mapping[str, tuple[str, str]] = {"mon": ("Lmon", "%Y%m"), "day": ("Lday", "%Y%m%d")}
"""Frequency to what file names call the table, and to how they write the first and last date."""

TABLE: Mapping[str, Var] = {var.name: var for var in OUTPUTS.values() if var.cmip}
"""What is exported, by public name."""

REALIZATION = re.compile(r"^r\d+")


def write_cmip(
    prediction: xr.Dataset,
    directory: str | os.PathLike[str],
    *,
    variables: Sequence[str] | None = None,
    frequency: Literal["mon", "day"] = "mon",
    source_id: str = "xh2cm",
    experiment_id: str = "offline",
    member_id: str = "r1i1p1f1",
    grid_label: str = "gn",
    attributes: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write one NetCDF file per variable, under the names, units and signs of CMIP6, as ILAMB reads them.

    Parameters
    ----------
    prediction : Dataset
        Daily, on a regular grid of latitude and longitude.
    directory : str or path
        Made where it is not there; what is in it is left alone.
    variables : sequence of str, optional
        Public names, such as ``["ET", "GPP"]``; all with a name in CMIP6 if not given.
    frequency : {"mon", "day"}
        Means of whole months, as ILAMB wants them, or days.
    source_id, experiment_id, member_id, grid_label : str
        As in the names of CMIP6 files. Every fold is a member of its own: its number stands for the realization, ``r1``
        being fold 0.
    attributes : mapping of str to str, optional
        Further global attributes: ``{"institution_id": "...", "contact": "..."}``.

    Returns
    -------
    list of Path
        The files, with ``areacella`` and ``sftlf`` (cell area, and 100 % where there is a prediction) among them.

    Raises
    ------
    InputError
        On other land, without a variable that CMIP6 names, or without a whole month.
    StoreError
        If one of the files is there already, or they cannot be written: then none is.

    Warns
    -----
    H2CMWarning
        Naming variables CMIP6 has no name for (GW, TER), and counting months that are not whole.

    Notes
    -----
    The files are none of CMIP6: they are not made by CMOR and claim no ``mip_era``; ``Lmon`` and ``Lday`` in their
    names only say that they are of the land and how often. ``nep`` is NEP, or GPP - TER, or -NEE, whichever is there.
    Storages are those at the end of a day; by month their mean. A lazy prediction is computed once for all files.

    References
    ----------
    Eyring et al. (2016), doi:10.5194/gmd-9-1937-2016

    Examples
    --------
    >>> import tempfile, xh2cm
    >>> from xh2cm.io.cmip import write_cmip
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> fit = ds.h2cm.fit(folds=2, scheme="cells", epochs=1, width=8, progress=False)
    >>> out = ds.h2cm.predict(fit, variables=["ET", "GPP"])
    >>> for path in out.h2cm.to_cmip(tempfile.mkdtemp()):
    ...     print(path.name)
    areacella_fx_xh2cm_offline_r1i1p1f1_gn.nc
    sftlf_fx_xh2cm_offline_r1i1p1f1_gn.nc
    evspsbl_Lmon_xh2cm_offline_r1i1p1f1_gn_200101-200312.nc
    gpp_Lmon_xh2cm_offline_r1i1p1f1_gn_200101-200312.nc
    """
    findings = land_findings(prediction)
    if frequency not in RECORDS:
        findings.append(Finding("frequency", f"is {frequency!r}", f"give one of {', '.join(map(repr, RECORDS))}"))
    facets = {"source_id": source_id, "experiment_id": experiment_id, "member_id": member_id, "grid_label": grid_label}
    for facet, value in facets.items():
        if not (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", value)):
            remedy = "give letters, digits, dots and hyphens: it is part of the names of files"
            findings.append(Finding(facet, f"is {value!r:.60}", remedy))
    prediction = with_nep(prediction)
    names = named_in_cmip(prediction, variables, findings)
    if findings:
        raise InputError(findings)
    target = local(directory)
    record = means(on_globe(in_cmip_units(prediction, names)), frequency)
    nameless = [v.name for v in OUTPUTS.values() if v.name in prediction and v.name not in TABLE and v.name != "NEE"]
    if nameless and not variables:
        text = f"not exported, as CMIP6 has no name for it: {', '.join(nameless)}"
        warnings.warn(text, H2CMWarning, stacklevel=3)
    kept = ("title", "source", "references", "comment")
    attrs = {"Conventions": CONVENTIONS} | {key: prediction.attrs[key] for key in kept if key in prediction.attrs}
    attrs |= {"source_id": source_id, "experiment_id": experiment_id, "grid_label": grid_label, "realm": "land"}
    attrs |= dict(attributes or {})
    files: dict[str, xr.Dataset] = {}
    if "fold" in record.dims:
        for fold in record["fold"].values:
            member = REALIZATION.sub(f"r{int(fold) + 1}", member_id)
            files |= as_files(record.sel(fold=fold, drop=True), frequency, attrs | {"member_id": member})
    else:
        files = as_files(record, frequency, attrs | {"member_id": member_id})
    if there := [name for name in files if os.path.lexists(target / name)]:
        raise StoreError(f"{target} holds {', '.join(there)}: give another folder, experiment_id or member_id")
    refuses = what_netcdf_refuses(*files.values())
    with writing(target), beside(target / "export") as folder, what_the_disk_says(folder), refuses:
        paths = [folder / name for name in files]
        xr.save_mfdataset(list(files.values()), paths, compute=False).compute()  # type: ignore[no-untyped-call]  # together
        placed: list[Path] = []
        try:
            for name in files:
                put(folder / name, target / name)
                placed.append(target / name)
        except OSError:
            for path in placed:
                path.unlink(missing_ok=True)
            raise
    return [target / name for name in files]


def land_findings(prediction: xr.Dataset) -> list[Finding]:
    """Return findings about a prediction that is not daily on a regular grid."""
    latitude, longitude = horizontal(prediction)
    findings = []
    if latitude is None or longitude is None or any(c.dims != (c.name,) or c.size < 2 for c in (latitude, longitude)):
        problem = "is no regular grid of latitude and longitude, of more than one row and column"
        remedy = 'write towers, catchments and other grids with out.h2cm.to_netcdf("out.nc")'
        findings.append(Finding("land", problem, remedy))
    if "time" in prediction.dims:
        return [*findings, *daily_findings(prediction["time"], "time")]
    return [*findings, Finding("time", "is no dimension of the prediction", "give a daily one")]


def with_nep(prediction: xr.Dataset) -> xr.Dataset:
    """Net ecosystem production, which CMIP6 has instead of NEE: from what is there."""
    if "NEP" in prediction:
        return prediction
    if "GPP" in prediction and "TER" in prediction:
        return prediction.assign(NEP=(prediction["GPP"] - prediction["TER"]).assign_attrs(prediction["GPP"].attrs))
    if "NEE" in prediction:
        return prediction.assign(NEP=(-prediction["NEE"]).assign_attrs(prediction["NEE"].attrs))
    return prediction


def named_in_cmip(prediction: xr.Dataset, asked: Sequence[str] | None, findings: list[Finding]) -> list[str]:
    """Public names of what is to be exported."""
    known = [name for name in TABLE if name in prediction]
    if not asked:
        if not known:
            remedy = 'out = ds.h2cm.predict(fit, variables=["ET", "GPP"])'
            findings.append(Finding("prediction", "has no variable with a name in CMIP6", remedy))
        return known
    names = [asked] if isinstance(asked, str) else ["NEP" if name == "NEE" else name for name in asked]
    for name in names:
        if name not in prediction:
            findings.append(Finding(f"variable {name}", "is not in the prediction", closest(name, known)))
        elif name not in TABLE:
            findings.append(Finding(f"variable {name}", "has no name in CMIP6", f"choose from {', '.join(known)}"))
    return list(dict.fromkeys(names))


def in_cmip_units(prediction: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Variables under the names of CMIP6 and in its units, on axes called lat and lon."""
    found = {}
    for name in names:
        var = dataclasses.replace(TABLE[name], units=CMIP_UNITS[TABLE[name].quantity])
        scale, _ = conversion(name, prediction[name].attrs.get("units"), var)
        array = (prediction[name] * scale).astype(np.float32).reset_coords(drop=True)  # of passengers none
        found[str(var.cmip)] = array.drop_attrs(deep=False).assign_attrs(var.attrs)
    dataset = xr.Dataset(found)
    axes = zip(horizontal(dataset), ("lat", "lon"), strict=True)
    return dataset.rename({axis.name: name for axis, name in axes if axis is not None and axis.name != name})


def on_globe(dataset: xr.Dataset) -> xr.Dataset:
    """Sort the grid from south to north and from 0 to 360 degrees, with the bounds of the cells."""
    dataset = dataset.sortby(["lat", "lon"])
    south_north, west_east = (pairs(dataset[dim].values.astype(float)) for dim in ("lat", "lon"))
    east = dataset["lon"].values.astype(float) % 360
    west_east += (east - dataset["lon"].values)[:, None]  # bounds go round with their cell
    lat_bnds, lon_bnds = (("lat", "bnds"), south_north.clip(-90, 90)), (("lon", "bnds"), west_east)
    dataset = dataset.assign_coords(lon=east, lat_bnds=lat_bnds, lon_bnds=lon_bnds).sortby("lon")
    for dim, place, axis in (("lat", "latitude", "Y"), ("lon", "longitude", "X")):
        dataset[dim].attrs = STATIC[place].attrs | {"axis": axis, "bounds": f"{dim}_bnds"}
    return dataset


def pairs(centres: np.ndarray) -> np.ndarray:
    """Bounds halfway between centres, and as far beyond the first and last."""
    inner = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])
    return np.stack([edges[:-1], edges[1:]], -1)


def means(daily: xr.Dataset, frequency: str) -> xr.Dataset:
    """Days, or means of whole months, in the middle of their bounds."""
    found, lengths = daily, np.ones(daily.sizes["time"], dtype=int)
    if frequency == "mon":
        days = xr.ones_like(daily["time"], dtype=int).resample(time="MS").sum()
        whole = (days == days["time"].dt.days_in_month).values
        if not whole.any():
            raise InputError([Finding("time", "holds no whole month", 'frequency="day", or a longer prediction')])
        if not whole.all():
            text = f"{int((~whole).sum())} of {whole.size} months are not whole, and are not exported"
            warnings.warn(text, H2CMWarning, stacklevel=4)
        found = daily.resample(time="MS").mean(skipna=False, keep_attrs=True).isel(time=np.flatnonzero(whole))
        lengths = days.values[whole]
        for array in found.data_vars.values():
            array.attrs["cell_methods"] = DAY_MEAN
    starts = found["time"].to_index().floor("D")
    steps = [timedelta(days=int(length)) for length in lengths]
    ends, halves = (
        type(starts)([start + step / part for start, step in zip(starts, steps, strict=True)]) for part in (1, 2)
    )
    bounds = np.stack([starts, ends], -1)
    time = xr.Variable("time", halves, time_attrs(found["time"]))
    return found.assign_coords(time=time, time_bnds=(("time", "bnds"), bounds))


def as_files(record: xr.Dataset, frequency: str, attrs: Mapping[str, str]) -> dict[str, xr.Dataset]:
    """Cells and variables, each a dataset of its own by the name of its file."""
    table, dates = RECORDS[frequency]
    first, last = record["time"].isel(time=[0, -1]).dt.strftime(dates).values
    facets = "_".join(attrs[key] for key in ("source_id", "experiment_id", "member_id", "grid_label"))
    bounds = record.coords.to_dataset()[["time_bnds", "lat_bnds", "lon_bnds"]].reset_coords()
    files = {}
    for name, array in (cells(record) | dict(record.data_vars)).items():
        fixed = "time" not in array.dims
        about = {"variable_id": name, "table_id": "fx" if fixed else table, "frequency": "fx" if fixed else frequency}
        if name != "areacella":
            array = array.assign_attrs(cell_measures="area: areacella")
            about["external_variables"] = "areacella"
        whole = array.to_dataset(name=name).merge(bounds.drop_dims("time") if fixed else bounds)
        whole = whole.assign_attrs(dict(attrs) | about, variant_label=attrs["member_id"])
        file = with_history(encoded(whole), "exported under the names of CMIP6")
        file[name].encoding |= {"_FillValue": CMIP_FILL, "missing_value": CMIP_FILL}
        files["_".join([name, about["table_id"], facets, *([] if fixed else [f"{first}-{last}"])]) + ".nc"] = file
    return files


def cells(record: xr.Dataset) -> dict[Any, xr.DataArray]:
    """Area of the cells, and which of them are land."""
    south, north, west, east = (
        np.deg2rad(record[f"{dim}_bnds"].isel(bnds=end)) for dim in ("lat", "lon") for end in (0, 1)
    )
    area = (EARTH_RADIUS**2 * (np.sin(north) - np.sin(south)) * (east - west)).astype(np.float32)
    land = next(iter(record.data_vars.values())).isel(time=0, drop=True).notnull()
    about = {"standard_name": "land_area_fraction", "long_name": "land in the cell", "units": "%"}
    comment = "100 where there is a prediction: the share of land within a cell is not known to the model"
    return {
        "areacella": area.assign_attrs(STATIC["area"].attrs | {"cell_methods": "area: sum"}),
        "sftlf": (100 * land.astype(np.float32)).assign_attrs(
            about | {"cell_methods": "area: mean", "comment": comment}
        ),
    }
