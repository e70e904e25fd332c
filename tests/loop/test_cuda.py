"""The walk of a GPU, its threads taking turns on a CPU, against the plain one."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from loops import EVERY_MODEL, MODELS, OWN_KINDS, PINNED, close, given, given_maps, result
from torch.utils._pytree import tree_leaves
from turns import Turns

from xh2cm.errors import InputError
from xh2cm.loop import cache, compiled
from xh2cm.loop.cuda import STRETCH, Blocks
from xh2cm.model import KINDS, HybridModel, hybrid, networks

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture(scope="module", autouse=True)
def compiled_anew(tmp_path_factory):
    """Compile anew in each run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XH2CM_CACHE", str(tmp_path_factory.mktemp("compiled")))
        patch.setattr(cache, "FLAGS", ("-O1", *(flag for flag in cache.FLAGS if flag != "-O3")))  # compiled sooner
        yield


@pytest.fixture
def blocks(monkeypatch):
    """Let the fast loop of a model walk in blocks; gives a function to do so."""

    def walked(model, inputs, **turns):
        program = Blocks(model.scheme, CPU, lambda source, _: Turns(source, **turns))
        with monkeypatch.context() as patch:
            patch.setattr(hybrid, "choose", lambda *_: partial(compiled.walk, program))
            return result(model, "fast", inputs=inputs)

    return walked


@EVERY_MODEL
def test_blocks_give_the_plain_numbers_in_whatever_order_threads_work(blocks, model):
    found = [blocks(model, given(model), backwards=backwards) for backwards in (False, True)]
    close(found[0], result(model, "plain", torch.float64))
    for x, y in zip(tree_leaves(found[0]), tree_leaves(found[1]), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_a_kind_of_ones_own_is_compiled_from_its_cell(blocks, kind, monkeypatch):
    monkeypatch.setitem(KINDS, kind, OWN_KINDS[kind])
    model = HybridModel(3, networks=networks(lstm={"kind": kind}), width=9)
    close(blocks(model, given(model)), result(model, "plain", torch.float64))


@pytest.mark.parametrize(("folds", "cells", "days"), [(1, 1, 1), (1, 3, STRETCH + 1), (3, 5, 2 * STRETCH), (2, 17, 5)])
def test_any_number_of_cells_days_and_folds(blocks, folds, cells, days):
    """Lanes without a cell, blocks of every size, stretches of a day."""
    model = MODELS["another physics and table"]
    inputs = given(model, folds, cells, days)
    close(blocks(model, inputs), result(model, "plain", inputs=inputs), 1e-4, 1e-3)


@pytest.mark.parametrize("pins", PINNED)
def test_pinned_models(blocks, pins):
    """One of them has no networks."""
    model = HybridModel(3, width=5, pins=pins)
    inputs = given_maps(model)
    inputs[2][..., 3:] = 60 + 90 * inputs[2][..., 3:]
    close(blocks(model, inputs), result(model, "plain", inputs=inputs), 1e-4, 1e-3)


def test_a_block_takes_as_many_cells_as_it_has_room_for(blocks):
    model = MODELS["published"]
    one = Blocks(model.scheme, CPU, lambda source, _: Turns(source)).modules[1].needs("walk_backward")
    close(blocks(model, given(model), shared=5 * one), result(model, "plain", torch.float64))
    with pytest.raises(cache.Unbuilt, match=f"a cell takes {one} bytes of shared memory, not {one - 1}"):
        Blocks(model.scheme, CPU, lambda source, _: Turns(source, shared=one - 1))


def walked(model, program, caplog, loop="auto"):
    """Walk as on a GPU, where a program is tried first; what was said."""
    caplog.set_level(logging.WARNING, "xh2cm")
    compiled.tell.cache_clear()
    compiled.PROGRAMS.setdefault(model.scheme, {})["gpu", "highest"] = program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid, "choose", lambda *_: partial(compiled.tried, program, loop))
        found = result(model, "fast")
    return found, caplog.text


def test_a_program_is_tried_before_it_is_used(caplog):
    model = HybridModel(3, width=16)
    program = Blocks(model.scheme, CPU, lambda source, _: Turns(source))
    found, said = walked(model, program, caplog)
    assert program in compiled.AGREED
    assert said == ""
    close(found, result(model, "plain", torch.float64))


def test_a_program_that_disagrees_is_said_and_not_used(caplog):
    model = HybridModel(3, width=16)
    wrong = lambda source, _: Turns(source.replace("cell = g.of[1] * cell +", "cell = g.of[0] * cell +"))  # noqa: E731
    program = Blocks(model.scheme, CPU, wrong)
    found, said = walked(model, program, caplog)
    assert "its first 3 days are not those of the plain one" in said
    assert "please report" in compiled.PROGRAMS[model.scheme]["gpu", "highest"]
    for x, y in zip(tree_leaves(found), tree_leaves(result(model, "plain")), strict=True):
        assert torch.equal(x, y)
    with pytest.raises(InputError, match="no fast loop here: its first 3 days"):
        walked(model, program, caplog, "fast")


def test_a_program_that_the_device_refuses_is_said_and_not_used(caplog):
    class Refusing(Turns):
        def launch(self, *arguments):
            raise cache.Unbuilt("cuLaunchKernel says too many resources")

    model = HybridModel(3, width=16)
    program = Blocks(model.scheme, CPU, lambda source, _: Refusing(source))
    found, said = walked(model, program, caplog)
    assert "there is no fast one here: cuLaunchKernel says too many resources" in said
    assert torch.equal(found[1][0], result(model, "plain")[1][0])
