"""Cells come in portions that fit into memory, and nothing of them is lost or seen twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from xh2cm.data.folds import fold_labels
from xh2cm.errors import InputError
from xh2cm.targets import TARGET_TABLE
from xh2cm.train import Portions, Samples, Training, label_tensor, normalisation
from xh2cm.train.streaming import cut, joined
from xh2cm.train.tensors import to_tensors

NAMES = ("TWS", "ET", "GPP")
ROWS = tuple(t for t in TARGET_TABLE if t.name in NAMES)


@pytest.fixture(scope="module")
def checked(twin):
    land = twin.isel(time=slice(0, 181), month=slice(0, 6)).drop_encoding()
    hidden = land["vpd"].where((land["lat"] > land["lat"][0]) | (land["lon"] > land["lon"][0]))
    return land.assign(vpd=hidden).chunk(lat=1, lon=2).h2cm.check().dataset  # one cell is left out


def portions(dataset, memory, scheme="cells"):
    labels = fold_labels(dataset, 2, scheme=scheme)
    return Portions.of(dataset, labels, NAMES, xr.Dataset(), torch.device("cpu"), memory)


@pytest.mark.parametrize("scheme", ["cells", "years"])
def test_portions_hold_every_cell_once_and_no_more_than_fits(checked, twin, scheme):
    dataset = checked if scheme == "cells" else twin.chunk(lat=1).h2cm.check().dataset
    limit = 25_000 if scheme == "cells" else 90_000
    found = portions(dataset, limit, scheme)
    assert found.streams
    order = found.grouped(torch.Generator().manual_seed(1))
    assert len(order) > 1
    assert sorted(b for group in order for b in group) == list(range(len(found.sizes)))
    assert all(sum(found.sizes[b] for b in group) <= found.most for group in order)
    assert found.grouped(torch.Generator().manual_seed(2)) != order
    whole = to_tensors(dataset, "cpu", NAMES)
    label = label_tensor(fold_labels(dataset, 2, scheme=scheme), whole)
    seen = []
    for part in found.walk(order):
        rows = torch.from_numpy(np.searchsorted(whole.index, part.cells.index))
        assert part.cells.forcing.nbytes < limit // 2
        assert torch.equal(part.cells.forcing, whole.forcing[rows])
        assert torch.equal(part.cells.static, whole.static[rows])
        assert torch.equal(part.label, label[rows])
        for name in NAMES:
            torch.testing.assert_close(
                part.cells.targets[name].values, whole.targets[name].values[rows], rtol=0, atol=0, equal_nan=True
            )
        seen += part.cells.index.tolist()
    assert sorted(seen) == whole.index.tolist()


def test_each_fold_sees_each_sample_once_an_epoch(checked):
    training = Training(window=60)

    def drawn(found, split):
        names = []
        for part in found.walk(found.grouped(torch.Generator().manual_seed(3))):
            one = Samples(*part, ROWS, training).of(0, split)
            names += zip(part.cells.index[one.cell].tolist(), one.start.tolist(), strict=True)
        return sorted(names)

    for split in ("training", "validation"):
        assert drawn(portions(checked, "25 kB"), split) == drawn(portions(checked, "1 GB"), split)


def test_what_is_streamed_is_scaled_as_what_is_not(checked):
    streamed, whole = (normalisation(portions(checked, m), [0, 1], ROWS) for m in ("25 kB", "1 GB"))
    for a, b in zip(streamed.scaling, whole.scaling, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    for name in NAMES:
        torch.testing.assert_close(streamed.targets[name], whole.targets[name], rtol=1e-6, atol=1e-6)


def test_a_pass_reads_each_chunk_once(checked, twin):
    reads = []

    def counted(block):
        reads.append(block.shape)
        return block

    lazy = checked.assign(
        {n: checked[n].copy(data=checked[n].data.map_blocks(counted, dtype=checked[n].dtype)) for n in ("vpd", "co2")}
    )
    found = portions(lazy, "1 GB")
    reads.clear()
    assert len(list(found.walk(found.grouped()))) == 1
    once = len(reads)
    assert once == sum(checked[n].data.npartitions for n in ("vpd", "co2"))
    list(found.walk(found.grouped()))
    assert len(reads) == once  # and it is kept
    assert twin.h2cm.check().cells == 8


def test_cells_of_a_gauge_come_together(checked):
    shares = xr.DataArray(np.zeros((1, *checked["mask"].shape)), dims=("gauge", *checked["mask"].dims))
    shares[0, 0, 1] = shares[0, 1, 3] = 0.5
    boxes = [*cut([{"lat": slice(0, 2), "lon": slice(0, 4)}], checked["mask"], 2)]
    assert sorted(checked["mask"].isel(box).size for box in boxes) == [2, 2, 2, 2]
    blocks = joined(boxes, checked.assign(flow_cells=shares), ["flow"])
    assert sorted(map(len, blocks)) == [1, 1, 2]
    (pair,) = (block for block in blocks if len(block) == 2)
    assert sum(float(shares.isel(box).sum()) for box in pair) == 1


@pytest.mark.parametrize("memory", ["much", "0", -5])
def test_an_amount_of_memory_that_is_none(checked, memory):
    with pytest.raises(InputError, match="is no amount of memory"):
        portions(checked, memory)


def test_too_little_memory_says_how_much_is_needed(checked):
    with pytest.raises(InputError, match="must be in memory together take") as refused:
        portions(checked, "5 kB")
    needed = refused.value.findings[0].remedy.removeprefix("give at least ")
    assert portions(checked, f"{float(needed.split()[0]) + 0.1} {needed.split()[1]}").streams


@pytest.mark.parametrize("kind", [np.nan, np.inf])
def test_forcing_that_was_lost_since_it_was_checked(checked, kind):
    lost = checked["vpd"].copy(data=checked["vpd"].data.copy())
    lost = lost.where((lost["time"] != lost["time"][5]) | (lost["lon"] != lost["lon"][3]), kind)
    with pytest.raises(InputError, match=r"vpd: lacks values on 2 days .* at lat .*, lon .* on 2001-01-06"):
        to_tensors(checked.assign(vpd=lost), "cpu")
