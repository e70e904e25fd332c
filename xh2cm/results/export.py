"""Files for others: one NetCDF file as CF has it, or a folder of them under the names, units and signs of CMIP6.

References
----------
Eyring et al. (2016), doi:10.5194/gmd-9-1937-2016 (CMIP6); Collier et al. (2018), doi:10.1029/2018MS001354 (ILAMB)
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from xh2cm.data.cf import CONVENTIONS, encoded, horizontal, time_attrs
from xh2cm.data.match import closest
from xh2cm.data.reading import EARTH_RADIUS
from xh2cm.data.times import daily_findings
from xh2cm.data.units import conversion
from xh2cm.errors import Finding, H2CMWarning, InputError, StoreError
from xh2cm.variables import DAY_MEAN, OUTPUTS, STATIC, Quantity, Var

__all__ = ["write_cmip", "write_netcdf"]

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


# -- one file ------------------------------------------------------------------------------------------------------


def write_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset to a new NetCDF file that keeps to the CF conventions, chunk by chunk where it is lazy.

    Parameters
    ----------
    dataset : Dataset
        A prediction, or any other.
    path : str or path
    overwrite : bool
        Replace a NetCDF file that is there.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        If something is there already, or it cannot be written.

    Notes
    -----
    Time, latitude and longitude (y and x) are the last dimensions of every variable, in this order, as CF recommends:
    towers and catchments come as (site, time), whatever they are in memory. Names are text of fixed length.

    Examples
    --------
    >>> import tempfile, xarray as xr, xh2cm
    >>> ds = xh2cm.tutorial.open_dataset("twin")
    >>> path = ds[["GPP"]].h2cm.to_netcdf(tempfile.mkdtemp() + "/gpp.nc")
    >>> xr.open_dataset(path)["GPP"].dims
    ('month', 'lat', 'lon')
    """
    target = Path(path)
    if target.exists() and not (overwrite and is_netcdf(target)):
        raise StoreError(f"{target} exists: give another path, or overwrite=True to replace an earlier NetCDF file")
    fresh = with_history(laid_out(encoded(dataset)), f"written to {target.name}")
    with beside(target) as folder:
        fresh.to_netcdf(folder / target.name, engine="netcdf4")  # not every xarray takes it by itself
        (folder / target.name).replace(target)  # only now: until the new file is whole the old one stays
    return target


def is_netcdf(path: Path) -> bool:
    """Whether a file begins as NetCDF does, of today or of old."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05")


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A folder to write in until all is whole, on the disk of the target."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, TypeError) as error:  # of the disk, and of attributes that NetCDF does not hold
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{target} cannot be written: {error}") from error
    except RuntimeError as error:
        if not str(error).startswith("NetCDF:"):
            raise
        raise StoreError(f"{target} cannot be written: {error}") from error


def laid_out(dataset: xr.Dataset) -> xr.Dataset:
    """Lay dimensions and labels as CF recommends: axes last, in the order T, Y, X, and only numbers along an axis."""
    latitude, _ = horizontal(dataset)
    roles: dict[Hashable, dict[str, str]] = {}
    if latitude is not None and latitude.ndim == 2:
        roles = dict(zip(latitude.dims, ({"axis": "Y"}, {"axis": "X"}), strict=True))
    elif latitude is not None and latitude.ndim == 1 and "featureType" in dataset.attrs:
        roles = {latitude.dims[0]: {"cf_role": "timeseries_id"}}
    for dim, role in roles.items():
        if dim not in dataset.coords:  # cells that have no name have a number
            about = {"long_name": f"number of the cell along {dim}", "units": "1", **role}
            dataset = dataset.assign_coords({dim: (dim, np.arange(dataset.sizes[dim], dtype=np.int32), about)})
    axis_of = {dim: dataset[dim].attrs.get("axis") for dim in dataset.dims if dim in dataset.coords}
    of_data = {dim for array in dataset.data_vars.values() for dim in array.dims}

    def rank(dim: Hashable) -> int:
        axis = axis_of.get(dim)
        return "TZYX".index(axis) + 1 if axis in ("T", "Z", "Y", "X") else 0 if dim in of_data else 5

    dataset = dataset.transpose(*sorted(dataset.dims, key=rank))
    for name in list(dataset.coords):
        if dataset[name].dtype.kind in "UOT" and all(isinstance(text, str) for text in dataset[name].values.flat):
            dataset = dataset.assign_coords({name: dataset[name].astype(str)})
            dataset[name].encoding = {"dtype": "S1"}
        elif dataset[name].dims == (name,) and not strictly_ordered(dataset[name].values):
            dataset = dataset.rename_dims({name: f"{name}_index"})
    return dataset


def strictly_ordered(values: np.ndarray) -> bool:
    """Whether numbers or moments only rise or only fall, as those along an axis must."""
    return bool((values[1:] > values[:-1]).all() or (values[1:] < values[:-1]).all())


def with_history(dataset: xr.Dataset, what: str) -> xr.Dataset:
    """Note when and by what the dataset was written."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    line = f"{now} xh2cm {importlib.metadata.version('xh2cm')}: {what}"
    earlier = [str(dataset.attrs["history"])] if dataset.attrs.get("history") else []
    return dataset.assign_attrs(history="\n".join([*earlier, line]), date_created=now)


# -- a folder of CMIP6 ---------------------------------------------------------------------------------------------


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
    >>> from xh2cm.results.export import write_cmip
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
    prediction = with_nep(prediction)
    names = named_in_cmip(prediction, variables, findings)
    if findings:
        raise InputError(findings)
    target = Path(directory)
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
    if there := [name for name in files if (target / name).exists()]:
        raise StoreError(f"{target} holds {', '.join(there)}: give another folder, experiment_id or member_id")
    with beside(target / "export") as folder:
        paths = [folder / name for name in files]
        xr.save_mfdataset(list(files.values()), paths, compute=False).compute()  # type: ignore[no-untyped-call]  # together
        for name in files:
            (folder / name).rename(target / name)
    return [target / name for name in files]


def land_findings(prediction: xr.Dataset) -> list[Finding]:
    """Say why a prediction is not daily on a regular grid."""
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
        array = (prediction[name] * scale).astype(np.float32)
        found[str(var.cmip)] = array.drop_attrs(deep=False).assign_attrs(var.attrs)
    dataset = xr.Dataset(found)
    axes = zip(horizontal(dataset), ("lat", "lon"), strict=True)
    return dataset.rename({axis.name: name for axis, name in axes if axis is not None and axis.name != name})


def on_globe(dataset: xr.Dataset) -> xr.Dataset:
    """From south to north and from 0 to 360 degrees, with the bounds of the cells."""
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
