"""Forcing that is absent, from what is there: temperature, vapour pressure deficit, net radiation.

Each formula takes and gives xarray objects in canonical units (K, hPa, W m-2) and stays lazy. `derive` picks for each
forcing the best way the data allow, and says in ``attrs["derivation"]`` which it was.

References
----------
Allen, R. G., Pereira, L. S., Raes, D., Smith, M. (1998): Crop evapotranspiration. FAO Irrigation and Drainage Paper 56.
ASCE-EWRI (2005): The ASCE standardized reference evapotranspiration equation. doi:10.1061/9780784408056
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

__all__ = [
    "DERIVATIONS",
    "NEEDS",
    "Derived",
    "clear_sky_shortwave",
    "day_angle",
    "day_length",
    "extraterrestrial_radiation",
    "net_longwave",
    "net_longwave_from_temperature",
    "saturation_vapour_pressure",
    "shortwave_from_temperature_range",
    "standard_pressure",
    "vapour_pressure_from_specific_humidity",
]

FREEZING = 273.15  # K
STEFAN_BOLTZMANN = 5.670374e-8  # W m-2 K-4
SOLAR_CONSTANT = 0.0820e6 / 60  # W m-2, as in FAO-56 eq. 21
ALBEDO = 0.23  # of the FAO-56 reference surface, eq. 38
EMISSIVITY = 0.97
FAO56 = "FAO-56 (Allen et al. 1998)"


class Derived(NamedTuple):
    """A derived array and the sentence that says how."""

    array: xr.DataArray
    how: str


Read = Callable[[str], xr.DataArray | None]
"""Gives a variable of the input by its name in the tables, in canonical units; None where it is absent."""


def saturation_vapour_pressure(temperature: xr.DataArray) -> xr.DataArray:
    """Vapour pressure at saturation over water.

    Parameters
    ----------
    temperature : DataArray, K

    Returns
    -------
    DataArray, hPa

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 11

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.data.derive import saturation_vapour_pressure
    >>> round(float(saturation_vapour_pressure(xr.DataArray(273.15 + 24.5))), 2)
    30.75
    """
    celsius = temperature - FREEZING
    growth: xr.DataArray = xr.ufuncs.exp(17.27 * celsius / (celsius + 237.3))
    return 6.108 * growth


def vapour_pressure_from_specific_humidity(humidity: xr.DataArray, pressure: xr.DataArray) -> xr.DataArray:
    """Water vapour pressure of air of a specific humidity.

    Parameters
    ----------
    humidity : DataArray, kg kg-1
    pressure : DataArray, hPa

    Returns
    -------
    DataArray, hPa

    References
    ----------
    Definition of specific humidity with a ratio of molar masses of 0.622, as in FAO-56 (Allen et al. 1998), eq. 8
    """
    return humidity * pressure / (0.622 + 0.378 * humidity)


def standard_pressure(elevation: xr.DataArray) -> xr.DataArray:
    """Mean air pressure at an elevation.

    Parameters
    ----------
    elevation : DataArray, m

    Returns
    -------
    DataArray, hPa

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 7
    """
    return 1013.0 * ((293.0 - 0.0065 * elevation) / 293.0) ** 5.26


def day_angle(time: xr.DataArray) -> xr.DataArray:
    """Angle of the earth on its way around the sun, counted from the turn of the year.

    Parameters
    ----------
    time : DataArray of datetime64 or cftime

    Returns
    -------
    DataArray, radians
        ``2 pi J / 365`` with the day of the year J; over 360 in a 360-day calendar.

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 23 and 24
    """
    year = 360.0 if time.dt.calendar == "360_day" else 365.0
    return 2 * np.pi / year * time.dt.dayofyear


def extraterrestrial_radiation(latitude: xr.DataArray, angle: xr.DataArray) -> xr.DataArray:
    """Solar radiation at the top of the atmosphere, mean of the day.

    Parameters
    ----------
    latitude : DataArray, degrees
    angle : DataArray, radians
        From `day_angle`.

    Returns
    -------
    DataArray, W m-2
        0 in the polar night.

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 21 to 25

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xh2cm.data.derive import extraterrestrial_radiation
    >>> september = xr.DataArray(2 * np.pi * 246 / 365)
    >>> round(float(extraterrestrial_radiation(xr.DataArray(-20.0), september)) * 0.0864, 1)  # MJ m-2 d-1
    32.2
    """
    distance = 1 + 0.033 * np.cos(angle)
    declination = 0.409 * np.sin(angle - 1.39)
    phi = np.deg2rad(latitude)
    sunset = np.arccos((-np.tan(phi) * np.tan(declination)).clip(-1.0, 1.0))
    height = sunset * np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    # at the turn to the polar night the terms cancel to some 1e-15 below zero
    radiation: xr.DataArray = (SOLAR_CONSTANT / np.pi * distance * height).clip(0.0)
    return radiation


def day_length(latitude: xr.DataArray, angle: xr.DataArray) -> xr.DataArray:
    """Return the share of the day during which the sun is up.

    Parameters
    ----------
    latitude : DataArray, degrees
    angle : DataArray, radians
        From `day_angle`.

    Returns
    -------
    DataArray
        Between 0 and 1.

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 24, 25, 34

    Examples
    --------
    >>> import xarray as xr
    >>> from xh2cm.data.derive import day_length
    >>> round(float(day_length(xr.DataArray(-20.0), xr.DataArray(2 * np.pi * 246 / 365))) * 24, 1)
    11.7
    """
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos((-np.tan(np.deg2rad(latitude)) * np.tan(declination)).clip(-1.0, 1.0))
    share: xr.DataArray = sunset / np.pi
    return share


def clear_sky_shortwave(extraterrestrial: xr.DataArray, elevation: xr.DataArray | float = 0.0) -> xr.DataArray:
    """Short-wave radiation under a cloudless sky.

    Parameters
    ----------
    extraterrestrial : DataArray, W m-2
    elevation : DataArray or float, m

    Returns
    -------
    DataArray, W m-2

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 37
    """
    return (0.75 + 2e-5 * elevation) * extraterrestrial


def shortwave_from_temperature_range(
    minimum: xr.DataArray, maximum: xr.DataArray, extraterrestrial: xr.DataArray, clear_sky: xr.DataArray
) -> xr.DataArray:
    """Short-wave radiation from how far the day warms up: clouds keep days cool and nights warm.

    Parameters
    ----------
    minimum, maximum : DataArray, K
        Daily minimum and maximum air temperature.
    extraterrestrial, clear_sky : DataArray, W m-2

    Returns
    -------
    DataArray, W m-2
        At most ``clear_sky``; 0 where the maximum is below the minimum.

    References
    ----------
    Hargreaves and Samani (1982), as FAO-56 (Allen et al. 1998), eq. 50, with 0.16 K-0.5 (interior)
    """
    warming = xr.ufuncs.sqrt((maximum - minimum).clip(0.0))
    radiation: xr.DataArray = xr.ufuncs.minimum(0.16 * warming * extraterrestrial, clear_sky)
    return radiation


def net_longwave(incoming: xr.DataArray, temperature: xr.DataArray) -> xr.DataArray:
    """Net long-wave radiation of a grey surface as warm as the air, downward positive.

    Parameters
    ----------
    incoming : DataArray, W m-2
    temperature : DataArray, K

    Returns
    -------
    DataArray, W m-2
        ``0.97 (incoming - sigma T^4)``: a surface that emits 0.97 of a black body's radiation absorbs as much of what
        comes in.

    References
    ----------
    Stefan-Boltzmann and Kirchhoff's laws; emissivity of vegetated land, e.g. Jin and Liang (2006),
    doi:10.1175/JCLI3720.1
    """
    return EMISSIVITY * (incoming - STEFAN_BOLTZMANN * temperature**4)


def net_longwave_from_temperature(
    minimum: xr.DataArray,
    maximum: xr.DataArray,
    vapour_pressure: xr.DataArray,
    shortwave: xr.DataArray,
    clear_sky: xr.DataArray,
) -> xr.DataArray:
    """Net long-wave radiation from temperature, vapour pressure and cloudiness, downward positive.

    Parameters
    ----------
    minimum, maximum : DataArray, K
        Daily minimum and maximum air temperature.
    vapour_pressure : DataArray, hPa
    shortwave, clear_sky : DataArray, W m-2
        Short-wave radiation as it is and under a cloudless sky: their ratio tells the clouds.

    Returns
    -------
    DataArray, W m-2
        Negative: what the surface loses.

    Notes
    -----
    The ratio is kept within 0.3 and 1 (ASCE-EWRI 2005, eq. 18), and taken as 0.5 where the sun does not rise.

    References
    ----------
    FAO-56 (Allen et al. 1998), eq. 39; ASCE-EWRI (2005), doi:10.1061/9780784408056
    """
    daylight = clear_sky > 1.0
    clearness = (shortwave / clear_sky.where(daylight, 1.0)).clip(0.3, 1.0).where(daylight, 0.5)
    emitted = STEFAN_BOLTZMANN * (maximum**4 + minimum**4) / 2
    damping = 0.34 - 0.14 * xr.ufuncs.sqrt(vapour_pressure.clip(0.0) / 10)  # the equation takes kPa
    net: xr.DataArray = -emitted * damping * (1.35 * clearness - 0.35)
    return net


def _temperature(read: Read, _: xr.DataArray) -> Derived | None:
    minimum, maximum = read("temperature_min"), read("temperature_max")
    if minimum is None or maximum is None:
        return None
    return Derived((minimum + maximum) / 2, f"mean of daily minimum and maximum; {FAO56}, eq. 9")


def _saturation(read: Read) -> Derived | None:
    """Saturation pressure of the day: of minimum and maximum where they are there, for it is not linear."""
    minimum, maximum, mean = read("temperature_min"), read("temperature_max"), read("air_temperature")
    if minimum is not None and maximum is not None:
        both = (saturation_vapour_pressure(minimum) + saturation_vapour_pressure(maximum)) / 2
        return Derived(both, "saturation pressure mean of that at daily minimum and maximum temperature (eq. 11, 12)")
    if mean is not None:
        return Derived(saturation_vapour_pressure(mean), "saturation pressure at the mean temperature (eq. 11)")
    return None


def _vapour_pressure(read: Read) -> Derived | None:
    """Vapour pressure of the day by the most direct way there is."""
    given, dew, humidity = read("vapour_pressure"), read("dew_point"), read("specific_humidity")
    if given is not None:
        return Derived(given, "vapour pressure as given")
    if dew is not None:
        return Derived(saturation_vapour_pressure(dew), "vapour pressure from the dew point (eq. 14)")
    pressure = None if humidity is None else read("surface_pressure")
    if humidity is not None and pressure is not None:
        array = vapour_pressure_from_specific_humidity(humidity, pressure)
        return Derived(array, "vapour pressure from specific humidity and surface pressure")
    relative, saturation = read("relative_humidity"), _saturation(read)
    if relative is not None and saturation is not None:
        return Derived(relative * saturation.array, "vapour pressure from relative humidity (eq. 19)")
    elevation = None if humidity is None else read("elevation")
    if humidity is not None and elevation is not None:
        array = vapour_pressure_from_specific_humidity(humidity, standard_pressure(elevation))
        return Derived(array, "vapour pressure from specific humidity and standard pressure at the elevation (eq. 7)")
    deficit = read("vpd")
    if deficit is not None and saturation is not None:
        return Derived((saturation.array - deficit).clip(0.0), "vapour pressure from the deficit as given")
    minimum = read("temperature_min")
    if minimum is not None:
        how = "vapour pressure from the daily minimum as dew point (eq. 48)"
        return Derived(saturation_vapour_pressure(minimum), how)
    return None


def _deficit(read: Read, _: xr.DataArray) -> Derived | None:
    saturation = _saturation(read)
    actual = None if saturation is None else _vapour_pressure(read)
    if saturation is None or actual is None:
        return None
    return Derived(saturation.array - actual.array, f"{saturation.how} less {actual.how}; {FAO56}")


def _net_shortwave(read: Read, angle: xr.DataArray) -> Derived | None:
    net = read("shortwave_net")
    if net is not None:
        return Derived(net, "net short-wave as given")
    incoming = _shortwave(read, angle)
    if incoming is None:
        return None
    reflected = read("shortwave_out")
    if reflected is not None and incoming.how == "incoming short-wave as given":
        return Derived(incoming.array - reflected, "incoming less reflected short-wave")
    albedo = read("albedo")
    share = ALBEDO if albedo is None else albedo
    name = f"albedo {ALBEDO}" if albedo is None else "albedo as given"
    return Derived((1 - share) * incoming.array, f"{incoming.how}, {name} (eq. 38)")


def _shortwave(read: Read, angle: xr.DataArray) -> Derived | None:
    """Incoming short-wave radiation, from the temperature range where nothing else is known."""
    given = read("shortwave_in")
    if given is not None:
        return Derived(given, "incoming short-wave as given")
    minimum, maximum, latitude = read("temperature_min"), read("temperature_max"), read("latitude")
    if minimum is None or maximum is None or latitude is None:
        return None
    above = extraterrestrial_radiation(latitude, angle)
    clear = clear_sky_shortwave(above, _elevation(read))
    array = shortwave_from_temperature_range(minimum, maximum, above, clear)
    return Derived(array, "incoming short-wave from the daily temperature range (Hargreaves, eq. 21, 50)")


def _elevation(read: Read) -> xr.DataArray | float:
    elevation = read("elevation")
    return 0.0 if elevation is None else elevation


def _net_longwave(read: Read, angle: xr.DataArray) -> Derived | None:
    net, incoming, outgoing = read("longwave_net"), read("longwave_in"), read("longwave_out")
    if net is not None:
        return Derived(net, "net long-wave as given")
    if incoming is not None and outgoing is not None:
        return Derived(incoming - outgoing, "incoming less outgoing long-wave")
    temperature = read("air_temperature")
    if incoming is not None and temperature is not None:
        formula = f"{EMISSIVITY} (incoming long-wave - sigma T^4) with the air temperature T"
        return Derived(net_longwave(incoming, temperature), formula)
    minimum, maximum, latitude = read("temperature_min"), read("temperature_max"), read("latitude")
    shortwave, vapour = _shortwave(read, angle), _vapour_pressure(read)
    if minimum is None or maximum is None or latitude is None or shortwave is None or vapour is None:
        return None
    clear = clear_sky_shortwave(extraterrestrial_radiation(latitude, angle), _elevation(read))
    array = net_longwave_from_temperature(minimum, maximum, vapour.array, shortwave.array, clear)
    return Derived(array, f"net long-wave from temperature, clearness and vapour pressure (eq. 39), {vapour.how}")


def _net_radiation(read: Read, angle: xr.DataArray) -> Derived | None:
    shortwave = _net_shortwave(read, angle)
    longwave = None if shortwave is None else _net_longwave(read, angle)
    if shortwave is None or longwave is None:
        return None
    return Derived(shortwave.array + longwave.array, f"{shortwave.how}, plus {longwave.how}; {FAO56}, eq. 40")


DERIVATIONS: Mapping[str, Callable[[Read, xr.DataArray], Derived | None]] = {
    "air_temperature": _temperature,
    "vpd": _deficit,
    "net_radiation": _net_radiation,
}
"""How a forcing comes from the rest of the input, by its name; called with the input and the `day_angle`."""

NEEDS: Mapping[str, str] = {
    "air_temperature": "daily minimum and maximum temperature",
    "vpd": "temperature and one of: vapour pressure, dew point, relative humidity, specific humidity with surface "
    "pressure or elevation, daily minimum temperature",
    "net_radiation": "net or incoming and outgoing short- and long-wave radiation, incoming short-wave radiation, or "
    "daily minimum and maximum temperature, each with latitude",
}
"""What to add to the dataset so that a forcing can be derived."""
