"""Options from TOML files: what is written is read again, and what is wrong is named with its line."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
import typer.main
from typer.testing import CliRunner

from xh2cm.cli import app
from xh2cm.cli.config import ABOUT_ITSELF, parameters

COMMANDS = typer.main.get_command(app).commands
CANDIDATES = ("n=1.5,2", "n=2.5", "7", "cells", "plain", "raise", "stored")
"""Values, of which every option takes one."""


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="xh2cm")


def said(done):
    """Standard error without what a panel puts into it."""
    return " ".join(done.stderr.replace("│", " ").split())


def parsed(command, *arguments):
    """What the command would be called with."""
    found = COMMANDS[command].make_context(f"xh2cm {command}", [str(a) for a in arguments]).params
    return {name: value for name, value in found.items() if name not in ABOUT_ITSELF}


def something(parameter, ctx, path):
    """A value other than the default for an option, as on the command line."""
    if parameter.is_flag:
        return [(parameter.secondary_opts or parameter.opts)[0]]
    for value in (str(path), *CANDIDATES):
        try:
            taken = parameter.process_value(ctx, [value] if parameter.multiple else value)
        except typer.BadParameter:
            continue
        if taken != parameter.default and ("=" not in (parameter.metavar or "") or "=" in value):
            more = [value, value.replace("n=", "other=")] if parameter.multiple else [value]
            return [text for one in more for text in (parameter.opts[0], one)]
    raise AssertionError(f"none of the values is one of {parameter.name}")


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_every_option_that_is_written_is_read_again(command, tmp_path):
    ctx = typer.Context(COMMANDS[command], info_name=command)
    options = [p for p in COMMANDS[command].params if p.name not in (*ABOUT_ITSELF, "path", "overwrite")]
    given = [text for option in options for text in something(option, ctx, tmp_path)]
    file = tmp_path / "x.toml"
    done = run(command, tmp_path, *given, "--write-config", file)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"xh2cm {command} --config {file}\n"
    assert set(tomllib.loads(file.read_text())) == {"path", *(p.name for p in options)}
    assert parsed(command, "--config", file) == parsed(command, tmp_path, *given)


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_a_file_without_values_shows_every_option_its_help_and_default(command, tmp_path):
    file = tmp_path / "x.toml"
    assert run(command, "--write-config", file).exit_code == 0
    text = file.read_text()
    assert tomllib.loads(text) == {}
    plain = " ".join(re.sub(r"^# ", "", text, flags=re.MULTILINE).split())
    for name, parameter in parameters(COMMANDS[command]).items():
        assert re.search(rf"^# (\[{name}\]$|{name} = )", text, re.MULTILINE), name
        assert " ".join(parameter.help.split()) in plain, name
    defaults = [line.removeprefix("# ") for line in text.splitlines() if re.match(r"# \w+ = ([\d\"]|true|false)", line)]
    assert len(defaults) > 5
    file.write_text("\n".join(defaults))  # the comment taken away
    needed = [tmp_path, "--out", "out", *(["--fit", tmp_path] if command == "predict" else [])]
    assert parsed(command, *needed, "--config", file) == parsed(command, *needed)


def test_natural_toml_is_read_and_the_command_line_wins(tmp_path):
    file = tmp_path / "fit.toml"
    file.write_text(
        f'path = "{tmp_path}"\nout = "run"\nbatch-size = 16\nepochs = 3\ntarget = ["GPP", "ET"]\nno_static = true\n'
        'pin = "global"\nnames = {vpd = "VPD"}\n[units]\nVPD = "hPa"\n"a b" = "m s-1"\n[weights]\nET = 2\n'
        "[priors]\nq10 = [1.5, 0.1]\n"
    )
    line = f"{tmp_path} --out run --batch-size 16 --epochs 5 --target GPP --target ET --no-static --pin global --names "
    line += "vpd=VPD --units VPD=hPa --units 'a b=m s-1' --weights ET=2 --priors q10=1.5,0.1"
    assert parsed("fit", "--config", file, "--epochs", "5") == parsed("fit", *shlex.split(line))
    assert parsed("fit", "--config", file)["epochs"] == 3


WRONG = """\
epoch = 3
epochs = "ten"

scheme = "hexagons"   # a comment
water = "yes"
seed = true
size = [1, 2]
path = "nowhere.zarr"
[weights]
GPP = 2
"ET" = "much"
[priors]
q10 = [1.5]
[mask]
a = "b"
"""


def test_all_mistakes_of_a_file_are_named_with_their_lines(tmp_path):
    file = tmp_path / "fit.toml"
    file.write_text(WRONG)
    done = run("fit", "--config", file, "--json")
    assert done.exit_code == 1
    found = {f["variable"].removeprefix(f"{file}, line "): f for f in json.loads(done.stdout)["findings"]}
    places = {
        "1", "2, epochs", "4, scheme", "5, water", "6, seed", "7, size", "8, path", "11, weights.ET", "13, priors.q10",
        "14, mask",
    }  # fmt: skip
    assert set(found) == places
    assert found["1"]["problem"] == "'epoch' is not an option of xh2cm fit"
    assert found["1"]["remedy"] == "did you mean 'epochs'?"
    assert "'hexagons' is not one of 'blocks'" in found["4, scheme"]["problem"]
    assert "ten" in found["2, epochs"]["problem"]
    assert "does not exist" in found["8, path"]["problem"]
    assert found["5, water"]["problem"] == "'yes' is neither true nor false"
    assert found["11, weights.ET"]["problem"] == "'ET=much' is not NAME=VALUE"
    assert found["14, mask"]["problem"] == '{"a": "b"} is no value of it'
    assert found["4, scheme"]["remedy"].startswith("--scheme: What stays together")
    less = run("fit", tmp_path, "--seed", "3", "--config", file, "--json")
    left = {f["variable"].partition("line ")[2] for f in json.loads(less.stdout)["findings"]}
    assert places - left == {"6, seed", "8, path"}, "what the command line gives does not matter in the file"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"a = \n", "line 1, column 5"),
        (b"seed = 1\nseed = 2\n", "line 2"),
        (b"\xff\n", "utf-8"),
        (b"[names\n", "line 1"),
    ],
)
def test_what_is_no_toml_is_said_with_its_place(tmp_path, content, place):
    file = tmp_path / "fit.toml"
    file.write_bytes(content)
    done = run("fit", "--config", file)
    assert done.exit_code == 1
    assert f"{file.name}: is no TOML" in said(done)
    assert place in said(done)


def test_what_is_wrong_with_the_command_line_is_exit_status_2(tmp_path):
    file = tmp_path / "fit.toml"
    done = run("fit", "--epochs", "ten", "--write-config", file)
    assert (done.exit_code, file.exists()) == (2, False)
    assert "--epochs" in said(done)
    assert run("fit", "--config", file).exit_code == 2
    assert run("fit", "--write-config", file).exit_code == 0
    assert "cannot be written" in said(run("fit", "--write-config", file / "x.toml"))  # below a file
    assert "--overwrite" in said(run("fit", "--write-config", file))
    assert run("fit", "--write-config", file, "--overwrite", "--seed", "4").exit_code == 0
    assert "\nseed = 4\n" in file.read_text()
    done = run("fit", "--config", file)
    assert done.exit_code == 2
    assert "Missing" in said(done)


def test_files_are_built_on_files(tmp_path):
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    assert run("fit", "--epochs", "3", "--names", "vpd=VPD", "--write-config", first).exit_code == 0
    assert run("fit", "--config", first, "--seed", "5", "--epochs", "4", "--write-config", second).exit_code == 0
    assert tomllib.loads(second.read_text()) == {"epochs": 4, "seed": 5, "names": {"vpd": "VPD"}}


def test_slurm_reads_what_fit_reads(tmp_path):
    file = tmp_path / "fit.toml"
    file.write_text(f'path = "{tmp_path}"\nfolds = 3\n')
    done = run("slurm", "--config", file, "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    script = (tmp_path / "runs" / "slurm" / "fit.sbatch").read_text()
    assert "--array=0-2" in script
    assert f"fit --config {file}" in script
