"""The published store and checkpoint: what they hold arrives, and nothing else does."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from xh2cm.datasets.published import from_published, open_published, published_weights, read_checkpoint
from xh2cm.errors import FitError, InputError
from xh2cm.variables import FORCING, TARGETS

if TYPE_CHECKING:
    pass

FORCING_GROUPS = ("rn", "prec", "tair", "vpd", "co2")
MONTHLY_GROUPS = ("tws", "et_xbase", "q_v2", "swe_bc", "fapar", "gpp", "nee", "nee_iav")
MONTHLY_NAMES = ("TWS", "ET", "runoff", "SWE", "fAPAR", "GPP", "NEE", "NEE_IAV")


def published_groups() -> dict[str, xr.Dataset]:
    """Everything a published store holds, small."""
    random = np.random.default_rng(0)
    land = {"lat": [2.5, 1.5, 0.5], "lon": [10.5, 11.5]}
    days = xr.date_range("2001-01-01", periods=90, freq="D")

    def group(first: dict[str, Any], statistics: Any = (1.5, 0.5)) -> xr.Dataset:
        coords = {**first, **land}
        values = random.random([len(c) for c in coords.values()]).astype(np.float32)
        mean, std = statistics
        return xr.Dataset({"data": (tuple(coords), values)}, coords, {"mean": mean, "std": std})

    groups = {name: group({"time": days}) for name in FORCING_GROUPS}
    groups |= {name: group({"time": xr.date_range("2001-01-01", periods=3, freq="MS")}) for name in MONTHLY_GROUPS}
    groups |= {name: group({}) for name in ("cue", "grid_area", "mask")}
    groups["mask"]["data"] = (("lat", "lon"), [[1.0, 0.0], [1.0, np.nan], [1.0, 1.0]])
    groups["static"] = group({"variable": ["clay", "sand"]}, ([0.1, 0.2], [1.0, 2.0]))
    return groups


def write(groups: dict[str, xr.Dataset], path: Path) -> Path:
    """Write groups as the published store is written: Zarr format 2, metadata not consolidated."""
    zarr.open_group(path, mode="w", zarr_format=2)
    for name, dataset in groups.items():
        dataset.to_zarr(path, group=name, mode="w", zarr_format=2, consolidated=False)
    return path


def refused(store: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_published(store)
    assert all(f.variable and f.problem and f.remedy for f in caught.value.findings)
    return str(caught.value)


# ---- the store


def test_the_published_store(parity: Path, tmp_path: Path) -> None:
    path = parity / "published/store.zarr.zip"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = open_published(path)
    assert all(variable.chunks is not None for variable in dataset.data_vars.values()), "nothing is read yet"
    for name, var in FORCING.items():
        assert dataset[name].dims == ("time", "lat", "lon")
        assert dataset[name].dtype == np.float32
        assert {key: dataset[name].attrs[key] for key in var.attrs} == var.attrs
    for name in MONTHLY_NAMES:
        assert dataset[name].dims == ("month", "lat", "lon")
        assert dataset[name].units == TARGETS[name].units
    assert dataset["CUE"].dims == dataset["area"].dims == dataset["mask"].dims == ("lat", "lon")
    assert dataset["static"].dims == ("feature", "lat", "lon")
    assert dataset["mask"].dtype == bool
    assert int(dataset["mask"].sum()) == 67
    assert dataset["area"].dtype == np.float64
    assert dataset["vpd"].units == "hPa"

    with zarr.storage.ZipStore(path, mode="r") as store:
        for group, name in zip(
            (*FORCING_GROUPS, *MONTHLY_GROUPS, "cue", "static", "grid_area"),
            (*FORCING, *MONTHLY_NAMES, "CUE", "static", "area"),
            strict=True,
        ):
            raw = zarr.open_group(store, path=group, mode="r")
            np.testing.assert_array_equal(dataset[name].values, raw["data"][:])
            assert dataset[name].attrs["mean"] == raw.attrs["mean"]
            assert dataset[name].attrs["std"] == raw.attrs["std"]
    assert len(dataset["static"].attrs["mean"]) == 30

    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "store.zarr")
    xr.testing.assert_identical(open_published(tmp_path / "store.zarr").load(), dataset.load())


def test_the_published_store_gives_the_published_model_its_numbers(parity: Path) -> None:
    """Its cells are those the published code predicted, in that order."""
    dataset = open_published(parity / "published/store.zarr.zip")
    with np.load(parity / "published/expected.npz") as expected:
        latlon = expected["latlon"]
    rows, columns = np.nonzero(dataset["mask"].values)
    np.testing.assert_array_equal(np.column_stack([dataset.lat.values[rows], dataset.lon.values[columns]]), latlon)


def test_what_is_opened_can_be_written(tmp_path: Path) -> None:
    dataset = open_published(write(published_groups(), tmp_path / "store.zarr"))
    dataset = dataset.assign_coords(feature=[0, 1])  # Zarr 3 has no settled type for text
    dataset.to_zarr(tmp_path / "again.zarr", consolidated=False)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "again.zarr", consolidated=False).load(), dataset.load())


def test_paths_strings_stores_and_zips(tmp_path: Path) -> None:
    path = write(published_groups(), tmp_path / "store.zarr")
    zipped = shutil.make_archive(str(path), "zip", path)
    expected = open_published(path).load()
    for store in (str(path), zarr.storage.LocalStore(path, read_only=True), zipped, Path(zipped)):
        with open_published(store) as dataset:
            xr.testing.assert_identical(dataset.load(), expected)


def test_sea_is_zero_or_missing(tmp_path: Path) -> None:
    mask = open_published(write(published_groups(), tmp_path / "store.zarr"))["mask"]
    assert mask.values.tolist() == [[True, False], [True, False], [True, True]]


def test_targets_with_other_months_are_put_on_all_months(tmp_path: Path) -> None:
    groups = published_groups()
    later = xr.date_range("2001-02-15", periods=4, freq="31D")  # dated to the middle of the month
    groups["tws"] = groups["nee"].isel(time=[0, 1, 2, 2]).assign_coords(time=later)
    dataset = open_published(write(groups, tmp_path / "store.zarr"))
    assert dataset["month"].dt.strftime("%Y-%m-%d").values.tolist() == [f"2001-{m:02}-01" for m in (1, 2, 3, 4, 5)]
    assert dataset["TWS"].notnull().all(["lat", "lon"]).values.tolist() == [False, True, True, True, True]
    assert dataset["NEE"].notnull().all(["lat", "lon"]).values.tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(dataset["TWS"].values[1:], groups["tws"]["data"].values)
    assert dataset["TWS"].dtype == np.float32


def test_coordinates_of_one_group_are_not_those_of_all(tmp_path: Path) -> None:
    groups = published_groups()
    groups["rn"] = groups["rn"].assign_coords(height=2.0)
    groups["tair"] = groups["tair"].assign_coords(height=10.0)
    dataset = open_published(write(groups, tmp_path / "store.zarr"))
    assert set(dataset.coords) == {"time", "month", "lat", "lon", "feature"}


def test_reading_needs_no_torch() -> None:
    code = "import sys, xh2cm.datasets.published, xh2cm.data.folds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_such_store(tmp_path: Path) -> None:
    for name in ("nothing.zarr", "nothing.zarr.zip"):
        assert f"{tmp_path / name}: there is no such file or folder" in refused(tmp_path / name)


def test_no_zarr_store(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "text.zip").write_text("text")
    assert "there is no Zarr group at its root" in refused(tmp_path)
    assert "text.txt" in refused(tmp_path / "text.txt")
    assert "not a readable zip file" in refused(tmp_path / "text.zip")


def test_a_zip_of_the_folder_instead_of_its_content(tmp_path: Path) -> None:
    write(published_groups(), tmp_path / "store.zarr")
    zipped = shutil.make_archive(str(tmp_path / "outer"), "zip", tmp_path, "store.zarr")
    assert "a zip of what is in the folder, not of the folder" in refused(zipped)


def test_a_store_that_fails_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise PermissionError("permission denied")

    monkeypatch.setattr(zarr, "open_group", fail)
    assert "cannot be opened (permission denied)" in refused(tmp_path)


def test_all_missing_groups_are_named(tmp_path: Path) -> None:
    groups = published_groups()
    del groups["rn"], groups["static"]
    groups["gpp"] = groups["gpp"].rename(data="GPP")
    text = refused(write(groups, tmp_path / "store.zarr"))
    assert "3 problems" in text
    for name in ("rn", "static", "gpp"):
        assert f"{name}: the store holds no such group with an array 'data'" in text


def test_a_group_that_xarray_did_not_write(tmp_path: Path) -> None:
    path = write(published_groups(), tmp_path / "store.zarr")
    del zarr.open_array(path / "rn" / "data", mode="r+").attrs["_ARRAY_DIMENSIONS"]
    assert "rn: is no group that xarray wrote" in refused(path)


def test_groups_on_other_axes_are_all_named(tmp_path: Path) -> None:
    groups = published_groups()
    groups["tair"] = groups["tair"].assign_coords(lat=groups["tair"]["lat"] + 1)
    groups["prec"] = groups["prec"].isel(time=slice(0, -1))
    groups["cue"] = groups["cue"].rename(lat="y")
    groups["nee"] = groups["nee"].assign_coords(time=[1, 2, 3])
    groups["gpp"] = groups["gpp"].assign_coords(time=xr.date_range("2001-01-01", periods=3, freq="D"))
    text = refused(write(groups, tmp_path / "store.zarr"))
    for words in (
        "5 problems",
        "tair/lat: is not that of mask",
        "prec/time: is not that of rn",
        "cue/data: lies on ('y', 'lon')",
        "nee/time: its type int64 is no date",
        "gpp/time: names a month more than once",
    ):
        assert words in text


def test_missing_normalisation_is_all_named(tmp_path: Path) -> None:
    groups = published_groups()
    del groups["co2"].attrs["mean"]
    groups["gpp"].attrs["std"] = "large"
    groups["static"].attrs["mean"] = [0.1]
    del groups["mask"].attrs["mean"]  # standardises nothing
    text = refused(write(groups, tmp_path / "store.zarr"))
    for words in (
        "3 problems",
        "co2: its attribute 'mean' is None, not a number",
        "gpp: its attribute 'std' is 'large', not a number",
        "static: its attribute 'mean' is [0.1], not a list of 2 numbers",
    ):
        assert words in text


# ---- the checkpoint


def zeros(features: int = 4) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(weight.shape) for name, weight in published_weights(features).items()}


def unreadable(path: Path) -> str:
    with pytest.raises(FitError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(str(path)), "the file is named"
    assert "->" in str(caught.value), "and what to do"
    return str(caught.value)


def test_the_published_checkpoint(parity: Path) -> None:
    path = parity / "published/model.ckpt"
    weights = read_checkpoint(path)
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert list(weights) == list(published_weights(30))
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in weights)
    assert sum(weight.numel() for weight in weights.values()) == 155_037

    ours = from_published(weights)
    assert len(ours) == len(weights)
    assert torch.equal(ours["static.hidden.weight"], stored["fc_static.fc1.weight"])
    assert torch.equal(ours["water_use.head.bias"], stored["fc_static_wue_alpha_T.fc3.bias"])
    assert torch.equal(ours["productivity.weight_hh"], stored["lstm_fc_cue_fapar.lstm_cell.weight_hh"])
    assert torch.equal(ours["global.co2_sensitivity"], stored["beta_co2"])


def test_the_constants_are_those_the_published_code_reports(parity: Path) -> None:
    ours = from_published(read_checkpoint(parity / "published/model.ckpt"))
    with np.load(parity / "published/expected.npz") as expected:
        assert torch.sigmoid(ours["global.snowfall_correction"]).item() == pytest.approx(
            expected["beta_snow"], rel=1e-6
        )
        assert torch.sigmoid(ours["global.baseflow_coefficient"]).item() == pytest.approx(
            expected["beta_baseflow"], rel=1e-6
        )
        assert 1 + 9 * torch.sigmoid(ours["global.q10"]).item() == pytest.approx(expected["beta_q10"], rel=1e-6)
        sensitivity = torch.nn.functional.softplus(ours["global.co2_sensitivity"]).item()
        assert sensitivity == pytest.approx(expected["beta_co2"], rel=1e-6)


def test_the_static_net_gives_the_published_soil_capacity(parity: Path) -> None:
    """Store, normalisation and weights together: the names mean what they say."""
    dataset = open_published(parity / "published/store.zarr.zip")
    weights = from_published(read_checkpoint(parity / "published/model.ckpt"))
    static = dataset["static"].transpose("lat", "lon", "feature").values[dataset["mask"].values]
    mean, std = (np.float32(dataset["static"].attrs[name]) for name in ("mean", "std"))
    value = torch.from_numpy((static - mean) / std)
    for part in ("hidden", "embedding", "head"):
        value = torch.nn.functional.linear(value, weights[f"static.{part}.weight"], weights[f"static.{part}.bias"])
        value = value if part == "head" else torch.nn.functional.leaky_relu(value)
    with np.load(parity / "published/expected.npz") as expected:
        capacity = 1 + torch.nn.functional.softplus(100 + value[:, 0])
        np.testing.assert_allclose(capacity, expected["sm_max"], rtol=1e-5)
        np.testing.assert_allclose(torch.nn.functional.softplus(value[:, 1]), expected["alpha_Ei"], rtol=1e-4)


@pytest.mark.parametrize("features", [0, 4, 30])
def test_the_number_of_features_is_read_from_the_weights(features: int, tmp_path: Path) -> None:
    torch.save({"state_dict": zeros(features), "hyper_parameters": {"k": 3}}, tmp_path / "model.ckpt")
    ours = from_published(read_checkpoint(tmp_path / "model.ckpt"))
    assert ours["static.hidden.weight"].shape == (150, features)


class Evil:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.ckpt", tmp_path / "trace"
    torch.save({"state_dict": zeros(), "hyper_parameters": Evil(trace)}, path)
    assert "refused, because reading it would run code" in unreadable(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "it was a real attack"


def with_pickle(path: Path, content: bytes, **more: bytes) -> None:
    """A checkpoint whose pickle is this one, byte for byte."""
    torch.save({"state_dict": zeros()}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    (name,) = (name for name in parts if name.endswith("/data.pkl"))
    with zipfile.ZipFile(path, "w") as archive:
        for part, data in {**parts, name: content, **{f"model/{key}": data for key, data in more.items()}}.items():
            archive.writestr(part, data)


@pytest.mark.parametrize(
    "attack",
    [
        b"cos\nsystem\n(S'touch trace'\ntR.",
        b"cposix\nsystem\n(S'touch trace'\ntR.",
        b'cbuiltins\neval\n(S\'open("trace", "w")\'\ntR.',
        b'c__builtin__\nexec\n(S\'open("trace", "w")\'\ntR.',
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x13open('trace', 'w+')\x85R.",
        b"(S'touch trace'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch trace'\no.",  # OBJ
        b"cleaves_a_trace\nwhatever\n.",  # imports a module, which does something
        b"ctorch\nload\n(S'other.ckpt'\ntR.",
        b"ctorch.hub\nload\n(S'a'\nS'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(cos\nsystem\ntR.",
        b"ccollections\nOrderedDict\n)R(S'__reduce__'\ncos\nsystem\nub.",
        b"\x82\x01.",  # EXT1: a code that someone registered
    ],
)
def test_no_attack_leaves_a_trace(attack: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves_a_trace.py").write_text("open('trace', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    torch.save({"state_dict": zeros()}, "other.ckpt")
    with_pickle(tmp_path / "model.ckpt", attack, **{"code/__init__.py": b"open('trace', 'w')", "data/0.py": attack})
    unreadable(tmp_path / "model.ckpt")
    assert not (tmp_path / "trace").exists()
    assert "leaves_a_trace" not in sys.modules


def test_an_archive_that_swells_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": zeros()}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/bomb", bytes(2**26))
    assert path.stat().st_size < 2**21
    assert "refused, because its parts are larger than itself" in unreadable(path)


def test_numbers_that_are_claimed_and_not_held(tmp_path: Path) -> None:
    """A view, a tensor without storage, a sparse one: a shape costs nothing, and reading it would cost terabytes."""
    one = torch.zeros(1)
    for claimed in (
        one.expand(150, 10**9),
        torch.empty(150, 10**9, device="meta"),
        torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), (150, 10**9)),
    ):
        torch.save({"state_dict": zeros() | {"fc_static.fc1.weight": claimed}}, tmp_path / "model.ckpt")
        assert "fc_static.fc1.weight is no tensor of floating-point numbers" in unreadable(tmp_path / "model.ckpt")
    torch.save({"state_dict": zeros() | {"beta_q10": torch.tensor(1e300).double()}}, tmp_path / "model.ckpt")
    assert "beta_q10" in unreadable(tmp_path / "model.ckpt")  # too large to be single precision


def test_a_storage_that_claims_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"beta_q10": torch.arange(4.0)}}, path)
    with zipfile.ZipFile(path) as archive:
        (content,) = (archive.read(part) for part in archive.namelist() if part.endswith("/data.pkl"))
    million = b"J\x00\x00\x10\x00"
    lie = content.replace(b"K\x04tq", million + b"tq").replace(b"K\x04\x85", million + b"\x85")
    assert lie != content
    with_pickle(path, lie)
    assert "cannot be read" in unreadable(path)


def test_a_bare_pickle_is_not_even_looked_into(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.ckpt", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"state_dict": Evil(trace)}))
    assert "is no PyTorch checkpoint" in unreadable(path)
    torch.save({"state_dict": Evil(trace)}, path, _use_new_zipfile_serialization=False)
    assert "is no PyTorch checkpoint" in unreadable(path)
    assert not trace.exists()


def test_unreadable_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    assert "there is no such file" in unreadable(path)
    assert "there is no such file" in unreadable(tmp_path)
    path.write_bytes(b"")
    assert "is empty" in unreadable(path)
    path.write_text("weights")
    assert "is no PyTorch checkpoint" in unreadable(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no checkpoint")
    assert "cannot be read" in unreadable(path)


def test_truncated_and_damaged_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": zeros()}, path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert "only the beginning of one" in unreadable(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    assert "is damaged" in unreadable(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": [1]}, torch.zeros(3)])
def test_files_that_are_no_checkpoint(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.ckpt")
    assert "holds no 'state_dict'" in unreadable(tmp_path / "model.ckpt")


def test_weights_of_another_model_are_all_named(tmp_path: Path) -> None:
    weights: dict[str, Any] = zeros()
    del weights["beta_snow"]
    weights["fc_static.fc4.weight"] = torch.zeros(2)
    weights["fc_static.fc2.weight"] = torch.zeros(13, 150)
    weights["beta_q10"] = 3
    weights["beta_co2"] = torch.tensor(1)
    weights["lstm_fc_cue_fapar.fc.bias"][1] = torch.nan
    torch.save({"state_dict": weights}, tmp_path / "model.ckpt")
    text = unreadable(tmp_path / "model.ckpt")
    for words in (
        "beta_snow is missing",
        "fc_static.fc4.weight is not a weight of the published model",
        "fc_static.fc2.weight has shape (13, 150) instead of (12, 150)",
        "beta_q10 is no tensor of floating-point numbers",
        "beta_co2 is no tensor of floating-point numbers",
        "lstm_fc_cue_fapar.fc.bias holds 1 values that are not finite",
    ):
        assert words in text
    with pytest.raises(FitError, match="beta_snow is missing"):
        from_published(weights)
    with pytest.raises(FitError, match=r"fc_static\.fc1\.weight is missing"):
        from_published({})
