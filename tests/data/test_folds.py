"""Fold labels: the published scheme exactly, what every scheme promises, and every way to get it wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xh2cm.data.folds import TEST, fold_labels
from xh2cm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def grid(rows: int, columns: int, land: np.ndarray | None = None, step: float = 1.0) -> xr.Dataset:
    """A checked dataset as far as folds look at it."""
    coords = {
        "lat": ("lat", 60.0 - step * (np.arange(rows) + 0.5), {"standard_name": "latitude"}),
        "lon": ("lon", -20.0 + step * (np.arange(columns) + 0.5), {"standard_name": "longitude"}),
    }
    mask = np.ones((rows, columns), bool) if land is None else land
    mask_attrs = {"standard_name": "land_binary_mask", "units": "1"}
    return xr.Dataset({"mask": (("lat", "lon"), mask, mask_attrs)}, coords=coords)


def sites(count: int, years: int = 4, calendar: str = "standard") -> xr.Dataset:
    """Towers along the equator, two degrees apart."""
    time = xr.date_range(
        "2000-01-01", periods=365 * years, freq="D", calendar=calendar, use_cftime=calendar != "standard"
    )
    return xr.Dataset(
        {"mask": ("site", np.ones(count, bool)), "basin": ("site", np.arange(count) // 2)},
        coords={
            "site": [f"S{i}" for i in range(count)],
            "lat": ("site", np.zeros(count)),
            "lon": ("site", 2.0 * np.arange(count)),
            "time": time,
        },
    )


def refused(dataset: xr.Dataset, *args: Any, **kwargs: Any) -> str:
    """Text of the error that must come."""
    with pytest.raises(InputError) as caught:
        fold_labels(dataset, *args, **kwargs)
    assert all(f.variable and f.problem and f.remedy for f in caught.value.findings)
    return str(caught.value)


# ---- the published scheme


def published(parity: Path) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    with np.load(parity / "folds.npz") as file:
        numbers = dict(file)
    land = xr.DataArray(numbers["mask"], {"lat": numbers["lat"], "lon": numbers["lon"]}, ("lat", "lon"))
    return xr.Dataset({"mask": land}), numbers


def test_published_folds_exactly(parity: Path) -> None:
    dataset, numbers = published(parity)
    labels = fold_labels(dataset, 10)
    assert labels.dtype == np.float32
    assert labels.dims == ("lat", "lon")
    assert labels.attrs["scheme"] == "blocks"
    values = labels.values
    np.testing.assert_array_equal(values == TEST, numbers["test"])
    np.testing.assert_array_equal(np.where(values >= 0, values, -1), numbers["validation_fold"])
    np.testing.assert_array_equal(values > 0, numbers["train_k0"])
    np.testing.assert_array_equal(np.isnan(values), ~numbers["mask"])


def test_published_folds_of_a_grid_stored_longitude_first(parity: Path) -> None:
    dataset, _ = published(parity)
    turned = fold_labels(dataset.transpose("lon", "lat"), 10)
    assert turned.dims == ("lon", "lat")
    xr.testing.assert_equal(turned.transpose("lat", "lon"), fold_labels(dataset, 10))


def test_without_test_every_other_cell_keeps_its_fold(parity: Path) -> None:
    dataset, numbers = published(parity)
    labels = fold_labels(dataset, 10, test=0)
    assert not (labels == TEST).any()
    inside = numbers["validation_fold"] >= 0
    np.testing.assert_array_equal(labels.values[inside], numbers["validation_fold"][inside])


def test_another_seed_is_another_draw(parity: Path) -> None:
    dataset, _ = published(parity)
    assert not fold_labels(dataset, 10, seed=2).equals(fold_labels(dataset, 10))


# ---- what every scheme promises

masks = st.tuples(st.integers(11, 33), st.integers(11, 33), st.integers(0, 2**32 - 1))


@settings(max_examples=60, deadline=None)
@given(
    masks,
    st.integers(1, 4),
    st.integers(2, 4),
    st.integers(0, 50),
    st.sampled_from(["blocks", "degrees", "cells", "groups"]),
)
def test_every_usable_cell_is_in_exactly_one_part(
    shape: tuple[int, int, int], size: int, folds: int, seed: int, scheme: str
) -> None:
    rows, columns, draw = shape
    land = np.random.default_rng(draw).random((rows, columns)) < 0.8
    dataset = grid(rows, columns, land)
    dataset["basin"] = (("lat", "lon"), np.random.default_rng(draw).integers(0, 9, (rows, columns)))
    options: dict[str, Any] = {
        "blocks": {"size": size, "scheme": "blocks"},
        "degrees": {"size": size, "scheme": "degrees", "test": 0.1},
        "cells": {"scheme": "cells"},
        "groups": {"groups": "basin", "test": 0.2},
    }[scheme]
    labels = fold_labels(dataset, folds, seed=seed, **options)

    np.testing.assert_array_equal(labels.notnull().values, land)
    parts = {TEST, *range(folds)} if scheme != "cells" else set(range(folds))
    assert set(np.unique(labels.values[land])) == parts
    assert fold_labels(dataset, folds, seed=seed, **options).identical(labels)
    block = {
        "blocks": lambda: np.add.outer(np.arange(rows) // size * 1000, np.arange(columns) // size),
        "degrees": lambda: np.add.outer((dataset.lat.values + 90) // size * 1000, dataset.lon.values % 360 // size),
        "cells": lambda: np.arange(rows * columns).reshape(rows, columns),
        "groups": lambda: dataset["basin"].values,
    }[scheme]()
    for name in np.unique(block[land]):
        assert np.unique(labels.values[land & (block == name)]).size == 1, "a block is split"
    if scheme != "blocks":  # dealt evenly: no fold has two blocks more than another
        counts = [np.unique(block[labels.values == fold]).size for fold in range(folds)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("shape", [(13, 17), (11, 10), (10, 11), (9, 40)])
def test_sides_that_are_no_multiple_of_the_block(shape: tuple[int, int]) -> None:
    labels = fold_labels(grid(*shape), 3, test=0)
    assert labels.shape == shape
    for row in range(0, shape[0], 5):
        for column in range(0, shape[1], 5):
            assert np.unique(labels.values[row : row + 5, column : column + 5]).size == 1


def test_labels_describe_themselves_and_plot() -> None:
    labels = fold_labels(grid(20, 20), 3)
    assert labels.name == "fold"
    assert labels.attrs["flag_values"].tolist() == [-1, 0, 1, 2]
    assert labels.attrs["flag_values"].dtype == labels.dtype
    assert labels.attrs["flag_meanings"] == "test fold_0 fold_1 fold_2"
    assert (labels.attrs["scheme"], labels.attrs["seed"]) == ("blocks", 1)
    assert not {"standard_name", "units"} & set(labels.attrs), "what the mask said of itself"
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    labels.plot()
    pyplot.close("all")


def test_labels_survive_zarr(tmp_path: Path) -> None:
    labels = fold_labels(grid(20, 20), 3)
    labels.to_dataset().to_zarr(tmp_path / "folds.zarr", consolidated=False)
    again = xr.open_zarr(tmp_path / "folds.zarr", consolidated=False)["fold"]
    xr.testing.assert_identical(again.load(), labels)


def test_a_lazy_mask() -> None:
    dataset = grid(20, 20)
    assert fold_labels(dataset.chunk(), 3).identical(fold_labels(dataset, 3))


# ---- degrees


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [5.0, 7.0, 0.5])
def test_longitudes_in_either_convention(dtype: type, size: float) -> None:
    east = np.arange(-180, 180, 0.25).astype(dtype)
    dataset = xr.Dataset(
        {"mask": ("site", np.ones(east.size, bool))},
        coords={"lat": ("site", np.zeros(east.size)), "lon": ("site", east)},
    )
    turned = dataset.assign_coords(lon=("site", np.where(east < 0, east + 360, east).astype(dtype)))
    xr.testing.assert_equal(
        fold_labels(dataset, 4, scheme="degrees", size=size).drop_vars("lon"),
        fold_labels(turned, 4, scheme="degrees", size=size).drop_vars("lon"),
    )


def test_rounding_moves_no_cell_over_a_border() -> None:
    """Cells on the borders of their blocks, in single precision, and a little west of Greenwich."""
    east = (np.arange(-1800, 1800) / 10).astype(np.float32)
    for longitude in (east, np.where(east < 0, east + np.float32(360), east)):
        dataset = xr.Dataset({"mask": ("site", np.ones(3600, bool))}, {"lat": 0.0, "lon": ("site", longitude)})
        for cells in (2, 3):  # 0.2 and 0.3 degrees, neither of which divides exactly
            labels = fold_labels(dataset, 3600 // cells, scheme="degrees", size=cells / 10).values.reshape(-1, cells)
            assert (labels == labels[:, :1]).all()
    pair = xr.Dataset({"mask": ("site", np.ones(3, bool))}, {"lat": 0.0, "lon": ("site", [0.0, -1e-9, 90.0])})
    labels = fold_labels(pair, 2, scheme="degrees").values
    assert labels[0] == labels[1] != labels[2]


def test_a_block_reaches_over_the_date_line_and_the_poles_belong_to_their_row() -> None:
    dataset = xr.Dataset(
        {"mask": ("site", np.ones(8, bool))},
        coords={
            "lat": ("site", [0.0, 0, 0, 0, 90, 89, -90, -89]),
            "lon": ("site", [180.0, -180, 360, 0, 10, 11, 10, 11]),
        },
    )
    labels = fold_labels(dataset, 4, scheme="degrees").values
    assert (labels[::2] == labels[1::2]).all()
    assert np.unique(labels).size == 4


@pytest.mark.parametrize("names", [("lat", "lon"), ("hru_lat", "hru_lon"), ("y_of_it", "x_of_it")])
def test_degrees_on_any_land(names: tuple[str, str]) -> None:
    """Curvilinear coordinates, as coordinates or variables, found by attribute or by name."""
    latitude, longitude = np.meshgrid(np.arange(12.0), np.arange(15.0), indexing="ij")
    attrs = [{"standard_name": n} if names[0] == "y_of_it" else {} for n in ("latitude", "longitude")]
    dataset = xr.Dataset(
        {
            "mask": (("y", "x"), np.ones((12, 15), bool)),
            names[0]: (("y", "x"), latitude, attrs[0]),
            names[1]: (("y", "x"), longitude, attrs[1]),
        }
    )
    labels = fold_labels(dataset, 3, scheme="degrees", size=3)
    regular = xr.Dataset(
        {"mask": (("lat", "lon"), np.ones((12, 15), bool))}, {"lat": np.arange(12.0), "lon": np.arange(15.0)}
    )
    np.testing.assert_array_equal(labels.values, fold_labels(regular, 3, scheme="degrees", size=3).values)


def test_bounds_and_other_places_are_not_taken_for_the_land() -> None:
    dataset = grid(20, 20)
    expected = fold_labels(dataset, 3, scheme="degrees")
    dataset["lat_bnds"] = (("lat", "bnds"), np.zeros((20, 2)))
    dataset["gauge_lat"] = ("gauge", [1.0, 2.0], {"standard_name": "latitude"})
    dataset["latent_heat"] = (("lat", "lon"), np.zeros((20, 20)))
    xr.testing.assert_equal(fold_labels(dataset, 3, scheme="degrees"), expected)


# ---- sites, groups


def test_sites_are_their_own_blocks() -> None:
    labels = fold_labels(sites(7), 3)
    assert labels.attrs["scheme"] == "cells"
    assert sorted(np.bincount(labels.values.astype(int))) == [2, 2, 3]


def test_test_share_of_sites() -> None:
    assert int((fold_labels(sites(10), 3, test=0.25) == TEST).sum()) == 3, "rounded up to whole blocks"
    assert int((fold_labels(sites(100), 3, test=0.07) == TEST).sum()) == 7, "0.07 * 100 is 7.000000000000001"


@pytest.mark.parametrize("kind", [int, str, object])
def test_groups_go_together(kind: type) -> None:
    dataset = sites(12)
    dataset["basin"] = dataset["basin"].astype(kind)
    labels = fold_labels(dataset, 3, groups="basin")
    assert labels.attrs["scheme"] == "groups"
    for _, group in labels.groupby(dataset["basin"]):
        assert np.unique(group).size == 1
    xr.testing.assert_equal(fold_labels(dataset, 3, groups=dataset["basin"]), labels)


def test_groups_of_mixed_type() -> None:
    dataset = sites(4)
    dataset["basin"] = ("site", np.array([1, "a", 1, "a"], object))
    labels = fold_labels(dataset, 2, groups="basin").values
    assert labels[0] == labels[2] != labels[1] == labels[3]


def test_groups_along_one_dimension_of_a_grid() -> None:
    dataset = grid(6, 4)
    labels = fold_labels(dataset, 2, groups=xr.DataArray([0, 0, 1, 1], dims="lon", coords={"lon": dataset.lon}))
    assert (labels.values == labels.values[0]).all()
    assert labels.dims == ("lat", "lon")


def test_an_unusable_cell_needs_no_group() -> None:
    dataset = sites(4)
    dataset["mask"][3] = False
    dataset["basin"] = ("site", [0.0, 1, 1, np.nan])
    labels = fold_labels(dataset, 2, groups="basin")
    assert np.isnan(labels.values).tolist() == [False, False, False, True]


# ---- years


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_years_go_together(calendar: str) -> None:
    dataset = sites(1, years=6, calendar=calendar)
    labels = fold_labels(dataset, 3, scheme="years", test=0.1)
    assert labels.dims == ("time",)
    assert labels.notnull().all()
    for _, year in labels.groupby("time.year"):
        assert np.unique(year).size == 1
    assert set(np.unique(labels)) == {TEST, 0, 1, 2}


def test_years_of_one_cell_without_land_dimensions() -> None:
    dataset = sites(1).squeeze("site", drop=True)
    assert dataset["mask"].dims == ()
    assert set(np.unique(fold_labels(dataset, 2, scheme="years"))) == {0, 1}


# ---- real land


def test_the_delaware_grid_and_the_towers(shared: Callable[[str], Path]) -> None:
    with xr.open_dataset(shared("data/drb_grid_daily.nc")) as grid:
        basin = grid.assign(mask=grid["tair"].notnull().all("time"))
        for options in ({"size": 2, "scheme": "blocks"}, {"size": 0.5, "scheme": "degrees"}, {"scheme": "cells"}):
            labels = fold_labels(basin, 5, **options)
            np.testing.assert_array_equal(labels.notnull(), basin["mask"])
            assert set(range(5)) <= set(np.unique(labels.values[basin["mask"]]))
    with xr.open_dataset(shared("data/flux_sites_1996_2014.nc")) as towers:
        towers = towers.assign(mask=("site", np.ones(4, bool)))
        years = fold_labels(towers, 5, scheme="years")
        assert np.unique(years.groupby("time.year").max().values).tolist() == [0, 1, 2, 3, 4]
        kinds = fold_labels(towers, 2, groups="igbp")
        assert len({*kinds.values[towers["igbp"].values == towers["igbp"].values[0]]}) == 1


# ---- labels of one's own


def test_own_labels_are_taken() -> None:
    dataset = grid(3, 4, land=np.arange(12).reshape(3, 4) != 5)
    own = xr.DataArray(np.arange(12).reshape(4, 3) % 3 - 1, {"lat": dataset.lat, "lon": dataset.lon}, ("lon", "lat"))
    labels = fold_labels(dataset, own)
    assert labels.dims == ("lat", "lon")
    assert np.isnan(labels.values[1, 1])
    assert labels.attrs["scheme"] == "own"
    np.testing.assert_array_equal(labels.values[dataset.mask], own.T.values[dataset.mask])


def test_own_labels_need_nothing_where_no_cell_is_usable() -> None:
    dataset = grid(1, 3, land=np.array([[True, True, False]]))
    own = xr.DataArray([[0.0, 1.0, np.nan]], dims=("lat", "lon"))
    assert fold_labels(dataset, own).values[0, :2].tolist() == [0, 1]


def test_own_labels_on_time_and_on_both() -> None:
    dataset = sites(2, years=2)
    by_day = dataset.time.dt.year - 2000
    assert fold_labels(dataset, by_day).dims == ("time",)
    both = by_day.broadcast_like(dataset.mask.astype(int)).transpose("site", "time")
    assert fold_labels(dataset, both).dims == ("time", "site")


def test_what_fold_labels_gives_it_takes() -> None:
    dataset = grid(20, 20)
    labels = fold_labels(dataset, 3)
    xr.testing.assert_equal(fold_labels(dataset, labels), labels)


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"folds": 1, "size": 3}, ["size: means nothing where nothing is held out"]),
        ({"folds": 0}, ["folds: 0 is not a number of folds"]),
        ({"folds": 2.5}, ["folds: 2.5 is neither"]),
        ({"folds": True}, ["folds: True is neither"]),
        ({"folds": np.zeros((20, 20))}, ["neither a whole number nor a DataArray", "xr.DataArray(labels"]),
        ({"scheme": "block"}, ["scheme: 'block' does not exist", "scheme='blocks'"]),
        ({"scheme": "h2cm"}, ["one of 'blocks', 'degrees'"]),
        ({"size": 0}, ["size: 0 is not a positive"]),
        ({"size": float("nan")}, ["size: nan is not a positive"]),
        ({"size": "5"}, ["size: '5' is not a positive"]),
        ({"size": 2.5}, ["size: 2.5 is not a whole number of cells", "scheme='degrees'"]),
        ({"size": 2, "scheme": "cells"}, ["size: 2 means nothing with scheme='cells'"]),
        ({"groups": "mask", "scheme": "blocks"}, ["groups mean nothing with scheme='blocks'"]),
        ({"scheme": "groups"}, ["groups: None is no groups"]),
        ({"groups": ["a", "b"]}, ["groups: ['a', 'b'] is no groups"]),
        ({"test": 1}, ["test: 1 is not a share"]),
        ({"test": -0.1}, ["test: -0.1 is not a share"]),
        ({"test": "some"}, ["test: 'some' is not a share"]),
        ({"seed": -1}, ["seed: -1 is not"]),
        ({"seed": 2**32}, ["seed: 4294967296 is not"]),
        ({"seed": 1.5}, ["seed: 1.5 is not"]),
        ({"scheme": "years"}, ["time: scheme='years' needs it"]),
        ({"folds": 0, "size": -1, "test": 2, "seed": None}, ["4 problems", "folds", "size", "test", "seed"]),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], says: list[str]) -> None:
    text = refused(grid(20, 20), **arguments)
    for words in says:
        assert words in text


def test_blocks_need_a_grid() -> None:
    assert "'blocks' needs a grid of two dimensions, the land has ('site',)" in refused(sites(4), 2, scheme="blocks")


def test_a_dataset_that_was_not_checked() -> None:
    assert "pass the dataset that check returns" in refused(xr.Dataset(), 2)


def test_no_usable_cell() -> None:
    assert "no cell is usable" in refused(grid(4, 4, np.zeros((4, 4), bool)), 2)


def test_more_folds_than_blocks_names_what_would_do() -> None:
    dataset = grid(10, 10)
    text = refused(dataset, 10)
    assert "10 folds are more than there are usable blocks of 5 x 5 cells: 4, 1 of them put aside for the test" in text
    assert "size=3 or folds=2 or scheme='cells'" in text
    for remedy in ({"folds": 10, "size": 3}, {"folds": 2}, {"folds": 10, "scheme": "cells"}):
        fold_labels(dataset, **remedy)


@pytest.mark.parametrize(
    ("folds", "arguments", "says"),
    [
        (5, {}, "usable cells: 4\n    -> folds=4"),
        (3, {"groups": "basin"}, "usable groups: 2\n    -> folds=2 or scheme='cells' or scheme='years'"),
        (3, {"scheme": "degrees"}, "usable blocks of 5 degrees: 2\n    -> size=2.5 or folds=2 or scheme='cells'"),
        (5, {"scheme": "years"}, "usable calendar years: 4\n    -> folds=4"),
        (4, {"test": 0.1}, "usable cells: 4, 1 of them put aside for the test\n    -> folds=3"),
        (10**12, {}, "usable cells: 4\n    -> folds=4"),
    ],
)
def test_more_folds_than_other_blocks(folds: int, arguments: dict[str, Any], says: str) -> None:
    assert says in refused(sites(4), folds, **arguments)


def test_one_cell_is_sent_to_its_years() -> None:
    assert "-> scheme='years'" in refused(sites(1).squeeze("site", drop=True), 2)


def test_nothing_would_do() -> None:
    assert "-> more usable cells or years, or fold labels of your own" in refused(sites(1, years=1), 2)


def test_a_fold_whose_blocks_are_all_sea_or_test() -> None:
    """Enough blocks, but the published draw counts the sea as well."""
    land = np.zeros((40, 40), bool)
    land[:15, :10] = True
    text = refused(grid(40, 40, land), 5)
    assert "folds have nothing to validate with" in text
    assert "scheme='cells'" in text


def test_a_fold_without_training_cells() -> None:
    land = np.zeros((40, 40), bool)
    land[:5, :10] = True
    texts = [refused(grid(40, 40, land), 2, seed=seed) for seed in range(4, 40) if _one_sided(grid(40, 40, land), seed)]
    assert texts
    assert any("has nothing to train on" in text for text in texts)


def _one_sided(dataset: xr.Dataset, seed: int) -> bool:
    try:
        fold_labels(dataset, 2, seed=seed, test=0)
    except InputError:
        return True
    return False


def test_degrees_without_coordinates() -> None:
    bare = sites(6).drop_vars(["lat", "lon"])
    text = refused(bare, 2, scheme="degrees")
    assert "2 problems" in text
    assert "the dataset has none" in text


def test_degrees_with_two_latitudes() -> None:
    dataset = sites(6)
    for name in ("north", "also_north"):
        dataset[name] = ("site", np.zeros(6), {"standard_name": "latitude"})
    assert "has several: also_north, north" in refused(dataset.drop_vars("lat"), 2, scheme="degrees")


def test_coordinates_that_are_no_degrees() -> None:
    dataset = sites(6)
    dataset["lat"] = ("site", [0.0, 1, 2, 3, 4e6, np.nan])
    assert "lat: 2 usable cells have no value within 90 degrees" in refused(dataset, 2, scheme="degrees")
    dataset["mask"][4:] = False
    fold_labels(dataset, 2, scheme="degrees")


def test_a_misspelt_group_variable() -> None:
    assert "groups: no variable 'basins' in the dataset\n    -> groups='basin'" in refused(sites(4), 2, groups="basins")


def test_groups_that_do_not_fit() -> None:
    dataset = sites(4)
    assert "not among the land dimensions" in refused(dataset, 2, groups="time")
    lacking = "lacks 1 of the 4 labels of the dataset along 'site', the first S3; its own are S0 to S2"
    assert lacking in refused(dataset, 2, groups=dataset.basin[:3])
    assert "has 3 along 'site', the dataset has 4" in refused(dataset, 2, groups=dataset.basin[:3].drop_vars("site"))


def test_groups_in_another_order_are_aligned() -> None:
    dataset = sites(4)
    in_order = fold_labels(dataset, 2, groups=dataset.basin)
    xr.testing.assert_identical(fold_labels(dataset, 2, groups=dataset.basin[::-1]), in_order)


@pytest.mark.parametrize("missing", [[0.0, 0, 1, np.nan], ["a", "a", "b", ""], np.array(["a", "a", "b", None], object)])
def test_usable_cells_without_group(missing: Any) -> None:
    dataset = sites(4)
    dataset["basin"] = ("site", missing)
    assert "1 usable cells belong to no group" in refused(dataset, 2, groups="basin")


def own(values: Any, dataset: xr.Dataset) -> xr.DataArray:
    return xr.DataArray(values, dims="site", coords={"site": dataset.site})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0.0, 1, 1, np.nan], "1 usable cells or days have no label"),
        ([0, 1, 0.5, 0.7], "2 labels are not whole numbers, such as 0.5"),
        ([0, 1, np.inf, 1], "1 labels are not whole numbers, such as inf"),
        ([0, 1, -2, 1], "1 labels are below -1, such as -2"),
        (["a", "b", "a", "b"], "holds no whole numbers"),
        ([True, False, True, False], "its type bool holds no whole numbers"),
        ([0, 0, 0, -1], "fold 0 has nothing to train on"),
        ([-1, -1, -1, -1], "no fold has anything to train on"),
        ([0, 2, 0, 2], "1 of 3 folds have nothing to validate with: 1"),
        ([1999, 2000, 2001, 2001], "1999 of 2002 folds have nothing to validate with: 0, 1, 2, 3, 4 and 1994 more"),
    ],
)
def test_own_labels_that_are_no_labels(values: Any, says: str) -> None:
    dataset = sites(4)
    assert says in refused(dataset, own(values, dataset))


def test_own_labels_that_do_not_fit() -> None:
    dataset = sites(4)
    labels = own([0, 1, 0, 1], dataset)
    assert "neither the land's ('site',), nor time, nor both" in refused(dataset, labels.rename(site="basin"))
    assert "neither the land's" in refused(dataset, labels[0])
    assert "folds: lacks 1 of the 4 labels of the dataset along 'site', the first S3" in refused(dataset, labels[:3])
    assert "has 3 along 'site', the dataset has 4" in refused(dataset, labels[:3].drop_vars("site"))
    assert "time: the fold labels lie on it, the dataset has none" in refused(
        dataset.drop_dims("time"), xr.DataArray(np.zeros(5, int), dims="time")
    )
    later = (dataset.time.dt.year % 2).assign_coords(time=dataset.time + np.timedelta64(365, "D"))
    assert "lacks 365 of the 1460 labels of the dataset along 'time', the first 2000-01-01" in refused(dataset, later)


def test_own_labels_are_aligned() -> None:
    """By label: in another order, of more cells, by other hours and in another calendar."""
    dataset = sites(4)
    labels = own([0, 1, 0, 1], dataset)
    expected = fold_labels(dataset, labels)
    xr.testing.assert_identical(fold_labels(dataset, labels[::-1]), expected)
    more = xr.concat([labels, labels.assign_coords(site=[f"T{k}" for k in range(4)])], "site")
    xr.testing.assert_identical(fold_labels(dataset, more), expected)
    days = dataset.time.dt.year % 2
    expected = fold_labels(dataset, days)
    noon = days.assign_coords(time=days.time + np.timedelta64(12, "h"))
    xr.testing.assert_identical(fold_labels(dataset, noon), expected)
    same = days.assign_coords(time=xr.date_range("2000-01-01", periods=days.size, use_cftime=True))
    xr.testing.assert_identical(fold_labels(dataset, same), expected)


def test_own_labels_leave_nothing_to_choose() -> None:
    dataset = sites(4)
    text = refused(dataset, own([0, 1, 0, 1], dataset), scheme="cells", size=1, groups="basin", test=0.1)
    assert "4 problems" in text
    assert "scheme: means nothing beside fold labels of your own" in text
