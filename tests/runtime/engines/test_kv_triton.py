"""Triton's kernels: what exact arithmetic gives, rounded once.

They run on a CUDA device, or on a CPU in triton's interpreter with TRITON_INTERPRET=1; else they are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from ppl.runtime.engines import kv_triton
from ppl.runtime.engines.kv_triton import available, gated, merge, rms_norm, turn_and_store

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


@runs
@dtypes
@pytest.mark.parametrize("rows, heads, dim", [(1, 2, 8), (3, 12, 64), (4, 5, 80), (2, 9, 6)])
@pytest.mark.parametrize("strided", [False, True])
def test_merge(rows: int, heads: int, dim: int, strided: bool, dtype: torch.dtype) -> None:
    out, found = normal(rows, heads, dim, dtype=dtype), normal(rows, heads, dim, dtype=dtype)
    lse, found_lse = normal(heads, rows, scale=4.0), normal(heads, rows, scale=4.0)
    if strided:
        whole = normal(rows, heads + 1, 2 * dim, dtype=dtype)
        out = whole[:, 1:, dim:]
        found = found.transpose(0, 1).contiguous().transpose(0, 1)
        lse = lse.t().contiguous().t()
        found_lse = normal(heads, 2 * rows, scale=4.0)[:, ::2]
    share = (found_lse.double() - lse.double()).sigmoid().t()[..., None]
    exact = out.double() + share * (found.double() - out.double())
    rest = whole.clone() if strided else None
    assert merge(out, lse, found, found_lse) is out
    check(out, exact)
    if rest is not None:
        rest[:, 1:, dim:] = out
        assert torch.equal(whole, rest)


@runs
@dtypes
def test_merge_of_parts_that_saw_nothing(dtype: torch.dtype) -> None:
    """Their outputs may be anything."""
    lowest = torch.finfo(torch.float32).min
    lse = torch.tensor([[-INFINITE, 1.0, -INFINITE, lowest, 50.0]], device=DEVICE)
    found_lse = torch.tensor([[2.0, -INFINITE, -INFINITE, 3.0, lowest]], device=DEVICE)
    out, found = normal(5, 1, 8, dtype=dtype), normal(5, 1, 8, dtype=dtype)
    want = out.clone()
    want[[0, 3]] = found[[0, 3]]
    out[0], found[1], found[2] = torch.nan, torch.nan, torch.nan
    merge(out, lse, found, found_lse)
    torch.testing.assert_close(out, want, atol=1e-6, rtol=0)


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
        merge(query, lse[:, :rows], query.flip(0), lse[:, rows:])
        return gated(rms_norm(query.flatten(1), wide, EPS))

    cos, weight, wide, lse = normal(6, 64), normal(64), normal(256), normal(4, 12)
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


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module can be imported, and says that it won't do."""
    assert not available(torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("kv_triton_alone", kv_triton.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.available(torch.device("cuda"))
