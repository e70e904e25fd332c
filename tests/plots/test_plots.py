"""Figures show the numbers they are given, labelled with units, on every kind of land."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection, QuadMesh

import xh2cm
import xh2cm.plots
from xh2cm.errors import H2CMWarning, InputError
from xh2cm.plots import maps, plots, style

VARIABLES = ["ET", "TWS", "GPP", "NEE", "water_residual", "carbon_residual", "soil_capacity"]
CELLS = [0, 3, 5, 6]

LEFT_OPEN = "default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning"
"""Warnings of what other tests of the process left open: no fault of the figure."""


@pytest.fixture(scope="module")
def fit(twin):
    return twin.h2cm.fit(folds=2, scheme="cells", epochs=2, width=6, window=120, spinup=60, progress=False)


@pytest.fixture(scope="module")
def every(twin, fit):
    return twin.h2cm.predict(fit, member="all", variables=VARIABLES, spinup=60)


@pytest.fixture(scope="module")
def held(twin, fit):
    return twin.h2cm.predict(fit, member="held-out", variables=VARIABLES, spinup=60)


@pytest.fixture(scope="module")
def scores(held, twin):
    return held.h2cm.score(twin)


def towers(dataset):
    """Some cells as places with latitude and longitude."""
    return dataset.stack(site=("lat", "lon")).isel(site=CELLS).reset_index("site").assign_coords(site=list("abcd"))


def nowhere(dataset):
    """The same without a place."""
    return towers(dataset).drop_vars(["lat", "lon"])


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def mesh(ax):
    (one,) = [artist for artist in ax.collections if isinstance(artist, QuadMesh)]
    return one


def shown(ax):
    return np.ma.filled(mesh(ax).get_array(), np.nan)


def eastward(array):
    """From -180 to 180, as a map shows it."""
    return array.assign_coords(lon=(array["lon"] + 180) % 360 - 180).sortby("lon").transpose("lat", "lon").values


def band(ax):
    """Lower and upper line of the shaded range."""
    (shape,) = ax.collections
    corners = shape.get_paths()[0].vertices
    return {x: (corners[corners[:, 0] == x, 1].min(), corners[corners[:, 0] == x, 1].max()) for x in corners[:, 0]}


# -- every picture, on every land ------------------------------------------------------------------------------------

PICTURES = {
    "map": lambda it: it.out.h2cm.plot.map("ET"),
    "parameter": lambda it: it.out.h2cm.plot.map("soil_capacity"),
    "day": lambda it: it.out.h2cm.plot.map("NEE", when="2001-07-14"),
    "data": lambda it: it.ds.h2cm.plot.map("air_temperature"),
    "skill": lambda it: it.out.h2cm.score(it.ds).h2cm.plot.skill("ET"),
    "season": lambda it: it.out.h2cm.plot.season("TWS", it.ds),
    "series": lambda it: it.out.h2cm.plot.series("ET", it.ds),
    "alone": lambda it: it.out.h2cm.plot.series("NEE", scale="daily"),
    "latitudes": lambda it: it.out.h2cm.plot.latitudes("GPP"),
    "closure": lambda it: it.out.h2cm.plot.closure(),
    "losses": lambda it: plots.losses(it.fit),
    "folds": lambda it: plots.folds(it.fit),
    "overview": lambda it: it.out.h2cm.plot.overview(it.ds, fit=it.fit),
}


@pytest.mark.filterwarnings("error", *LEFT_OPEN)
@pytest.mark.parametrize(
    "land",
    [
        pytest.param(lambda ds: ds, id="grid"),
        pytest.param(towers, id="towers", marks=pytest.mark.slow("all figures once more")),
        pytest.param(nowhere, id="nowhere"),
    ],
)
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_with_units_on_every_axis(name, land, every, twin, fit):
    if name == "latitudes" and "lat" not in land(every).dims:
        pytest.skip("latitudes over time need a grid")
    axes = np.atleast_1d(PICTURES[name](SimpleNamespace(out=land(every), ds=land(twin), fit=fit)))
    assert all(isinstance(ax, mpl.axes.Axes) for ax in axes)
    figure = axes[0].figure
    figure.canvas.draw()
    plain = {"month of the year", "time", "site", "all cells", "epoch", "loss", "held out in fold"}
    for ax in figure.axes:  # those of the colour bars, too
        labels = [text.replace("\n", " ") for text in (ax.get_xlabel(), ax.get_ylabel()) if text]
        assert labels
        assert all(text in plain or text.startswith("Nash") or text.endswith(")") for text in labels), labels
        assert not any(odd in text for text in labels for odd in ("no units", "(1)", "(date)", "(number)")), labels
    assert all(ax.get_title() for ax in axes)


def test_figures_are_functions_of_the_package():
    assert {*xh2cm.plots.__all__} == {*plots.__all__}
    assert all(getattr(xh2cm.plots, name) is getattr(plots, name) for name in plots.__all__)


def test_pictures_take_axes(every, twin, fit, scores):
    _, axes = plt.subplots(4, 2)
    one = axes.ravel()
    assert every.h2cm.plot.map("ET", ax=one[0]) is one[0]
    assert scores.h2cm.plot.skill("ET", ax=one[1]) is one[1]
    assert every.h2cm.plot.season("ET", twin, ax=one[2]) is one[2]
    assert every.h2cm.plot.series("ET", ax=one[3]) is one[3]
    assert every.h2cm.plot.latitudes("ET", ax=one[4]) is one[4]
    assert list(every.h2cm.plot.closure(ax=one[5:7])) == list(one[5:7])
    assert list(plots.losses(fit, ["total"], ax=one[7])) == [one[7]]
    assert len(plt.get_fignums()) == 1
    page = plt.figure()
    assert all(ax.figure is page for ax in every.h2cm.plot.overview(figure=page))


# -- maps ------------------------------------------------------------------------------------------------------------


def test_a_map_shows_means_over_time_and_folds(every, held):
    np.testing.assert_allclose(
        shown(every.h2cm.plot.map("ET")), eastward(every["ET"].mean(["time", "fold"])), rtol=1e-6
    )
    ax = held.h2cm.plot.map("ET", when="2001-02")
    np.testing.assert_allclose(shown(ax), eastward(held["ET"].sel(time="2001-02").mean("time")), rtol=1e-6)
    assert ax.get_title().replace("\n", " ") == "ET, mean of 2001-02, held out"
    ax = held.h2cm.plot.map("ET", when=slice("2001-02-03", "2001-02-05"))
    np.testing.assert_allclose(shown(ax), eastward(held["ET"].isel(time=slice(33, 36)).mean("time")), rtol=1e-6)


def test_a_cell_is_where_it_belongs(held):
    marked = held[["ET"]].where((held["lat"] == held["lat"][0]) & (held["lon"] == held["lon"][-1]))
    quads = mesh(marked.h2cm.plot.map("ET"))
    corners = quads.get_coordinates()
    ((row, column),) = np.argwhere(~np.ma.getmaskarray(quads.get_array()))
    around = corners[row : row + 2, column : column + 2].reshape(4, 2)
    place = (float(held["lon"][-1]) + 180) % 360 - 180, float(held["lat"][0])
    assert (around.min(0) < place).all()
    assert (place < around.max(0)).all()


def test_towers_are_points_and_without_a_place_bars(every):
    some = towers(every)
    mean = some["ET"].mean(["time", "fold"]).values
    (points,) = [c for c in some.h2cm.plot.map("ET").collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(points.get_array(), mean, rtol=1e-6)
    np.testing.assert_allclose(points.get_offsets(), np.stack([(some["lon"] + 180) % 360 - 180, some["lat"]], -1))
    ax = nowhere(every).h2cm.plot.map("ET")
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], mean, rtol=1e-6)
    assert [text.get_text() for text in ax.get_xticklabels()] == list("abcd")


def test_other_grids():
    field = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("y", "x"), attrs={"units": "kg m-2"})
    index = xr.Dataset({"depth": field})
    np.testing.assert_array_equal(shown(index.h2cm.plot.map("depth")), field)
    assert index.h2cm.plot.map("depth").get_ylabel() == "y"
    north, east = np.meshgrid([50.0, 51.0], [178.0, 179.5, 181.0], indexing="ij")
    curved = index.assign_coords(lat=(("y", "x"), north + 0.1 * east), lon=(("y", "x"), east))
    ax = curved.h2cm.plot.map("depth")
    np.testing.assert_array_equal(shown(ax), field)
    assert np.ptp(ax.get_xlim()) < 10  # across the date line in one piece
    row = xr.Dataset({"depth": field[:1].rename(y="lat", x="lon")}, coords={"lat": [50.0], "lon": [8.0, 9.0, 10.0]})
    np.testing.assert_array_equal(mesh(row.h2cm.plot.map("depth")).get_coordinates()[:, 0, 1], [49.5, 50.5])


def test_lazy_data_are_computed_for_what_is_shown_only(every):
    def fail(block):
        raise AssertionError(f"{block.shape} was computed")

    lazy = every.chunk(lat=1)
    never = lazy["TWS"].data.map_blocks(fail, dtype=float, meta=np.empty((0,) * 4))
    lazy["TWS"] = lazy["TWS"].copy(data=never)
    np.testing.assert_allclose(shown(lazy.h2cm.plot.map("ET")), shown(every.h2cm.plot.map("ET")), rtol=1e-6)


def test_colours_fit_the_quantity(held):
    signed = held.assign(NEE=held["NEE"] - held["NEE"].mean("time").median(), NPP=-held["GPP"])
    quads = mesh(signed.h2cm.plot.map("NEE"))
    assert quads.get_cmap().name == "PuOr_r"
    low, high = quads.get_clim()
    assert low == -high
    assert mesh(held.h2cm.plot.map("GPP")).get_cmap().name == "YlGn"
    assert mesh(held.h2cm.plot.map("ET")).get_cmap().name == "YlGnBu"
    assert mesh(held.h2cm.plot.map("soil_capacity")).get_cmap().name == "viridis"
    assert mesh(held.h2cm.plot.map("ET", limits=(0, 9))).get_clim() == (0, 9)


def test_a_few_far_numbers_do_not_take_all_colours():
    numbers = np.append(np.linspace(1.0, 2.0, 99), 1000.0)
    low, high = style.usual_limits(numbers)
    assert low >= 1.0
    assert high < 3.0
    assert style.look_of_variable("ET", xr.DataArray(numbers)).extend == "both"
    assert style.usual_limits(np.linspace(-1.0, 2.0, 50)) == (-1.0, 2.0)
    flat = style.look_of_variable("ET", xr.DataArray([3.0, 3.0])).drawn
    assert flat["vmin"] < 3.0 < flat["vmax"]
    zero = style.look_of_variable("ET", xr.DataArray([0.0, 0.0])).drawn
    assert zero["vmin"] < 0.0 < zero["vmax"]


def test_units_are_printed_with_raised_exponents():
    assert style.pretty("kg m-2 d-1") == "kg m⁻² d⁻¹"
    assert style.pretty("degrees_north") == "°N"
    assert style.pretty("1e-6") == "1e-6"


def test_skill_is_that_of_the_scores(scores, every, twin):
    ax = scores.h2cm.plot.skill("ET", metric="KGE", scale="seasonal")
    np.testing.assert_allclose(shown(ax), eastward(scores["KGE"].sel(variable="ET", scale="seasonal")))
    assert mesh(ax).get_clim() == (0, 1)
    ax = scores.h2cm.plot.skill("ET", metric="bias")
    low, high = mesh(ax).get_clim()
    assert low == -high
    assert ax.figure.axes[-1].get_xlabel().replace("\xa0", " ").endswith("(kg m⁻² d⁻¹)")
    low, high = mesh(scores.h2cm.plot.skill("ET", metric="KGE_beta")).get_clim()
    assert low + high == pytest.approx(2)
    low, _ = mesh(scores.h2cm.plot.skill("ET", metric="RMSE")).get_clim()
    assert low > 0
    folds = every.h2cm.score(twin)
    wanted = folds["NSE"].sel(variable="ET", scale="monthly").median("fold")
    np.testing.assert_allclose(shown(folds.h2cm.plot.skill("ET")), eastward(wanted))


# -- lines -----------------------------------------------------------------------------------------------------------


def by_area(array, latitude):
    return array.weighted(np.cos(np.deg2rad(latitude))).mean(["lat", "lon"])


def test_a_series_is_of_what_has_both_weighted_by_area(held, twin):
    predicted, observed = plots.series(held, "ET", twin).get_lines()
    monthly = (
        held["ET"].astype(float).resample(time="MS").mean().rename(time="month").assign_coords(month=twin["month"])
    )
    both = monthly.notnull() & twin["ET"].notnull()
    assert not both.all()
    np.testing.assert_allclose(predicted.get_ydata(), by_area(monthly.where(both), held["lat"]), rtol=1e-5)
    np.testing.assert_allclose(observed.get_ydata(), by_area(twin["ET"].where(both), held["lat"]), rtol=1e-5)
    assert (predicted.get_xdata() == twin["month"].values.astype("datetime64[D]")).all()


def test_a_season_shades_the_range_of_the_folds(every, twin):
    ax = every.h2cm.plot.season("GPP")
    cycle = by_area(every["GPP"].astype(float), every["lat"]).resample(time="MS").mean()
    cycle = cycle.groupby("time.month").mean()
    (line,) = ax.get_lines()
    np.testing.assert_allclose(line.get_ydata(), cycle.mean("fold"), rtol=1e-5)
    ends = band(ax)
    np.testing.assert_allclose([ends[x][0] for x in range(1, 13)], cycle.min("fold"), rtol=1e-5)
    np.testing.assert_allclose([ends[x][1] for x in range(1, 13)], cycle.max("fold"), rtol=1e-5)
    anomaly = every.h2cm.plot.season("TWS", twin)
    assert "anomaly" in anomaly.get_ylabel()
    assert "anomaly" not in every.h2cm.plot.season("TWS").get_ylabel()


def test_observations_under_other_names_and_units(held, twin):
    other = twin[["ET"]].rename(ET="le").assign_attrs(twin.attrs)
    other["le"] = (other["le"] / 86400).assign_attrs(units="?")
    told = {"names": {"ET": "le"}, "units": {"le": "kg m-2 s-1"}}
    one, other = (plots.season(held, "ET", ds, **how) for ds, how in ((twin, {}), (other, told)))
    np.testing.assert_allclose(*(ax.get_lines()[1].get_ydata() for ax in (one, other)), rtol=1e-5)


def test_one_cell_and_another_calendar(held):
    cell = held.isel(lat=0, lon=1, time=slice(0, 360))
    days = xr.date_range("2001-01-01", periods=360, calendar="360_day", use_cftime=True)
    ax = cell.assign_coords(time=days).drop_vars("time_bnds").h2cm.plot.series("ET")
    (line,) = ax.get_lines()
    expected = cell["ET"].values.astype(float).reshape(12, 30).mean(1)
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-5)
    (line,) = cell.assign_coords(time=days).drop_vars("time_bnds").h2cm.plot.series("ET", scale="daily").get_lines()
    np.testing.assert_allclose(line.get_ydata(), cell["ET"])


def test_a_series_by_day_keeps_the_days(held):
    (line,) = held.h2cm.plot.series("ET", scale="daily").get_lines()
    np.testing.assert_allclose(line.get_ydata(), by_area(held["ET"].astype(float), held["lat"]), rtol=1e-5)
    assert (line.get_xdata() == held["time"].values.astype("datetime64[D]")).all()


def test_many_years_of_days_are_drawn_behind_their_running_mean():
    days = xr.date_range("2001-01-01", "2004-12-31")
    season = np.sin(np.arange(days.size) / 58) + np.tile([0.0, 1.0], days.size)[: days.size]
    et = xr.DataArray(season[:, None], dims=("time", "site"), attrs={"units": "kg m-2 d-1"})
    out = xr.Dataset({"ET": et}, coords={"time": days}).drop_isel(time=np.arange(400, 500))
    daily, mean = out.h2cm.plot.series("ET", scale="daily").get_lines()
    assert daily.get_label().startswith("_")
    assert mean.get_label() == "predicted, 30-day mean"
    x, y = mean.get_data()
    assert x.size == days.size
    np.testing.assert_allclose(y[200], season[185:215].mean())
    assert np.isnan(np.asarray(y)[420:480]).all()  # no line across a gap


# -- latitudes, budgets, training ------------------------------------------------------------------------------------


def test_latitudes_are_monthly_means_along_them(every):
    ax = every.h2cm.plot.latitudes("GPP")
    wanted = every["GPP"].astype(float).mean(["lon", "fold"]).resample(time="MS").mean().transpose("lat", "time")
    np.testing.assert_allclose(shown(ax), wanted, rtol=1e-5)


def test_closure_shows_the_largest_residual(every):
    ax, _ = every.h2cm.plot.closure()
    line = ax.get_lines()[0]
    water = every["water_residual"]
    np.testing.assert_allclose(line.get_ydata(), water.mean(["fold", "lat", "lon"]), atol=1e-9)
    ends = np.array(list(band(ax).values()))
    np.testing.assert_allclose([ends.min(), ends.max()], [water.min(), water.max()], rtol=1e-6)
    assert f"{float(abs(water).max()):.1e}" in ax.get_title()
    assert len(every.drop_vars("carbon_residual").h2cm.plot.closure()) == 1


def test_closure_of_many_years_is_drawn_by_month():
    days = xr.date_range("2001-01-01", "2004-12-31")
    left = xr.DataArray(np.random.default_rng(0).normal(size=(days.size, 2)), dims=("time", "site"))
    (ax,) = xr.Dataset({"water_residual": left}, coords={"time": days}).h2cm.plot.closure()
    assert ax.get_lines()[0].get_xdata().size == 48
    ends = np.array(list(band(ax).values()))
    np.testing.assert_allclose([ends.min(), ends.max()], [left.min(), left.max()])
    assert f"{float(abs(left).max()):.1e}" in ax.get_title()


def test_losses_are_those_of_the_fit(fit):
    (ax,) = plots.losses(fit, "ET")
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    for split in ("training", "validation"):
        np.testing.assert_allclose(lines[split], fit.losses["loss"].sel(target="ET", split=split).mean("fold"))
    titles = [ax.get_title() for ax in plots.losses(fit)]
    assert titles[0] == "total loss"
    assert {*titles[1:]} == {*fit.losses["target"].values} - {"total"}


def test_folds_of_places_of_years_and_put_aside(fit, twin, every):
    np.testing.assert_array_equal(shown(plots.folds(fit)), eastward(fit.labels))
    labels = twin.h2cm.folds(3, scheme="cells", test=0.3)
    assert (labels == -1).any()
    ax = plots.folds(labels)
    bar = ax.figure.axes[-1]
    assert [text.get_text() for text in bar.get_xticklabels()] == ["test", "0", "1", "2"]
    years = twin.h2cm.folds(2, scheme="years")
    np.testing.assert_array_equal(shown(plots.folds(years))[0], years)
    both = years * xr.ones_like(labels)
    assert shown(plots.folds(both)).shape == (8, years.size)
    ax = plots.folds(nowhere(every)["site"].copy(data=[0, 1, 0, 2]))
    assert ax.collections[0].get_offsets()[:, 1].tolist() == [0, 1, 0, 2]


def titles(axes):
    return [ax.get_title().replace("\n", " ") for ax in axes]


def test_an_overview_shows_evapotranspiration_and_the_trained_targets_first(every, twin, fit):
    alone, with_all = titles(every.h2cm.plot.overview()), titles(every.h2cm.plot.overview(twin, fit=fit))
    assert [text.partition(",")[0] for text in alone[:3]] == ["ET", "GPP", "TWS"]
    assert len(alone) == 11
    assert [text.partition(",")[0] for text in with_all[:4]] == ["ET", "GPP", "TWS", "NEE"]
    assert with_all[4:8] == [f"NSE of {name}, monthly, median of 2 folds" for name in ("ET", "GPP", "TWS", "NEE")]
    assert with_all[-4:] == [
        "total loss",
        'Cross-validation folds, scheme "cells"',
        *(text for text in with_all if "budget" in text),
    ]
    assert len(every[["ET"]].assign_attrs(source="").h2cm.plot.overview()) == 3


def test_what_no_target_constrains_says_so(every, fit):
    runoff = {"name": "runoff", "fields": ["runoff"]}
    of_runoff = dataclasses.replace(fit, provenance={**fit.provenance, "targets": [runoff]})
    shown = titles(every.h2cm.plot.overview(fit=of_runoff))
    assert all(("not constrained" in text) is text.startswith("GPP") for text in shown), shown
    assert sum("not constrained" in text for text in shown) == 3
    free = plots.marked(every, of_runoff)
    for draw in (plots.values, plots.season, plots.series, plots.latitudes):
        assert "not constrained by any training target" in titles([draw(free, "NEE")])[0]
        assert "not constrained" not in titles([draw(free, "ET")])[0]
    assert "comment" not in every["NEE"].attrs


# -- text from data --------------------------------------------------------------------------------------------------

HOSTILE = {
    "mathematics": "US$\\x$",
    "unclosed": "$\\frac{1}{",
    "dollars": "$$ $a$ \\$",
    "backslashes": "\\\\server\\begin{x}",
    "control": "a\x1b[2J\x00\x07b\r\nc",
    "hidden": "\u202egnp.exe\ufeff\u2066",
    "surrogate": "lone \ud800",
    "markup": "</text><script>alert(1)</script>&\"'",
    "format": "%s {} {0} %(x)s",
    "long": "y" * 5000,
    "empty": "",
}


def labelled(dataset, text):
    """The same with a text from elsewhere in every place that a figure reads."""
    found = dataset.copy()
    if "site" in found.dims:
        found = found.assign_coords(site=[text, f"{text}2", "c", "d"])
    for name in [*found.data_vars, *({"lat", "lon"} & {*found.coords})]:
        found[name] = found[name].assign_attrs(long_name=text)
    return found.assign_attrs(source=text, member=text, title=text)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("land", [lambda ds: ds, towers, nowhere], ids=["grid", "towers", "nowhere"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_from_data_is_drawn_as_text(text, land, every, fit, tmp_path):
    out = labelled(land(every[["ET", "soil_capacity"]]), text)
    out["ET"].attrs["units"] = text
    _, axes = plt.subplots(2, 2)
    out.h2cm.plot.map("soil_capacity", ax=axes[0, 0])
    out.h2cm.plot.map("ET", when="2001-07", ax=axes[0, 1])
    out.h2cm.plot.season("ET", ax=axes[1, 0])
    plots.folds(land(fit.labels).assign_attrs(scheme=text), ax=axes[1, 1])
    axes[0, 0].figure.savefig(tmp_path / "figure.svg")
    assert ElementTree.parse(tmp_path / "figure.svg").getroot().tag.endswith("svg")  # noqa: S314  (our own)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", [HOSTILE["mathematics"], HOSTILE["control"]], ids=["mathematics", "control"])
def test_text_from_data_in_an_overview_and_in_scores(text, every, twin, fit, tmp_path):
    out, ds = labelled(towers(every), text), labelled(towers(twin[["ET", "GPP"]]), text)
    for ax in (out.h2cm.plot.overview(ds, fit=fit)[0], out.h2cm.score(ds).h2cm.plot.skill("ET")):
        ax.figure.savefig(tmp_path / "figure.png", dpi=20)
    out.h2cm.plot.closure()[0].figure.savefig(tmp_path / "figure.pdf")


def test_dollars_stay_as_they_are_written(every):
    shown = towers(every).assign_coords(site=["US$\\x$", "b", "c", "d"])
    shown["ET"].attrs["long_name"] = "cost in $ and $"
    ax = shown.h2cm.plot.map("ET")
    assert "US$\\x$" in [text.get_text() for text in ax.texts]
    assert (
        ax.figure.axes[-1].get_xlabel().startswith("cost in $ and $") or "cost in $" in ax.figure.axes[-1].get_ylabel()
    )


# -- computed once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [2**30, 0], ids=["in memory", "in a store"])
def test_an_overview_computes_a_lazy_prediction_once(every, twin, fit, monkeypatch, most):
    monkeypatch.setattr("xh2cm.plots.computed.IN_MEMORY", most)
    counts = dict.fromkeys(("ET", "GPP", "water_residual"), 0)

    def counted(block, name):
        counts[name] += 1
        return block

    lazy = every[list(counts)].chunk(lat=-1, lon=-1, time=-1, fold=-1)
    lazy = lazy.assign({n: lazy[n].copy(data=lazy[n].data.map_blocks(counted, n, dtype=lazy[n].dtype)) for n in counts})
    counts.update(dict.fromkeys(counts, 0))
    lazy["TWS"] = every["TWS"].chunk(time=100)  # in other chunks than the others
    assert len(lazy.h2cm.plot.overview(twin, fit=fit)) > 8
    assert counts == dict.fromkeys(counts, 1)


# -- coastlines ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cartopy(tmp_path, monkeypatch):
    """Cartopy that has downloaded nothing, and cannot."""
    found = pytest.importorskip("cartopy", reason="needs cartopy, of the extra [plot]")
    pytest.importorskip("cartopy.crs")
    monkeypatch.setitem(found.config, "data_dir", tmp_path)
    monkeypatch.setitem(found.config, "pre_existing_data_dir", tmp_path)

    def refuse(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(socket, "socket", refuse)
    return found


def with_files(folder):
    import shapefile

    path = folder / "shapefiles" / "natural_earth" / "physical" / "ne_110m_coastline.shp"
    path.parent.mkdir(parents=True)
    with shapefile.Writer(str(path), shapeType=shapefile.POLYLINE) as writer:
        writer.field("name")
        writer.line([[(-60.0, 0.0), (-50.0, 20.0), (-40.0, 0.0)]])
        writer.record("an island")
    return path


@pytest.mark.filterwarnings("error", *LEFT_OPEN)
def test_a_map_is_whole_without_coastlines(cartopy, every):
    assert maps.coastlines() == []
    every.h2cm.plot.map("ET").figure.canvas.draw()
    for land in (every, towers(every)):
        ax = plt.figure().add_subplot(projection=cartopy.crs.EqualEarth())
        land.h2cm.plot.map("ET", ax=ax).figure.canvas.draw()
    assert ax.collections


def test_coastlines_are_drawn_where_they_are(cartopy, tmp_path, every):
    with_files(tmp_path)
    (line,) = maps.coastlines()
    np.testing.assert_array_equal(line, [(-60.0, 0.0), (-50.0, 20.0), (-40.0, 0.0)])
    ax = every.h2cm.plot.map("ET")
    before = ax.get_xlim()
    ax.figure.canvas.draw()
    assert ax.get_xlim() == before
    np.testing.assert_array_equal(ax.collections[-1].get_segments()[0], line)
    projected = plt.figure().add_subplot(projection=cartopy.crs.EqualEarth())
    every.h2cm.plot.map("ET", ax=projected).figure.canvas.draw()


@pytest.mark.usefixtures("cartopy")
def test_a_damaged_file_of_coastlines_is_named(tmp_path, every):
    with_files(tmp_path).write_bytes(b"damaged")
    with pytest.warns(H2CMWarning, match="ne_110m_coastline.shp cannot be read"):
        every.h2cm.plot.map("ET").figure.canvas.draw()


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda it: it.out.h2cm.plot.map("EET"), "did you mean 'ET'"),
        (lambda it: it.out.h2cm.plot.map("ET", when="1999"), "not among the days"),
        (lambda it: it.out.h2cm.plot.map("ET", when="soon"), "is not a time"),
        (lambda it: it.out.h2cm.plot.map("soil_capacity", when="2001"), "does not vary in time"),
        (lambda it: it.out.isel(lat=0, lon=0).h2cm.plot.map("ET"), "no axis of the land"),
        (lambda it: (it.out * np.nan).h2cm.plot.map("ET"), "holds no number"),
        (lambda it: it.out.expand_dims(seed=2).h2cm.plot.map("ET"), "which no map shows"),
        (lambda it: it.out.h2cm.plot.skill("ET"), "score(ds)"),
        (lambda it: it.scores.h2cm.plot.skill("SWE"), "has not been scored"),
        (lambda it: it.scores.h2cm.plot.skill("ET", metric="KG"), "did you mean 'KGE'"),
        (lambda it: it.scores.h2cm.plot.skill("ET", scale="month"), "did you mean 'monthly'"),
        (lambda it: it.scores.h2cm.plot.skill("ET", scale="daily"), "holds no number"),
        (lambda it: it.out.h2cm.plot.season("EET", it.ds), "did you mean 'ET'"),
        (lambda it: it.out.h2cm.plot.season("soil_capacity"), "does not vary from day to day"),
        (lambda it: it.out.h2cm.plot.season("ET", it.ds.drop_vars("ET")), "ET"),
        (lambda it: (it.out * np.nan).h2cm.plot.season("ET"), "has no seasonal values"),
        (lambda it: it.out.h2cm.plot.series("ET", it.ds, scale="daily"), "not observed often enough"),
        (lambda it: it.out.h2cm.plot.series("ET", scale="mean"), "is not a time series"),
        (lambda it: it.out.h2cm.plot.series("ET", scale="seasonal"), "is not a time series"),
        (lambda it: towers(it.out).h2cm.plot.latitudes("ET"), "is not a grid of latitude and longitude"),
        (lambda it: it.out.h2cm.plot.latitudes("soil_capacity"), "does not vary from day to day"),
        (lambda it: it.out[["ET"]].h2cm.plot.closure(), "has no residuals"),
        (lambda it: it.out.h2cm.plot.closure(ax=plt.subplots(3)[1]), "3 given where 2 are needed"),
        (lambda it: plots.losses(it.fit, ["ETT"]), "did you mean 'ET'"),
        (lambda it: plots.folds(it.fit.labels * np.nan), "there are none"),
        (lambda it: it.ds[["elevation"]].h2cm.plot.overview(), "no flux and no storage"),
        (lambda it: it.out.assign_coords(area=("lat", [1.0, 2.0])).h2cm.plot.season("ET"), "area"),
    ],
)
def test_what_cannot_be_shown_is_said(draw, said, held, twin, scores, fit):
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        draw(SimpleNamespace(out=held, ds=twin, scores=scores, fit=fit))
    assert plt.get_fignums() in ([], [1])  # that of the test itself


def test_a_fit_from_elsewhere_has_no_losses_and_no_folds(fit):
    elsewhere = dataclasses.replace(fit, labels=None, losses=fit.losses.isel(epoch=slice(0)))
    with pytest.raises(InputError, match="holds no losses"):
        plots.losses(elsewhere)
    with pytest.raises(InputError, match="there are none"):
        plots.folds(elsewhere)


def test_matplotlib_is_asked_for_when_it_is_needed():
    code = "import sys; sys.modules['matplotlib'] = None\nimport xarray as xr, xh2cm\nxr.Dataset().h2cm.plot"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr
    assert "pip install 'xh2cm[plot]'" in done.stderr


def test_the_library_is_imported_without_it():
    code = "import sys, xh2cm; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "plot" in dir(xh2cm.tutorial.open_dataset("twin").h2cm)
