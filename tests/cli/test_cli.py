"""The command line: what it does equals what the API does, and what it refuses it refuses early and plainly."""

from __future__ import annotations

import inspect
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
import xarray as xr
from typer.testing import CliRunner

import xh2cm
from xh2cm.accessor import H2CMAccessor
from xh2cm.cli import app, main
from xh2cm.datasets.open import open_path
from xh2cm.prediction.predict import DEFAULT_VARIABLES

QUICK = (
    "--folds",
    "2",
    "--scheme",
    "cells",
    "--epochs",
    "1",
    "--width",
    "6",
    "--window",
    "60",
    "--spinup",
    "30",
    "--no-progress",
)


@pytest.fixture(scope="module")
def store(twin, tmp_path_factory):
    """Half a year of the twin as a Zarr store of several chunks."""
    short = twin.isel(time=slice(0, 181), month=slice(0, 6)).drop_encoding()
    return short.chunk(time=100, lon=2).h2cm.to_zarr(tmp_path_factory.mktemp("data") / "twin.zarr")


@pytest.fixture(scope="module")
def netcdf(store):
    path = store.with_suffix(".nc")
    xr.open_zarr(store, consolidated=False).drop_encoding().to_netcdf(path)
    return path


@pytest.fixture(scope="module")
def report(store):
    return open_path(store).h2cm.check()


@pytest.fixture(scope="module")
def fitted(store):
    path = store.parent / "fit"
    assert run("fit", store, "--out", path, *QUICK).exit_code == 0
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments, monkeypatch, capsys):
    """What the entry point prints to standard error, and its exit status."""
    monkeypatch.setattr(sys, "argv", ["xh2cm", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return stopped.value.code, " ".join(said.err.replace("│", " ").split())


@pytest.fixture
def refusal(monkeypatch, capsys):
    return lambda *arguments: refused(*arguments, monkeypatch=monkeypatch, capsys=capsys)


def test_check_prints_the_report(store, netcdf, report):
    done = run("check", store)
    assert done.exit_code == 0
    assert done.stdout == f"{report}\n"
    done = run("check", netcdf)
    assert done.exit_code == 0
    assert "8 of 8 cells usable" in done.stdout


def test_check_of_a_zip_and_of_the_published_layout(store, report, parity, tmp_path):
    zipped = shutil.make_archive(str(tmp_path / "twin"), "zip", store)
    assert run("check", zipped).stdout == f"{report}\n"
    done = run("check", parity / "published/store.zarr.zip")
    assert done.exit_code == 0
    assert "cells usable" in done.stdout


def test_check_as_json(store, report):
    told = json.loads(run("check", store, "--json").stdout)
    assert told["findings"] == []
    assert told["report"]["usable"] == report.usable == 8
    assert [v["name"] for v in told["report"]["variables"]] == [row.name for row in report.rows]


def test_findings_are_exit_status_1(store, tmp_path, refusal):
    wrong = open_path(store).load()
    wrong["vpd"].attrs["units"] = "furlong"
    wrong["precipitation"] = (wrong["precipitation"] - 50).assign_attrs(wrong["precipitation"].attrs)
    path = wrong.h2cm.to_zarr(tmp_path / "wrong.zarr")
    status, said = refusal("check", path)
    assert status == 1
    for part in ("problems with the input", "furlong", "precipitation", "--names a=b"):
        assert part in said
    done = run("check", path, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert {"vpd", "precipitation"} <= {finding["variable"] for finding in told["findings"]}


def test_what_is_what_can_be_said(store, tmp_path):
    strange = open_path(store).rename(precipitation="water", vpd="dryness").drop_vars("co2").load()
    for name in ("water", "dryness"):
        del strange[name].attrs["standard_name"], strange[name].attrs["units"]
    path = strange.h2cm.to_zarr(tmp_path / "strange.zarr")
    arguments = [
        "--names",
        "precipitation=water",
        "--names",
        "vpd=dryness",
        "--names",
        "co2=410",
        "--units",
        "water=mm day-1",
        "--units",
        "dryness=hPa",
    ]
    done = run("check", path, *arguments, "--target", "GPP", "--static", "clay", "--json")
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(done.stdout)["report"]["variables"]}
    assert rows["precipitation"]["found"] == "water"
    assert rows["co2"]["lowest"] == 410
    assert [name for name, row in rows.items() if row["role"] in ("target", "static")] == ["GPP", "clay"]
    nothing = json.loads(run("check", path, *arguments, "--no-static", "--json").stdout)
    assert "static" not in {row["role"] for row in nothing["report"]["variables"]}


def test_fit_and_predict_give_what_the_api_gives(store, netcdf, fitted, tmp_path):
    ds = open_path(store)
    fit = ds.h2cm.fit(2, scheme="cells", epochs=1, width=6, window=60, spinup=30, progress=False)
    assert xh2cm.load_fit(fitted).fingerprint == fit.fingerprint
    done = run("predict", store, "--fit", fitted, "--out", tmp_path / "out.zarr", "--no-progress")
    assert done.exit_code == 0, done.output
    written = xr.open_zarr(tmp_path / "out.zarr")
    assert set(written.data_vars) == set(DEFAULT_VARIABLES)
    assert written["ET"].encoding["chunks"] == (181, 2, 2)  # the land chunks of what was read
    xr.testing.assert_identical(written.load(), ds.h2cm.predict(fit).load())
    assert run("predict", netcdf, "--fit", fitted, "--out", tmp_path / "nc.zarr", "--no-progress").exit_code == 0
    xr.testing.assert_allclose(xr.open_zarr(tmp_path / "nc.zarr").load(), written, rtol=1e-4, atol=1e-4)
    one = tmp_path / "one.zarr"
    assert (
        run(
            "predict", store, "--fit", fitted, "--out", one, "--variable", "q10", "--variable", "ET", "--member", "1"
        ).exit_code
        == 0
    )
    xr.testing.assert_identical(
        xr.open_zarr(one).load(), ds.h2cm.predict(fit, variables=["q10", "ET"], member=1).load()
    )


def test_targets_weights_and_no_early_stop(store, tmp_path):
    out = tmp_path / "fit"
    done = run(
        "fit",
        store,
        "--out",
        out,
        *QUICK,
        "--target",
        "GPP=monthly",
        "--target",
        "ET=seasonal",
        "--weights",
        "ET=2",
        "--only",
        "1",
        "--patience",
        "0",
        "--no-static",
    )
    assert done.exit_code == 0, done.output
    fit = xh2cm.load_fit(out)
    assert fit.folds == (1,)
    assert fit.features == ()
    assert fit.provenance["training"]["patience"] is None
    assert {t["name"]: (t["compare"], t["weight"]) for t in fit.provenance["targets"]} == {
        "ET": ("seasonal", 2.0),
        "GPP": ("monthly", 1.0),
    }


def test_water_alone_and_pins(store, tmp_path):
    dry = open_path(store).drop_vars(["co2", "GPP"]).load().drop_encoding().h2cm.to_zarr(tmp_path / "dry.zarr")
    pins = ("--pin", "snow_melt_rate=3", "--pin", "soil_recharge_fraction=clay", "--pin", "fapar=global")
    done = run("fit", dry, "--out", tmp_path / "fit", *QUICK, "--water", *pins)
    assert done.exit_code == 0, done.output
    fit = xh2cm.load_fit(tmp_path / "fit")
    assert not fit.model.processes.carbon
    assert fit.model.pinned == {"snow_melt_rate": 3.0, "soil_recharge_fraction": "map", "fapar": "global"}
    told = ("predict", dry, "--fit", tmp_path / "fit", "--variable", "soil_recharge_fraction", "--no-progress")
    assert run(*told, "--out", tmp_path / "out.zarr").exit_code == 0
    assert (xr.open_zarr(tmp_path / "out.zarr")["soil_recharge_fraction"] == open_path(store)["clay"]).all()
    assert run(*told, "--out", tmp_path / "other.zarr", "--pin", "soil_recharge_fraction=0.5").exit_code == 0
    assert (xr.open_zarr(tmp_path / "other.zarr")["soil_recharge_fraction"] == 0.5).all()
    assert run("check", dry).exit_code == 1
    assert run("check", dry, *(x for name in fit.model.forcing for x in ("--forcing", name))).exit_code == 0
    assert run("fit", dry, "--out", tmp_path / "all", *QUICK, "--water", "--pin", "global").exit_code == 0
    assert set(xh2cm.load_fit(tmp_path / "all").model.pinned.values()) == {"global"}


def test_priors_are_told_by_name(store, tmp_path):
    told = ("fit", store, "--out", tmp_path / "told", *QUICK, "--priors", "q10=2.0,0.5")
    assert run(*told).exit_code == 0
    known = xh2cm.load_fit(tmp_path / "told").provenance["priors"]
    assert known == [{"parameter": "q10", "mean": 2.0, "std": 0.5}]


def test_every_argument_of_the_accessor_is_an_option(store):
    del store
    renamed = {
        "fit": {"targets": "target", "run": "out", "client": "scheduler"},
        "predict": {"fit": "trained", "variables": "variable"},
        "check": {"targets": "target"},
    }
    from_code = {"processes", "networks", "training", "model", "options"}  # things one cannot type on a command line
    commands = typer.main.get_command(app).commands
    for command, changed in renamed.items():
        wanted = {
            changed.get(name, name) for name in list(inspect.signature(getattr(H2CMAccessor, command)).parameters)[1:]
        } - from_code
        assert wanted <= {p.name for p in commands[command].params}, command
        assert "Example: xh2cm" in run(command, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "nowhere.zarr"), "does not exist"),
        (("check", "{store}", "--names", "vpd"), "'vpd' is not NAME=VALUE"),
        (("check", "{store}", "--static", "clay", "--no-static"), "together with --no-static"),
        (("check", "{store}", "--missing", "guess"), "guess"),
        (("fit", "{store}", "--out", "new", "--priors", "q10=1.5"), "'q10=1.5' is not NAME=VALUE"),
        (("fit", "{store}"), "--out"),
        (("fit", "{store}", "--out", "{nc}"), "give another path"),
        (("gather", "{fit}", "--out", "{fit}/fit"), "--overwrite to replace it"),
        (("gather", "{fit}", "--out", "{nc}"), "give another path"),
        (("fit", "{store}", "--out", "{store}", "--overwrite"), "holds what is read"),
        (("fit", "{store}", "--out", "{folder}", "--overwrite"), "holds what is read"),
        (("fit", "{store}", "--out", "{store}/zarr.json/fit"), "takes no files"),
        (("fit", "{store}", "--out", "{folder}/new", "--weights", "GPP=much"), "'GPP=much' is not NAME=VALUE"),
        (("fit", "{store}", "--out", "{folder}/new", "--target", "GPP=daily", "--target", "ET"), "for every target"),
        (("predict", "{store}", "--fit", "{fit}", "--out", "{store}", "--overwrite"), "holds what is read"),
        (("predict", "{store}", "--fit", "{fit}", "--out", "{folder}/new.zip"), "new.zarr"),
        (("predict", "{store}", "--fit", "{fit}", "--out", "{nc}"), "--overwrite to replace it"),
        (("predict", "{store}", "--fit", "nowhere", "--out", "{folder}/new.zarr"), "does not exist"),
        (("gues",), "No such command"),
    ],
)
def test_usage_is_exit_status_2(store, netcdf, fitted, refusal, arguments, said):
    filled = [a.format(store=store, nc=netcdf, fit=fitted, folder=store.parent) for a in arguments]
    status, told = refusal(*filled)
    assert status == 2
    assert said in told
    assert not (store.parent / "new.zarr").exists()


def test_a_cluster_that_does_not_answer_is_exit_status_1(store, refusal):
    status, told = refusal("fit", store, "--out", store.parent / "new", *QUICK, "--scheduler", "nonsense://here")
    assert (status, "does not answer" in told) == (1, True)


def test_an_output_that_exists_is_refused_before_anything_is_read(store, netcdf, monkeypatch, refusal):
    def never(path):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("xh2cm.cli.training.open_path", never)
    assert refusal("fit", store, "--out", netcdf)[0] == 2


def test_a_run_that_is_finished_is_left_as_it_is_and_another_training_refused(store, fitted, refusal):
    before = xh2cm.load_fit(fitted).fingerprint
    assert run("fit", store, "--out", fitted, *QUICK).exit_code == 0
    assert xh2cm.load_fit(fitted).fingerprint == before
    status, told = refusal("fit", store, "--out", fitted, *QUICK, "--seed", "7")
    assert status == 1
    assert "seed was 0 and is 7" in told


def test_folds_one_by_one_are_gathered_into_the_fit_of_all(store, fitted, tmp_path):
    for fold in (1, 0):
        assert run("fit", store, "--out", tmp_path / f"fold-{fold}", *QUICK, "--fold", fold).exit_code == 0
    runs = sorted(tmp_path.glob("fold-*"))
    assert run("gather", *runs, "--out", tmp_path / "all").exit_code == 0
    assert xh2cm.load_fit(tmp_path / "all").fingerprint == xh2cm.load_fit(fitted).fingerprint


def test_a_run_that_was_killed_before_it_was_described_goes_on(store, fitted, tmp_path):
    (tmp_path / "lock").touch()
    assert run("fit", store, "--out", tmp_path, *QUICK).exit_code == 0
    assert xh2cm.load_fit(tmp_path).fingerprint == xh2cm.load_fit(fitted).fingerprint


def test_in_a_file_fit_says_a_line_each_epoch(store, fitted, tmp_path):
    mine = shutil.copytree(fitted, tmp_path / "run")
    command = [sys.executable, "-m", "xh2cm", "fit", str(store), "--out", str(mine), *QUICK[:-1]]
    done = subprocess.run([*command, "--epochs", "2"], capture_output=True, text=True, check=True)
    steps, before, *epochs = done.stderr.splitlines()
    assert " an epoch is 1 optimiser step in each fold: " in steps
    assert f"going on in {mine} after epoch 1" in before
    assert [" epoch 2: " in line for line in epochs] == [True]


def scripts(*arguments):
    """Both scripts, and the lines that submit them."""
    done = run("slurm", *arguments)
    assert done.exit_code == 0, done.output
    written = [shlex.split(line)[-1] for line in done.stdout.splitlines()]
    return Path(written[0].removesuffix(")")).read_text(), Path(written[1]).read_text()


def directives(script):
    return [shlex.split(line)[1:] for line in script.splitlines() if line.startswith("#SBATCH")]


def test_a_script_for_slurm_asks_for_what_is_told(store, tmp_path):
    out, told = tmp_path / "it's 100%", ("--partition", "long", "--account", "me", "--mail", "a@b.org")
    asked = ("--cpus", "4", "--memory-per-job", "3GiB", "--gpus", "0", "--time", "1-00:00:00", "--sbatch", "qos=a b")
    fit, gather = scripts("--seed", "-1", *QUICK[2:], store, *told, "--folds", "3", *asked, "--out", out)
    wanted = [
        "--array=0-2", "--cpus-per-task=4", "--mem=3072M", "--time=1-00:00:00", "--partition=long", "--account=me",
        "--qos=a b", "--mail-user=a@b.org", "--requeue", "--open-mode=append", f"--chdir={Path.cwd()}",
        f"--output={tmp_path}/it's 100%%/slurm/fold-%a.log",
    ]  # fmt: skip
    assert [[option] for option in wanted if [option] not in directives(fit)] == []
    command = shlex.split(fit.partition("USR1\n\n")[2].replace("\\\n", ""), comments=True)
    number = "$SLURM_ARRAY_TASK_ID"
    assert command[:-5] == [
        sys.executable, "-m", "xh2cm", "fit", "--seed", "-1", *QUICK[2:], str(store), "--folds", "3",
        "--memory", "1536MiB", "--out", f"{out}/fold-{number}", "--fold", number, "&",
    ]  # fmt: skip
    assert "--array" not in gather
    last = shlex.split(gather.splitlines()[-1])
    assert last[3:] == ["gather", f"{out}/fold-{{0..2}}", "--out", f"{out}/fit", "--overwrite"]
    for script in (fit, gather):
        subprocess.run(["bash", "-n", "-c", script], check=True)  # noqa: S607


def test_a_script_for_slurm_trains_all_folds_of_fit_by_default(store, tmp_path):
    fit, _ = scripts(store, "--out", tmp_path, "--memory", "1GiB", "--memory-per-job", "3GiB")
    assert ["--array=0-9"] in directives(fit)
    assert "1536MiB" not in fit
    assert (
        "1536MiB" not in scripts(store, "--out", tmp_path, "--memory-per-job", "3GiB", "--gpus", "1", "--overwrite")[0]
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("{store}", "--epoch", "3"), 2, "No such option"),
        (("nowhere.zarr",), 2, "does not exist"),
        (("{store}", "--fold", "3"), 2, "each task has its own fold"),
        (("{store}", "--scheduler", "tcp://host:1"), 2, "each task trains by itself"),
        (("{store}", "--cpus", "0"), 2, "--cpus"),
        (("{store}", "--folds", "1"), 1, "1 leaves nothing to validate with"),
        (("{store}", "--memory-per-job", "much"), 1, "'much' is no amount of memory"),
        (("{store}", "--memory-per-job", "-1GiB"), 1, "'-1GiB' is no amount of memory"),
        (("{store}", "--partition", "a\nb"), 1, "Slurm cannot read 'a\\nb'"),
        (("{store}", "--sbatch", "qos=a\\b"), 1, "qos: Slurm cannot read"),
    ],
)
def test_what_slurm_would_refuse_is_refused_before(store, refusal, tmp_path, arguments, status, said):
    filled = [a.format(store=store) for a in arguments]
    found, told = refusal("slurm", *filled, "--out", tmp_path / "runs")
    assert found == status
    assert said in told
    assert not (tmp_path / "runs").exists()


def test_scripts_that_are_there_are_kept(store, netcdf, refusal, tmp_path):
    scripts(store, "--out", tmp_path)
    assert "--overwrite to replace it" in refusal("slurm", store, "--out", tmp_path)[1]
    assert "cannot be written" in refusal("slurm", store, "--out", netcdf)[1]


@pytest.fixture(scope="module")
def predicted(store, fitted):
    path = store.parent / "predicted.zarr"
    variables = ("--variable", "ET", "--variable", "GPP", "--variable", "water_residual")
    assert run("predict", store, "--fit", fitted, "--out", path, *variables, "--member", "all").exit_code == 0
    return path


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("map", ("--variable", "ET", "--when", "2001-02")),
        ("skill", ("--variable", "ET", "--observations", "{store}", "--metric", "RMSE", "--scale", "seasonal")),
        ("season", ("--variable", "GPP", "--observations", "{store}")),
        ("series", ("--variable", "ET", "--scale", "daily")),
        ("latitudes", ("--variable", "ET")),
        ("closure", ()),
        ("overview", ("--observations", "{store}")),
        ("losses", ()),
        ("folds", ()),
    ],
)
def test_pictures_are_drawn_into_a_file(store, fitted, predicted, tmp_path, what, options):
    source = fitted if what in ("losses", "folds") else predicted
    out = tmp_path / "picture.png"
    told = [option.format(store=store) for option in options]
    done = run("plot", source, "--what", what, *told, "--out", out, "--dpi", "40", "--no-progress")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{what} drawn in {out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")
    assert out.stat().st_size > 2000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--what", "map", "--out", "x.png"), "is needed for --what map"),
        (("--what", "skill", "--variable", "ET", "--out", "x.png"), "is needed for --what skill"),
        (("--what", "closure", "--variable", "ET", "--out", "x.png"), "is not for --what closure"),
        (("--what", "map", "--variable", "ET", "--scale", "daily", "--out", "x.png"), "is not for --what map"),
        (("--what", "closure", "--out", "x.doc"), "x.doc is none of"),
        (("--what", "closure", "--out", "{nc}"), "is none of"),
        (("--what", "closure", "--out", "{store}/zarr.json.png/x.png", "--dpi", "1"), "--dpi"),
    ],
)
def test_pictures_that_cannot_be_asked_for_are_exit_status_2(store, netcdf, predicted, refusal, options, said):
    status, told = refusal("plot", predicted, *(option.format(nc=netcdf, store=store) for option in options))
    assert status == 2
    assert said in told


def test_a_picture_that_exists_is_left_and_what_is_wrong_is_exit_status_1(predicted, tmp_path, refusal):
    out = tmp_path / "x.png"
    assert run("plot", predicted, "--what", "closure", "--out", out).exit_code == 0
    assert refusal("plot", predicted, "--what", "closure", "--out", out)[0] == 2
    assert run("plot", predicted, "--what", "closure", "--out", out, "--overwrite").exit_code == 0
    status, told = refusal("plot", predicted, "--what", "map", "--variable", "EET", "--out", tmp_path / "y.png")
    assert status == 1
    assert "did you mean 'ET'" in told


def test_overwrite_replaces(store, fitted, tmp_path):
    fit, out = tmp_path / "fit", tmp_path / "out.zarr"
    shutil.copytree(fitted, fit)
    assert run("fit", store, "--out", fit, *QUICK, "--seed", "7", "--overwrite").exit_code == 0
    assert xh2cm.load_fit(fit).fingerprint != xh2cm.load_fit(fitted).fingerprint
    shutil.copytree(store, out)
    assert run("predict", store, "--fit", fit, "--out", out, "--variable", "GPP", "--overwrite").exit_code == 0
    assert list(xr.open_zarr(out).data_vars) == ["GPP"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.nc", "text", "cannot be opened"),
        ("text.zip", "text", "cannot be opened"),
        ("empty.zarr", None, "no Zarr group at its root"),
    ],
)
def test_what_is_no_data_is_said(tmp_path, refusal, name, content, said):
    path = tmp_path / name
    path.write_text(content) if content else path.mkdir()
    status, told = refusal("check", path)
    assert status == 1
    assert said in told
    with pytest.raises(xh2cm.InputError, match="no such file or folder"):
        open_path(tmp_path / "nowhere")


def test_a_truncated_fit_is_refused(store, fitted, tmp_path, refusal):
    path = tmp_path / "fit"
    shutil.copytree(fitted, path)
    weights = path / "fit" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    status, told = refusal("predict", store, "--fit", path, "--out", tmp_path / "out.zarr")
    assert status == 1
    assert "weights.safetensors" in told
    assert not (tmp_path / "out.zarr").exists()


def told(*arguments, status=0):
    """The one JSON object that a command prints, and nothing else."""
    done = run(*arguments, "--json")
    assert done.exit_code == status, done.output
    return json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_folds_are_counted_written_and_drawn(store, tmp_path, refusal):
    labels = open_path(store).h2cm.folds(2, scheme="cells", test=0.2, seed=3)
    asked = ("folds", store, "--folds", 2, "--scheme", "cells", "--test", 0.2, "--seed", 3)
    out, picture = tmp_path / "labels.zarr", tmp_path / "folds.png"
    found = told(*asked, "--out", out, "--plot", picture)
    assert {row["fold"]: row["cells"] for row in found["folds"]} == {
        "test": int((labels == -1).sum()), 0: int((labels == 0).sum()), 1: int((labels == 1).sum()),
    }  # fmt: skip
    xr.testing.assert_equal(open_path(out)["fold"].compute().drop_attrs(), labels.drop_attrs())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(*asked, "--out", tmp_path / "labels.nc").exit_code == 0
    written = open_path(tmp_path / "labels.nc")["fold"].compute().transpose(*labels.dims)
    xr.testing.assert_equal(written.drop_attrs(), labels.drop_attrs())
    printed = run(*asked).stdout
    assert "2 folds, scheme cells" in printed
    assert refusal(*asked, "--out", out)[0] == 2
    assert refusal(*asked, "--plot", picture)[0] == 2
    assert refusal(*asked, "--plot", tmp_path / "x.doc")[0] == 2


def test_scores_are_those_of_the_api(store, predicted, tmp_path, refusal):
    expected = open_path(predicted).h2cm.score(open_path(store), targets=["ET", "GPP"]).compute()
    asked = ("score", predicted, store, "--target", "ET", "--target", "GPP", "--no-progress")
    found = told(*asked, "--out", tmp_path / "scores.nc")
    assert found["held_out"] == expected.attrs["held_out"]
    monthly = {row["fold"]: row for row in found["scores"] if (row["variable"], row["scale"]) == ("GPP", "monthly")}
    for fold in (0, 1):
        there = expected.sel(variable="GPP", scale="monthly", fold=fold)
        assert monthly[fold]["NSE"] == pytest.approx(there["NSE_pooled"].item())
        assert monthly[fold]["count"] == there["count_pooled"].item()
    daily = next(row for row in found["scores"] if (row["variable"], row["scale"]) == ("GPP", "daily"))
    assert (daily["NSE"], daily["reason"]) == (None, "not_at_this_scale")
    xr.testing.assert_allclose(xr.load_dataset(tmp_path / "scores.nc")["NSE"], expected["NSE"])
    done = run(*asked, "--out", tmp_path / "scores.csv")
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == len(found["scores"]) + 1
    assert f"held out: {expected.attrs['held_out']}" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["GPP", "monthly"] in [line[:2] for line in lines] + [line[1:3] for line in lines]
    assert refusal(*asked, "--out", tmp_path / "scores.csv")[0] == 2
    assert refusal(*asked, "--out", tmp_path / "scores.txt")[0] == 2
    assert refusal("score", predicted, store, "--target", "EET")[0] == 1


def test_info_says_what_lies_at_a_path(netcdf, fitted, predicted, tmp_path):
    fit = xh2cm.load_fit(fitted)
    found = told("info", fitted)
    assert (found["kind"], found["fit"]["fingerprint"]) == ("fit", fit.fingerprint)
    best = found["fit"]["best"]
    total = fit.losses["loss"].sel(target="total", split="validation")
    assert [row["validation"] for row in best] == pytest.approx(total.min("epoch").values.tolist())
    assert repr(fit) in run("info", fitted / "fit").stdout
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    for name in ("run.json", "losses.csv"):
        shutil.copy(fitted / name, unfinished)
    found = told("info", unfinished)
    assert (found["kind"], found["epoch"], found["folds"]) == ("run", fit.losses.sizes["epoch"], [0, 1])
    assert "not finished" in run("info", unfinished).stdout
    (unfinished / "run.json").write_text("[]")
    assert "does not describe a run" in told("info", unfinished, status=1)["findings"][0]["problem"]
    found = told("info", predicted)
    assert (found["kind"], found["sizes"]["time"]) == ("Zarr store", 181)
    assert {row["variable"]: row["units"] for row in found["variables"]}["ET"] == "kg m-2 d-1"
    assert found["attributes"]["member"] == "all"
    assert found["bytes"] == sum(path.stat().st_size for path in predicted.rglob("*") if path.is_file())
    assert "evapotranspiration" in run("info", predicted).stdout
    assert told("info", netcdf)["kind"] == "NetCDF file"
    (tmp_path / "empty").mkdir()
    assert "cannot be opened" in told("info", tmp_path / "empty", status=1)["findings"][0]["problem"]


def test_info_says_what_xh2cm_runs_on(capsys):
    found = told("info")
    assert found["system"]["xh2cm"] == version("xh2cm")
    assert found["required"]["numpy"] == version("numpy")
    xh2cm.show_versions()
    assert capsys.readouterr().out == run("info").stdout
    xh2cm.show_versions(as_json=True)
    assert json.loads(capsys.readouterr().out) == {key: found[key] for key in ("system", "required", "optional")}


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["numpy>=2", 'nowhere-to-be>=1; extra == "plot"'])
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    found = told("info")
    assert found["optional"] == {"nowhere-to-be": "not installed"}
    assert found["system"]["C++ compiler"] == "none: no fast loop"
    assert found["system"]["GPU"] == "none found"


def test_what_programs_read_is_json(store, fitted, predicted, tmp_path):
    fit = xh2cm.load_fit(fitted)
    assert told("fit", store, "--out", fitted, *QUICK)["fit"]["fingerprint"] == fit.fingerprint
    assert told("gather", fitted, "--out", tmp_path / "all")["fit"]["folds"] == [0, 1]
    one = told("predict", store, "--fit", fitted, "--out", tmp_path / "x.nc", "--variable", "ET", "--no-progress")
    assert one["variables"] == ["ET"]
    assert one["sizes"]["time"] == 181
    files = told("export", tmp_path / "x.nc", tmp_path / "cmip", "--no-progress")["files"]
    assert all(Path(file).exists() for file in files)
    assert told("rechunk", store, tmp_path / "r.zarr", "--no-progress")["out"] == str(tmp_path / "r.zarr")
    drawn = told("plot", predicted, "--what", "closure", "--out", tmp_path / "c.png", "--no-progress")
    assert drawn == {"findings": [], "what": "closure", "out": str(tmp_path / "c.png")}


def test_refusals_are_json_where_that_is_asked_for(store, tmp_path):
    wrong = told("folds", store, "--folds", 500, status=1)
    assert wrong["findings"][0]["variable"] == "folds"
    assert set(wrong["findings"][0]) == {"variable", "problem", "remedy"}
    (tmp_path / "fit.json").write_text("{}")
    assert told("info", tmp_path, status=1)["findings"] == [
        {"problem": f"{tmp_path / 'fit.json'} is not the description of a fit"}
    ]
    usage = run("folds", store, "--folds", "many", "--json")
    assert (usage.exit_code, usage.stdout) == (2, "")


def test_progress_in_a_file_is_lines_and_the_logger_is_left_as_it_was(store, fitted, monkeypatch, tmp_path):
    logger = logging.getLogger("xh2cm")
    before = logger.level, logger.propagate, [*logger.handlers], [*logging.getLogger().handlers]
    monkeypatch.setattr("xh2cm.cli.output.MINUTE", 0.0)
    done = run("predict", store, "--fit", fitted, "--out", tmp_path / "out.zarr", "--variable", "ET")
    assert done.exit_code == 0, done.output
    assert any(line.endswith("tasks") and " of " in line for line in done.stderr.splitlines())
    assert "\r" not in done.stderr
    assert (logger.level, logger.propagate, [*logger.handlers], [*logging.getLogger().handlers]) == before


@pytest.mark.parametrize(
    ("line", "word", "completed"),
    [
        ("xh2cm sco", 1, ["score"]),
        ("xh2cm fit --sche", 2, ["--scheme", "--scheduler"]),
        ("xh2cm fit --scheme ", 3, ["blocks", "degrees", "cells", "groups", "years"]),
        ("xh2cm fit --config x.toml --target G", 5, ["GPP"]),
        ("xh2cm predict --variable soil", 3, ["soil_evaporation", "soil_recharge"]),
        ("xh2cm plot --what sea", 3, ["season"]),
        ("xh2cm check --forcing vp", 3, ["vpd"]),
    ],
)
def test_the_tab_key_completes(monkeypatch, capsys, line, word, completed):
    for name, value in {"_XH2CM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["xh2cm"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert set(completed) <= set(capsys.readouterr().out.split())


def test_a_shell_completes_with_the_script_it_is_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["xh2cm", "--show-completion", "bash"])
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit):
        main()
    script = f"xh2cm() {{ {shlex.quote(sys.executable)} -m xh2cm; }}\n{capsys.readouterr().out}\n"
    script += "COMP_WORDS=(xh2cm gath); COMP_CWORD=1; _xh2cm_completion xh2cm; echo ${COMPREPLY[@]}"
    # The function of the script calls the program by its name; a function stands for it here
    script = script.replace("env COMP_WORDS", "COMP_WORDS")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.stdout == "gather\n", done.stderr


def test_help_has_an_example_and_says_what_is_nearest(refusal):
    for name in typer.main.get_command(app).commands:
        shown = run(name, "--help").stdout
        assert f"Example: xh2cm {name}" in shown, name
        if name not in ("demo", "slurm"):
            assert "--json" in shown, name
    assert "Did you mean 'predict'" in refusal("predikt")[1]
    assert "--epochs" in refusal("fit", "x", "--epoch", "3")[1]


def test_exit_statuses_are_those_that_the_help_says(store, refusal):
    said = " ".join(run("--help").stdout.split())
    assert "Exit status: 0 done, 1 the input, fit or store cannot be used, 2 the command line cannot." in said
    assert run("check", store).exit_code == 0
    assert refusal("folds", store, "--folds", "500")[0] == 1
    assert refusal("folds", store, "--folds", "many")[0] == 2


def test_demo_says_what_it_is(twin, tmp_path, monkeypatch):
    small = twin.isel(time=slice(0, 181), month=slice(0, 6))
    monkeypatch.setattr("xh2cm.datasets.tutorial.open_dataset", {"twin": small}.__getitem__)
    done = run("demo", "--out", tmp_path / "demo.zarr")
    assert done.exit_code == 0, done.output
    assert "nothing in it is observed" in done.stdout
    assert "make demo" in done.stdout
    written = xr.open_zarr(tmp_path / "demo.zarr")
    assert "Synthetic" in written.attrs["comment"]
    assert bool(written["ET"].notnull().all())


def test_as_a_program_of_its_own(store):
    done = subprocess.run(
        [sys.executable, "-m", "xh2cm", "check", str(store)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "8 of 8 cells usable" in done.stdout
    assert done.stderr == ""


def test_importing_it_leaves_torch_alone():
    code = "import sys, xh2cm.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_typer_the_extra_is_named():
    code = "import sys; sys.modules['typer'] = None; from xh2cm.cli import main"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "the command line needs typer, which is not installed: pip install 'xh2cm[cli]'"


def test_version():
    assert run("--version").stdout == f"xh2cm {xh2cm.__version__}\n"


# -- a page --------------------------------------------------------------------------------------------------------


@pytest.mark.slow("predicts and draws a whole report; test_report_of_what_is_given draws one")
def test_report_predicts_from_the_data_of_the_run(store, fitted, tmp_path):
    noted = json.loads((fitted / "data.json").read_text())
    seen = os.path.relpath(store.resolve(), fitted.resolve())
    unsaid = dict.fromkeys(("names", "units", "fill", "static", "mask"))
    assert noted == {"path": seen, **unsaid, "missing": "skip"}
    done = run("report", fitted, "--out", tmp_path / "page.html", "--no-progress")
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"fit {xh2cm.load_fit(fitted).fingerprint}, member held-out" in text
    assert "8 of 8 cells usable" in text
    assert "Scores by variable and scale" in text
    assert "need a prediction" not in text
    assert "need the data" not in text


def test_report_of_what_is_given(store, fitted, tmp_path, refusal):
    page = tmp_path / "page.html"
    predicted = tmp_path / "out.zarr"
    assert (
        run("predict", store, "--fit", fitted, "--out", predicted, "--variable", "ET", "--no-progress").exit_code == 0
    )
    given = ("--data", store, "--prediction", predicted, "--names", "precipitation=precipitation", "--no-progress")
    assert run("report", fitted / "fit", "--out", page, *given).exit_code == 0
    assert "member mean" in page.read_text(encoding="utf-8")
    status, told = refusal("report", fitted / "fit", "--out", page)
    assert status == 2
    assert "exists: give another path, or --overwrite" in told  # what stands before it may be broken in two
    assert run("report", fitted / "fit", "--out", page, "--overwrite").exit_code == 0
    assert "Scores need a prediction" in page.read_text(encoding="utf-8")


def test_report_of_a_run_whose_data_have_gone(fitted, tmp_path, refusal):
    moved = tmp_path / "moved"
    shutil.copytree(fitted, moved)
    noted = json.loads((moved / "data.json").read_text())
    (moved / "data.json").write_text(json.dumps({**noted, "path": "/nowhere/forcing.zarr"}))
    done = run("report", moved, "--out", tmp_path / "page.html")
    assert done.exit_code == 0
    assert "/nowhere/forcing.zarr, which" in done.stderr
    assert "is not there: give --data" in done.stderr
    (moved / "data.json").write_text("{}")
    status, told = refusal("report", moved, "--out", tmp_path / "other.html")
    assert status == 1
    assert "data.json cannot be read" in told
