"""Nothing that is read is trusted: fits that were damaged, forged, half-replaced or are not there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import xarray as xr

import xh2cm
from xh2cm.errors import FitError, H2CMWarning, StoreError
from xh2cm.fitted import Fit
from xh2cm.io.arrays import packed, unpacked
from xh2cm.io.checksums import SUMS, aside, seal
from xh2cm.text import printable

QUICK = {"scheme": "cells", "width": 6, "epochs": 1, "batch_size": 8, "progress": False, "loop": "plain"}
DICE = random.Random(1)  # noqa: S311
FILES = ("SHA256SUMS", "fit.json", "folds.safetensors", "losses.safetensors", "weights.safetensors")


@pytest.fixture(scope="module")
def fits(twin: xr.Dataset) -> tuple[Fit, Fit]:
    """Two that differ in every file."""
    land = twin[["net_radiation", "precipitation", "air_temperature", "vpd", "co2", "ET", "GPP", "elevation"]]
    one, two = (
        land.isel(time=slice(0, 40), month=slice(0, 1)).h2cm.fit(folds, **QUICK, seed=folds) for folds in (2, 3)
    )
    return one, two


@pytest.fixture
def folder(fits: tuple[Fit, Fit], tmp_path: Path) -> Path:
    return fits[0].save(tmp_path / "fit")


def refusal(folder: Path, *files: str) -> str:
    """The error of a fit that is refused, which names the folder, or these files of it."""
    with pytest.raises(FitError) as caught:
        xh2cm.load_fit(folder)
    for name in files or ("",):
        assert printable(folder / name) in str(caught.value)
    return str(caught.value)


# -- damage ------------------------------------------------------------------------------------------------------------


def truncated(path: Path, _: Path, dice: random.Random) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: dice.randrange(1, len(whole))])


def flipped(path: Path, _: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def emptied(path: Path, _: Path, __: random.Random) -> None:
    path.write_bytes(b"")


def swapped(path: Path, other: Path, _: random.Random) -> None:
    shutil.copy(other, path)


def test_a_hundred_damaged_fits_are_refused(fits: tuple[Fit, Fit], tmp_path: Path) -> None:
    """Also a thousand or more, by the environment variable ``XH2CM_EXAMPLES``."""
    good, other = (fit.save(tmp_path / name) for fit, name in zip(fits, ("good", "other"), strict=True))
    dice, counts = random.Random(5), Counter[str]()  # noqa: S311
    damages = (truncated, flipped, emptied, swapped)
    for number in range(int(os.environ.get("XH2CM_EXAMPLES", "100"))):
        bad = tmp_path / "bad"
        shutil.copytree(good, bad)
        name = dice.choice(FILES)
        damages[number % 4](bad / name, other / name, dice)
        try:
            xh2cm.load_fit(bad)
            counts["wrong results"] += 1
        except FitError as error:
            counts["refused" if name in str(error) or name == SUMS else "unclear"] += 1
        except Exception:
            counts["crashes"] += 1
        shutil.rmtree(bad)
    print(f"{counts.total()} damaged fits: {dict(counts)}")
    assert counts.keys() == {"refused"}
    assert xh2cm.load_fit(good).fingerprint == fits[0].fingerprint


def test_every_byte_of_the_list_of_checksums_counts(folder: Path) -> None:
    whole = (folder / SUMS).read_bytes()
    for place in range(len(whole)):
        for bit in (0, 2, 5):  # 5 turns lower to upper case
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            (folder / SUMS).write_bytes(changed)
            refusal(folder)


def test_a_fit_can_be_checked_without_xh2cm(folder: Path) -> None:
    program = shutil.which("sha256sum") or pytest.skip("needs sha256sum of coreutils")

    def check() -> int:
        return subprocess.run([program, "--strict", "--status", "-c", SUMS], cwd=folder, check=False).returncode

    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert check() == 0
    emptied(folder / "losses.safetensors", folder, DICE)
    assert check() == 1


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert "missing" in refusal(folder, name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", ["folder", "pipe", "device", "dangling link"])
def test_what_is_no_file_is_not_read(folder: Path, name: str, what: str) -> None:
    (folder / name).unlink()
    if what == "folder":
        (folder / name).mkdir()
    elif what == "pipe":
        os.mkfifo(folder / name)  # reading it would wait for ever
    else:
        (folder / name).symlink_to("/dev/zero" if what == "device" else folder / "nowhere")
    assert "not a file" in refusal(folder, name) or what == "dangling link"


def test_a_file_too_many_is_named(folder: Path) -> None:
    (folder / "maps.safetensors").write_bytes(b"")
    assert "does not belong to it (remove it, if it is yours)" in refusal(folder, "maps.safetensors")


def test_all_damaged_files_are_named_at_once(folder: Path) -> None:
    emptied(folder / "losses.safetensors", folder, DICE)
    (folder / "folds.safetensors").unlink()
    text = refusal(folder, "losses.safetensors", "folds.safetensors")
    assert "(it is empty)" in text
    assert "folds.safetensors is missing" in text


# -- forgery: files that are whole, and yet no fit --------------------------------------------------------------------


def described(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / "fit.json").read_text())
    (folder / "fit.json").write_text(json.dumps(about | changes))


def sealed_again(folder: Path) -> Path:
    (folder / SUMS).unlink()
    seal(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 5}, "has format 5, this xh2cm reads up to 4: update xh2cm"),
        ({"format": "4"}, "is not the description of a fit"),
        ({"format": 0}, "is not the description of a fit"),
        ({"format": None}, "is not the description of a fit"),
        ({"provenance": [1]}, "is not the description of a fit"),
        ({"networks": [{"name": "static"}]}, "cannot be read as a fit"),
        ({"networks": 7}, "cannot be read as a fit"),
        ({"width": 7}, "its model needs"),
        ({"width": -6}, "width"),
        ({"width": float("nan")}, "width"),
        ({"width": 10**400}, "cannot be read as a fit"),
        ({"features": ["elevation", "slope"]}, "its model needs"),
        ({"features": [1]}, "static features are not different names"),
        ({"features": None}, "cannot be read as a fit"),
        ({"spinup": {"days": -1}}, "too small"),
        ({"spinup": {"days": float("nan")}}, "spinup"),
        ({"spinup": {"days": "all"}}, "cannot be read as a fit"),
        ({"spinup": {"weeks": 1}}, "cannot be read as a fit"),
        ({"pins": [["q10", 99.0]]}, "q10"),
        ({"pins": [["q10", float("nan")]]}, "q10"),
        ({"pins": [["q11", 1.0]]}, "q11"),
        ({"pins": 3}, "cannot be read as a fit"),
        ({"processes": {}}, "cannot be read as a fit"),
    ],
)
def test_a_forged_description_is_refused(folder: Path, changes: dict[str, Any], says: str) -> None:
    described(folder, **changes)
    assert says in refusal(sealed_again(folder))


@pytest.mark.parametrize("name", ["step", "Processes", "__builtins__", "os", "nowhere", "", None, 3, ["BucketSoil"]])
def test_a_process_is_found_by_name_and_no_other_code_is(folder: Path, name: object) -> None:
    about = json.loads((folder / "fit.json").read_text())
    about["processes"]["snow"]["name"] = name
    described(folder, **about)
    refusal(sealed_again(folder))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no JSON"),
        (b"[1, 2]", "is not the description of a fit"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"format": ' + b'{"a":' * 100_000, "is no JSON"),
        (b'{"format": 1' + b"0" * 10_000 + b"}", "is no JSON"),
        (b"\xff\xfe{}", "is no JSON"),
        (b" " * (2**24 + 1), "is larger than any description"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_absurd_descriptions_are_refused(folder: Path, content: bytes, says: str, listed: bool) -> None:
    (folder / "fit.json").write_bytes(content)
    (folder / SUMS).unlink()
    if listed:
        seal(folder)
    text = refusal(folder, "fit.json")
    assert says in text or (not listed and "larger than any such file" in text)


def test_a_list_that_leads_out_of_the_folder_is_no_list(folder: Path) -> None:
    (folder.parent / "other").write_bytes(b"")
    nothing = hashlib.sha256(b"").hexdigest()
    for name in ("../other", "/etc/passwd", ".hidden", "a b", "fit.json\nx", "é"):
        (folder / SUMS).write_text(f"{nothing}  {name}\n", encoding="utf-8")
        assert "is damaged" in refusal(folder, SUMS)
    (folder / SUMS).write_bytes(b"\n" * (2**20 + 1))
    assert "is larger than any such file" in refusal(folder, SUMS)


def forged_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / "weights.safetensors")
        change(tensors)
        safetensors.torch.save_file(tensors, folder / "weights.safetensors")

    return forge


def forged_losses(change: Callable[[xr.Dataset], xr.Dataset]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        path = folder / "losses.safetensors"
        path.write_bytes(packed(change(unpacked(path.read_bytes()))))

    return forge


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (forged_weights(lambda t: t.update(weights=t["weights"] * torch.nan)), "not all finite"),
        (forged_weights(lambda t: t.update(weights=t["weights"].double())), "float64"),
        (forged_weights(lambda t: t.update(weights=t["weights"][:, 1:].contiguous())), "its model needs"),
        (forged_weights(lambda t: t.update(weights=t["weights"][0].clone())), "its model needs"),
        (forged_weights(lambda t: t.update(weights=t["weights"][:0].clone())), "its folds are called"),
        (forged_weights(lambda t: t.pop("weights")), "cannot be read as a fit"),
        (forged_weights(lambda t: t.update(forcing_std=t["forcing_std"] * torch.inf)), "not all finite"),
        (forged_weights(lambda t: t.update(forcing_mean=t["forcing_mean"][:1].clone())), "its model needs"),
        (forged_weights(lambda t: t.pop("static_std")), "cannot be read as a fit"),
        (forged_weights(lambda t: t.update(more=t["weights"].clone())), "cannot be read as a fit"),
        (forged_losses(lambda d: d.assign_coords(fold=[0, 0])), "its folds are called [0, 0]"),
        (forged_losses(lambda d: d.assign_coords(fold=[-1, 0])), "its folds are called [-1, 0]"),
        (forged_losses(lambda d: d.assign_coords(fold=["a", "b"])), "its folds are called"),
        (forged_losses(lambda d: d.isel(fold=[0])), "its folds are called [0]"),
        (forged_losses(lambda d: d.drop_vars("fold")), "its losses hold no"),
        (forged_losses(lambda d: d.drop_vars("loss")), "its losses hold no loss on"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"\xff" * 64), "cannot be read as a fit"),
        (lambda folder: (folder / "losses.safetensors").write_bytes(b"\x80\x04]."), "cannot be read as a fit"),
        (
            lambda folder: (folder / "losses.safetensors").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 99),
            "cannot be read as",
        ),
        (lambda folder: (folder / "losses.safetensors").unlink(), "cannot be read as a fit"),
        (lambda folder: (folder / "fit.json").unlink(), "does not name fit.json"),
        (
            lambda folder: shutil.copy(folder / "losses.safetensors", folder / "folds.safetensors"),
            "cannot be read as a fit",
        ),
    ],
)
def test_forged_numbers_are_refused(folder: Path, forge: Callable[[Path], None], says: str) -> None:
    forge(folder)
    assert says in refusal(sealed_again(folder))


def test_what_could_not_be_loaded_is_not_saved(fits: tuple[Fit, Fit], tmp_path: Path) -> None:
    broken = dataclasses.replace(fits[0], weights=fits[0].weights * np.nan)
    with pytest.raises(FitError, match=r"could not be read again, because its weights are .* not all finite"):
        broken.save(tmp_path / "fit")
    assert list(tmp_path.iterdir()) == []


# -- older formats -----------------------------------------------------------------------------------------------------


def as_format(folder: Path, number: int) -> None:
    """Make of a fit what earlier versions wrote."""
    (folder / SUMS).unlink()
    for name in ("losses", "folds"):
        path = folder / f"{name}.safetensors"
        unpacked(path.read_bytes()).to_netcdf(folder / f"{name}.nc")
        path.unlink()
    about = json.loads((folder / "fit.json").read_text()) | {"format": number}
    if number == 1:
        del about["pins"]  # and its scaling had all five forcings, as this one's has
    (folder / "fit.json").unlink()
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    (folder / "fit.json").write_text(json.dumps(about | {"sha256": sums}, indent=1))


@pytest.mark.parametrize("number", [1, 2])
def test_older_formats_still_load_and_are_checked(fits: tuple[Fit, Fit], folder: Path, number: int) -> None:
    as_format(folder, number)
    back = xh2cm.load_fit(folder)
    assert torch.equal(back.weights, fits[0].weights)
    assert all(torch.equal(x, y) for x, y in zip(back.scaling, fits[0].scaling, strict=True))
    xr.testing.assert_identical(back.losses, fits[0].losses)
    flipped(folder / "losses.nc", folder, DICE)
    assert "its checksum differs" in refusal(folder, "losses.nc")
    emptied(folder / "fit.json", folder, DICE)
    refusal(folder, "fit.json")


# -- the place ---------------------------------------------------------------------------------------------------------


def test_no_fit_there(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nothing")
    assert "fit.json is missing" in refusal(tmp_path)
    (tmp_path / "text").write_text("weights")
    assert "is no PyTorch checkpoint" in refusal(tmp_path / "text")
    assert "does not exist" in refusal(tmp_path / "text" / "fit")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refusal(tmp_path / "loop")
    assert "cannot be read" in refusal(tmp_path / ("long" * 99))
    assert "cannot be read" in refusal(tmp_path / "nul\0")
    os.mkfifo(tmp_path / "pipe")
    refusal(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["loop", "long" * 99, "nul\0", "text/fit"])
def test_a_place_that_cannot_be_written(fits: tuple[Fit, Fit], tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "text").write_text("mine")
    with pytest.raises(StoreError):
        fits[0].save(tmp_path / name, overwrite=True)
    assert (tmp_path / "text").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "text"]


def test_what_is_no_fit_is_not_replaced(fits: tuple[Fit, Fit], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(StoreError, match="exists"):
            fits[0].save(tmp_path / name, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_is_followed_and_stays(fits: tuple[Fit, Fit], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert xh2cm.load_fit(tmp_path / "link").fingerprint == fits[0].fingerprint
    assert fits[1].save(tmp_path / "link", overwrite=True) == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    assert xh2cm.load_fit(folder).fingerprint == fits[1].fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit", "link"]


def in_a_child(job: Callable[[], object]) -> int:
    """Run something in a process of its own; its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            job()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_permission_denied(fits: tuple[Fit, Fit], folder: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model.ckpt")
    (tmp_path / "model.ckpt").chmod(0)
    (folder / "weights.safetensors").chmod(0)
    (tmp_path / "locked").mkdir(mode=0)

    def nobody() -> None:
        if os.geteuid() == 0:
            os.chdir(tmp_path)  # its parents are root's own
            os.setuid(65534)
        here = Path() if os.geteuid() == 65534 else tmp_path
        for name in ("model.ckpt", "fit", "locked", "locked/fit"):
            with pytest.raises(FitError, match="Permission denied"):
                xh2cm.load_fit(here / name)
        for name in ("locked/fit", "locked"):
            with pytest.raises(StoreError):
                fits[0].save(here / name, overwrite=True)

    tmp_path.chmod(0o755)
    assert in_a_child(nobody) == 0
    (tmp_path / "locked").chmod(0o700)
    (folder / "weights.safetensors").chmod(0o600)
    assert xh2cm.load_fit(folder).fingerprint == fits[0].fingerprint


@pytest.mark.slow("kills a process at each step of saving")
def test_a_save_killed_anywhere_leaves_a_whole_fit(fits: tuple[Fit, Fit], folder: Path) -> None:
    """Killed at each file it opens, renames or removes, until it gets through."""
    saved = {fit.fingerprint for fit in fits}
    kills = 0

    def save() -> None:
        left = kills

        def kill(event: str, _: object) -> None:
            nonlocal left
            if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "open", "tempfile.mkdtemp"):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        fits[1].save(folder, overwrite=True)

    found = []
    while in_a_child(save) == -signal.SIGKILL:
        if not folder.exists():
            with pytest.warns(H2CMWarning, match="a save was cut short, and the earlier fit is read"):
                back = xh2cm.load_fit(folder)
            found.append("aside")
        else:
            back = xh2cm.load_fit(folder)
            found.append("earlier" if back.fingerprint == fits[0].fingerprint else "new")
        assert back.fingerprint in saved
        fits[0].save(folder, overwrite=folder.exists())  # the next save tidies up
        assert not aside(folder).exists()
        kills += 1
    assert Counter(found)["aside"] == 1  # between the two renames
    assert found[0] == "earlier"
    assert found[-1] == "new"
    assert xh2cm.load_fit(folder).fingerprint == fits[1].fingerprint
