"""Compare means of a dataset with each other: water, energy, carbon and the sign of fluxes.

References
----------
FAO-56 (Allen et al. 1998), for the radiation above the atmosphere and under a clear sky; the limits leave room for
errors of measurement, irrigation, advection and records of few years.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import xarray as xr

from xh2cm.data.derive import day_angle, extraterrestrial_radiation, saturation_vapour_pressure
from xh2cm.data.ranges import value_findings
from xh2cm.data.reading import Found, Input, called, latitudes
from xh2cm.data.scan import Facts
from xh2cm.errors import Finding
from xh2cm.variables import SOURCES, TARGETS, Var

__all__ = ["balance_findings", "mostly_negative", "observation_findings"]

YEAR = 350  # days of a record whose means are those of a year
LATENT_HEAT = 2.45e6 / 86400  # W m-2 that evaporate 1 kg m-2 d-1
NEVER_NEGATIVE = ("ET", "GPP", "TER", "NPP", "runoff")


@dataclasses.dataclass(frozen=True)
class Means:
    """Means over the record, of every variable that was given or derived.

    Parameters
    ----------
    cells : mapping of str to ndarray
        One a land cell, NaN where there is no value; one number for what does not lie on the land.
    called : mapping of str to str
        What the user calls each.
    whole_year : frozenset of str
        Variables observed over a year or more.
    ends : mapping of str to tuple of float
        Lowest and highest value of each.
    """

    cells: Mapping[str, np.ndarray]
    called: Mapping[str, str]
    whole_year: frozenset[str]
    ends: Mapping[str, tuple[float, float]]

    def common(self, *keys: str) -> list[float] | None:
        """Return the mean of each variable over the cells in which all have values; None if there are none."""
        if not set(keys) <= self.cells.keys():
            return None
        arrays = np.broadcast_arrays(*(self.cells[key] for key in keys))
        both = np.all(np.isfinite(arrays), axis=0)
        return [float(array[both].mean()) for array in arrays] if both.any() else None

    def name(self, key: str) -> str:
        """Return what the user calls a variable."""
        return self.called.get(key, key)


SUNLIT = 0.7
"""Correlation of NEE with the sun from which on its sign is doubted: dry land that respires in summer reaches 0.45."""


def balance_findings(
    found: Found, facts: Facts, source: Input, outside: np.ndarray, marked: Collection[str], doubts: list[str]
) -> Iterator[Finding]:
    """Find means that contradict each other.

    Parameters
    ----------
    found : Found
    facts : Facts
    source : Input
    outside : ndarray of bool
        Cells that are no land.
    marked : collection of str
        Variables that hold marks of missing values, whose means say nothing.
    doubts : list of str
        What may be right is added here.

    Yields
    ------
    Finding
        What must be wrong.
    """
    means = _means(found, facts, source, outside, marked)
    signs = [key for key in NEVER_NEGATIVE if key in found.targets and _turned(facts, key)]
    for key in signs:
        mean = means.common(key) or [float("nan")]
        yield mostly_negative(means.name(key), key, _negative_share(facts, key), mean[0])
    yield from _radiation(means, source, doubts)
    yield from _energy(means, doubts)
    yield from _water({*signs}, means, doubts)
    yield from _carbon({*signs}, means, doubts)
    doubts += _storage(means)
    doubts += [*_unusual(means, source, {*signs}, doubts)]
    correlation = facts.get(("targets", "NEE", "with_sun"))
    if correlation is not None and float(correlation) > SUNLIT and source.days >= YEAR:
        name = means.name("NEE")
        doubts.append(
            f"{name}: is highest in the bright season (its correlation with the radiation above the atmosphere is "
            f'{float(correlation):.2f}), as uptake would be: if it is positive downward, ds["{name}"] = -ds["{name}"]'
        )


def mostly_negative(name: str, key: str, share: float, mean: float) -> Finding:
    """Say that a flux has the wrong sign.

    Parameters
    ----------
    name : str
        What the user calls it.
    key : str
    share : float
        Of negative values among all.
    mean : float

    Returns
    -------
    Finding
    """
    problem = (
        f"{100 * share:.0f} % of its values are negative (mean {mean:.3g} {TARGETS[key].units}), and "
        f"{TARGETS[key].long_name} is positive"
    )
    return Finding(name, problem, f'turn its sign: ds["{name}"] = -ds["{name}"]')


def observation_findings(array: xr.DataArray, key: str, var: Var, doubts: list[str]) -> list[Finding]:
    """Find what cannot be in observations in memory: marks of missing values, a range or a sign that is wrong.

    Parameters
    ----------
    array : DataArray
        In canonical units, as it was read.
    key : str
    var : Var
    doubts : list of str
        What may be right is added here.

    Returns
    -------
    list of Finding
    """
    if var.quantity == "any":
        return []
    findings = value_findings(array, key, var, doubts)
    values = array.values[np.isfinite(array.values)]
    if key in NEVER_NEGATIVE and values.size and np.mean(values < 0) > 0.5 and -values.min() > values.max():
        findings.append(mostly_negative(called(array, key), key, float(np.mean(values < 0)), float(values.mean())))
    return findings


def _turned(facts: Facts, key: str) -> bool:
    """Tell whether most values are negative, and further from 0 than the others: not the noise of a dark season."""
    lowest, highest = (float(facts["targets", key, end]) for end in ("lowest", "highest"))
    return _negative_share(facts, key) > 0.5 and -lowest > highest


def _negative_share(facts: Facts, key: str) -> float:
    count = float(facts["targets", key, "inner_count"])
    return float(facts["targets", key, "negative"] / count) if count else 0.0


def _means(found: Found, facts: Facts, source: Input, outside: np.ndarray, marked: Collection[str]) -> Means:
    cells, names, whole, ends = {}, {}, set(), {}
    roles = {"sources": found.sources, "forcing": found.forcing, "targets": found.targets}
    for role, arrays in roles.items():
        for key, array in arrays.items():
            if source.known[key].quantity == "any" or key in marked:
                continue
            count, total = (facts[role, key, fact] for fact in ("count", "total"))
            with np.errstate(all="ignore"):
                mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
            cells[key] = np.where(outside, np.nan, mean) if mean.shape == outside.shape else mean
            ends[key] = float(facts[role, key, "lowest"]), float(facts[role, key, "highest"])
            names[key] = key if "derivation" in array.attrs else called(array, key)
            if _days(source, array) >= YEAR:
                whole.add(key)
    return Means(cells, names, frozenset(whole), ends)


def _days(source: Input, array: xr.DataArray) -> float:
    """Days from the first to the last step of a variable within the forcing's record."""
    axes = source.time_axes(array)
    if not axes:
        return float(source.days)
    size = array.sizes[axes[0]]
    time = source.dataset[axes[0]]
    if size < 2:
        return 0.0
    length = (time.values[-1] - time.values[0]) / (size - 1) * size
    days = length / np.timedelta64(1, "D") if time.dtype.kind == "M" else length.days
    return min(float(days), float(source.days))


def _radiation(means: Means, source: Input, doubts: list[str]) -> Iterator[Finding]:
    """Compare radiation with that above the atmosphere, and with the temperature."""
    above = _above(source)
    if above is not None:
        keyed = dataclasses.replace(means, cells={**means.cells, "above": above})
        incoming = keyed.common("shortwave_in", "above")
        if incoming and incoming[0] > 0.8 * incoming[1] + 20:
            name = means.name("shortwave_in")
            problem = (
                f"its mean is {incoming[0]:.0f} W m-2, more than a clear sky lets through ({0.77 * incoming[1]:.0f} of "
                f"{incoming[1]:.0f} W m-2 above the atmosphere): is it a mean over the daylight hours, as in Daymet?"
            )
            remedy = f'if so, say it: ds["{name}"].attrs["cell_methods"] = "time: mean (daylight hours)"'
            yield Finding(name, problem, f"{remedy}, and it is spread over the day; or state its units: units=...")
            return
        net = keyed.common("net_radiation", "above")
        if net and net[0] > 0.45 * net[1] + 40:
            name = means.name("net_radiation")
            told = f"its mean is {net[0]:.0f} W m-2, of {net[1]:.0f} W m-2 above the atmosphere"
            if net[0] > 0.65 * net[1] + 60:
                yield Finding(name, f"{told}: more than any surface keeps", _check_units(name, "radiation"))
            else:
                doubts.append(f"{name}: {told}, more than most surfaces keep: is it a mean over 24 hours?")
    pair = means.common("net_radiation", "air_temperature")
    if pair and {"net_radiation"} <= means.whole_year:
        net_mean, celsius, name = pair[0], pair[1] - 273.15, means.name("net_radiation")
        told = f"its mean is {net_mean:.3g} W m-2 at a mean temperature of {celsius:.1f} degrees C"
        if net_mean < 8 and celsius > 3:
            remedy = _check_units(name, "radiation")
            remedy = f'turn its sign: ds["{name}"] = -ds["{name}"]' if net_mean < -15 else remedy
            yield Finding(name, f"{told}: far too little for so warm a place", remedy)
        elif (net_mean < 25 and celsius > 5) or (net_mean < 10 and celsius > 0):
            doubts.append(f"{name}: {told}, which is little for so warm a place: are its units and its step right?")
    pair = means.common("vpd", "air_temperature")
    if pair and "vpd" in means.whole_year:
        saturation = float(saturation_vapour_pressure(xr.DataArray(pair[1])))
        told = (
            f"{means.name('vpd')}: its mean is {pair[0]:.3g} hPa, where air of {pair[1] - 273.15:.1f} degrees C holds"
        )
        if pair[0] > 1.3 * saturation + 2:
            doubts.append(f"{told} {saturation:.3g} hPa: are its units right?")
        elif pair[0] < 0.06 * saturation:
            doubts.append(f"{told} {saturation:.3g} hPa, a mean relative humidity above 94 %: are its units right?")


def _check_units(name: str, what: str) -> str:
    if what == "radiation":
        return f'state its units: units={{"{name}": "J m-2 hour-1"}} for means of hourly amounts, or "J m-2 day-1"'
    return f'state its units: units={{"{name}": "..."}}'


def _above(source: Input) -> np.ndarray | None:
    """Return the mean radiation above the atmosphere over the record, by land cell."""
    latitude = latitudes(source)
    if latitude is None:
        return None
    days = source.dataset["time"]
    order, count = np.unique(np.asarray(day_angle(days)), return_counts=True)
    angle = xr.DataArray(order, dims="day")
    every = xr.DataArray(np.arange(-90.0, 91.0), dims="latitude")
    mean = extraterrestrial_radiation(every, angle).weighted(xr.DataArray(count, dims="day")).mean("day")
    return np.asarray(np.interp(latitude, every.values, mean.values, left=np.nan, right=np.nan))


def _energy(means: Means, doubts: list[str]) -> Iterator[Finding]:
    """Compare evapotranspiration and production with the energy there is."""
    pair = means.common("ET", "net_radiation")
    if pair:
        heat, net = LATENT_HEAT * pair[0], pair[1]
        name = means.name("ET")
        rain = means.common("precipitation")
        wet = rain is not None and LATENT_HEAT * rain[0] > 0.7 * net and "ET" in means.whole_year
        told = f"its mean of {pair[0]:.3g} mm a day takes {heat:.0f} W m-2, and the net radiation is {net:.3g} W m-2"
        if heat > 4 * max(net, 0.0) + 150:
            yield Finding(name, told, f'state its units: units={{"{name}": "W m-2"}}, or "mm day-1"')
        elif heat > 1.3 * max(net, 0.0) + 15 or (heat < 0.1 * net and wet):
            doubts.append(f"{name}: {told}: are the units and steps of both right?")
    pair = means.common("GPP", "net_radiation")
    if pair and pair[0] > 0.25 * max(pair[1], 0.0) + 4:
        name = means.name("GPP")
        doubts.append(
            f"{name}: its mean is {pair[0]:.3g} gC a day and m2 at {pair[1]:.3g} W m-2 of net radiation: much"
        )


def _water(skipped: set[str], means: Means, doubts: list[str]) -> Iterator[Finding]:
    """Compare evapotranspiration and runoff with precipitation."""
    for key, most, least in (("ET", 1.25, 0.05), ("runoff", 1.1, 1e-4)):
        pair = means.common(key, "precipitation")
        if not pair or key in skipped:
            continue
        year = {key, "precipitation"} <= means.whole_year
        name, rain = means.name(key), means.name("precipitation")
        told = f"its mean is {pair[0]:.3g} mm a day, and that of {rain} {pair[1]:.3g}"
        if pair[0] > 5 * pair[1] + 5 and year:
            yield Finding(name, f"{told}: more than falls", f'state the units of both: units={{"{name}": "..."}}')
        elif pair[0] > (most * pair[1] + 0.1 if year else 3 * pair[1] + 2):
            doubts.append(f"{name}: {told}: more than falls; are the units and steps of both right?")
        elif pair[0] < least * pair[1] and year:
            doubts.append(f"{name}: {told}: next to nothing; are its units right?")
    both = means.common("ET", "runoff", "precipitation")
    if not both or not {"ET", "runoff", "precipitation"} <= means.whole_year - skipped:
        return
    evaporated, drained, rain_mean = both
    told = f"{evaporated:.3g} and {drained:.3g} mm a day, and that of {means.name('precipitation')} {rain_mean:.3g}"
    told = f"{means.name('ET')} and {means.name('runoff')}: their means are {told}"
    total = evaporated + drained
    if total > 1.4 * rain_mean + 0.2 and evaporated < 1.25 * rain_mean and drained < 1.1 * rain_mean:
        doubts.append(f"{told}: more than falls; are the units and steps of all three right?")
    elif total < 0.35 * rain_mean:
        doubts.append(f"{told}: most of it goes nowhere; are the units and steps of all three right?")


def _storage(means: Means) -> Iterator[str]:
    """Compare storages with the precipitation of a year, and absorbed light with production."""
    rain = means.common("precipitation")
    if rain and "precipitation" in means.whole_year:
        year = 365 * rain[0]
        for key, most, least in (("TWS", 3.0, 0.02), ("SWE", 3.0, 0.0)):
            if key in means.ends:
                spread = means.ends[key][1] - means.ends[key][0]
                told = f"{means.name(key)}: varies by {spread:.3g} mm, where {year:.3g} mm fall in a year"
                if spread > most * year + 500 or (key in means.whole_year and 0 < spread < least * year):
                    yield f"{told}: are its units right?"
    light = means.common("fAPAR", "GPP")
    if light and means.ends["fAPAR"][1] < 0.15 and light[1] > 1:
        yield (
            f"{means.name('fAPAR')}: is {means.ends['fAPAR'][1]:.3g} at most, where the mean of {means.name('GPP')} is "
            f"{light[1]:.3g} {TARGETS['GPP'].units}: are its units right?"
        )


def _carbon(skipped: set[str], means: Means, doubts: list[str]) -> Iterator[Finding]:
    """Compare net ecosystem exchange with respiration less production, and these with each other."""
    three = means.common("NEE", "TER", "GPP")
    if three and not skipped & {"TER", "GPP"}:
        exchange, respired, fixed = three
        balance, size = respired - fixed, abs(respired) + abs(fixed)
        name = means.name("NEE")
        other = f"{means.name('TER')} less {means.name('GPP')} is {balance:.3g}"
        told = f"its mean is {exchange:.3g} {TARGETS['NEE'].units}, where {other}"
        turned = abs(exchange + balance) < 0.5 * abs(exchange - balance)
        if abs(exchange - balance) > max(0.1 * size, 0.2):
            if turned and abs(balance) > 0.05 * size:
                remedy = f'turn its sign, NEE is positive upward: ds["{name}"] = -ds["{name}"]'
                yield Finding(name, f"{told}: of the opposite sign", remedy)
            elif abs(exchange) > 3 * size + 3:
                yield Finding(name, told, f'state its units: units={{"{name}": "gC m-2 day-1"}}, or give other values')
            else:
                doubts.append(f"{name}: {told}: do they belong together, in sign and units?")
    pair = means.common("NEE", "GPP")
    if pair and "GPP" not in skipped and not three:
        name = means.name("NEE")
        told = f"its mean is {pair[0]:.3g} gC m-2 a day, that of {means.name('GPP')} {pair[1]:.3g}"
        if pair[0] > 0.3 * pair[1] + 0.3 and {"NEE", "GPP"} <= means.whole_year:
            doubts.append(f'{name}: {told}, a large source; if it is positive downward, ds["{name}"] = -ds["{name}"]')
        elif -means.ends["NEE"][0] > 1.5 * means.ends["GPP"][1] + 1:
            lowest, highest = means.ends["NEE"][0], means.ends["GPP"][1]
            told = f"its lowest value is {lowest:.3g}, the highest of {means.name('GPP')} {highest:.3g} gC m-2 d-1"
            doubts.append(f"{name}: {told}: are the units of both right?")
        elif pair[0] < -1.2 * pair[1] - 1:
            doubts.append(f"{name}: {told}: more uptake than production; are the units right?")
    for one, other, most in (("GPP", "TER", 10.0), ("TER", "GPP", 10.0), ("GPP", "ET", 25.0), ("ET", "GPP", 4.0)):
        pair = means.common(one, other)
        enough = pair and max(pair) > 0.3 and not {one, other} & skipped and {one, other} <= means.whole_year
        if pair and enough and pair[0] > most * max(pair[1], 0.01):
            units = [TARGETS[key].units for key in (one, other)]
            told = f"its mean is {pair[0]:.3g} {units[0]}, that of {means.name(other)} {pair[1]:.3g} {units[1]}"
            doubts.append(f"{means.name(one)}: {told}: far apart; are the units of both right?")


def _unusual(means: Means, source: Input, skipped: set[str], doubts: list[str]) -> Iterator[str]:
    """Name means over a year or more that are rare on land."""
    for key in means.whole_year - skipped:
        var, mean = source.known[key], means.common(key)
        low, high = var.usual
        told = any(doubt.startswith(f"{means.name(key)}:") for doubt in doubts)
        if mean and not low <= mean[0] <= high and not told:
            kind = "derived " if means.name(key) == key and key in SOURCES else ""
            yield (
                f"{kind}{means.name(key)}: its mean over the record is {mean[0]:.3g} {var.units}, where land has "
                f"{low:g} to {high:g}: are its units and sign right?"
            )
