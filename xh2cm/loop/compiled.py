"""The fast loop over days: compiled for the model and the device, with the numbers of the plain loop.

The physics comes from the functions of the model, traced with its gradient. ``cpu.py`` walks on a CPU, ``cuda.py``
on a GPU.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from xh2cm.ambient import undisturbed
from xh2cm.errors import Finding, InputError
from xh2cm.loop import reference
from xh2cm.loop.cache import Unbuilt
from xh2cm.loop.codegen import Untraceable
from xh2cm.loop.cpu import Lanes
from xh2cm.loop.cuda import Blocks

if TYPE_CHECKING:
    from torch import Tensor

    from xh2cm.loop.program import Scheme, Tensors

__all__ = ["WORTHWHILE", "Loop", "Program", "built", "choose", "paying", "walk"]

log = logging.getLogger(__name__)

Loop = Literal["auto", "plain", "fast"]

WORTHWHILE = 300_000
"""Cells x days from which on compiling pays: the plain loop takes about as long for them as a compiler."""

TRIED = 3
"""Days on which a program for a GPU must agree with the plain walk before it is used."""


class Program(Protocol):
    """A loop over days, compiled for a scheme."""

    scheme: Scheme

    def forward(
        self, record: Sequence[Tensor], tensors: Tensors, wanted: Sequence[int], keep: bool
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Run a record.

        Parameters
        ----------
        record : pair of Tensor, (fold, cell, time, feature)
            Forcing, and forcing as the networks see it; dense, as all that comes here.
        tensors : Tensors
        wanted : sequence of int
            Which outputs to record.
        keep : bool
            Whether `backward` will be called.

        Returns
        -------
        after : list of Tensor
            What is carried out of the record.
        outputs : list of Tensor, (fold, cell, time)
        borders : list of Tensor
            What is carried from one stretch of days to the next, for `backward`.
        """

    def backward(
        self,
        record: Sequence[Tensor],
        tensors: Tensors,
        borders: Sequence[Tensor],
        by_after: Sequence[Tensor | None],
        by_outputs: Sequence[Tensor | None],
    ) -> Tensors:
        """Return the gradients by `tensors`, given those by the final state and by every output."""


PROGRAMS: WeakKeyDictionary[Scheme, dict[tuple[str | None, ...], Program | str]] = WeakKeyDictionary()
"""What `built` has found, by device, precision and environment."""

ENVIRONMENT = ("PATH", "CXX", "HOME", "XDG_CACHE_HOME", "XH2CM_CACHE")
"""Variables that decide whether something can be compiled and kept: another value is worth another try."""

AGREED: WeakSet[Program] = WeakSet()
"""Programs for a GPU that have been tried."""


def built(scheme: Scheme, device: torch.device) -> Program | str:
    """Return the program of a scheme for a device, or the reason why there is none.

    Its products are of the precision that `torch.set_float32_matmul_precision` has set: on a CPU float32, or for
    ``"medium"`` products of bfloat16 numbers where the processor has them; on a GPU float32, but for the gradient by
    the weights, which is torch's product.
    """
    precision = "medium" if torch.get_float32_matmul_precision() == "medium" else "highest"
    programs = PROGRAMS.setdefault(scheme, {})
    key = str(device), precision, *map(os.environ.get, ENVIRONMENT)
    if key not in programs:
        try:
            with undisturbed():
                programs[key] = Lanes(scheme, precision) if device.type == "cpu" else Blocks(scheme, device)
        except (Untraceable, Unbuilt) as reason:
            programs[key] = str(reason)
    return programs[key]


def paying(loop: Loop, work: int) -> Loop:
    """Return the plain loop where compiling another would not pay.

    Parameters
    ----------
    loop : {"auto", "plain", "fast"}
    work : int
        Cells x days that will be walked in all, counted for each fold, pass and epoch.

    Returns
    -------
    {"auto", "plain", "fast"}
        ``"plain"`` instead of ``"auto"`` for little work; what was given otherwise.

    Examples
    --------
    >>> paying("auto", work=10 * 730), paying("auto", work=1000 * 7300), paying("fast", work=1)
    ('plain', 'auto', 'fast')
    """
    return "plain" if loop == "auto" and work < WORTHWHILE else loop


def choose(loop: Loop, scheme: Scheme, record: Sequence[Tensor]) -> Callable[..., Any]:
    """Return the loop to use, called as `xh2cm.loop.reference.walk`.

    Parameters
    ----------
    loop : {"auto", "plain", "fast"}
        ``"auto"`` is fast where that is possible; if only the model or a missing compiler is in the way, that is said
        once.
    scheme : Scheme
    record : sequence of Tensor, (fold, cell, time, feature)

    Returns
    -------
    callable

    Raises
    ------
    InputError
        If the fast loop is asked for and there is none, or `loop` is not known.
    """
    if loop not in get_args(Loop):
        raise InputError([Finding("loop", f"{loop!r} is unknown", f"give one of {', '.join(get_args(Loop))}")])
    if loop == "plain":
        return reference.walk
    x = record[0]
    if x.device.type not in {"cpu", "cuda"} or x.dtype != torch.float32:
        kind = str(x.dtype).removeprefix("torch.")
        reason = f"it walks float32 on a CPU or an NVIDIA GPU, not {kind} on {x.device.type}"
    elif torch.is_grad_enabled() and any(part.requires_grad for part in record):
        reason = "it gives no gradients by forcing"
    elif not x.numel():
        reason = "there is nothing to walk"
    elif isinstance(program := built(scheme, x.device), str):
        reason = program
        if loop == "auto":
            tell(reason)
    else:
        return partial(walk, program) if x.device.type == "cpu" else partial(tried, program, loop)
    if loop == "fast":
        raise refused(reason)
    return reference.walk


def refused(reason: str) -> InputError:
    """Return the error for a fast loop that is requested and not available."""
    return InputError([Finding("loop", f"there is no fast loop here: {reason}", 'give loop="auto" or "plain"')])


@functools.cache
def tell(reason: str) -> None:
    """Log once that the plain loop is used, and why."""
    log.warning("the plain loop is taken, there is no fast one here: %s", reason)


def walk(
    program: Program,
    day: Any,  # noqa: ARG001 - called as the plain one is
    shared: Any,
    carry: Any,
    record: Sequence[Tensor],
    names: Sequence[str],
) -> tuple[Any, dict[str, Tensor]]:
    """Run a record as `xh2cm.loop.reference.walk` does, compiled.

    Parameters
    ----------
    program : Program
    day : callable
        Not called: the program's scheme says the same.
    shared : tuple
        Fixed parameters, a dict of (fold, cell) or (fold, 1), and for each network a constant (fold, cell, row),
        a matrix, and the rest.
    carry : Any
        State (fold, cell) and memory (fold, cell, unit), in any nesting.
    record : pair of Tensor, (fold, cell, time, feature)
        Forcing, and forcing as the networks see it.
    names : sequence of str

    Returns
    -------
    carry : Any
    outputs : dict of str to Tensor, (fold, cell, time)

    Raises
    ------
    InputError
        If the carry is not of this scheme.
    """
    fixed, ready = shared
    scheme = program.scheme
    folds, cells = record[0].shape[:2]
    flat, nesting = tree_flatten(carry)
    if (found := [tuple(x.shape[2:]) for x in flat]) != scheme.carried:
        problem = f"holds {found} of a cell, this model {scheme.carried}"
        raise InputError([Finding("carry", problem, "start from one of the same model")])
    per_cell = [*fixed.values(), *(net.constant for net in ready), *flat]
    spread = iter([x.to(record[0]).expand(folds, cells, *x.shape[2:]) for x in per_cell])
    tensors = [next(spread) for _ in fixed]
    for net in ready:
        tensors += [next(spread), net.matrix, *net.rest]
    tensors += spread
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    wanted = [scheme.outputs.index(name) for name in names]
    results = Walk.apply(  # type: ignore[no-untyped-call]
        program, [x.contiguous() for x in record], wanted, keep, *(x.contiguous() for x in tensors)
    )
    carried = len(flat)
    return tree_unflatten(list(results[:carried]), nesting), dict(zip(names, results[carried:], strict=True))


class Walk(torch.autograd.Function):
    """The compiled loop and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, program: Program, record: list[Tensor], wanted: list[int], keep: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the final state, then the requested outputs."""
        after, outputs, borders = program.forward(record, program.scheme.grouped(tensors), wanted, keep)
        if keep:
            ctx.save_for_backward(*record, *borders, *tensors)
            ctx.told = (program, wanted, len(after), len(borders))
            ctx.set_materialize_grads(False)
        return (*after, *outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_results: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients by every tensor."""
        program, wanted, carried, count = ctx.told
        forcing, standard, *rest = ctx.saved_tensors
        given = [None if x is None else x.contiguous() for x in by_results]
        by_outputs: list[Tensor | None] = [None] * len(program.scheme.outputs)
        for at, x in zip(wanted, given[carried:], strict=True):
            by_outputs[at] = x
        tensors = program.scheme.grouped(rest[count:])
        by = program.backward([forcing, standard], tensors, rest[:count], given[:carried], by_outputs)
        return (*(None,) * 4, *by.fixed, *(x for net in by.nets for x in net), *by.carry)


def tried(
    program: Program, loop: Loop, day: Any, shared: Any, carry: Any, record: Sequence[Tensor], names: Sequence[str]
) -> tuple[Any, dict[str, Tensor]]:
    """Run as `walk` does, once the program agrees with the plain loop on the first days.

    What a compiler made for a device that the tests do not have is not trusted unseen. If it differs, that is said and
    the plain walk taken, or an error where the fast one was asked for.
    """
    programs = PROGRAMS[program.scheme]
    if program in programs.values() and program not in AGREED:
        reason = f"its first {TRIED} days are not those of the plain one; please report this"
        try:
            if agrees(program, day, shared, carry, [x[:, :, :TRIED] for x in record]):
                AGREED.add(program)
        except Unbuilt as refusal:  # by the device, which sees a program only now
            reason = str(refusal)
        if program not in AGREED:
            programs.update({key: reason for key, one in programs.items() if one is program})
            if loop == "fast":
                raise refused(reason)
            tell(reason)
    step: Callable[..., Any] = partial(walk, program) if program in AGREED else reference.walk
    found: tuple[Any, dict[str, Tensor]] = step(day, shared, carry, record, names)
    return found


def agrees(program: Program, day: Any, shared: Any, carry: Any, record: Sequence[Tensor]) -> bool:
    """Return whether a program gives the plain loop's outputs and gradients, within the precision of products."""
    flat, nesting = tree_flatten((shared, carry))
    results, slopes = [], []
    steps: list[Callable[..., Any]] = [reference.walk, partial(walk, program)]
    for step in steps:
        leaves = [x.detach().requires_grad_() for x in flat]
        with torch.enable_grad():
            after, outputs = step(day, *tree_unflatten(leaves, nesting), record, program.scheme.outputs)
            found = [*tree_leaves(after), *(x for name, x in outputs.items() if not name.endswith("residual"))]
            by = torch.autograd.grad(sum(x.square().mean() for x in found), leaves, allow_unused=True)
        results.append([x.detach() for x in found])
        slopes.append([torch.zeros_like(x) if y is None else y for x, y in zip(leaves, by, strict=True)])
    steepest = max((float(x.abs().max()) for x in slopes[0] if x.numel()), default=0.0)
    pairs = [(x, y, 1.0) for x, y in zip(*results, strict=True)]
    pairs += [(x, y, 1e-3 * steepest) for x, y in zip(*slopes, strict=True)]
    return all(
        torch.allclose(y, x, rtol=0.0, atol=1e-2 * max(float(x.abs().nan_to_num().max()), least), equal_nan=True)
        for x, y, least in pairs
        if x.numel()
    )
