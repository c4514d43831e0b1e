"""Triton's kernels: what exact arithmetic gives, rounded once.

They run on a CUDA device, or on a CPU in triton's interpreter with TRITON_INTERPRET=1; else they are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from ppl.runtime.engines import kv_lanes, kv_steps, kv_swift, triton_launch
from ppl.runtime.engines.kv_decoder import Decoder
from ppl.runtime.engines.kv_triton import gated, rms_norm, turn_and_store
from ppl.runtime.engines.kv_triton_attention import attend_to_slots
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Generate, TextSpec
from ppl.runtime.engines.transformers import TransformersModel
from ppl.runtime.engines.triton_launch import available
from ppl.runtime.engines.triton_masses import block_masses
from ppl.runtime.source import derive

from .test_ahead import Lettered, answers
from .tiny_models import make

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's, of infinities as they are meant

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")

runs = pytest.mark.skipif(
    not (available(DEVICE) or INTERPRETED), reason="needs triton, and a CUDA device or TRITON_INTERPRET=1"
)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)

EPS = 1e-5
INFINITE = float("inf")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normal(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape) * scale).to(DEVICE, dtype)


def check(got: Tensor, exact: Tensor) -> None:
    """Within one rounding of its type, and the little that arithmetic in float32 is off."""
    assert got.shape == exact.shape and exact.dtype == torch.float64
    size = exact.abs()
    rounded = 1.0 if got.dtype == torch.bfloat16 and DEVICE.type == "cpu" else 0.51  # the interpreter cuts bits off
    excess = (got.double() - exact).abs() - rounded * torch.finfo(got.dtype).eps * size - 1e-5 * size.clamp(min=1.0)
    assert bool((excess <= 0.0).all()), f"off by {float(excess.max())} more than a rounding"


def normed(x: Tensor, weight: Tensor) -> Tensor:
    """In float64."""
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()


def stores(slots: int, key_heads: int, capacity: int, dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Keys and values [slots, key heads, capacity, dim], each with gaps and an order of its own."""
    keys = normal(capacity + 1, slots, key_heads, dim, dtype=dtype).permute(1, 2, 0, 3)[:, :, 1:]
    return keys, normal(slots, key_heads + 1, capacity, dim, dtype=dtype)[:, 1:]


def check_turn_and_store(
    heads: int, keys: Tensor, values: Tensor, slots: list[int], places: list[int], norm: bool, repeat: bool = False
) -> None:
    """Queries, and all of both stores: what is written, and that nothing else is."""
    (_, key_heads, _, dim), dtype, rows = keys.shape, keys.dtype, len(slots)
    qkv = normal(rows, (heads + 2 * key_heads) * dim, dtype=dtype, scale=2.0)
    cos, sin = normal(rows, dim, dtype=dtype), normal(rows, dim, dtype=dtype)
    if repeat:
        qkv, cos, sin = (x[:1].expand(rows, -1).contiguous() for x in (qkv, cos, sin))
    q_norm, k_norm = (normal(dim, dtype=dtype) if norm else None for _ in range(2))
    at = torch.tensor(slots, device=DEVICE), torch.tensor(places, device=DEVICE)
    query, key, value = qkv.double().view(rows, -1, dim).split([heads, key_heads, key_heads], 1)
    if q_norm is not None and k_norm is not None:
        query, key = normed(query, q_norm), normed(key, k_norm)
    query, key = (x * cos.double()[:, None] + x.roll(dim // 2, -1) * sin.double()[:, None] for x in (query, key))
    before = keys.clone(), values.clone()
    got = turn_and_store(qkv, cos, sin, heads, q_norm, k_norm, EPS, keys, values, *at)
    assert got.is_contiguous() and got.dtype == dtype
    check(got, query)
    for store, old, new in zip((keys, values), before, (key, value), strict=True):
        check(store[at[0], :, at[1]], new)
        store[at[0], :, at[1]] = old[at[0], :, at[1]]
        assert torch.equal(store, old)


@runs
@dtypes
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    "heads, key_heads, dim", [(2, 1, 8), (6, 2, 80), (3, 3, 96), (12, 2, 64), (5, 1, 6), (4, 4, 128)]
)
def test_turn_and_store(heads: int, key_heads: int, dim: int, norm: bool, dtype: torch.dtype) -> None:
    keys, values = stores(5, key_heads, 7, dim, dtype)
    check_turn_and_store(heads, keys, values, [3, 0, 4], [6, 0, 2], norm)
    check_turn_and_store(heads, keys, values, [1], [5], norm)


@runs
def test_rows_may_write_the_same() -> None:
    check_turn_and_store(4, *stores(3, 2, 4, 16, torch.float32), [2, 2, 2], [1, 1, 1], True, repeat=True)


@runs
@pytest.mark.parametrize("far", [0, 1, 2])
def test_stores_may_be_larger_than_32_bits_can_tell(far: int) -> None:
    """Slots, heads or positions 2^31 elements apart: in 4 GiB that are never touched, but for a few pages."""
    strides = [144, 48, 16, 1]
    strides[far] = 1 << 30  # which itself is told in 32 bits
    memory = torch.empty((1 << 31) + 1024, dtype=torch.float16, device=DEVICE)
    keys, values = (memory.as_strided((3, 3, 3, 16), strides, start) for start in (0, 512))
    for store in (keys, values):
        store.zero_()
    check_turn_and_store(2, keys, values, [2, 0], [2, 1], False)


@runs
@dtypes
@pytest.mark.parametrize("rows, inner", [(1, 8), (3, 1024), (2, 1500), (5, 2049)])
def test_gated(rows: int, inner: int, dtype: torch.dtype) -> None:
    gate_up = normal(rows, 2 * inner, dtype=dtype, scale=3.0)
    gate_up[0, :2] = torch.tensor([-200.0, 200.0])
    got = gated(gate_up)
    gate, up = gate_up.double().chunk(2, -1)
    assert got.dtype == dtype and got.is_contiguous()
    check(got, silu(gate) * up)


def at_slots(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attention in float64 of [rows, heads, dim] to [rows, key heads, positions, dim], and the log-sum-exp."""
    groups = query.shape[1] // keys.shape[1]
    keys, values = (some.double().repeat_interleave(groups, 1) for some in (keys, values))
    scores = torch.einsum("rhd,rhpd->rhp", query.double(), keys) * scale
    scores = scores.masked_fill(~seen[:, None], -INFINITE)
    shares = scores.softmax(-1).nan_to_num(0.0)  # where nothing is seen
    return torch.einsum("rhp,rhpd->rhd", shares, values), scores.logsumexp(-1)


@runs
@dtypes
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("heads, key_heads, dim", [(4, 2, 8), (12, 2, 64), (5, 5, 80), (20, 1, 16), (3, 1, 6)])
def test_attend_to_slots(heads: int, key_heads: int, dim: int, before: bool, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and INTERPRETED:
        pytest.skip("the interpreter multiplies the bits of these as whole numbers")
    rows, slots, capacity, scale = 5, 7, 70, 0.3
    keys, values = (normal(slots, key_heads, capacity + 1, dim, dtype=dtype)[:, :, 1:] for _ in range(2))
    lies = torch.tensor([6, 0, 3, 4, 4], device=DEVICE)
    last = torch.tensor([0, 69, 31, 32, 5], device=DEVICE)
    query = normal(rows, heads, dim, dtype=dtype)
    stem = [normal(rows, key_heads, 9, dim, dtype=dtype) for _ in range(2)]
    some = torch.ones(rows, 9, dtype=torch.bool, device=DEVICE)
    some[3] = False  # a row without a stem
    given = None
    if before:
        # Two segments of stems, each in an order of its own.
        halves = [
            at_slots(query, stem[0][:, :, half], stem[1][:, :, half], some[:, half], scale)
            for half in (slice(4), slice(4, 9))
        ]
        where = [torch.randperm(rows, device=DEVICE) for _ in halves]
        out = torch.cat([half[0][order.argsort()] for half, order in zip(halves, where, strict=True)])
        lse = torch.cat([half[1][order.argsort()] for half, order in zip(halves, where, strict=True)]).float()
        lse[lse == -INFINITE] = INFINITE  # as flash attention has it
        given = out.to(dtype), lse.t().contiguous(), torch.stack((where[0], where[1] + rows))
    # What lies behind the last position is never looked at.
    for row, end in zip(lies.tolist(), last.tolist(), strict=True):
        if (lies == row).sum() == 1:
            keys[row, :, end + 1 :], values[row, :, end + 1 :] = float("nan"), float("nan")
    found = attend_to_slots(query, keys, values, lies, last, scale, given)
    seen = torch.arange(capacity, device=DEVICE) <= last[:, None]
    mine = [store[lies].masked_fill(~seen[:, None, :, None], 0.0) for store in (keys, values)]
    if before:
        mine = [torch.cat((mine[0], stem[0]), 2), torch.cat((mine[1], stem[1]), 2)]
        seen = torch.cat((seen, some), 1)
    exact, _ = at_slots(query, mine[0], mine[1], seen, scale)
    # Shares are rounded to the type of the values before they are multiplied with them; so was what came before.
    limit = 2e-5 if dtype == torch.float32 else 3.0 * torch.finfo(dtype).eps
    assert found.shape == exact.shape and float((found.double() - exact).abs().max()) < limit


@runs
@dtypes
@pytest.mark.parametrize("rows, vocabulary, block", [(1, 64, 8), (3, 97, 16), (2, 5000, 64), (2, 9000, 8192)])
@pytest.mark.parametrize("factor", [1.4427, 0.2])
def test_block_masses(rows: int, vocabulary: int, block: int, factor: float, dtype: torch.dtype) -> None:
    logits = normal(rows, vocabulary + 3, dtype=dtype, scale=4.0)[:, :vocabulary]
    logits[0, : block + 1] = -INFINITE  # a block without any mass
    top, masses = block_masses(logits, factor, block)
    exact = logits.double()
    right = torch.exp2((exact - exact.amax(1, keepdim=True)) * factor)
    right = torch.nn.functional.pad(right, (0, -vocabulary % block)).view(rows, -1, block).sum(2)
    assert bool((top == exact.amax(1).float()).all())
    torch.testing.assert_close(masses.double(), right, rtol=1e-5, atol=1e-7)


@runs
def test_rows_that_are_no_distribution_are_told() -> None:
    logits = normal(3, 100)
    logits[0, 77], logits[1] = float("nan"), -INFINITE
    top, _ = block_masses(logits, 1.0, 16)
    assert bool(top[0].isnan()) and float(top[1]) == -INFINITE and bool(top[2].isfinite())


@runs
@dtypes
@pytest.mark.parametrize("rows, width", [(1, 8), (3, 64), (4, 100), (2, 2048), (2, 3000), (1, 16384)])
def test_rms_norm(rows: int, width: int, dtype: torch.dtype) -> None:
    x, weight = normal(rows, width, dtype=dtype, scale=0.01), normal(width, dtype=dtype)
    got = rms_norm(x, weight, EPS)
    assert got.dtype == dtype
    check(got, normed(x, weight))


@runs
@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device")
def test_a_graph_holds_them() -> None:
    """Replayed on other data, and after it was compiled for another number of rows."""

    def step(qkv: Tensor, keys: Tensor, values: Tensor, slots: Tensor) -> Tensor:
        rows = len(qkv)
        query = turn_and_store(qkv, cos[:rows], cos[:rows], 4, weight, weight, EPS, keys, values, slots, slots)
        out = attend_to_slots(
            query, keys, values, slots, slots, 0.1, (query.flip(0), lse[:, :rows].contiguous(), slots[None])
        )
        top, masses = block_masses(gated(rms_norm(out.flatten(1), wide, EPS)), 1.4, 16)
        return masses + top[:, None]

    cos, weight, wide, lse = normal(6, 64), normal(64), normal(256), normal(4, 6)
    qkv, slots = normal(6, 8 * 64), torch.arange(6, device=DEVICE)
    keys, values = normal(6, 2, 6, 64), normal(6, 2, 6, 64)
    step(qkv[:1], keys, values, slots[:1])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = step(qkv, keys, values, slots)
    qkv.copy_(normal(6, 8 * 64))
    slots.copy_(slots.flip(0))
    graph.replay()
    stored = keys.clone(), values.clone()
    assert torch.equal(got, step(qkv, keys, values, slots))
    assert torch.equal(keys, stored[0]) and torch.equal(values, stored[1])


def flash(
    query: Tensor, keys: Tensor, values: Tensor, queries: Tensor, starts: Tensor, *_: object, **options: Any
) -> tuple[Tensor, ...]:
    """What flash attention computes for sequences of queries [n, heads, dim] and of keys [positions, heads, dim]."""
    out, lse = torch.zeros_like(query), torch.full((query.shape[1], len(query)), INFINITE)
    for i, used in enumerate(options["seqused_k"].tolist()):
        rows, at = slice(int(queries[i]), int(queries[i + 1])), slice(int(starts[i]), int(starts[i]) + used)
        if used and rows.start < rows.stop:
            some = [
                store[at].transpose(0, 1)[None].expand(rows.stop - rows.start, -1, -1, -1) for store in (keys, values)
            ]
            seen = torch.ones(rows.stop - rows.start, used, dtype=torch.bool)
            found, sums = at_slots(query[rows], some[0], some[1], seen, options["scale"])
            out[rows], lse[:, rows] = found.to(out.dtype), sums.t().float()
    return out, lse


def several(model: TransformersModel) -> list[Any]:
    """Four texts after each of three contexts."""
    contexts = [model.root.extend(range(3, 3 + length)) for length in (9, 20, 5)]
    specs = [TextSpec(max_tokens=count, temperature=0.3) for count in (12, 7)]
    asked = [Generate(contexts[i % 3], specs[i % 2], derive(5, i)) for i in range(12)]
    return answers(LocalEngine(model), asked)


@pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1; on a device, test_transformers_cuda.py does it")
@pytest.mark.parametrize("stems", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_texts_by_kernels(name: str, stems: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole texts, in batches with padding, with stems in several segments and without."""
    monkeypatch.setattr(kv_steps, "_LONG", 4)
    monkeypatch.setattr(kv_lanes, "_SEGMENT", 2)
    monkeypatch.setattr(kv_swift, "_flash", flash)
    plain = Lettered(make(name).half(), bos=1)
    model = Lettered(make(name).half(), bos=1, ahead=8)
    assert isinstance(model._pass, Decoder) and model._steps is not None and model._slots.sharing is not None
    model._pass.swift = model._steps.ragged = True
    monkeypatch.setattr(kv_steps, "_padded", lambda rows: rows + 3)
    monkeypatch.setattr(model._steps, "capture", True)
    monkeypatch.setattr(model._steps, "_step", model._steps._take)
    if stems:
        model._slots.sharing = 1
    ours, right = several(model), several(plain)
    assert bool(model._steps._lanes) and any(lanes.shared for lanes in model._steps._lanes.values()) == stems
    same = sum(a.value == b.value for a, b in zip(ours, right, strict=True))
    assert same >= 10  # a number near an edge may fall elsewhere in half precision
    for a, b in zip(ours, right, strict=True):
        if a.value == b.value:
            assert a.log_prob == pytest.approx(b.log_prob, abs=0.2)


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules can be imported, and it is known that they won't do."""
    assert not available(torch.device("cpu"))
    monkeypatch.setattr(triton_launch, "find_spec", lambda name: None)
    assert not available.__wrapped__(torch.device("cuda"))
    script = "import sys; sys.modules['triton'] = None; import ppl.runtime.engines.kv_swift"
    subprocess.run([sys.executable, "-c", script], check=True)


COMPILE = """
import inspect
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction
from ppl.runtime.engines import kv_triton, kv_triton_attention, triton_launch, triton_masses

def check(kernel, sizes, **types):
    kernel.__globals__["tl"] = tl
    names = list(inspect.signature(kernel).parameters)
    constants = {(names.index(name),): size for name, size in sizes.items()}
    signature = {name: types.get(name, "i32") if name not in sizes else "constexpr" for name in names}
    triton.compile(ASTSource(JITFunction(kernel), signature, constants), target=GPUTarget("cuda", 90, 32))

store = {name: "*bf16" for name in ("keys", "values", "query", "out", "qkv", "cos", "sin", "x", "weight", "gate_up")}
at = {"slots": "*i64", "last": "*i64", "places": "*i64", "scale": "fp32", "eps": "fp32", "factor": "fp32"}
heads = {"KEY_HEADS": 2, "DIM": 128, "BLOCK": 128}
none = {"found": None, "lse": None, "where": None}
stems = {"found": "*bf16", "lse": "*fp32", "where": "*i64"}
attend, sizes = kv_triton_attention._attend_to_slots, {"GROUP": 6, "QUERIES": 16, "POSITIONS": 32}
check(attend, {**heads, **sizes, **none, "PARTS": 0}, **store, **at)
check(attend, {**heads, **sizes, "PARTS": 3}, **store, **at, **stems)
turn = {**heads, "HEADS": 12, "MANY": 4}
check(kv_triton._turn_and_store, {**turn, "q_norm": None, "k_norm": None}, **store, **at)
check(kv_triton._turn_and_store, turn, **store, **at, q_norm="*bf16", k_norm="*bf16")
check(triton_launch._one, {}, number="*i32")
check(kv_triton._gated, {"BLOCK": 1024}, **store)
check(kv_triton._rms_norm, {"WIDTH": 1536, "BLOCK": 2048}, **store, **at)
check(triton_masses._block_masses, {"BLOCK": 512, "MANY": 8}, logits="*bf16", tops="*fp32", masses="*fp32", **at)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
def test_they_compile_for_a_gpu() -> None:
    """What the interpreter lets pass, such as a variable of two types."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", COMPILE], check=True, env=environment)
