"""Kinds of networks: LSTM, GRU and MLP, with the fold as an axis of every weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch.nn.functional import leaky_relu, pad

from xh2cm.model.net import EMBEDDING, Net

if TYPE_CHECKING:
    from torch import Tensor

Memory = tuple["Tensor", ...]


class Weight(NamedTuple):
    """Shape of a weight without its fold axis, and how it starts: uniform within +-`bound` around `start`."""

    shape: tuple[int, ...]
    bound: float
    start: float = 0.0


class Ready(NamedTuple):
    """A net's weights made ready for a record: transposed once, the static part already multiplied."""

    constant: Tensor  # (fold, cell, gates)
    matrix: Tensor  # (fold, feature, gates)
    rest: tuple[Tensor, ...]  # pairs of (fold, 1, out) bias and (fold, in, out) matrix


class Kind(Protocol):
    """A kind of network. A recurrent one is a `Recurrent` with a few lines of its own; `MLP` shows one that is not.

    The compiled loop knows a kind by its attribute `compiled`, the name of a template in ``cpu.cpp`` and ``cuda.cu``,
    or by its `cell` where that is all it changes of a `Recurrent`. Any other is run by the plain loop.
    """

    width: int

    def weights(self, inputs: int, outputs: int, width: int) -> dict[str, Weight]:
        """Return its weights by name."""

    def memory(self, cells: Tensor, width: int) -> Memory:
        """Return its memory before the first day, (fold, cell, width) each, of the type of `cells`."""

    def ready(self, weights: Mapping[str, Tensor], net: Net, embedding: Tensor) -> Ready:
        """Return the weights prepared for a record."""

    def day(self, ready: Ready, features: Sequence[Tensor], memory: Memory) -> tuple[Tensor, Memory]:
        """Return raw outputs (fold, cell, output) of today and the memory for tomorrow."""


def linear(outputs: int, inputs: int, bound: float | None = None) -> tuple[Weight, Weight]:
    """Return weight and bias of a linear layer with PyTorch's default initialisation."""
    bound = 1 / math.sqrt(max(inputs, 1)) if bound is None else bound
    return Weight((outputs, inputs), bound), Weight((outputs,), bound)


def affine(bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return bias (fold, 1, out) and matrix (fold, in, out), as `torch.baddbmm` takes them."""
    return bias.unsqueeze(1), weight.mT


def first_layer(weight: Tensor, bias: Tensor, net: Net, embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Split a first layer into its constant of the record and the matrix for what changes daily."""
    static = net.columns("static")
    constant = (
        torch.baddbmm(bias.unsqueeze(1), embedding, weight[:, :, static].mT)
        if static
        else bias.unsqueeze(1).expand(-1, embedding.shape[1], -1)
    )
    return constant, weight[:, :, net.columns("forcing") + net.columns("state")].mT


class Gates(torch.autograd.Function):
    """The gates of an LSTM cell, with the gradient written out to halve the operations of autograd."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden and cell state (fold, cell, width) from gates (fold, cell, 4 width) and yesterday's cell state."""
        width = cell.shape[-1]
        open_ = torch.sigmoid(gates)
        open_[..., 2 * width : 3 * width] = torch.tanh(gates[..., 2 * width : 3 * width])
        i, f, g, o = open_.chunk(4, -1)
        new = torch.addcmul(f * cell, i, g)
        seen = torch.tanh(new)
        ctx.save_for_backward(open_, cell, seen)
        return o * seen, new

    @staticmethod
    def backward(ctx: Any, by_hidden: Tensor, by_cell: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients by the gates and by yesterday's cell state."""
        open_, cell, seen = ctx.saved_tensors
        i, f, g, o = open_.chunk(4, -1)
        by_new = torch.addcmul(by_cell, by_hidden * o, 1.0 - seen * seen)
        slope = open_ - open_ * open_  # of the sigmoids
        slope[..., 2 * cell.shape[-1] : 3 * cell.shape[-1]] = 1.0 - g * g
        return torch.cat([by_new * g, by_new * cell, by_new * i, by_hidden * seen], -1) * slope, by_new * f


MOST_GATES, MOST_MEMORIES = 4, 2
"""What the compiled loop has room for."""

Sees = Literal["both", "inputs", "hidden"]
"""What a gate sees: today's inputs, what was hidden yesterday, or both."""


class Recurrent:
    """A recurrent cell and a linear layer on its hidden state.

    A kind of one's own says what its gates see and what becomes of them; weights and both loops follow from that:

    >>> import torch
    >>> from xh2cm.model.layers import KINDS, Recurrent
    >>> class MinimalGated(Recurrent):
    ...     gates = ("inputs", "both", "hidden")
    ...
    ...     def cell(self, gates, memory):
    ...         new, forget, old = gates
    ...         share = torch.sigmoid(forget)
    ...         return (torch.lerp(memory[0], torch.tanh(new + share * old), share),)
    >>> KINDS["minimal"] = MinimalGated()
    >>> import xh2cm
    >>> xh2cm.Model(networks=xh2cm.networks(lstm={"kind": "minimal"})).networks[1].kind
    'minimal'
    """

    width = 100
    compiled = "Traced"
    tensors = 4

    gates: tuple[Sees, ...]
    memories = 1
    """How many vectors are remembered, the hidden one first."""

    def cell(self, gates: Sequence[Tensor], memory: Memory) -> Memory:
        """Return what is remembered of today, each number by itself, from the gates before any function."""
        raise NotImplementedError

    def unit(self, gates: Sequence[Tensor], memory: Memory) -> Memory:
        """Return `cell` of as many gates as it has."""
        return self.cell(gates[: len(self.gates)], memory)

    def weights(self, inputs: int, outputs: int, width: int) -> dict[str, Weight]:
        """Return its weights by name."""
        bound = 1 / math.sqrt(width)
        ih, bias_ih = linear(sum(sees != "hidden" for sees in self.gates) * width, inputs, bound)
        hh, bias_hh = linear(sum(sees != "inputs" for sees in self.gates) * width, width, bound)
        head, bias = linear(outputs, width)
        return {
            "weight_ih": ih,
            "weight_hh": hh,
            "bias_ih": bias_ih,
            "bias_hh": bias_hh,
            "head.weight": head,
            "head.bias": bias,
        }

    def memory(self, cells: Tensor, width: int) -> Memory:
        """Return what is remembered before the first day: zeros."""
        return (cells.new_zeros(*cells.shape, width),) * self.memories

    def ready(self, weights: Mapping[str, Tensor], net: Net, embedding: Tensor) -> Ready:
        """Return weights made ready for a record, with zeros for what a gate does not see, and four gates at least."""
        constant, matrix = first_layer(weights["weight_ih"], weights["bias_ih"], net, embedding)
        bias, hidden = affine(weights["bias_hh"], weights["weight_hh"])
        of_inputs, of_hidden = ([sees != other for sees in self.gates] for other in ("hidden", "inputs"))
        return Ready(
            self.placed(constant, of_inputs) + self.placed(bias, of_hidden),
            torch.cat([self.placed(matrix, of_inputs), self.placed(hidden, of_hidden)], 1),
            affine(weights["head.bias"], weights["head.weight"]),
        )

    @staticmethod
    def placed(x: Tensor, where: Sequence[bool]) -> Tensor:
        """Return gates (..., gate x width) at the places where they are, zeros elsewhere."""
        blocks = iter(x.chunk(sum(where), -1))
        width = x.shape[-1] // sum(where)
        nothing = x.new_zeros(*x.shape[:-1], width)
        places = [*where, *[False] * (MOST_GATES - len(where))]
        return torch.cat([next(blocks) if there else nothing for there in places], -1)

    def day(self, ready: Ready, features: Sequence[Tensor], memory: Memory) -> tuple[Tensor, Memory]:
        """Return raw outputs of today and the memory for tomorrow."""
        gates = torch.baddbmm(ready.constant, torch.cat([*features, memory[0]], -1), ready.matrix)
        after = self.unit(gates.split(memory[0].shape[-1], -1), memory)
        return torch.baddbmm(ready.rest[0], after[0], ready.rest[1]), after


class LSTM(Recurrent):
    """An LSTM cell and a linear layer on its hidden state, gates in PyTorch's order (i, f, g, o)."""

    compiled = "Lstm"
    gates = ("both", "both", "both", "both")
    memories = 2

    def ready(self, weights: Mapping[str, Tensor], net: Net, embedding: Tensor) -> Ready:
        """Return the weights prepared for a record."""
        constant, matrix = first_layer(weights["weight_ih"], weights["bias_ih"] + weights["bias_hh"], net, embedding)
        return Ready(
            constant,
            torch.cat([matrix, weights["weight_hh"].mT], 1),
            affine(weights["head.bias"], weights["head.weight"]),
        )

    def day(self, ready: Ready, features: Sequence[Tensor], memory: Memory) -> tuple[Tensor, Memory]:
        """Return raw outputs of today and the memory for tomorrow."""
        hidden, cell = memory
        gates = torch.baddbmm(ready.constant, torch.cat([*features, hidden], -1), ready.matrix)
        hidden, cell = Gates.apply(gates, cell)  # type: ignore[no-untyped-call]
        return torch.baddbmm(ready.rest[0], hidden, ready.rest[1]), (hidden, cell)


class GRU(Recurrent):
    """A GRU cell and a linear layer on its hidden state, gates in PyTorch's order (r, z, n).

    References
    ----------
    Cho et al. (2014), doi:10.3115/v1/D14-1179; as PyTorch has it, which resets what was hidden after its product.
    """

    compiled = "Gru"
    gates = ("inputs", "both", "both", "hidden")

    def ready(self, weights: Mapping[str, Tensor], net: Net, embedding: Tensor) -> Ready:
        """Weights made ready for a record, as (n, r, z, n): first what inputs say to n, last what was hidden says."""
        width = weights["weight_hh"].shape[-1]
        constant, matrix = first_layer(weights["weight_ih"], weights["bias_ih"], net, embedding)
        of_inputs = [pad(x.roll(width, -1), (0, width)) for x in (constant, matrix)]
        of_hidden = [pad(x, (width, 0)) for x in affine(weights["bias_hh"], weights["weight_hh"])]
        return Ready(
            of_inputs[0] + of_hidden[0],
            torch.cat([of_inputs[1], of_hidden[1]], 1),
            affine(weights["head.bias"], weights["head.weight"]),
        )

    def day(self, ready: Ready, features: Sequence[Tensor], memory: Memory) -> tuple[Tensor, Memory]:
        """Return raw outputs of today and the memory for tomorrow."""
        (hidden,) = memory
        width = hidden.shape[-1]
        gates = torch.baddbmm(ready.constant, torch.cat([*features, hidden], -1), ready.matrix)
        by_inputs, both, by_hidden = gates.split([width, 2 * width, width], -1)
        r, z = torch.sigmoid(both).chunk(2, -1)
        n = torch.tanh(torch.addcmul(by_inputs, r, by_hidden))
        hidden = torch.lerp(n, hidden, z)
        return torch.baddbmm(ready.rest[0], hidden, ready.rest[1]), (hidden,)


class MLP:
    """Two hidden layers with LeakyReLU, the second of the size of the embedding; without memory."""

    width = 150
    compiled = "Mlp"
    memories = 0
    tensors = 6

    def weights(self, inputs: int, outputs: int, width: int) -> dict[str, Weight]:
        """Return its weights by name."""
        layers = {
            "hidden": linear(width, inputs),
            "embedding": linear(EMBEDDING, width),
            "head": linear(outputs, EMBEDDING),
        }
        return {
            f"{layer}.{part}": w
            for layer, pair in layers.items()
            for part, w in zip(("weight", "bias"), pair, strict=True)
        }

    def memory(self, cells: Tensor, width: int) -> Memory:
        """Return an empty memory."""
        return ()

    def ready(self, weights: Mapping[str, Tensor], net: Net, embedding: Tensor) -> Ready:
        """Return the weights prepared for a record."""
        constant, matrix = first_layer(weights["hidden.weight"], weights["hidden.bias"], net, embedding)
        rest = [affine(weights[f"{layer}.bias"], weights[f"{layer}.weight"]) for layer in ("embedding", "head")]
        return Ready(constant, matrix, (*rest[0], *rest[1]))

    def day(self, ready: Ready, features: Sequence[Tensor], memory: Memory) -> tuple[Tensor, Memory]:
        """Return raw outputs of today."""
        hidden = leaky_relu(torch.baddbmm(ready.constant, torch.cat(list(features), -1), ready.matrix))
        return self.after(ready.rest, hidden)[1], memory

    def static(self, weights: Mapping[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (fold, cell, 12) and raw outputs (fold, cell, output) of static features (fold, cell, feature)."""
        bias, matrix = affine(weights["hidden.bias"], weights["hidden.weight"])
        rest = [affine(weights[f"{layer}.bias"], weights[f"{layer}.weight"]) for layer in ("embedding", "head")]
        return self.after((*rest[0], *rest[1]), leaky_relu(torch.baddbmm(bias, features, matrix)))

    @staticmethod
    def after(rest: tuple[Tensor, ...], hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the second and third layer."""
        embedding = leaky_relu(torch.baddbmm(rest[0], hidden, rest[1]))
        return embedding, torch.baddbmm(rest[2], embedding, rest[3])


def template(kind: Kind) -> str:
    """Return the template that a kind is compiled by; none if its methods are not those the template stands for."""
    own: str = vars(type(kind)).get("compiled", "")
    if own or not isinstance(kind, Recurrent):
        return own
    unchanged = all(getattr(type(kind), name) is getattr(Recurrent, name) for name in ("ready", "day", "memory"))
    fits = len(kind.gates) <= MOST_GATES and kind.memories <= MOST_MEMORIES
    return Recurrent.compiled if unchanged and fits else ""


KINDS: dict[str, Kind] = {"lstm": LSTM(), "gru": GRU(), "mlp": MLP()}
"""Kinds of networks by name; a kind that is added here can be named in a row."""
