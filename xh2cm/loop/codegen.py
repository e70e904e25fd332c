"""Generate the source text of the physics of a day by tracing the functions of the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functionalize, vjp

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

__all__ = ["Untraceable", "function", "gradient"]

Numbers = Sequence["Tensor"]
Function = Callable[..., Sequence[Numbers]]


class Untraceable(Exception):  # noqa: N818
    """Raised where a function does anything but elementwise arithmetic."""


def function(name: str, call: Function, arguments: Mapping[str, int], results: Mapping[str, int]) -> str:
    """Write a function of numbers in C++, on vectors of cells.

    Parameters
    ----------
    name : str
        How it is called in C++.
    call : callable
        Takes lists of tensors and returns lists of tensors. It must treat every element alike.
    arguments, results : mapping of str to int
        Names of the lists and how long they are.

    Returns
    -------
    str
        ``static inline void name(const vec* argument, ..., vec* result, ...)``; results may lie where arguments do.

    Raises
    ------
    Untraceable
        If it mixes cells, decides by values, or uses an operation that has no printed form.
    """

    def flat(*numbers: Tensor) -> list[Tensor]:
        left = iter(numbers)
        found = call(*([next(left) for _ in range(count)] for count in arguments.values()))
        return [x for group in found for x in group]

    examples = [torch.full((1, 1), 0.5) for count in arguments.values() for _ in range(count)]
    try:
        from torch._decomp import core_aten_decompositions
        from torch.fx.experimental.proxy_tensor import make_fx

        traced = make_fx(
            functionalize(flat, remove="mutations_and_views"), decomposition_table=dict(core_aten_decompositions())
        )(*examples)
    except Exception as error:
        raise Untraceable(f"{type(error).__name__} while it was traced: {error}") from error
    traced.graph.eliminate_dead_code()

    takes = [f"{group}[{i}]" for group, count in arguments.items() for i in range(count)]
    gives = [f"{group}[{i}]" for group, count in results.items() for i in range(count)]
    signature = ", ".join([*(f"const vec* {group}" for group in arguments), *(f"vec* {group}" for group in results)])
    return "\n".join([f"static inline void {name}({signature}) {{", *lines(traced, takes, gives), "}", ""])


def gradient(
    name: str,
    call: Function,
    arguments: Mapping[str, int],
    results: Mapping[str, int],
    constant: Sequence[str] = (),
) -> str:
    """Write the vector-Jacobian product of a function of numbers in C++.

    Parameters
    ----------
    name, call, arguments, results
        As for `function`.
    constant : sequence of str
        Arguments no gradient is wanted for.

    Returns
    -------
    str
        ``static inline void name(const vec* argument, ..., const vec* by_result, ..., vec* by_argument, ...)``

    Raises
    ------
    Untraceable
    """
    wanted = [group for group in arguments if group not in constant]

    def pulled(*groups: Numbers) -> Sequence[Numbers]:
        given = dict(zip(arguments, groups, strict=False))

        def of_wanted(*values: Numbers) -> Sequence[Numbers]:
            return [list(x) for x in call(*(given | dict(zip(wanted, values, strict=True))).values())]

        pull = vjp(of_wanted, *(list(given[group]) for group in wanted))[1]
        by: Sequence[Numbers] = pull([list(x) for x in groups[len(arguments) :]])
        return by

    return function(
        name,
        pulled,
        {**arguments, **{f"by_{group}": count for group, count in results.items()}},
        {f"by_{group}": arguments[group] for group in wanted},
    )


def lines(traced: GraphModule, takes: Sequence[str], gives: Sequence[str]) -> list[str]:
    """Print a graph of operations on single numbers, one a line."""
    found = []
    left = iter(takes)
    for i, node in enumerate(traced.graph.nodes):
        if node.op == "get_attr":
            node.meta["val"] = getattr(traced, str(node.target))
        node.meta["name"] = f"x{i}"  # its own may be a function's
        here = f"const {kind(node)} x{i}" if node.op != "output" else ""
        if node.op == "placeholder":
            found.append(f"  {here} = {next(left)};")
        elif node.op == "get_attr":
            value = node.meta["val"]
            if value.requires_grad:
                raise Untraceable("a tensor that needs a gradient comes from outside")
            found.append(f"  {here} = {literal(value.item())};")
        elif node.op == "call_function":
            found.append(f"  {here} = {expression(node)};")
        else:
            found += [f"  {place} = {number(x)};" for place, x in zip(gives, node.args[0], strict=True)]
    return found


def kind(node: Node) -> str:
    """Return the C++ type of a node."""
    value = node.meta["val"]
    if value.numel() != 1:
        raise Untraceable(f"{node.target} gives shape {tuple(value.shape)}")
    if value.dtype not in {torch.float32, torch.bool, torch.int64}:
        raise Untraceable(f"{node.target} gives {value.dtype}")
    return "mask" if value.dtype == torch.bool else "vec"


def name_of(node: Node) -> str:
    """Return the C++ name of a node."""
    return str(node.meta["name"])


def literal(value: float) -> str:
    """Return a Python number in C++."""
    if isinstance(value, bool):
        return f"mask{{}} {'=' if value else '!'}= 0"
    value = float(value)
    if math.isnan(value) or math.isinf(value):
        return f"all({'-' if value < 0 else ''}{'NAN' if math.isnan(value) else 'INFINITY'})"
    return f"all({torch.tensor(value).item()!r}f)"


def number(x: Any) -> str:
    """Return an argument as a vector of numbers."""
    if isinstance(x, torch.fx.Node):
        return f"number({name_of(x)})" if kind(x) == "mask" else name_of(x)
    if isinstance(x, bool | int | float):
        return literal(float(x))
    raise Untraceable(f"{x!r} is no number")


def truth(x: Any) -> str:
    """Return an argument as a mask."""
    if isinstance(x, torch.fx.Node):
        return name_of(x) if kind(x) == "mask" else f"({name_of(x)} != 0.0f)"
    return literal(bool(x))


def expression(node: Node) -> str:
    """Return an operation in C++."""
    target: Any = node.target
    name = target.__name__.split(".")[0].removesuffix("_copy")
    args = list(node.args)
    if set(node.kwargs) - {"dtype", "layout", "device", "pin_memory", "memory_format"}:
        raise Untraceable(f"{name} with {dict(node.kwargs)}")
    if name in IDENTITIES:
        if node.meta["val"].dtype == torch.int64:
            raise Untraceable("whole numbers are made")
        return truth(args[0]) if kind(node) == "mask" else number(args[0])
    if name in FILLED:
        value = FILLED[name](args)
        return literal(bool(value)) if kind(node) == "mask" else number(value)
    if name == "where":
        if kind(node) == "mask":
            yes, chosen, other = (truth(x) for x in args)
            return f"({yes} & {chosen}) | (~{yes} & {other})"
        return f"where({truth(args[0])}, {number(args[1])}, {number(args[2])})"
    if name in LOGICAL and kind(node) == "mask":
        return LOGICAL[name].format(*(truth(x) for x in args))
    if name == "clamp":
        low, high = (*args[1:], None)[:2]
        found = number(args[0])
        found = found if low is None else f"maximum({found}, {number(low)})"
        return found if high is None else f"minimum({found}, {number(high)})"
    if name == "pow" and isinstance(args[1], int | float) and args[1] in POWERS:
        return POWERS[args[1]].format(number(args[0]))
    if name == "leaky_relu":
        return LEAKY.format(number(args[0]), number((*args[1:], 0.01)[0]))
    if name in ARITHMETIC:
        pattern, count = ARITHMETIC[name]
        if len(args) == count:
            return pattern.format(*(number(x) for x in args))
    raise Untraceable(f"the operation {name!r} has no printed form")


IDENTITIES = {"alias", "clone", "detach", "lift_fresh", "_to", "expand"}

FILLED: Mapping[str, Callable[[list[Any]], Any]] = {
    "full": lambda args: args[1],
    "full_like": lambda args: args[1],
    "scalar_tensor": lambda args: args[0],
    **dict.fromkeys(("zeros", "zeros_like", "empty", "empty_like", "empty_permuted"), lambda _: 0.0),
    **dict.fromkeys(("ones", "ones_like"), lambda _: 1.0),
}

POWERS: Mapping[float, str] = {2: "({0}) * ({0})", 3: "({0}) * ({0}) * ({0})", 1: "{0}", -1: "1.0f / ({0})"}

LOGICAL = {
    **dict.fromkeys(("logical_and", "bitwise_and"), "{} & {}"),
    **dict.fromkeys(("logical_or", "bitwise_or"), "{} | {}"),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), "{} ^ {}"),
    **dict.fromkeys(("logical_not", "bitwise_not"), "~({})"),
}

LEAKY = "where({0} > 0.0f, {0}, {0} * {1})"

ARITHMETIC = {
    **{name: (f"{{}} {sign} {{}}", 2) for name, sign in {"add": "+", "sub": "-", "mul": "*", "div": "/"}.items()},
    **{
        name: (f"{{}} {sign} {{}}", 2)
        for name, sign in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items()
    },
    **{name: (f"{name}({{}}, {{}})", 2) for name in ("minimum", "maximum")},
    **{
        name: (f"each([](float a, float b) {{{{ return std::{of}(a, b); }}}}, {{}}, {{}})", 2)
        for name, of in {"pow": "pow", "atan2": "atan2", "fmod": "fmod", "hypot": "hypot"}.items()
    },
    "neg": ("-({})", 1),
    "reciprocal": ("1.0f / ({})", 1),
    "relu": ("maximum({}, all(0.0f))", 1),
    "abs": ("absolute({})", 1),
    "sign": ("number({0} > 0.0f) - number({0} < 0.0f)", 1),
    "isnan": ("{0} != {0}", 1),
    "isinf": ("absolute({0}) == INFINITY", 1),
    "sigmoid": ("sigmoid({})", 1),
    "exp": ("exponential({})", 1),
    "log": ("logarithm({})", 1),
    "log1p": ("logarithm_1p({})", 1),
    "rsqrt": ("1.0f / each([](float a) {{ return std::sqrt(a); }}, {})", 1),
    **{
        name: (f"each([](float a) {{{{ return std::{of}(a); }}}}, {{}})", 1)
        for name, of in {
            **{n: n for n in ("sqrt", "tanh", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh")},
            **{n: n for n in ("acosh", "atanh", "expm1", "exp2", "log2", "log10", "erf", "erfc", "floor", "ceil")},
            "trunc": "trunc",
            "round": "nearbyint",
        }.items()
    },
}
"""Operations, how they are written, and how many arguments they then have."""
