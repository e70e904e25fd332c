"""The fast loop against the plain one: the same numbers, for any processes and networks."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from loops import (
    EVERY_MODEL,
    GATED,
    MODELS,
    ODD_TABLE,
    OWN_KINDS,
    CurvedRunoff,
    MinimalGated,
    close,
    given,
    result,
    same,
)
from torch.utils._pytree import tree_leaves

from xh2cm.errors import InputError
from xh2cm.loop import cache, codegen, compiled, reference
from xh2cm.loop.program import Scheme
from xh2cm.model import (
    KINDS,
    PUBLISHED_NETWORKS,
    HybridModel,
    Scaling,
    SpinUp,
    networks,
)
from xh2cm.model.layers import MLP
from xh2cm.physics import Processes


@dataclasses.dataclass(frozen=True)
class Neighbourly(CurvedRunoff):
    """What no lane can do: look at another cell."""

    def __call__(self, excess_water, soil_moisture, soil_capacity, curve, steepness):
        return excess_water * torch.sigmoid(curve * steepness + soil_moisture.mean() / soil_capacity.mean())


class Odd(MLP):
    """A kind of net that the fast loop does not know."""


pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture(scope="module", autouse=True)
def compiled_anew(tmp_path_factory):
    """Compile anew in each run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XH2CM_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture
def forgetful(monkeypatch, tmp_path):
    """As a fresh process with an empty cache."""
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path))
    for memory in (cache.compiler, cache.library, compiled.tell):
        memory.cache_clear()
    yield
    for memory in (cache.compiler, cache.library, compiled.tell):
        memory.cache_clear()


def program_of(scheme):
    program = compiled.built(scheme, torch.device("cpu"))
    assert not isinstance(program, str), program
    return program


@EVERY_MODEL
def test_the_fast_loop_gives_the_plain_ones_numbers(model):
    outputs, carry, gradients = result(model, "plain", torch.float64)
    fast_outputs, fast_carry, fast_gradients = result(model, "fast")
    assert fast_outputs.keys() == outputs.keys()
    for name, expected in outputs.items():
        if name.endswith("residual"):
            assert fast_outputs[name].abs().max() <= 1e-3
        else:
            assert same(fast_outputs[name], expected, 1e-5), name
    assert all(same(x, y, 1e-5) for x, y in zip(fast_carry, carry, strict=True))
    for name, expected in gradients.items():
        assert same(fast_gradients[name], expected, 1e-4), name


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_a_kind_of_ones_own_is_compiled_from_its_cell(kind, monkeypatch):
    monkeypatch.setitem(KINDS, kind, OWN_KINDS[kind])
    model = HybridModel(3, networks=networks(lstm={"kind": kind}), width=9)
    close(result(model, "fast"), result(model, "plain", torch.float64))


def test_a_kind_that_changes_more_than_its_cell_takes_the_plain_loop(monkeypatch, caplog):
    class Doubled(MinimalGated):
        def day(self, ready, features, memory):
            given, after = super().day(ready, features, memory)
            return 2.0 * given, after

    class Wide(MinimalGated):
        gates = ("both",) * 5

        def cell(self, gates, memory):
            return (torch.tanh(sum(gates)) + memory[0],)

    for kind in (Doubled(), Wide()):
        monkeypatch.setitem(KINDS, "mine", kind)
        with caplog.at_level(logging.WARNING, "xh2cm"):
            caplog.clear()
            compiled.tell.cache_clear()
            model = HybridModel(3, networks=networks(lstm={"kind": "mine"}), width=3)
            close(result(model, "auto"), result(model, "plain", torch.float64))
        assert "networks of kind mine have no compiled form" in caplog.text


def test_the_published_model_at_its_own_size(parity):
    from xh2cm.datasets.published import from_published

    theirs = {k: torch.from_numpy(v) for k, v in np.load(parity / "model.npz").items()}
    model = HybridModel(features=30)
    weights = model.pack(from_published({k[8:]: v for k, v in theirs.items() if k.startswith("weight0_")}))[None]
    scaling = Scaling(*(theirs[f"stat_{k}"] for k in ("means_forcing", "stds_forcing", "means_static", "stds_static")))
    inputs = theirs["forcing"][None], theirs["static"][None], scaling
    carry = model.spun_up(weights, *inputs, SpinUp(), "fast")
    weights.requires_grad_()
    names = ["gpp", "nee", "et", "runoff", "tws", "swe", "fapar"]
    found = {}
    for loop in ("plain", "fast"):
        _, outputs = model.run(weights, *inputs, names, carry, loop)
        (gradient,) = torch.autograd.grad(
            sum(x.square().mean() / x.square().mean().detach() for x in outputs.values()), weights
        )
        found[loop] = outputs, model.unpack(gradient)
    for name in names:
        assert same(found["fast"][0][name], found["plain"][0][name], 1e-5), name
    for name, expected in found["plain"][1].items():
        assert same(found["fast"][1][name], expected, 1e-4), name


@GATED
def test_what_is_carried_from_one_walk_to_the_next_carries_its_gradient(model):
    weights, forcing, static, scaling = given(model)
    gradients = []
    for loops in (("plain", "plain"), ("fast", "fast"), ("plain", "fast")):
        w = weights.clone().requires_grad_()
        carry, first = model.run(w, forcing[:, :, :20], static, scaling, ["gpp"], None, loops[0])
        _, second = model.run(w, forcing[:, :, 20:], static, scaling, ["gpp", "tws"], carry, loops[1])
        loss = second["tws"].mean() + first["gpp"].mean()
        gradients.append(torch.autograd.grad(loss, w)[0])
    for gradient in gradients[1:]:
        assert same(gradient, gradients[0], 1e-4)


@pytest.mark.parametrize(("cells", "days"), [(1, 1), (16, 16), (17, 33)])
def test_any_number_of_cells_days_and_folds(cells, days):
    """Lanes without a cell, stretches of a day, more folds than threads."""
    model = MODELS["another physics and table"]
    inputs = given(model, folds=5, cells=cells, days=days)
    found, expected = (result(model, loop, inputs=inputs) for loop in ("fast", "plain"))
    assert all(same(found[0][name], x, 1e-4) for name, x in expected[0].items() if not name.endswith("residual"))
    for name, gradient in expected[2].items():
        assert same(found[2][name], gradient, 1e-3), name  # float32 on both sides


def test_a_carry_of_another_model_is_refused():
    published, gru = MODELS["published"], MODELS["a GRU in each place"]
    weights, forcing, *rest = given(published)
    with torch.no_grad():
        carry, _ = published.run(weights, forcing, *rest, loop="fast")
        with pytest.raises(InputError, match=r"carry: holds .*\(16,\)"):
            gru.run(*given(gru), carry=carry, loop="fast")
        wide = carry._replace(memory=tuple(tuple(x[..., :8] for x in memory) for memory in carry.memory))
        with pytest.raises(InputError, match=r"carry: holds .*\(8,\)"):
            published.run(weights, forcing, *rest, carry=wide, loop="fast")


def test_a_model_without_a_daily_network():
    """All that is learned may be constant."""

    def see(fixed, state):
        return ([state[0] / fixed[0]],)

    def land(fixed, state, forcing, raw):
        assert not list(raw)
        runoff = state[0] * torch.sigmoid(fixed[1])
        return [state[0] + forcing[0] - runoff], [runoff]

    def day(shared, carry, today):
        after, outputs = land(list(shared[0].values()), carry, today[0].unbind(-1), [])
        return after, {"runoff": outputs[0]}

    scheme = Scheme((), fixed=2, state=1, forcing=1, sight=1, outputs=("runoff",), see=see, land=land)
    program = program_of(scheme)
    rain = torch.rand(2, 17, 33, 1, generator=torch.Generator().manual_seed(0))
    found = []
    for walk in (reference.walk, lambda *arguments: compiled.walk(program, *arguments)):
        fixed = {"capacity": torch.full((2, 1), 50.0), "rate": torch.linspace(-3, 0, 34).view(2, 17).requires_grad_()}
        carry, outputs = walk(day, (fixed, []), [torch.ones(2, 17)], (rain, rain), ["runoff"])
        gradient = torch.autograd.grad(outputs["runoff"].square().mean() + carry[0].mean(), fixed["rate"])
        found.append([*carry, outputs["runoff"], *gradient])
    assert all(same(x, y, 1e-5) for x, y in zip(*found, strict=True))


@GATED
def test_more_threads_give_the_same_bits(monkeypatch, model):
    inputs = given(model, cells=50)
    found = []
    for count in (1, 3, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        found.append(result(model, "fast", inputs=inputs))
    for other in found[1:]:
        for x, y in zip(tree_leaves(found[0]), tree_leaves(other), strict=True):
            assert torch.equal(x, y)


@GATED
def test_products_are_less_precise_only_when_asked_and_where_that_can_be(model):
    inputs = given(model, cells=50)
    before, *_ = expected = result(model, "fast", inputs=inputs)
    torch.set_float32_matmul_precision("medium")
    try:
        found = result(model, "fast", inputs=inputs)
    finally:
        torch.set_float32_matmul_precision("highest")
    bfloat16 = "__AVX512BF16__" in cache.compiler()[1]
    assert torch.equal(found[0]["gpp"], before["gpp"]) is not bfloat16
    for name in ("gpp", "et", "tws"):
        assert same(found[0][name], before[name], 1e-2), name
    for name, gradient in expected[2].items():
        assert same(found[2][name], gradient, 0.1), name
    assert torch.equal(result(model, "fast", inputs=inputs)[0]["gpp"], before["gpp"])


def test_without_gradients_nothing_is_kept_for_them():
    model = MODELS["published"]
    with torch.no_grad():
        _, outputs = model.run(*given(model), ["gpp"], loop="fast")
    assert not outputs["gpp"].requires_grad
    assert torch.equal(outputs["gpp"], result(model, "fast")[0]["gpp"])


def test_what_is_not_a_number_stays_so_in_its_cell():
    model = MODELS["published"]
    weights, forcing, static, scaling = given(model)
    forcing = forcing.clone()
    forcing[1, 4, 20, 0] = torch.nan
    outputs, _, gradients = result(model, "fast", inputs=(weights, forcing, static, scaling))
    expected, _, plain = result(model, "plain", inputs=(weights, forcing, static, scaling))
    for name in ("gpp", "et", "tws"):
        assert torch.equal(outputs[name].isnan(), expected[name].isnan())
    assert outputs["gpp"].isnan().sum() == 17
    for name, gradient in gradients.items():
        assert torch.equal(gradient.isfinite(), plain[name].isfinite()), name


@pytest.mark.usefixtures("forgetful")
def test_it_is_compiled_once(caplog):
    caplog.set_level(logging.INFO, "xh2cm.loop")
    first, second = HybridModel(0, width=2), HybridModel(5, width=2)  # features do not matter
    program_of(first.scheme)
    assert "compiled in" in caplog.text
    caplog.clear()
    cache.library.cache_clear()
    program_of(second.scheme)
    assert caplog.text == ""
    assert len(list(cache.folder().iterdir())) == 1


def hindered(model, caplog):
    """What the fast loop says of a model it cannot walk, having walked it all the same."""
    caplog.set_level(logging.WARNING, "xh2cm")  # whatever the command line has set in this process
    inputs = given(model, days=3)
    with torch.no_grad():
        _, expected = model.run(*inputs, ["gpp"], loop="plain")
        for _ in range(2):
            _, outputs = model.run(*inputs, ["gpp"], loop="auto")
    assert torch.equal(outputs["gpp"], expected["gpp"])
    assert len(caplog.records) == 1
    with pytest.raises(InputError, match="there is no fast loop here") as refused, torch.no_grad():
        model.run(*inputs, ["gpp"], loop="fast")
    reason = caplog.records[0].getMessage().removeprefix("the plain loop is taken, there is no fast one here: ")
    assert reason in str(refused.value)
    return reason


@pytest.mark.usefixtures("forgetful")
def test_no_compiler(caplog, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in hindered(HybridModel(3, width=2), caplog)


@pytest.mark.usefixtures("forgetful")
def test_a_compiler_that_fails(caplog, monkeypatch):
    monkeypatch.setattr(cache, "FLAGS", (*cache.FLAGS, "-fno-such-thing"))
    assert "failed" in hindered(HybridModel(3, width=2), caplog)


@pytest.mark.usefixtures("forgetful")
def test_a_cache_that_cannot_be_written(caplog, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XH2CM_CACHE", str(tmp_path / "file"))
    assert "file" in hindered(HybridModel(3, width=2), caplog)


@pytest.mark.usefixtures("forgetful")
def test_physics_that_mixes_cells(caplog):
    model = HybridModel(3, Processes(runoff=Neighbourly()), ODD_TABLE)
    assert "mean" in hindered(model, caplog)


@pytest.mark.usefixtures("forgetful")
def test_an_odd_kind_of_net(caplog, monkeypatch):
    monkeypatch.setitem(KINDS, "odd", Odd())
    networks = tuple(dataclasses.replace(n, kind="odd") if n.kind == "mlp" else n for n in PUBLISHED_NETWORKS)
    assert "odd" in hindered(HybridModel(3, networks=networks, width=2), caplog)


def test_where_lanes_are_of_no_use_nothing_is_said(caplog):
    caplog.set_level(logging.WARNING, "xh2cm")
    model = MODELS["published"]
    with torch.no_grad():
        _, outputs = model.run(*given(model, days=3, dtype=torch.float64), ["gpp"], loop="auto")
    assert outputs["gpp"].dtype == torch.float64
    weights, forcing, *rest = given(model, days=3)
    forcing.requires_grad_()
    _, outputs = model.run(weights, forcing, *rest, ["gpp"], loop="auto")
    assert torch.autograd.grad(outputs["gpp"].sum(), forcing)[0].abs().sum() > 0
    assert not caplog.records
    with pytest.raises(InputError, match="float64"):
        model.run(*given(model, days=3, dtype=torch.float64), ["gpp"], loop="fast")
    with pytest.raises(InputError, match="'quick' is unknown"):
        model.run(*given(model, days=3), ["gpp"], loop="quick")


# -- arithmetic: every operation that has a printed form, against torch -----------------------------------------------

UNARY = {
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "log1p": torch.log1p,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "tanh": torch.tanh,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "reciprocal": torch.reciprocal,
    "square": torch.square,
    "cube": lambda x: x**3,
    "power": lambda x: x.abs() ** 0.7,
    "base": lambda x: 2.0**x,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "relu": torch.relu,
    "clamp": lambda x: x.clamp(-0.5, 2.0),
    "clamp_min": lambda x: x.clamp(min=0.1),
    "sign": torch.sign,
    "floor": torch.floor,
    "round": torch.round,
    "sin": torch.sin,
    "erf": torch.erf,
    "expm1": torch.expm1,
    "rsqrt": torch.rsqrt,
    "isnan": lambda x: torch.where(x.isnan(), 0.0, x),
    "logic": lambda x: torch.where((x > 0) & ~(x >= 1) | (x == -2) ^ (x < -5), x, 2 * x),
    "ones": lambda x: torch.ones_like(x) + torch.zeros_like(x),
    "mask": lambda x: (x > 0.3) * x + (x <= 0.3).float(),
    "inplace": lambda x: x.clone().add_(1.0).mul_(2.0),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "minimum": lambda x: torch.minimum(x, 1 - x),
    "maximum": lambda x: torch.maximum(x, x * x),
    "atan2": lambda x: torch.atan2(x, x + 3),
}

VALUES = torch.tensor(
    [
        -torch.inf,
        -1e30,
        -104.5,
        -88.0,
        -20.0,
        -3.0,
        -1.0,
        -0.5,
        -1e-4,
        -1e-30,
        -0.0,
        0.0,
        1e-40,
        1e-30,
        1e-4,
        0.3,
        0.5,
        1.0,
        1.5,
        2.0,
        20.0,
        88.0,
        89.5,
        1e30,
        torch.inf,
        torch.nan,
    ]
)


def test_arithmetic_is_that_of_torch():
    import ctypes

    count = {"x": 1}
    frame = (cache.Path(compiled.__file__).parent / "cpu.cpp").read_text().split("// -- matrix products")[0]
    text, calls = [frame], []
    for name, call in UNARY.items():
        wrapped = lambda xs, call=call: [[call(xs[0])]]  # noqa: E731
        text += [
            codegen.function(f"f_{name}", wrapped, count, {"y": 1}),
            codegen.gradient(f"g_{name}", wrapped, count, {"y": 1}),
        ]
        calls.append(f"if (which == {len(calls)}) {{ f_{name}(&x, &y); by = all(1.0f); g_{name}(&x, &by, &dx); }}")
    body = "\n".join(calls)
    text.append(f"""extern "C" void run(int which, const float* from, float* to, float* slope, int n) {{
      for (int i = 0; i < n; i++) {{ vec x = all(from[i]), y, by, dx; {body}; to[i] = y[0]; slope[i] = dx[0]; }} }}""")
    library = cache.library("\n".join(text))
    values, slopes = np.zeros(len(VALUES), np.float32), np.zeros(len(VALUES), np.float32)
    pointer = [ctypes.c_void_p(x) for x in (VALUES.data_ptr(), values.ctypes.data, slopes.ctypes.data)]
    for i, (name, call) in enumerate(UNARY.items()):
        library.run(i, *pointer, len(VALUES))
        x = VALUES.clone().requires_grad_()
        expected = call(x)
        by = torch.autograd.grad(expected.sum(), x)[0] if expected.requires_grad else torch.zeros_like(x)
        for what, found, right in (("value", values, expected.detach()), ("slope", slopes, by)):
            bad = ~torch.isclose(torch.from_numpy(found), right, rtol=3e-6, atol=1e-37, equal_nan=True)
            assert not bad.any(), (name, what, VALUES[bad], found[bad.numpy()], right[bad])


LEARNT = torch.ones(1, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda xs: [[xs[0].cumsum(-1)]], "cumsum"),
        (lambda xs: [[xs[0].sum(-1, keepdim=True)]], "sum"),
        (lambda xs: [[torch.rand_like(xs[0]) + xs[0]]], "rand"),
        (lambda xs: [[xs[0] if xs[0] > 0 else -xs[0]]], "while it was traced"),
        (lambda xs: [[xs[0] + torch.arange(3.0)]], "shape"),
        (lambda xs: [[xs[0] * LEARNT]], "needs a gradient"),
        (lambda xs: [[xs[0].double()]], "float64"),
    ],
)
def test_what_cannot_be_traced_is_refused(call, says):
    with pytest.raises(codegen.Untraceable, match=says):
        codegen.function("f", call, {"x": 1}, {"y": 1})
