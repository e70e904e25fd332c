"""Table of variables: each variable of the model once, with its name, units and CF attributes.

`Forcing`, `State` and `Fluxes` are the tensors of one day; what is known about each of their fields is written in
its annotation and nowhere else. Output attributes, unit checks, the names looked for in a dataset and the
reference page are read from here. Names and units follow the CF standard name table v93 and the CMIP6 tables.
"""

import dataclasses
import keyword
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

from xh2cm.errors import Finding, InputError

if TYPE_CHECKING:
    from torch import Tensor
else:  # the table is read without torch
    Tensor = Any

__all__ = [
    "BOUNDARIES",
    "FORCING",
    "OUTPUTS",
    "SOURCES",
    "STATIC",
    "TARGETS",
    "Flux",
    "Fluxes",
    "Forcing",
    "Parameter",
    "State",
    "Storage",
    "Var",
    "variable_table",
]

Quantity = Literal[
    "radiation",
    "water flux",
    "water amount",
    "carbon flux",
    "temperature",
    "pressure",
    "mole fraction",
    "fraction",
    "area",
    "length",
    "angle",
    "any",
]
"""What a variable measures: decides which units and which conversions are allowed for it."""

Varies = Literal["daily", "static", "global"]
"""A number per cell and day, per cell, or one for the whole domain."""

DAY_MEAN = "area: mean where land time: mean"
"""Cell methods of a flux."""

END_OF_DAY = "area: mean where land time: point (at the end of the day)"
"""Cell methods of a storage, which is known between two days."""


@dataclasses.dataclass(frozen=True)
class Var:
    """A variable: its names, quantity, units and CF attributes.

    Parameters
    ----------
    name : str
        Public name, in datasets that come out.
    long_name : str
    units : str
        Canonical units, as they are computed with and as they are written.
    quantity : str
        Decides which units and conversions are allowed.
    standard_name : str, optional
        CF standard name, where one exists.
    aliases : tuple of str
        Names users' files give it (compared without case).
    standard_names : tuple of str
        Further standard names it is found by.
    cmip : str, optional
        Name in the CMIP6 tables.
    cell_methods : str
    lower, upper : float
        Plausible range of daily values in canonical units; values outside are an error of the input.
    usual : tuple of float
        Range in which means over a year and a region lie on nearly all land; a mean outside is warned of.
    positive : {"up", "down", ""}
        Direction in which a flux is counted as positive, as CMIP writes it; empty where it has none.
    opposites : tuple of str
        Names under which files give it with the opposite sign (compared without case).

    Examples
    --------
    >>> from xh2cm import Var
    >>> Var("wind_speed", "wind speed", "m s-1", "any", "wind_speed", lower=0, upper=60).attrs["standard_name"]
    'wind_speed'
    """

    name: str
    long_name: str
    units: str
    quantity: Quantity
    standard_name: str | None = None
    aliases: tuple[str, ...] = ()
    standard_names: tuple[str, ...] = ()
    cmip: str | None = None
    cell_methods: str = DAY_MEAN
    lower: float = -math.inf
    upper: float = math.inf
    usual: tuple[float, float] = (-math.inf, math.inf)
    positive: Literal["up", "down", ""] = ""
    opposites: tuple[str, ...] = ()

    @property
    def attrs(self) -> dict[str, str]:
        """Return the CF attributes of the variable in a dataset."""
        named = {} if self.standard_name is None else {"standard_name": self.standard_name}
        methods = {"cell_methods": self.cell_methods} if self.cell_methods else {}
        return named | {"long_name": self.long_name, "units": self.units, **methods}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a process, learned within bounds.

    Parameters
    ----------
    name : str
        Argument name in the processes, and name in the output.
    long_name : str
    units : str
    lower, upper : float
        Open bounds; ``upper`` may be infinite, ``lower`` may not.
    varies : {"daily", "static", "global"}
        A number per cell and day, per cell, or one for the whole domain.
    default : float, optional
        Value that training starts near, within the bounds. The middle of the bounds if not given, or
        ``lower + log(2)`` where there is no upper bound.

    Raises
    ------
    InputError
        If the name cannot be an argument, the lower bound is infinite, the bounds leave no room between them, the
        default is not within the bounds, or `varies` is unknown.

    Examples
    --------
    >>> from xh2cm import Parameter
    >>> melt = Parameter("melt_rate", "melt per day and degree", "kg m-2 d-1 K-1", upper=10.0, default=2.0)
    >>> melt.attrs["valid_range"], melt.start
    ([0.0, 10.0], -1.386294)

    Notes
    -----
    A raw number x becomes ``lower + (upper - lower) sigmoid(x + start)``, or ``lower + softplus(x + start)`` where
    there is no upper bound, with the `start` that turns ``x = 0`` into the default. For a parameter that is pinned to
    ``"global"`` see `HybridModel`.
    """

    name: str
    long_name: str
    units: str
    lower: float = 0.0
    upper: float = math.inf
    varies: Varies = "daily"
    default: float | None = None

    def __post_init__(self) -> None:
        def found(problem: str, remedy: str) -> Finding:
            return Finding(f"parameter {self.name!r}", problem, remedy)

        findings = []
        if not isinstance(self.name, str) or not self.name.isidentifier() or keyword.iskeyword(self.name):
            findings.append(found("cannot be the name of an argument", 'call it like "melt_rate"'))
        findings += [
            found(f"has no {what}: {text!r}", f"Parameter({self.name!r}, long_name=..., units=...), units of 1 as '1'")
            for what, text in (("long_name", self.long_name), ("units", self.units))
            if not isinstance(text, str) or not text
        ]
        odd = [
            found(f"has {what}={number!r}, which is not a number of Python", f"{what}={example}")
            for what, number, example in (
                ("lower", self.lower, "0.0"),
                ("upper", self.upper, "1.0"),
                ("default", 0.5 if self.default is None else self.default, "0.5"),
            )
            if not isinstance(number, int | float) or math.isnan(number)
        ]
        if not odd:
            if math.isinf(self.lower):
                odd.append(found(f"has no finite lower bound: {self.lower}", "lower=0.0; only upper may be infinite"))
            elif not self.lower < self.upper:
                odd.append(
                    found(
                        f"has bounds ({self.lower}, {self.upper})", "give an upper bound above the lower one, or none"
                    )
                )
            elif self.default is None:
                middle = self.lower + (math.log(2.0) if math.isinf(self.upper) else (self.upper - self.lower) / 2)
                object.__setattr__(self, "default", middle)
            elif not self.lower < self.default < self.upper:
                odd.append(found(f"has default={self.default}", f"give a default within ({self.lower}, {self.upper})"))
        findings += odd
        if self.varies not in (kinds := get_args(Varies)):
            findings.append(found(f"varies={self.varies!r} is unknown", f"give one of {', '.join(map(repr, kinds))}"))
        if findings:
            raise InputError(findings)

    @property
    def start(self) -> float:
        """Raw number that is squeezed to the default, to the six decimals that float32 can hold."""
        assert self.default is not None  # noqa: S101 - it was filled in
        above = self.default - self.lower
        if math.isinf(self.upper):
            raw = above + math.log(-math.expm1(-above))
        else:
            raw = math.log(above) - math.log(self.upper - self.default)
        return round(raw, 6) + 0.0

    @property
    def described(self) -> dict[str, Any]:
        """Return what is written down of it, with the raw start of its default."""
        return {name: value for name, value in vars(self).items() if name != "default"} | {"start": self.start}

    def holds(self, values: Any) -> Any:
        """Return whether `values` lie within the bounds or on them."""
        return (self.lower <= values) & (values <= self.upper) & (values < math.inf)

    @property
    def range(self) -> str:
        """Bounds as text."""
        limits = f"at least {self.lower:g}" if math.isinf(self.upper) else f"between {self.lower:g} and {self.upper:g}"
        return f"{limits} {self.units}" if self.units != "1" else limits

    @property
    def attrs(self) -> dict[str, str | float | list[float]]:
        """Return the CF attributes of the parameter in a dataset."""
        method = {"cell_methods": "time: mean"} if self.varies == "daily" else {}
        free = math.isinf(self.upper)
        bounds = {"valid_min": self.lower} if free else {"valid_range": [self.lower, self.upper]}
        return {"long_name": self.long_name, "units": self.units, **method, **bounds}


Budget = Literal["water", "carbon", "none"]
"""What a storage holds, and so which sum it is part of."""

BOUNDARIES: Mapping[str, Budget] = {
    "precipitation": "water",
    "atmosphere": "none",
    "river": "water",
    "biosphere": "carbon",
    "outside": "none",
}
"""Where fluxes come from and go to other than storages; ``"none"`` takes part in every budget. The biosphere is all the
carbon that no storage holds; irrigation comes from outside, and leakage or harvest goes there."""

SURFACE_WATER = "surface_water"
"""Rain and melt water less interception; all of it moves on within the day, to the soil, the river or groundwater."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A storage that a process brings: it is part of the state, moved by the fluxes that name it, and an output.

    Parameters
    ----------
    name : str
        Argument name in the processes, input name in the networks, and name in the output.
    long_name : str
    budget : {"water", "carbon", "none"}
        Water is in kg m-2 and part of TWS; carbon is in g m-2; a storage of neither keeps an account of its own.
    start : float
        Before the spin-up.
    scale : float
        What the networks divide it by.
    units : str
        Those of the budget if not given.
    standard_name : str, optional
        CF standard name, where one exists.

    Raises
    ------
    InputError
        If it cannot be the name of an argument, has no long name, units or known budget, or a start that is not finite.

    Examples
    --------
    >>> from xh2cm import Storage
    >>> Storage("canopy_water", "water on leaves").var.attrs["units"]
    'kg m-2'
    """

    name: str
    long_name: str
    budget: Budget = "water"
    start: float = 0.0
    scale: float = 100.0
    units: str = ""
    standard_name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", self.units or {"water": "kg m-2", "carbon": "g m-2"}.get(self.budget, ""))
        said = f"storage {self.name!r}"
        findings = naming_findings(said, self, 'Storage("canopy_water", "water on leaves")')
        if self.budget == "none" and not self.units:
            findings.append(Finding(said, "has no units, and no budget that it could take them from", 'units="degC d"'))
        if self.budget not in (known := get_args(Budget)):
            remedy = f"give one of {', '.join(map(repr, known))}"
            findings.append(Finding(said, f"budget={self.budget!r} is unknown", remedy))
        for what, value in {"start": self.start, "scale": self.scale}.items():
            if not isinstance(value, int | float) or not math.isfinite(value) or (what == "scale" and value <= 0):
                findings.append(Finding(said, f"has {what}={value!r}", f"give a finite number: {what}=100.0"))
        if findings:
            raise InputError(findings)

    @property
    def var(self) -> Var:
        """Return the variable of the output."""
        quantity: Quantity = "water amount" if self.budget == "water" else "any"
        return Var(
            self.name, self.long_name, self.units, quantity, self.standard_name, cell_methods=END_OF_DAY, lower=0
        )


@dataclasses.dataclass(frozen=True)
class Flux:
    """A flux that a process returns: it leaves one storage and enters another, and is an output.

    Parameters
    ----------
    name : str
        Argument name in later processes, and name in the output.
    source, sink : str
        A storage, ``"surface_water"`` or one of `BOUNDARIES`. A flux to the atmosphere is part of ET or TER, one to the
        river of runoff.
    long_name : str
        May be left out of a flux of the published model that comes from, or goes to, another place.
    units : str
        ``"kg m-2 d-1"`` for water, ``"g m-2 d-1"`` for carbon if not given.
    standard_name : str, optional
        CF standard name, where one exists.

    Raises
    ------
    InputError
        If it cannot be the name of an argument, has no long name, or ends where it begins.

    Examples
    --------
    >>> from xh2cm import Flux
    >>> Flux("sublimation", "swe", "atmosphere", "sublimation of snow").sink
    'atmosphere'
    """

    name: str
    source: str
    sink: str
    long_name: str = ""
    units: str = ""
    standard_name: str | None = None

    def __post_init__(self) -> None:
        said = f"flux {self.name!r}"
        if not self.long_name and self.name in OUTPUTS:
            object.__setattr__(self, "long_name", OUTPUTS[self.name].long_name)
        findings = naming_findings(said, self, 'Flux("sublimation", "swe", "atmosphere", "sublimation of snow")')
        if self.source == self.sink:
            findings.append(Finding(said, f"begins and ends in {self.source!r}", "give another sink"))
        if findings:
            raise InputError(findings)

    def var(self, budget: Budget, units: str) -> Var:
        """Return the variable of the output, of a budget and its units."""
        quantity: dict[Budget, Quantity] = {"water": "water flux", "carbon": "carbon flux"}
        return Var(self.name, self.long_name, self.units or units, quantity.get(budget, "any"), self.standard_name)


def naming_findings(said: str, one: Any, example: str) -> list[Finding]:
    """Return findings for a name or long name that cannot be used."""
    found = []
    if not isinstance(one.name, str) or not one.name.isidentifier() or keyword.iskeyword(one.name):
        found.append(Finding(said, "cannot be the name of an argument", f"call it like {example}"))
    if not isinstance(one.long_name, str) or not one.long_name:
        found.append(Finding(said, f"has no long_name: {one.long_name!r}", f"describe it: {example}"))
    return found


class Forcing(NamedTuple):
    """Forcing of one day, each (..., cell), in canonical units."""

    net_radiation: Annotated[
        Tensor,
        Var(
            "net_radiation",
            "net radiation at the surface",
            "W m-2",
            "radiation",
            "surface_net_downward_radiative_flux",
            cmip="rss + rls",
            lower=-300,
            upper=600,
            aliases=("rn", "rnet", "netrad", "NETRAD_F", "Rn_f", "net_rad", "rad_net", "surface_net_radiation"),
            usual=(10, 220),
            positive="down",
        ),
    ]
    precipitation: Annotated[
        Tensor,
        Var(
            "precipitation",
            "precipitation",
            "kg m-2 d-1",
            "water flux",
            "precipitation_flux",
            cmip="pr",
            lower=0,
            upper=2000,
            standard_names=("lwe_precipitation_rate", "lwe_thickness_of_precipitation_amount", "precipitation_amount"),
            aliases=(
                "pr",
                "tp",
                "prec",
                "precip",
                "prcp",
                "P_F",
                "P_ERA",
                "rain",
                "rainfall",
                "ppt",
                "total_precipitation",
                "mtpr",
            ),
            usual=(0.02, 30),
        ),
    ]
    air_temperature: Annotated[
        Tensor,
        Var(
            "air_temperature",
            "near-surface air temperature",
            "K",
            "temperature",
            "air_temperature",
            cmip="tas",
            lower=180,
            upper=340,
            aliases=(
                "tas",
                "t2m",
                "tair",
                "TA_F",
                "TA_F_MDS",
                "ta",
                "tmean",
                "tavg",
                "tg",
                "temperature",
                "2m_temperature",
                "air_temp",
            ),
            usual=(240, 308),
        ),
    ]
    vpd: Annotated[
        Tensor,
        Var(
            "vpd",
            "vapour pressure deficit",
            "hPa",
            "pressure",
            "water_vapor_saturation_deficit_in_air",
            lower=0,
            upper=150,
            aliases=("VPD_F", "VPD_F_MDS", "vapor_pressure_deficit", "vapour_pressure_deficit", "vpd_mean"),
            usual=(0.3, 45),
        ),
    ]
    co2: Annotated[
        Tensor,
        Var(
            "co2",
            "mole fraction of carbon dioxide in air",
            "1e-6",
            "mole fraction",
            "mole_fraction_of_carbon_dioxide_in_air",
            cmip="co2",
            lower=150,
            upper=2000,
            aliases=("CO2_F_MDS", "co2_mole_fraction", "xco2", "co2_ppm", "CO2_F"),
            usual=(170, 1200),
        ),
    ]


class State(NamedTuple):
    """State of the land at the end of a day, each (..., cell)."""

    swe: Annotated[
        Tensor,
        Var(
            "SWE",
            "snow water equivalent",
            "kg m-2",
            "water amount",
            "surface_snow_amount",
            cmip="snw",
            standard_names=("lwe_thickness_of_surface_snow_amount",),
            aliases=("swe", "swe_bc", "snw", "sd", "snow_water_equivalent"),
            cell_methods=END_OF_DAY,
            lower=0,
            upper=20000,
        ),
    ]
    soil_moisture: Annotated[
        Tensor,
        Var(
            "SM",
            "soil moisture in the root zone",
            "kg m-2",
            "water amount",
            "mass_content_of_water_in_soil",
            cmip="mrso",
            cell_methods=END_OF_DAY,
            lower=0,
            upper=5000,
        ),
    ]
    groundwater: Annotated[
        Tensor,
        Var(
            "GW",
            "groundwater storage",
            "kg m-2",
            "water amount",
            "groundwater_amount",
            cell_methods=END_OF_DAY,
            lower=0,
            upper=1e5,
        ),
    ]
    fapar: Annotated[
        Tensor,
        Var(
            "fAPAR",
            "fraction of absorbed photosynthetically active radiation",
            "1",
            "fraction",
            "fraction_of_surface_downwelling_photosynthetic_radiative_flux_absorbed_by_vegetation",
            aliases=("fapar", "fpar"),
            lower=0,
            upper=1,
            usual=(0.005, 1),
        ),
    ]
    npp: Annotated[
        Tensor,
        Var(
            "NPP",
            "net primary production",
            "g m-2 d-1",
            "carbon flux",
            "net_primary_productivity_of_biomass_expressed_as_carbon",
            cmip="npp",
            aliases=("npp",),
            lower=-20,
            upper=60,
            usual=(0.01, 12),
            positive="down",
        ),
    ]


class Fluxes(NamedTuple):
    """Fluxes of one day, each (..., cell)."""

    precipitation_corrected: Annotated[
        Tensor,
        Var(
            "precipitation_corrected",
            "precipitation after the undercatch correction of snowfall",
            "kg m-2 d-1",
            "water flux",
            "precipitation_flux",
            lower=0,
            upper=3000,
        ),
    ]
    snowfall: Annotated[
        Tensor,
        Var("snowfall", "snowfall", "kg m-2 d-1", "water flux", "snowfall_flux", cmip="prsn", lower=0, upper=3000),
    ]
    rainfall: Annotated[
        Tensor,
        Var("rainfall", "rainfall", "kg m-2 d-1", "water flux", "rainfall_flux", cmip="prra", lower=0, upper=2000),
    ]
    snow_melt: Annotated[
        Tensor,
        Var(
            "snow_melt",
            "snow melt",
            "kg m-2 d-1",
            "water flux",
            "surface_snow_melt_flux",
            cmip="snm",
            lower=0,
            upper=2000,
        ),
    ]
    interception: Annotated[
        Tensor,
        Var(
            "interception",
            "evaporation of intercepted rain",
            "kg m-2 d-1",
            "water flux",
            "water_evaporation_flux_from_canopy",
            cmip="evspsblveg",
            lower=-10,
            upper=30,
        ),
    ]
    soil_evaporation: Annotated[
        Tensor,
        Var(
            "soil_evaporation",
            "evaporation from soil",
            "kg m-2 d-1",
            "water flux",
            "water_evaporation_flux_from_soil",
            cmip="evspsblsoi",
            lower=-10,
            upper=30,
        ),
    ]
    transpiration: Annotated[
        Tensor,
        Var(
            "transpiration",
            "transpiration",
            "kg m-2 d-1",
            "water flux",
            "transpiration_flux",
            cmip="tran",
            lower=-10,
            upper=30,
        ),
    ]
    et: Annotated[
        Tensor,
        Var(
            "ET",
            "evapotranspiration",
            "kg m-2 d-1",
            "water flux",
            "water_evapotranspiration_flux",
            cmip="evspsbl",
            standard_names=("lwe_water_evaporation_rate", "water_evaporation_flux", "surface_upward_latent_heat_flux"),
            aliases=("et", "et_xbase", "evspsbl", "evapotranspiration", "le", "LE_F_MDS", "LE_CORR", "latent_heat"),
            lower=-10,
            upper=30,
            usual=(0.03, 10),
            positive="up",
            opposites=(
                "slhf",
                "mslhf",
                "avg_slhtf",
                "surface_latent_heat_flux",
                "e",
                "mer",
                "avg_ie",
                "total_evaporation",
                "total_evaporation_sum",
                "surface_latent_heat_flux_sum",
            ),
        ),
    ]
    water_input: Annotated[
        Tensor,
        Var("water_input", "rain and melt water reaching the soil", "kg m-2 d-1", "water flux", lower=0, upper=3000),
    ]
    soil_recharge: Annotated[
        Tensor, Var("soil_recharge", "water retained by the soil", "kg m-2 d-1", "water flux", lower=0, upper=3000)
    ]
    groundwater_recharge: Annotated[
        Tensor,
        Var(
            "groundwater_recharge",
            "groundwater recharge",
            "kg m-2 d-1",
            "water flux",
            "downward_liquid_water_mass_flux_into_groundwater",
            cmip="qgwr",
            lower=0,
            upper=3000,
        ),
    ]
    surface_runoff: Annotated[
        Tensor,
        Var(
            "surface_runoff",
            "surface runoff",
            "kg m-2 d-1",
            "water flux",
            "surface_runoff_flux",
            cmip="mrros",
            lower=-1,
            upper=1000,
        ),
    ]
    baseflow: Annotated[
        Tensor,
        Var(
            "baseflow",
            "baseflow",
            "kg m-2 d-1",
            "water flux",
            "subsurface_runoff_flux",
            cmip="mrrob",
            lower=-1,
            upper=1000,
        ),
    ]
    runoff: Annotated[
        Tensor,
        Var(
            "runoff",
            "total runoff",
            "kg m-2 d-1",
            "water flux",
            "runoff_flux",
            cmip="mrro",
            aliases=("q_v2", "mrro", "ro", "q", "qtot"),
            lower=-1,
            upper=1000,
            usual=(0.0001, 60),
        ),
    ]
    tws: Annotated[
        Tensor,
        Var(
            "TWS",
            "terrestrial water storage",
            "kg m-2",
            "water amount",
            "land_water_amount",
            cmip="mrtws",
            cell_methods=END_OF_DAY,
            standard_names=("lwe_thickness_of_land_water_amount",),
            aliases=("tws", "mrtws", "lwe_thickness", "tws_anomaly"),
            lower=-1e5,
            upper=1e5,
        ),
    ]
    gpp: Annotated[
        Tensor,
        Var(
            "GPP",
            "gross primary production",
            "g m-2 d-1",
            "carbon flux",
            "gross_primary_productivity_of_biomass_expressed_as_carbon",
            cmip="gpp",
            aliases=("gpp", "GPP_NT_VUT_REF", "GPP_DT_VUT_REF"),
            lower=-20,
            upper=60,
            usual=(0.02, 20),
            positive="down",
        ),
    ]
    ra: Annotated[
        Tensor,
        Var(
            "Ra",
            "autotrophic respiration",
            "g m-2 d-1",
            "carbon flux",
            "surface_upward_mass_flux_of_carbon_dioxide_expressed_as_carbon_due_to_plant_respiration",
            cmip="ra",
            lower=-20,
            upper=60,
            positive="up",
        ),
    ]
    rh: Annotated[
        Tensor,
        Var(
            "Rh",
            "heterotrophic respiration",
            "g m-2 d-1",
            "carbon flux",
            "surface_upward_mass_flux_of_carbon_dioxide_expressed_as_carbon_due_to_heterotrophic_respiration",
            cmip="rh",
            lower=-20,
            upper=60,
            positive="up",
        ),
    ]
    ter: Annotated[
        Tensor,
        Var(
            "TER",
            "terrestrial ecosystem respiration",
            "g m-2 d-1",
            "carbon flux",
            aliases=("ter", "reco", "RECO_NT_VUT_REF", "RECO_DT_VUT_REF"),
            lower=-20,
            upper=60,
            usual=(0.02, 20),
            positive="up",
        ),
    ]
    nep: Annotated[
        Tensor,
        Var(
            "NEP",
            "net ecosystem production",
            "g m-2 d-1",
            "carbon flux",
            "surface_net_downward_mass_flux_of_carbon_dioxide_expressed_as_carbon_due_to_all_land_processes_excluding_anthropogenic_land_use_change",
            cmip="nep",
            lower=-40,
            upper=40,
            positive="down",
        ),
    ]
    nee: Annotated[
        Tensor,
        Var(
            "NEE",
            "net ecosystem exchange, upward positive",
            "g m-2 d-1",
            "carbon flux",
            aliases=("nee", "NEE_VUT_REF"),
            standard_names=(
                "surface_net_upward_mass_flux_of_carbon_dioxide_expressed_as_carbon_due_to_all_land_processes_excluding_anthropogenic_land_use_change",
                "surface_net_upward_mass_flux_of_carbon_dioxide_expressed_as_carbon_due_to_all_land_processes",
            ),
            lower=-40,
            upper=40,
            usual=(-10, 10),
            positive="up",
            opposites=(
                "nep",
                "nbp",
            ),
        ),
    ]


class Residuals(NamedTuple):
    """Residuals of the budgets of a day, each (..., cell): zero except for rounding."""

    water_residual: Annotated[
        Tensor,
        Var(
            "water_residual",
            "corrected precipitation - ET - runoff - change of TWS",
            "kg m-2 d-1",
            "water flux",
            lower=-100,
            upper=100,
        ),
    ]
    carbon_residual: Annotated[
        Tensor, Var("carbon_residual", "GPP - Ra - Rh - NEP", "g m-2 d-1", "carbon flux", lower=-10, upper=10)
    ]


def variable_table(fields: type) -> dict[str, Var]:
    """Return the variables that a NamedTuple of the model declares for its fields.

    Parameters
    ----------
    fields : type
        `Forcing`, `State`, `Fluxes` or `Residuals`.

    Returns
    -------
    dict of str to Var
        Field name to variable, in order.

    Examples
    --------
    >>> from xh2cm.variables import State, variable_table
    >>> variable_table(State)["swe"].units
    'kg m-2'
    """
    return {name: get_args(annotation)[1] for name, annotation in fields.__annotations__.items()}


FORCING: Mapping[str, Var] = variable_table(Forcing)
"""The five daily forcings, in the order of the model."""

OUTPUTS: Mapping[str, Var] = {**variable_table(Fluxes), **variable_table(State), **variable_table(Residuals)}
"""Everything the model computes, by field name."""

TARGETS: Mapping[str, Var] = {var.name: var for var in OUTPUTS.values() if var.aliases or var.standard_names} | {
    "NEE_IAV": Var(
        "NEE_IAV",
        "interannual anomaly of net ecosystem exchange",
        "g m-2 d-1",
        "carbon flux",
        aliases=("nee_iav",),
        lower=-40,
        upper=40,
        positive="up",
        opposites=(
            "nep_iav",
            "nbp_iav",
        ),
    ),
    "CUE": Var(
        "CUE",
        "mean carbon-use efficiency",
        "1",
        "fraction",
        aliases=("cue",),
        cell_methods="area: mean where land",
        lower=0,
        upper=1,
        usual=(0.1, 0.9),
    ),
}
"""Everything a model may be trained on, by public name."""

STATIC: Mapping[str, Var] = {
    "mask": Var(
        "mask",
        "land mask",
        "1",
        "fraction",
        "land_binary_mask",
        aliases=("land_mask", "lsm", "landmask"),
        cell_methods="",
        lower=0,
        upper=100,
    ),
    "area": Var(
        "area",
        "area of the cell",
        "m2",
        "area",
        "cell_area",
        aliases=("grid_area", "areacella", "cell_area", "hru_area"),
        cell_methods="",
        lower=0,
        upper=520000000000000.0,
    ),
    "latitude": Var(
        "latitude",
        "latitude",
        "degrees_north",
        "angle",
        "latitude",
        aliases=("lat", "nav_lat", "xlat", "hru_lat"),
        cell_methods="",
        lower=-90,
        upper=90,
    ),
    "longitude": Var(
        "longitude",
        "longitude",
        "degrees_east",
        "angle",
        "longitude",
        aliases=("lon", "nav_lon", "xlong", "hru_lon"),
        cell_methods="",
        lower=-360,
        upper=360,
    ),
}
"""Time-independent variables with a role of their own; every other one may be a static feature."""

SOURCES: Mapping[str, Var] = {
    var.name: var
    for var in (
        Var(
            "temperature_min",
            "daily minimum air temperature",
            "K",
            "temperature",
            "air_temperature",
            cmip="tasmin",
            lower=170,
            upper=330,
            cell_methods="time: minimum",
            standard_names=("minimum_daily_air_temperature",),
            aliases=("tmin", "tn", "tmn", "tmmn", "t2m_min", "mn2t", "min_temperature", "temp_min", "TA_F_MIN"),
            usual=(230, 303),
        ),
        Var(
            "temperature_max",
            "daily maximum air temperature",
            "K",
            "temperature",
            "air_temperature",
            cmip="tasmax",
            lower=180,
            upper=345,
            cell_methods="time: maximum",
            standard_names=("maximum_daily_air_temperature",),
            aliases=("tmax", "tx", "tmx", "tmmx", "t2m_max", "mx2t", "max_temperature", "temp_max", "TA_F_MAX"),
            usual=(240, 318),
        ),
        Var(
            "dew_point",
            "dew point of the air",
            "K",
            "temperature",
            "dew_point_temperature",
            lower=150,
            upper=320,
            aliases=("d2m", "tdps", "tdew", "dew_point_temperature", "dewpoint", "2m_dewpoint_temperature"),
            usual=(230, 300),
        ),
        Var(
            "relative_humidity",
            "relative humidity",
            "1",
            "fraction",
            "relative_humidity",
            cmip="hurs",
            lower=0,
            upper=1.2,
            aliases=("rh", "rhavg", "rhmean", "relhum", "RH_F"),
            usual=(0.05, 1.05),
        ),
        Var(
            "specific_humidity",
            "specific humidity",
            "1",
            "fraction",
            "specific_humidity",
            cmip="huss",
            lower=0,
            upper=0.06,
            aliases=("q2m", "qair", "shum", "sph"),
            usual=(0.0001, 0.025),
        ),
        Var(
            "surface_pressure",
            "air pressure at the surface",
            "hPa",
            "pressure",
            "surface_air_pressure",
            cmip="ps",
            lower=300,
            upper=1100,
            aliases=("sp", "pa", "PA_F", "psurf", "pres", "surf_pres", "pressure"),
            usual=(450, 1080),
        ),
        Var(
            "vapour_pressure",
            "water vapour pressure of the air",
            "hPa",
            "pressure",
            "water_vapor_partial_pressure_in_air",
            lower=0,
            upper=80,
            aliases=("ea", "vp", "vap", "vapor_pressure", "actual_vapour_pressure"),
            usual=(0.3, 40),
        ),
        Var(
            "shortwave_in",
            "incoming short-wave radiation",
            "W m-2",
            "radiation",
            "surface_downwelling_shortwave_flux_in_air",
            cmip="rsds",
            lower=-5,
            upper=600,
            standard_names=("surface_downwelling_shortwave_flux",),
            aliases=("sw_in", "SW_IN_F", "SW_IN_F_MDS", "ssrd", "swdown", "dswrf", "srad", "swrad", "fsds"),
            usual=(20, 350),
        ),
        Var(
            "shortwave_out",
            "reflected short-wave radiation",
            "W m-2",
            "radiation",
            "surface_upwelling_shortwave_flux_in_air",
            cmip="rsus",
            lower=-5,
            upper=600,
            aliases=("sw_out", "swup", "uswrf"),
            usual=(2, 250),
        ),
        Var(
            "shortwave_net",
            "net short-wave radiation",
            "W m-2",
            "radiation",
            "surface_net_downward_shortwave_flux",
            cmip="rss",
            lower=-50,
            upper=600,
            aliases=("ssr", "swnet", "sw_net", "surface_net_solar_radiation"),
            usual=(10, 300),
            positive="down",
        ),
        Var(
            "longwave_in",
            "incoming long-wave radiation",
            "W m-2",
            "radiation",
            "surface_downwelling_longwave_flux_in_air",
            cmip="rlds",
            lower=20,
            upper=600,
            standard_names=("surface_downwelling_longwave_flux",),
            aliases=("lw_in", "LW_IN_F", "LW_IN_F_MDS", "strd", "lwdown", "dlwrf", "flds"),
            usual=(100, 460),
        ),
        Var(
            "longwave_out",
            "outgoing long-wave radiation",
            "W m-2",
            "radiation",
            "surface_upwelling_longwave_flux_in_air",
            cmip="rlus",
            lower=20,
            upper=900,
            aliases=("lw_out", "lwup", "ulwrf"),
            usual=(100, 600),
        ),
        Var(
            "longwave_net",
            "net long-wave radiation",
            "W m-2",
            "radiation",
            "surface_net_downward_longwave_flux",
            cmip="rls",
            lower=-400,
            upper=200,
            aliases=("str", "lwnet", "lw_net", "surface_net_thermal_radiation"),
            usual=(-200, 30),
            positive="down",
        ),
        Var(
            "albedo",
            "short-wave albedo of the surface",
            "1",
            "fraction",
            "surface_albedo",
            lower=0,
            upper=1,
            aliases=("alb", "fal"),
            cell_methods="",
            usual=(0.02, 0.9),
        ),
        Var(
            "elevation",
            "elevation of the surface",
            "m",
            "length",
            "surface_altitude",
            cmip="orog",
            lower=-500,
            upper=9000,
            aliases=("elev", "altitude", "hru_elev", "dem", "height_above_sea_level"),
            cell_methods="",
        ),
    )
}
"""What a forcing that is absent may be derived from, by name."""
