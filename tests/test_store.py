"""Stores: how their chunks lie, what is written to them through every fault, and what is wrong with them when read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

from xh2cm.data.chunks import land_blocks, touched, warn_of_slow_chunks
from xh2cm.errors import H2CMWarning
from xh2cm.variables import FORCING

# ---------------------------------------------------------------------------------------------------------- chunks


@pytest.fixture(scope="module")
def short(twin):
    return twin.isel(time=slice(0, 90), month=slice(0, 3)).drop_encoding()


@pytest.fixture(scope="module")
def checked(short):
    return short.h2cm.check(targets=[]).dataset


@pytest.mark.parametrize("chunks", [{}, {"lat": 1}, {"lat": 1, "lon": (1, 2, 1)}, {"time": 30, "lon": 3}])
def test_blocks_cover_the_land_once_and_cut_no_chunk(checked, chunks):
    lazy = checked.chunk(chunks)
    blocks = land_blocks(lazy)
    seen = xr.zeros_like(checked["mask"], dtype=int)
    for block in blocks:
        seen[block] += 1
        for name in ("vpd", "precipitation"):
            borders = {d: {0, *itertools.accumulate(n)} for d, n in lazy[name].chunksizes.items()}
            assert all({piece.start, piece.stop} <= borders[dim] for dim, piece in block.items())
    assert (seen == 1).all()
    whole = sum(lazy[name].nbytes for name in FORCING if lazy[name].chunks)
    shared = lazy["co2"].nbytes * (len(blocks) - 1)  # on time alone, and so read for each
    assert sum(touched(lazy, block).nbytes for block in blocks) == whole + shared


def test_a_border_of_blocks_is_one_that_all_forcings_have(checked):
    uneven = checked.copy()
    uneven["vpd"] = checked["vpd"].chunk(lon=(1, 2, 1))
    uneven["precipitation"] = checked["precipitation"].chunk(lon=(3, 1))
    assert [block["lon"] for block in land_blocks(uneven)] == [slice(0, 3), slice(3, 4)]
    assert touched(uneven, {"lon": slice(0, 1)}) == (2, 4 * 90 * 2 * (1 + 3))


def test_one_block_where_nothing_is_chunked_and_where_there_is_no_land_axis(checked):
    assert land_blocks(checked) == [{"lat": slice(0, 2), "lon": slice(0, 4)}]
    assert touched(checked, {}) == (0, 0)
    assert land_blocks(checked.isel(lat=0, lon=0).chunk(time=30)) == [{}]


def test_chunks_of_all_cells_are_warned_of_once_they_are_large(short, tmp_path):
    by_day = short[list(FORCING)].chunk(time=1)
    by_day.to_zarr(tmp_path / "by_day.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "by_day.zarr", consolidated=False)
    dask_says_otherwise = opened.chunk(time=-1, lat=1, lon=1)
    grids = ("vpd", "precipitation")
    for ds in (by_day, opened, dask_says_otherwise):
        forcing = [ds[name] for name in grids]
        with pytest.warns(H2CMWarning, match=r"chunks of all 8 cells.*ds\.h2cm\.rechunk\("):
            warn_of_slow_chunks(forcing, limit=2 * 4 * 90 * 8 - 1)
        warn_of_slow_chunks(forcing, limit=2 * 4 * 90 * 8)
    warn_of_slow_chunks([short[name].chunk(time=1, lon=1) for name in grids], limit=2 * 4 * 90 * 2)
    with pytest.warns(H2CMWarning, match=r"2 of 8 cells"):
        warn_of_slow_chunks([short[name].chunk(time=1, lon=1) for name in grids], limit=2 * 4 * 90 * 2 - 1)
    warn_of_slow_chunks([short[name] for name in grids], limit=0)  # in memory already
    assert np.isfinite(opened["vpd"]).all()
