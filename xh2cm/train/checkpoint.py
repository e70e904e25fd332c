"""A run on disk: what is trained, and the last states of its training, so that it goes on after a kill.

``run.json`` says what is trained, ``state.<n>.<checksum>.safetensors`` where the training is (the last two), and
``losses.csv`` every loss of every epoch, for TensorBoard also in ``tensorboard/``. One process writes at a time.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import importlib.util
import io
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from xh2cm.disk.atomic import append, is_draft, reason, replace, sole_writer
from xh2cm.disk.places import local
from xh2cm.errors import FitError, H2CMWarning, StoreError
from xh2cm.model.loss import SPLITS
from xh2cm.model.spinup import SpinUp
from xh2cm.text import not_a_formula
from xh2cm.train.state import Course

__all__ = ["MEMORY", "SUMS", "Run", "is_run", "opened", "remembered"]

log = logging.getLogger(__name__)

KEPT = 2
"""States that are kept: should the last one be damaged, there is one before it."""

BESIDE = {"lock", "writer.json"}
"""What a run that was stopped at once leaves."""

SUMS = "forcing sums"
"""In the description of a run, how its forcing was summed where that was done cell by cell."""

MEMORY = "memory"
"""What a run remembers and does not insist on: what counts is how the cells are cut into portions."""

MACHINE = "machine"
"""Device and instruction set of a run: with another it goes on, but not to the last bit."""

COLUMNS = ("epoch", "fold", "split", "target", "loss")


@dataclasses.dataclass
class Run:
    """A folder that this process may write the states of a training to.

    Parameters
    ----------
    folder : Path
    folds : tuple of int
    minutes : float
        Between two states within an epoch.
    """

    folder: Path
    folds: tuple[int, ...]
    minutes: float
    number: int = 0
    written: float = 0.0
    recorded: int = 0

    @cached_property
    def board(self) -> Any:
        """Writer of a file for TensorBoard, if that is installed; its name holds no host, unlike that of PyTorch's."""
        if importlib.util.find_spec("tensorboard") is None:
            return None
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        place = self.folder / "tensorboard"
        place.mkdir(exist_ok=True)
        now = time.time()
        writer = RecordWriter((place / f"events.out.tfevents.{now:.6f}.xh2cm").open("xb"))
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        void = SessionLog(status=SessionLog.START)  # what earlier files hold of later epochs
        writer.write(Event(wall_time=now, step=self.recorded + 1, session_log=void).SerializeToString())
        return writer

    def latest(self, device: torch.device) -> Course | None:
        """The last state that is whole; None before the first.

        Parameters
        ----------
        device : torch.device

        Returns
        -------
        Course or None

        Warns
        -----
        H2CMWarning
            If a later one is damaged.

        Raises
        ------
        FitError
            If all are damaged.
        """
        states = self.states()
        self.number = max(states, default=0)
        self.written = time.monotonic()
        course, damaged = None, []
        for number in sorted(states, reverse=True):
            try:
                course = read(states[number], device)
                break
            except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
                damaged.append(f"{states[number].name} ({error})")
        if states and course is None:
            raise FitError(
                f"no state in {self.folder} can be read: {', '.join(damaged)}: delete the folder to begin anew"
            )
        if damaged:
            warnings.warn(f"damaged, the state before it is taken: {', '.join(damaged)}", H2CMWarning, stacklevel=2)
        if course is not None:
            log.info("going on in %s after epoch %d, portion %d, step %d", self.folder, *course.place)
        self.record(course, "w")
        return course

    def keep(self, course: Course) -> None:
        """Write down where a training is, if an epoch or enough minutes have passed since the last time.

        Raises
        ------
        StoreError
            If the disk does not take it; the states before are intact.
        """
        ended = not course.groups
        if not ended and time.monotonic() - self.written < 60 * self.minutes:
            return
        try:
            self.number += 1
            write(course, self.folder, self.number)
            for number, path in self.states().items():
                if number <= self.number - KEPT:
                    path.unlink()
            self.record(course, "a")
        except OSError as error:
            raise StoreError(
                f"the state of the training cannot be written to {self.folder}: {reason(error)}"
            ) from error
        self.written = time.monotonic()

    def states(self) -> dict[int, Path]:
        """The states that are there, by number."""
        found = {}
        for path in self.folder.glob("state.*.safetensors"):
            with contextlib.suppress(ValueError):
                found[int(path.name.split(".")[1])] = path
        return found

    def record(self, course: Course | None, mode: str) -> None:
        """Write the losses of epochs to a table, all of them (``"w"``) or those that are new (``"a"``)."""
        begun, self.recorded = (0 if mode == "w" else self.recorded), course.epoch if course else 0
        new = [
            (epoch + 1, fold, split, not_a_formula(name), loss)
            for epoch in range(begun, self.recorded)
            for name, losses in course.history[epoch].items()  # type: ignore[union-attr]
            for split, of_split in zip(SPLITS, losses.tolist(), strict=True)
            for fold, loss in zip(self.folds, of_split, strict=True)
            if math.isfinite(loss)  # NaN for folds that have ended
        ]
        table = io.StringIO(newline="")
        csv.writer(table).writerows([COLUMNS, *new] if mode == "w" else new)
        (replace if mode == "w" else append)(self.folder / "losses.csv", table.getvalue().encode())
        board = self.board  # opened before the first epoch: what it holds of later ones is void
        if mode == "a" and new and board:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary

            for epoch, fold, split, name, loss in new:
                value = Summary.Value(tag=f"{name}/{split}/fold {fold}", simple_value=loss)
                event = Event(wall_time=time.time(), step=epoch, summary=Summary(value=[value]))
                board.write(event.SerializeToString())
            board.flush()

    def close(self) -> None:
        """Close the file for TensorBoard."""
        if board := vars(self).get("board"):
            with contextlib.suppress(OSError):  # of a full disk, which `keep` has told of
                board.close()


def is_run(path: Path) -> bool:
    """Return whether a path is a run, or the remains of one that was stopped at once.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
    """
    return path.is_dir() and (
        (path / "run.json").exists() or {p.name for p in path.iterdir() if not is_draft(p)} <= BESIDE
    )


@contextlib.contextmanager
def opened(
    folder: str | os.PathLike[str], recipe: Mapping[str, Any], folds: tuple[int, ...], minutes: float
) -> Iterator[Run]:
    """Open a run to begin or to go on with, as its only writer.

    Parameters
    ----------
    folder : str or path
    recipe : mapping
        What is trained and on what, as JSON can hold it.
    folds : tuple of int
    minutes : float

    Raises
    ------
    StoreError
        If another process writes to it, something else is there, or the disk does not take it.
    FitError
        If something else was trained in it.

    Warns
    -----
    H2CMWarning
        If it was begun on another device or instruction set.
    """
    path = local(folder)
    about, now = path / "run.json", json.loads(json.dumps(recipe))
    if path.exists() and not is_run(path):
        raise StoreError(f"{path} exists and is no run: give another path")
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(sole_writer(path))
            before = json.loads(about.read_text()) if about.exists() else None
            if before is None:
                replace(about, json.dumps(now, indent=1).encode())
        except (ValueError, RecursionError) as error:
            raise FitError(f"{about} cannot be read ({error}): delete {path} to begin anew") from error
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {reason(error)}") from error
        if before is not None:
            agree(path, before, now)
            warn_of_another_machine(path, before, now)
        yield stack.enter_context(contextlib.closing(Run(path, folds, minutes)))


def remembered(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a run says of itself; nothing where it has not begun, or cannot be read.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    dict
    """
    try:
        found = json.loads((local(folder) / "run.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def agree(folder: Path, before: Any, now: Mapping[str, Any]) -> None:
    """Refuse to go on with another training than was begun."""
    if not isinstance(before, dict):
        raise FitError(f"{folder / 'run.json'} does not describe a run: delete {folder} to begin anew")
    if isinstance(then := before.get("spinup"), dict):  # runs of earlier formats lack what was added since
        before = before | {"spinup": dataclasses.asdict(SpinUp()) | then}
    other = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name) and name not in (MEMORY, MACHINE)
    ]
    if other:
        raise FitError(f"{folder} holds another training ({'; '.join(other)}): give another folder, or delete it")


def warn_of_another_machine(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn where a run goes on with another device or instruction set, whose sums round otherwise."""
    then, here = before.get(MACHINE), now.get(MACHINE)
    if then and here and then != here:
        text = f"{folder} was begun on {then} and goes on on {here}: the weights will not be the same to the last bit"
        warnings.warn(text, H2CMWarning, stacklevel=5)


def write(course: Course, folder: Path, number: int) -> None:
    """Write a state under a name that holds its checksum."""
    whole = safetensors.torch.save(course.tensors(), course.described())
    replace(folder / f"state.{number:06d}.{hashlib.sha256(whole).hexdigest()[:32]}.safetensors", whole)


def read(path: Path, device: torch.device) -> Course:
    """Read a state, if it is what was written."""
    whole = path.read_bytes()
    if hashlib.sha256(whole).hexdigest()[:32] != path.name.split(".")[2]:
        raise ValueError("its checksum differs")
    with safetensors.safe_open(path, "pt") as file:
        described = file.metadata()
    return Course.recalled(safetensors.torch.load(whole), described, device)
