"""Emergent quantities: what the model was never told, read from its fluxes and the forcing.

An efficiency or a share is a ratio of sums over time, not a mean of daily ratios, so that days on which next to nothing
happens weigh next to nothing.

References
----------
Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import xarray as xr

from xh2cm.data.align import align
from xh2cm.errors import Finding, InputError, closest
from xh2cm.evaluate.align import land_of
from xh2cm.options import keywords_of
from xh2cm.physics.evaporation import LATENT_HEAT, MEGAJOULE_PER_DAY
from xh2cm.variables import FORCING, OUTPUTS, TARGETS

__all__ = [
    "QUANTITIES",
    "EmergentOptions",
    "Over",
    "PulseOptions",
    "Quantity",
    "emergent_quantities",
    "rain_pulses",
]

Over = Literal["record", "year", "month"]

WATER, CARBON, LIGHT = 0.01, 0.01, 0.05
"""What counts as next to nothing below a ratio: kg m-2 d-1, g m-2 d-1, MJ m-2 d-1."""


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A row of the table: the sum of one daily series over the sum of another.

    Parameters
    ----------
    name : str
    long_name : str
    units : str
    above, below : str
        Names of outputs, forcings, or of `SERIES`.
    least : float
        The ratio is NaN where the mean of `below` is less, in its own units.
    source : str
        Where the quantity is from.
    """

    name: str
    long_name: str
    units: str
    above: str
    below: str
    least: float
    source: str = "Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026"

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs and forcings it is computed from."""
        return tuple(
            name for side in (self.above, self.below) for name in (SERIES[side][0] if side in SERIES else [side])
        )

    @property
    def attrs(self) -> dict[str, str]:
        """CF attributes."""
        below = SERIES[self.below][1] if self.below in SERIES else self.below
        above = SERIES[self.above][1] if self.above in SERIES else self.above
        comment = f"sum of {above} over sum of {below}; NaN where the daily mean of {below} is below {self.least:g}"
        return {"long_name": self.long_name, "units": self.units, "comment": comment, "references": self.source}


SERIES: Mapping[str, tuple[tuple[str, ...], str, Callable[..., xr.DataArray]]] = {
    "evaporation_energy": (
        ("ET",),
        f"ET times {LATENT_HEAT} MJ kg-1",
        lambda et: LATENT_HEAT * et,
    ),
    "energy": (
        ("net_radiation",),
        "net radiation (MJ m-2 d-1)",
        lambda net_radiation: MEGAJOULE_PER_DAY * net_radiation,
    ),
    "absorbed_energy": (
        ("fAPAR", "net_radiation"),
        "fAPAR times net radiation where that is positive (MJ m-2 d-1)",
        lambda fapar, net_radiation: MEGAJOULE_PER_DAY * fapar * net_radiation.clip(min=0),
    ),
}
"""Daily series that are no output of the model themselves: what they need, what they are, and how to get them."""

QUANTITIES: Mapping[str, Quantity] = {
    q.name: q
    for q in (
        Quantity(
            "WUE",
            "water-use efficiency of the ecosystem, GPP per evapotranspiration",
            "g kg-1",
            "GPP",
            "ET",
            WATER,
            "Beer et al. (2009), doi:10.1029/2008GB003233",
        ),
        Quantity(
            "WUE_transpiration",
            "water-use efficiency of the plants, GPP per transpiration",
            "g kg-1",
            "GPP",
            "transpiration",
            WATER,
        ),
        Quantity(
            "LUE",
            "GPP per net radiation absorbed by leaves (no light-use efficiency in the strict sense: the model is not "
            "given photosynthetically active radiation)",
            "g MJ-1",
            "GPP",
            "absorbed_energy",
            LIGHT,
            "after Monteith (1972), doi:10.2307/2401901",
        ),
        Quantity(
            "PUE",
            "precipitation-use efficiency, GPP per precipitation",
            "g kg-1",
            "GPP",
            "precipitation",
            WATER,
            "after Huxman et al. (2004), doi:10.1038/nature02561",
        ),
        Quantity(
            "evaporative_fraction",
            "latent heat of evapotranspiration per net radiation (ground heat flux taken as zero)",
            "1",
            "evaporation_energy",
            "energy",
            LIGHT,
        ),
        Quantity("runoff_ratio", "runoff per precipitation", "1", "runoff", "precipitation", WATER),
        Quantity("evaporation_ratio", "evapotranspiration per precipitation", "1", "ET", "precipitation", WATER),
        Quantity(
            "transpiration_share",
            "transpiration per evapotranspiration",
            "1",
            "transpiration",
            "ET",
            WATER,
            "Schlesinger and Jasechko (2014), doi:10.1016/j.agrformet.2014.01.011",
        ),
        Quantity(
            "CUE",
            TARGETS["CUE"].long_name + ", NPP per GPP",
            TARGETS["CUE"].units,
            "NPP",
            "GPP",
            CARBON,
            "Waring et al. (1998), doi:10.1093/treephys/18.2.129",
        ),
    )
}
"""Every ratio by name; a new one is a new row."""


@dataclasses.dataclass(frozen=True)
class EmergentOptions:
    """Options of `emergent_quantities`.

    Parameters
    ----------
    forcing : Dataset, optional
        What was predicted on, on the same days and cells; for what needs precipitation or net radiation.
    quantities : sequence of str, optional
        Names in `QUANTITIES`; whatever can be computed by default.
    over : {"record", "year", "month"}
        Sums over the whole record, over each year (what the record holds of it), or over each of the twelve calendar
        months of all years.
    """

    forcing: xr.Dataset | None = None
    _: dataclasses.KW_ONLY
    quantities: Sequence[str] | None = None
    over: Over = "record"


@keywords_of(EmergentOptions)
def emergent_quantities(outputs: xr.Dataset, options: EmergentOptions) -> xr.Dataset:
    """Compute what emerges from a prediction: efficiencies and shares, each a ratio of sums over time.

    Parameters
    ----------
    outputs : Dataset
        As `xh2cm.predict` gives it, with or without a dimension ``fold``; its `forcing` as `xh2cm.check` gives it.

    Returns
    -------
    Dataset
        On the dimensions of `outputs` less ``time``, with a dimension ``year`` or ``month`` where asked for; lazy where
        `outputs` is. NaN where there is next to nothing below the ratio: each variable's ``comment`` says how much that
        is. What could not be computed, and why, is in the attribute ``not_computed``.

    Raises
    ------
    InputError
        Unknown names, quantities asked for that cannot be computed (or none that can), or forcing of other days or
        cells; all findings at once.

    Notes
    -----
    Precipitation is what the forcing says, before the model's undercatch correction of snowfall.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.evaluate.emergent import emergent_quantities
    >>> daily = xr.Dataset({"GPP": ("time", [0.0, 6.0]), "ET": ("time", [1.0, 2.0])})
    >>> found = emergent_quantities(daily)
    >>> float(found["WUE"]), found["WUE"].attrs["units"]
    (2.0, 'g kg-1')
    >>> found.attrs["not_computed"].split("; ")[0]
    'WUE_transpiration: needs transpiration'
    """
    forcing, quantities, over = options.forcing, options.quantities, options.over
    asked = list(QUANTITIES) if quantities is None else list(quantities)
    findings = [
        Finding(f"quantity {name}", "is not known", closest(name, QUANTITIES))
        for name in asked
        if name not in QUANTITIES
    ]
    if over not in get_args(Over):
        findings.append(Finding("over", f"{over!r} is unknown", f"give one of {', '.join(get_args(Over))}"))
    known = {str(name): array for name, array in outputs.data_vars.items() if "time" in array.dims}
    known |= same_days_and_cells(outputs, forcing, findings)
    lacking = {
        name: [n for n in QUANTITIES[name].needs if n not in known]
        for name in asked
        if name in QUANTITIES and not all(n in known for n in QUANTITIES[name].needs)
    }
    if quantities is not None or (lacking and len(lacking) == len(asked)):
        findings += [
            Finding(f"quantity {name}", f"needs {', '.join(missing)}", remedy(missing))
            for name, missing in lacking.items()
        ]
    if findings:
        raise InputError(findings)
    found = {name: ratio(QUANTITIES[name], known, over) for name in asked if name not in lacking}
    attrs = {key: outputs.attrs[key] for key in ("Conventions", "source", "references") if key in outputs.attrs}
    reasons = "; ".join(f"{name}: needs {', '.join(missing)}" for name, missing in lacking.items())
    title = {"title": "Emergent quantities", "sums_over": over} | ({"not_computed": reasons} if reasons else {})
    return xr.Dataset(found, attrs=attrs | title)


def same_days_and_cells(
    outputs: xr.Dataset, forcing: xr.Dataset | None, findings: list[Finding]
) -> dict[str, xr.DataArray]:
    """The forcings by name, if they lie where the outputs do."""
    if forcing is None:
        return {}
    given = forcing[[name for name in FORCING if name in forcing]].drop_vars("feature", errors="ignore")
    axes = [dim for dim in ("time", *land_of(outputs)) if dim in outputs.dims]
    if given:
        try:
            given = align(
                given,
                outputs,
                "forcing",
                on=axes,
                what="the prediction",
                remedy="give the dataset that was predicted on",
            )
        except InputError as error:
            findings += error.findings
    return {str(name): array for name, array in given.data_vars.items()}


def remedy(missing: Sequence[str]) -> str:
    """Return the remedy for missing variables."""
    outputs = [name for name in missing if name not in FORCING]
    ways = [f"predict it: variables=[..., {', '.join(map(repr, outputs))}]"] if outputs else []
    return "; ".join([*ways, *(["give the forcing: out.h2cm.emergent(ds)"] if len(outputs) < len(missing) else [])])


def ratio(quantity: Quantity, known: Mapping[str, xr.DataArray], over: Over) -> xr.DataArray:
    """Sum over sum, on the days that have both."""

    def series(name: str) -> xr.DataArray:
        if name not in SERIES:
            return known[name].astype("float64")  # sums of thousands of days
        needs, _, make = SERIES[name]
        return make(*(known[n].astype("float64") for n in needs))

    above, below = series(quantity.above), series(quantity.below)
    both = above.notnull() & below.notnull()
    upper, lower = (mean(x.where(both), over) for x in (above, below))
    found = (upper / lower).where(lower >= quantity.least).astype("float32")
    order = [d for d in ("fold", over) if d in found.dims]
    return found.transpose(*order, ...).drop_attrs(deep=False).assign_attrs(quantity.attrs)


def mean(daily: xr.DataArray, over: Over) -> xr.DataArray:
    """Mean over the days of a record, of each year or of each calendar month."""
    return daily.mean("time") if over == "record" else daily.groupby(f"time.{over}").mean("time")


@dataclasses.dataclass(frozen=True)
class PulseOptions:
    """Options of `rain_pulses`.

    Parameters
    ----------
    forcing : Dataset
        What was predicted on, with precipitation, on the same days and cells.
    flux : str
        ``"TER"``, ``"Rh"``, or any other daily flux.
    rain : float
        Least precipitation of the day that ends a dry spell, kg m-2 d-1.
    dry : float
        Precipitation that each day of the spell stays below, kg m-2 d-1.
    dry_days : int
        Least length of the spell.
    before, after : int
        Days around the rain: the mean of the days `before` is what all is relative to. An event counts only if all of
        them lie within the record.
    """

    forcing: xr.Dataset
    _: dataclasses.KW_ONLY
    flux: str = "TER"
    rain: float = 5.0
    dry: float = 1.0
    dry_days: int = 7
    before: int = 3
    after: int = 10


@keywords_of(PulseOptions)
def rain_pulses(outputs: xr.Dataset, options: PulseOptions) -> xr.Dataset:
    """Respiration around days of rain that end a dry spell, relative to the days before the rain.

    Parameters
    ----------
    outputs : Dataset
        With `flux`, as `xh2cm.predict` gives it; its `forcing` as `xh2cm.check` gives it.

    Returns
    -------
    Dataset
        ``<flux>_pulse`` (lag, ...), the sum over the events at each lag in days over its mean before the rain (1: as
        before; NaN where there is no event or no flux before), and ``rain_events`` (...), the number of events.
        Lazy where `outputs` is.

    Raises
    ------
    InputError
        Unknown flux, thresholds that cannot be, or forcing of other days or cells; all findings at once.

    Notes
    -----
    Rain comes with cooler and darker days, which are part of the composite: compare with that of ``basal_respiration``
    to set the effect of the water apart. It may rain again within the days after.

    References
    ----------
    Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026; rain pulses: Xu et al. (2004), doi:10.1029/2004GB002281

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.evaluate.emergent import rain_pulses
    >>> rained = np.isin(np.arange(40), [20])
    >>> daily = xr.Dataset({"TER": ("time", np.where(rained, 3.0, 2.0)), "precipitation": ("time", 9.0 * rained)})
    >>> found = rain_pulses(daily, daily)
    >>> int(found["rain_events"]), float(found["TER_pulse"].sel(lag=0)), float(found["TER_pulse"].sel(lag=1))
    (1, 1.5, 1.0)
    """
    forcing, flux, rain, dry = options.forcing, options.flux, options.rain, options.dry
    dry_days, before, after = options.dry_days, options.before, options.after
    least: dict[str, tuple[float, float]] = {
        "rain": (rain, dry),
        "dry": (dry, 0.0),
        "dry_days": (dry_days, 1),
        "before": (before, 1),
        "after": (after, 0),
    }
    findings = [
        Finding(name, f"{value} is too small", f"give at least {low:g}")
        for name, (value, low) in least.items()
        if not value >= low
    ]
    daily = [str(name) for name, array in outputs.data_vars.items() if "time" in array.dims]
    if flux not in daily:
        findings.append(Finding(f"flux {flux}", "is not among the daily outputs", closest(flux, daily)))
    given = same_days_and_cells(outputs, forcing, findings)
    if "precipitation" not in given:
        findings.append(
            Finding("precipitation", "is not in the forcing", "give the checked forcing, ds.h2cm.check().dataset")
        )
    if findings:
        raise InputError(findings)
    whole = [a.chunk(time=-1) if a.chunks else a for a in (outputs[flux], given["precipitation"])]
    series, water = whole[0].astype("float64"), whole[1]
    around = {lag: series.shift(time=-lag) for lag in range(-before, after + 1)}
    spell = (water < dry).rolling(time=dry_days).sum().shift(time=1) == dry_days
    observed = functools.reduce(operator.and_, (shifted.notnull() for shifted in around.values()))
    events = (water >= rain) & spell & observed
    lags = xr.Variable("lag", list(around), {"long_name": "days since the rain", "units": "d"})
    sums = xr.concat([x.where(events, 0.0).sum("time") for x in around.values()], "lag").assign_coords(lag=lags)
    count, base = events.sum("time"), sums.sel(lag=slice(None, -1)).mean("lag")
    about: dict[str, Any] = {v.name: v.long_name for v in OUTPUTS.values()}
    rule = f"precipitation of {rain:g} kg m-2 d-1 or more after {dry_days} days below {dry:g}"
    pulse = (sums / base).where(base >= CARBON * count.clip(min=1)).astype("float32")
    return xr.Dataset(
        {
            f"{flux}_pulse": pulse.drop_attrs(deep=False).assign_attrs(
                long_name=f"{about.get(flux, flux)} around rain, relative to the {before} days before it",
                units="1",
                comment=f"{rule}; NaN without an event, or where the mean before is below {CARBON:g}",
            ),
            "rain_events": count.drop_attrs(deep=False).assign_attrs(
                long_name="number of rains that end a dry spell", units="1", comment=rule
            ),
        },
        attrs={key: outputs.attrs[key] for key in ("Conventions", "source", "references") if key in outputs.attrs},
    )
