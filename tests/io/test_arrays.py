"""Labelled arrays in files: everything that a fit holds comes back as it was, and nothing else is believed."""

from __future__ import annotations

import contextlib
import json
import random

import cftime
import numpy as np
import pandas as pd
import pytest
import safetensors
import safetensors.numpy
import xarray as xr

from xh2cm.io.arrays import packed, unpacked

KINDS = {
    "numbers": np.array([1.5, np.nan, -np.inf]),
    "whole": np.array([1, 2, 3], dtype=np.int16),
    "truth": np.array([True, False, True]),
    "big-endian": np.array([1.5, 2.5, 3.5], dtype=">f4"),
    "text": np.array(["a", "Bäch", ""]),
    "objects": np.array(["a", "b", "c"], dtype=object),
    "dates": pd.date_range("2001-01-30", periods=3).values,
    "spans": pd.timedelta_range("1D", periods=3).values,
    "noleap": xr.date_range("2001-02-27", periods=3, calendar="noleap", use_cftime=True).values,
    "early": np.array([cftime.DatetimeNoLeap(850, 1, day) for day in (1, 2, 3)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_value_comes_back(kind: str) -> None:
    values = KINDS[kind]
    ds = xr.Dataset({"a": ("x", [1.0, 2.0, 3.0], {"units": "1"})}, coords={"x": values}, attrs={"n": 3})
    ds["x"].attrs = {"flags": np.array([-1, 0], np.float32), "names": ["a", "b"], "size": np.float64(0.5)}
    back = unpacked(packed(ds))
    np.testing.assert_array_equal(back["x"].values, values)
    assert back["x"].attrs["flags"].dtype == np.float32
    assert back["x"].attrs["names"] == ["a", "b"]
    xr.testing.assert_equal(back, ds)
    assert back.attrs == ds.attrs


def test_scalars_empty_axes_and_coordinates_without_an_axis_come_back() -> None:
    ds = xr.Dataset(
        {"a": ((), 2.0), "b": (("x", "y"), np.zeros((0, 2)))}, coords={"height": 2.0, "z": ("y", ["u", "v"])}
    )
    xr.testing.assert_identical(unpacked(packed(ds)), ds)


def forged(change) -> bytes:
    ds = xr.Dataset({"a": ("x", [1.0, 2.0])}, coords={"x": ["u", "v"]})
    content = packed(ds)
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"])
    tensors = safetensors.numpy.load(content)
    change(about, tensors)
    return safetensors.numpy.save(tensors, {"about": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _, t: t.pop("x"), "not those that it describes"),
        (lambda a, _: a.pop("attrs"), "does not describe a dataset"),
        (lambda a, _: a.update(variables=[]), "too many variables"),
        (lambda a, _: a["variables"].update({str(n): {} for n in range(5000)}), "too many variables"),
        (lambda a, _: a["variables"]["a"].pop("kind"), "a variable is odd"),
        (lambda a, _: a["variables"]["a"].update(dims=["x"] * 9, shape=[1] * 9), "odd dimensions"),
        (lambda a, _: a["variables"]["a"].update(dims=[["x"]]), "odd dimensions"),
        (lambda a, _: a["variables"]["a"].update(shape=[-2]), "odd shape"),
        (lambda a, _: a["variables"]["a"].update(shape=[10**30]), "larger than the file"),
        (lambda a, _: a["variables"]["a"].update(shape=[3]), "another shape"),
        (lambda a, _: a["variables"]["a"].update(kind="datetime64[ns]"), "not whole numbers"),
        (lambda a, _: a["variables"]["x"].update(kind="pickle"), "its kind 'pickle' is unknown"),
        (lambda a, _: a["variables"]["x"].update(kind="cftime"), "is unknown"),
        (lambda _, t: t.update(x=np.frombuffer(b'["u"]', np.uint8)), "odd length"),
        (lambda _, t: t.update(x=np.frombuffer(b"[1,2]", np.uint8)), "something else"),
        (lambda a, _: a["variables"]["a"].update(attrs={str(n): 1 for n in range(300)}), "too many attributes"),
        (lambda a, _: a["variables"]["a"].update(attrs={"n": "x" * 70_000}), "too long"),
        (lambda a, _: a["variables"]["a"].update(attrs={"n": {"b": 1}}), "something else"),
    ],
)
def test_a_forged_file_is_refused(change, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        unpacked(forged(change))


def test_whatever_is_changed_gives_a_dataset_or_an_error() -> None:
    content = packed(xr.Dataset({"a": ("x", [1.0, 2.0])}, coords={"x": pd.date_range("2001", periods=2)}))
    dice = random.Random(3)  # noqa: S311
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError):
            assert isinstance(unpacked(bytes(changed[: dice.randrange(len(changed) + 1) or None])), xr.Dataset)
