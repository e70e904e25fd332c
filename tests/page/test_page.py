"""The report of a run: self-contained, says what it lacks, and shown by a browser without a network."""

from __future__ import annotations

import asyncio
import dataclasses
import html.parser
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import xh2cm
from xh2cm import InputError, Processes, StoreError
from xh2cm.page.context import Given, share
from xh2cm.page.page import SECTIONS, head, write_page
from xh2cm.plots import plots

HOW = {"epochs": 1, "width": 6, "window": 120, "spinup": 60, "progress": False}
VARIABLES = ["precipitation_corrected", "ET", "runoff", "TWS", "GPP", "soil_capacity", "water_residual"]
PATIENCE = 300

LEFT_OPEN = "default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning"
"""Warnings of what other tests of the process left open: no fault of the figure."""


@pytest.fixture(scope="module")
def fit(twin):
    return twin.h2cm.fit(folds=2, scheme="cells", **HOW)


@pytest.fixture(scope="module")
def bare(fit):
    """Without losses and folds, as a published checkpoint comes: a page of it has no pictures."""
    none = fit.losses.isel(epoch=slice(0, 0))
    return dataclasses.replace(fit, losses=none, labels=None, provenance={"source": "published checkpoint x.ckpt"})


@pytest.fixture(scope="module")
def held(twin, fit):
    return twin.h2cm.predict(fit, member="held-out", variables=VARIABLES)


@pytest.fixture(scope="module")
def text(twin, fit, held, tmp_path_factory):
    """The page with everything."""
    path = held.h2cm.report(tmp_path_factory.mktemp("page") / "report.html", twin, fit=fit)
    return path.read_text(encoding="utf-8")


def sections(text):
    """Text of each section, without the pictures."""
    plain = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    return dict(re.findall(r'<section id="([\w-]+)">(.*?)</section>', plain, re.DOTALL))


def rows(section, caption):
    """Cells of the table of a caption, without the head."""
    found = re.search(rf"<caption>{re.escape(caption)}.*?<tbody>(.*?)</tbody>", section, re.DOTALL)[1]
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", found, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))


def of(title, **given):
    """One section."""
    return str(SECTIONS[title](Given(**given)))


class Tags(html.parser.HTMLParser):
    """Every tag is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.open += [tag] if tag not in ("meta", "img", "br") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# -- what is in it ---------------------------------------------------------------------------------------------------


def test_a_page_has_every_section_and_is_well_formed(text):
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    assert [*sections(text)] == [title.lower().replace(" ", "-") for title in SECTIONS]
    assert text.count("<h1>") == 1
    assert text.count("<table>") == text.count("<caption>")
    alts = re.findall(r'<img src="[^"]+" alt="([^"]*)"', text)
    assert len(alts) == text.count("<img ") > 10
    assert all(re.search(r"\d to -?\d", alt) for alt in alts), alts


def test_the_head_says_what_it_is_of(text, fit, held):
    head = text.partition("<nav")[0]
    for part in (fit.fingerprint, xh2cm.__version__, fit.provenance["trained"], "held out", "2001-01-01 to 2002-12-31"):
        assert part in head
    assert f"{float(abs(held['water_residual']).max()):.1e}" in head
    assert "does not name this fit" not in head


def test_scores_are_those_of_the_prediction(text, held, twin):
    scores = held.h2cm.score(twin)
    found = {}
    for variable, scale, *values in rows(sections(text)["scores"], "Scores by variable and scale"):
        last = variable.partition(" ")[0] or last  # noqa: F821  (the first row has a variable)
        found[last, scale] = values
    assert {name for name, _ in found} == set(scores["variable"].values)
    for (variable, scale), values in found.items():
        one = scores.sel(variable=variable, scale=scale)
        assert values[2] == share(one["NSE_pooled"].item())
        assert number(values[6]) == pytest.approx(one["bias_pooled"].item(), rel=0.01, abs=1e-5)
        assert number(values[8]) == one["count_pooled"]


def test_the_water_budget_is_that_of_the_land_by_area(text, held):
    _, _, *means = rows(sections(text)["budgets"], "Water")
    year, days, _, corrected, et, runoff, change, left = means[0]
    weights = np.cos(np.deg2rad(held["lat"]))
    daily = (
        held[["precipitation_corrected", "ET", "runoff", "TWS"]].astype(float).weighted(weights).mean(["lat", "lon"])
    )
    assert (year, days) == ("annual mean", "729")
    of_year = 365.25 * daily.isel(time=slice(1, None)).mean("time")
    for shown, name in ((corrected, "precipitation_corrected"), (et, "ET"), (runoff, "runoff")):
        assert number(shown) == pytest.approx(of_year[name].item(), rel=2e-3)
    assert number(change) == pytest.approx(365.25 / 729 * (daily["TWS"][-1] - daily["TWS"][0]).item(), rel=2e-3)
    assert abs(number(left)) < 1e-3


def test_ratios_are_ratios_of_sums(text, held, twin):
    every = rows(sections(text)["budgets"], "Ratios of sums")[-1]
    weights = np.cos(np.deg2rad(held["lat"]))
    runoff, rain = (x.astype(float).weighted(weights).mean().item() for x in (held["runoff"], twin["precipitation"]))
    assert every[0] == "all"
    assert number(every[1]) == pytest.approx(runoff / rain, rel=1e-3)


def test_constants_and_folds_are_those_of_the_fit(text, fit):
    constants = {row[0]: row for row in rows(sections(text)["parameters"], "Constants")}
    assert number(constants["q10"][2]) == pytest.approx(fit.constants()["q10_mean"].item(), rel=1e-3)
    assert "1.5 ± 0.3" in constants["q10"]
    assert [row[:2] for row in rows(sections(text)["cross-validation-folds"], "Held out in each fold")] == [
        ["0", "4"],
        ["1", "4"],
    ]
    assert "soil_capacity" in sections(text)["parameters"]


def test_what_is_not_in_the_prediction_is_named(text):
    assert "maps of SWE, TER, NEE, which are not in the prediction" in sections(text)["maps"]
    assert "carbon_residual, which are not in the prediction" in sections(text)["budgets"]
    assert "annual sums of Ra, Rh, TER, NPP, NEP, NEE, which are not in the prediction" in sections(text)["budgets"]
    assert "snow_melt_rate" in sections(text)["parameters"]


# -- every kind of land and of fit -----------------------------------------------------------------------------------


def places(dataset):
    """Some cells as towers."""
    return dataset.stack(site=("lat", "lon")).isel(site=[0, 3, 6]).reset_index("site").assign_coords(site=list("abc"))


def curvilinear(dataset):
    """The same grid with coordinates in two dimensions."""
    lat, lon = xr.broadcast(dataset["lat"], dataset["lon"])
    turned = dataset.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    attrs = dataset["lat"].attrs, dataset["lon"].attrs
    return turned.assign_coords(
        lat=(("y", "x"), lat.values, attrs[0]), lon=(("y", "x"), (lon / 10 + lat / 20).values, attrs[1])
    )


LANDS = {
    "towers": places,
    "nowhere": lambda ds: places(ds).drop_vars(["lat", "lon"]),
    "curvilinear": curvilinear,
    "one cell": lambda ds: ds.isel(lat=0, lon=1),
}


@pytest.mark.filterwarnings(
    "error", *LEFT_OPEN, "ignore:.*NEE. is highest in the bright season"
)  # right in one cell of the twin
@pytest.mark.parametrize(
    "land",
    [
        "one cell",
        "nowhere",
        *(pytest.param(n, marks=pytest.mark.slow("a further page")) for n in ("towers", "curvilinear")),
    ],
)
def test_a_page_of_every_kind_of_land(land, twin, fit, held, tmp_path):
    cut = LANDS[land]
    out = cut(held[["ET", "water_residual", "soil_capacity"]])
    out.h2cm.report(tmp_path / "report.html", cut(twin), fit=dataclasses.replace(fit, labels=cut(fit.labels)))
    found = sections((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert all("<figure>" in found[name] for name in ("training", "seasonal-cycles", "budgets"))
    assert rows(found["scores"], "Scores by variable and scale")
    assert ("<figure>" in found["maps"]) is (land != "one cell")
    if land == "one cell":
        assert "this is a single cell" in found["maps"]
        assert "which no map shows" in found["cross-validation-folds"]
    if land in ("towers", "nowhere"):
        assert [row[1] for row in rows(found["scores"], "Scores by place")] == ["a", "b", "c"]
        assert "By place" in found["seasonal-cycles"]
        assert "areas of the cells are not known" in found["maps"]


def test_a_prediction_of_every_fold(twin, fit):
    every = twin.h2cm.predict(fit, member="all", variables=["ET", "q10"])
    given = {"fit": fit, "prediction": every, "data": twin}
    found = of("Scores", **given)
    assert "<p class=beware>Held-out prediction: no, unless" in found
    assert {row[0] for row in rows(found, "Scores by variable")} == {"0", "1", ""}
    assert {row[1] for row in rows(found, "Scores by variable")} == {"ET (kg\xa0m⁻²\xa0d⁻¹)"}
    assert of("Maps", **given).count("<figure>") == 2
    mean = every["ET"].mean(["time", "fold"]).weighted(np.cos(np.deg2rad(every["lat"]))).mean()
    assert number(rows(of("Maps", **given), "Means")[0][2]) == pytest.approx(float(mean), rel=1e-3)


def test_water_alone_and_one_fold(twin):
    pinned = {"processes": Processes.water(), "pin": {"soil_capacity": 90.0}}
    fit = twin.h2cm.fit(folds=2, scheme="cells", only=[1], **pinned, **HOW)
    given = {
        "fit": fit,
        "prediction": twin.h2cm.predict(fit, variables=["ET", "runoff", "water_residual"]),
        "data": twin,
    }
    found = of("Budgets", **given)
    assert "computes water only" in found
    assert "carbon_residual" not in found
    assert "the water budget of precipitation_corrected, TWS, which are not in the prediction" in found
    assert [row[-1] for row in rows(of("Cross-validation folds", **given), "Held out in each fold")] == ["no", "yes"]
    assert "<dt>soil_capacity</dt><dd>90.0</dd>" in of("Parameters", **given)
    assert "8 of 8 cells usable" in of("Data check", fit=fit, data=twin.drop_vars("co2"))


def test_years_held_out_jump_between_folds_and_still_close(twin):
    fit = twin.h2cm.fit(folds=2, scheme="years", **HOW)
    found = of("Budgets", fit=fit, prediction=twin.h2cm.predict(fit, member="held-out", variables=VARIABLES))
    years = rows(found, "Water")
    assert all(abs(number(left)) < 1e-2 for *_, left in years)
    assert max(abs(number(jump)) for *_, jump, _ in years) > 0.1
    assert "changes to another fold" in found


def test_a_fit_without_losses_and_folds(bare, tmp_path):
    found = sections(write_page(tmp_path / "report.html", fit=bare).read_text(encoding="utf-8"))
    assert "holds no losses" in found["training"]
    assert "holds no fold labels" in found["cross-validation-folds"]
    assert "published checkpoint x.ckpt" in found["provenance"]


def test_what_was_not_given_is_said_with_how_to_give_it(twin, fit, held):
    for title in ("Data check", "Scores", "Maps", "Seasonal cycles", "Budgets"):
        found = of(title, fit=fit)
        assert "Not shown:" in found
        assert "xh2cm report RUN --data PATH" in found
    for title in ("Model and training settings", "Cross-validation folds", "Training", "Parameters", "Provenance"):
        assert "need the fit" in of(title, prediction=held[["ET"]])
        assert "need the fit" in of(title, data=twin)
    assert "Scores need the data" in of("Scores", prediction=held[["ET"]])
    assert "8 of 8 cells usable" in of("Data check", data=twin)


def test_data_that_cannot_be_used_or_scored_are_no_reason_to_stop(twin, fit, held):
    bad = twin.drop_vars(["vpd", "ET"]).assign(GPP=twin["GPP"].assign_attrs(units="parsec"))
    given = {"fit": fit, "prediction": held[["GPP"]], "data": bad}
    assert "The data cannot be used as they are" in of("Data check", **given)
    assert "there are no scores, because GPP" in of("Scores", **given)
    assert "since there are no scores" in of("Maps", **given)
    assert "the data are not given, or cannot be used" in of("Budgets", **given)


def test_data_of_other_days_give_no_ratio_with_forcing(twin, fit, held):
    found = of("Budgets", fit=fit, prediction=held[["ET", "runoff"]], data=twin.isel(time=slice(0, 700)))
    assert "the data are of other days or cells than the prediction" in found


def test_a_prediction_of_another_fit_is_pointed_out(fit, held):
    other = dataclasses.replace(fit, weights=fit.weights + 1)
    told = f"The prediction does not name this fit, {other.fingerprint}"
    assert told in head(Given(fit=other, prediction=held[["ET"]]))
    assert "does not name this fit" not in head(Given(fit=fit, prediction=held[["ET"]]))


HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}{% raise %}",
    "mathematics": "US$\\x$ $\\frac{1}{",
    "control": "a\x1b[2J\x00\u202eb \ud800",
    "long": "y" * 5000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_from_data_is_text(text, twin, fit, held, tmp_path):
    out = places(held[["ET", "GPP"]]).assign_attrs({**held.attrs, text: text, "source": text, "member": text})
    out["ET"].attrs |= {"long_name": text, "units": text}
    seen = places(twin.assign_attrs(title=text, history=text))
    out, seen = (dataset.assign_coords(site=[text, "b", "c"]) for dataset in (out, seen))
    seen["ET"].attrs["long_name"] = text
    labels = places(fit.labels).assign_attrs(scheme=text)
    renamed = dataclasses.replace(fit, labels=labels, provenance={**fit.provenance, text: text, "source": text})
    page = write_page(tmp_path / "report.html", fit=renamed, prediction=out, data=seen).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "49" not in page.partition("</h1>")[0]
    assert not {"\x1b", "\x00", "\u202e"} & {*page}
    assert page.count("<figure>") > 5
    assert "cannot be drawn" not in page
    parser = Tags()
    parser.feed(page)
    assert parser.open == []


# -- what no target constrains, and what is computed once ------------------------------------------------------------


def test_totals_that_no_target_constrains_are_not_shown(twin, fit):
    runoff = {"name": "runoff", "fields": ["runoff"], "compare": "daily", "weight": 1.0}
    of_runoff = dataclasses.replace(fit, provenance={**fit.provenance, "targets": [runoff]})
    names = ["ET", "runoff", "TWS", "precipitation_corrected", "GPP", "Ra", "Rh", "NEP", "NEE", "NPP"]
    out = twin.h2cm.predict(fit, member="held-out", variables=names)
    given = {"fit": of_runoff, "prediction": plots.marked(out, of_runoff), "data": twin}
    assert "No training target constrains GPP" in of("Model and training settings", **given)
    found = of("Budgets", **given)
    assert "<caption>Water" in found
    assert "<caption>Carbon" not in found
    assert "annual sums of GPP, Ra, Rh, NPP, NEP, NEE: no training target constrains them" in found
    ratios = re.search(r"<caption>Ratios.*?</thead>", found, re.DOTALL)[0]
    assert "runoff_ratio" in ratios
    assert "CUE" not in ratios
    assert "WUE" not in ratios
    shown = {row[0] for row in rows(of("Maps", **given), "Means over the record")}
    assert {"ET", "runoff", "GPP *", "NEE *"} <= shown
    assert "not constrained by any training target" in of("Seasonal cycles", **given)
    trained = {"fit": fit, "prediction": plots.marked(out, fit), "data": twin}
    assert "<caption>Carbon" in of("Budgets", **trained)


def test_settings_are_those_by_which_fits_are_compared(text):
    found = sections(text)["model-and-training-settings"]
    for name, value in {
        "folds": "2, scheme cells",
        "epochs": "1 of at most 1",
        "learning rate": "0.005",
        "batch size": "128",
        "window": "120 days",
        "spin-up": "60 days",
        "hidden units": "6",
    }.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in found
    told = {row[0]: row[1:3] for row in rows(found, "Targets")}
    assert told["TWS"] == ["TWS", "anomaly"]
    assert told["CUE"] == ["NPP, GPP", "ratio"]


@pytest.mark.parametrize("most", [2**30, 0], ids=["in memory", "in a store"])
def test_a_lazy_prediction_is_computed_once(twin, fit, held, tmp_path, monkeypatch, most):
    monkeypatch.setattr("xh2cm.plots.computed.IN_MEMORY", most)
    counts = dict.fromkeys(("ET", "GPP", "TWS", "runoff", "precipitation_corrected", "water_residual"), 0)

    def counted(block, name):
        counts[name] += 1
        return block

    lazy = held[list(counts)].chunk()
    lazy = lazy.assign({n: lazy[n].copy(data=lazy[n].data.map_blocks(counted, n, dtype=lazy[n].dtype)) for n in counts})
    counts.update(dict.fromkeys(counts, 0))
    lazy.h2cm.report(tmp_path / "report.html", twin, fit=fit)
    assert counts == dict.fromkeys(counts, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_nothing_to_write_of_and_things_that_are_none(fit, tmp_path):
    with pytest.raises(InputError, match="has nothing to be written of"):
        write_page(tmp_path / "report.html")
    with pytest.raises(InputError) as error:
        write_page(tmp_path / "report.html", fit="run", prediction=fit, data=3)
    assert [finding.variable for finding in error.value.findings] == ["prediction", "data", "fit"]


def test_a_file_is_not_replaced_unasked_and_a_sealed_folder_not_written_to(bare, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(StoreError, match="exists: give another path"):
        write_page(path, fit=bare)
    assert path.read_text() == "mine"
    assert "<h1>" in write_page(path, fit=bare, overwrite=True).read_text(encoding="utf-8")
    saved = bare.save(tmp_path / "fit")
    with pytest.raises(StoreError, match="sealed by its checksums"):
        write_page(saved / "report.html", fit=bare)
    assert xh2cm.load_fit(saved).fingerprint == bare.fingerprint
    with pytest.raises(StoreError, match="cannot be written"):
        write_page(path / "report.html", fit=bare)  # below a file


def test_figures_are_closed_and_the_style_of_the_user_is_left_alone(fit, tmp_path):
    mine = plt.figure()
    there = plt.get_fignums()  # what other tests have left open too
    with plt.style.context("dark_background"):
        write_page(tmp_path / "report.html", fit=fit)
        assert mpl.rcParams["figure.facecolor"] == "black"
    assert plt.get_fignums() == there
    plt.close(mine)


# -- in a browser ----------------------------------------------------------------------------------------------------

INSTALL = ["flock", "/var/lock/xh2cm-apt", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
"""Tests that install something do so one after another."""

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0"
)

LOOK = """({
  sections: [...document.querySelectorAll('main > section')].filter(s => s.offsetHeight > 50).map(s => s.id),
  images: [...document.images].map(i => [i.complete && i.naturalWidth, i.naturalHeight, i.alt]),
  links: [...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.getAttribute('href'))),
  uncaptioned: [...document.querySelectorAll('table')].filter(t => !t.caption || !t.caption.textContent).length,
  headings: document.querySelectorAll('h1').length,
  scripts: document.scripts.length,
  background: getComputedStyle(document.body).backgroundColor,
  beyond: document.documentElement.scrollWidth - window.innerWidth,
})"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Where a headless Chromium listens; installed where this runs as root on Debian or its like."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        if os.getuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("Chromium is not installed, and only root on Debian or its like can: apt-get install chromium")
        how = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "timeout": PATIENCE}
        try:
            for command in (["update"], ["install", "--no-install-recommends", "chromium"]):
                subprocess.run([*INSTALL, *command], check=True, **how)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"Chromium is not installed, and cannot be: {error}")
        program = shutil.which("chromium")
    folder = tmp_path_factory.mktemp("chromium")
    command = [program, *FLAGS.split(), f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield where(folder / "DevToolsActivePort")
        finally:
            running.terminate()


def where(file: Path) -> str:
    """The address of the browser's first page, once it is there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.1)
        if file.exists() and "\n" in (said := file.read_text()):
            with urllib.request.urlopen(f"http://127.0.0.1:{said.split()[0]}/json") as told:
                pages = [one for one in json.load(told) if one["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
    raise TimeoutError(file)


async def visit(address, url, width, scheme):
    """What a browser sees of a page, what it asked for, and what it complained of."""
    websocket = pytest.importorskip("tornado.websocket", reason="needs tornado: pip install 'xh2cm[distributed]'")
    browser = await websocket.websocket_connect(address, max_message_size=2**28)
    events, count = [], 0

    async def ask(method, **given):
        nonlocal count
        count += 1
        await browser.write_message(json.dumps({"id": count, "method": method, "params": given}))
        while (told := json.loads(await browser.read_message())).get("id") != count:
            events.append(told)
        assert "error" not in told, told
        return told["result"]

    for room in ("Page", "Runtime", "Log", "Network"):
        await ask(f"{room}.enable")
    await ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    await ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    events.clear()  # of the page before
    await ask("Page.navigate", url=url)
    while not any(event.get("method") == "Page.loadEventFired" for event in events):
        events.append(json.loads(await browser.read_message()))
    seen = (await ask("Runtime.evaluate", expression=LOOK, returnByValue=True))["result"]["value"]
    browser.close()
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    complaints = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Network.loadingFailed")
    return seen, asked, [e for e in events if e["method"] in complaints]


@pytest.mark.parametrize(
    ("width", "scheme", "background"), [(1200, "light", "rgb(255, 255, 255)"), (420, "dark", "rgb(22, 25, 29)")]
)
def test_a_browser_shows_the_page_from_disk(chromium, text, tmp_path, width, scheme, background):
    file = tmp_path / "a report.html"
    file.write_text(text, encoding="utf-8")
    seen, asked, complaints = asyncio.run(asyncio.wait_for(visit(chromium, file.as_uri(), width, scheme), 60))
    assert complaints == []
    assert {url for url in asked if not url.startswith("data:image/png")} == {file.as_uri()}
    assert seen["sections"] == [title.lower().replace(" ", "-") for title in SECTIONS]
    assert len(seen["images"]) > 10
    assert all(wide > 100 and high > 100 and alt for wide, high, alt in seen["images"])
    assert seen["links"] == [True] * len(SECTIONS)
    assert (seen["uncaptioned"], seen["headings"], seen["scripts"]) == (0, 1, 0)
    assert seen["background"] == background
    assert seen["beyond"] <= 0
