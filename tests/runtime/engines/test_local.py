"""The local engine: no answer depends on its batch, and failures leave it as it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from ppl import load_lm
from ppl.runtime.engines import answers as answers_module
from ppl.runtime.engines import local, measured
from ppl.runtime.engines.base import Completion, Request, RequestError, SupportTooLarge
from ppl.runtime.engines.laws import NextTokens
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.requests import Choose, Generate, Score, Support, TextSpec
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource, derive

from .enumerated import answers, mixed_requests, models, run, texts

# ---- batching


@pytest.mark.parametrize("max_batch", [1, 2, 3, 7, None])
def test_no_result_depends_on_the_batch(max_batch: int | None) -> None:
    model = models()[0]
    together = answers(run(LocalEngine(model, max_batch=max_batch), mixed_requests(model)))
    alone = [answers(run(LocalEngine(model), [request]))[0] for request in mixed_requests(model)]
    assert together == alone


def test_small_tables_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models()[0]
    expected = answers(run(LocalEngine(model), mixed_requests(model)))
    monkeypatch.setattr(answers_module, "_BLOCK", 2 * model.vocab_size)
    monkeypatch.setitem(measured._BUFFER, "cpu", 1)
    assert answers(run(LocalEngine(model), mixed_requests(model))) == expected


def test_requests_may_join_at_any_step() -> None:
    model = models()[0]
    requests = mixed_requests(model)
    expected = answers(run(LocalEngine(model), requests))
    engine = LocalEngine(model)
    waiting = list(mixed_requests(model))
    order = {id(request): i for i, request in enumerate(waiting)}
    found: dict[int, Completion] = {}
    while waiting or engine.pending:
        for request in waiting[:5]:
            engine.submit(request, RandomSource())
        del waiting[:5]
        done = engine.step()
        finished = [order[id(c.request)] for c in done]
        assert finished == sorted(finished)
        found.update(zip(finished, done, strict=True))
    assert answers([found[i] for i in range(len(found))]) == expected


def _short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Laws of more rows have no memory."""

    def laws(logits: torch.Tensor, *args: Any) -> NextTokens:
        if len(logits) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nAnd more.")
        return NextTokens(logits, *args)

    monkeypatch.setattr(local, "NextTokens", laws)


def test_what_a_step_asks_is_halved_until_there_is_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models()[0]
    expected = answers(run(LocalEngine(model), mixed_requests(model)))
    _short_of_memory(monkeypatch, 3)
    engine = LocalEngine(model)
    assert answers(run(engine.session(), mixed_requests(model))) == expected
    assert engine.max_batch is not None and engine.max_batch <= 3  # which the next session knows
    assert load_lm(model).engine.max_batch is None  # type: ignore[attr-defined]


def test_no_memory_for_a_single_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models()[0]
    _short_of_memory(monkeypatch, 0)
    with pytest.raises(RequestError, match=r"no memory to draw one token after a context of 2 tokens.*1 GiB\. Free"):
        run(LocalEngine(model), [Generate(model.root.extend([0, 1]), TextSpec(max_tokens=3), 1)])


def test_batches_are_bounded_and_distinct() -> None:
    model = models()[0]
    sizes = []
    inner = model.logits

    def logits(nodes: Sequence[Prefix]) -> torch.Tensor:
        sizes.append(len(nodes))
        return inner(nodes)

    model.logits = logits  # type: ignore[method-assign]
    run(LocalEngine(model, max_batch=4), mixed_requests(model))
    assert max(sizes) == 4


@pytest.mark.parametrize("max_batch", [None, 5])
def test_equal_histories_share_a_row(max_batch: int | None) -> None:
    model = models()[0]
    node = model.root.extend((0,))
    spec = TextSpec(("\n",), 6)
    done = run(LocalEngine(model, max_batch=max_batch), [Generate(node, spec, derive(1, i)) for i in range(200)])
    asked = {(0, *c.value.tokens[:n]) for c in done for n in range(len(c.value.tokens))}
    assert model.usage.positions == len(asked)
    if max_batch is None:
        assert model.usage.forwards == max(len(c.value.tokens) for c in done)


def test_a_score_takes_one_call_with_the_others() -> None:
    model = models()[0]
    node = model.root.extend((0,))
    spec = TextSpec(("\n",), 3)
    requests: list[Request] = [Score(node, s, spec) for s in [(0, 0, 0), (0, 0, 1), (1, 3)]]
    run(LocalEngine(model), [*requests, Choose(node, ((0, 0), (0, 1)), index=0)])
    assert model.usage.forwards == 1
    assert model.usage.positions == 4  # after "", "a", "aa", "b"


def test_finished_nodes_live_until_the_next_ones() -> None:
    model = models()[1]
    engine = LocalEngine(model)
    (completion,) = run(engine, [Generate(model.root, TextSpec(max_tokens=4), 9)])
    positions = model.usage.positions
    node = model.root.extend(completion.value.tokens[:-1])
    model.logits([node])
    assert model.usage.positions == positions


# ---- failures


def test_a_support_that_is_too_large_leaves_alone() -> None:
    model = models()[0]
    engine = LocalEngine(model)
    spec = TextSpec(max_tokens=2)
    size = len(texts(model, (), spec))
    wanted: list[Request] = [
        Support(model.root, spec, size - 1),
        Support(model.root, spec, 3),
        Support(model.root, spec, size),
    ]
    for request in wanted:
        engine.submit(request, RandomSource())
    found, errors = [], 0
    while engine.pending:
        try:
            found += engine.step()
        except SupportTooLarge:
            errors += 1
    assert errors == 2
    assert [c.request for c in found] == [wanted[2]]
    assert len(found[0].value) == size


def test_a_support_that_is_too_large_is_given_up_early() -> None:
    model = TableModel(["x", "y"], {(): {"x": 1, "y": 1}})
    engine = LocalEngine(model)
    engine.submit(Support(model.root, TextSpec(max_tokens=1000), 100), RandomSource())
    with pytest.raises(SupportTooLarge, match="more than 100"):
        while True:
            engine.step()
    assert model.usage.forwards == 7  # 128 open texts lead to as many outcomes at least


def test_a_model_that_fails_leaves_the_engine_as_it_was() -> None:
    model = models()[0]
    expected = answers(run(LocalEngine(model), mixed_requests(model)))
    inner = model.logits
    calls = iter(range(1000))

    def logits(nodes: Sequence[Prefix]) -> torch.Tensor:
        if next(calls) % 2 == 0:
            raise MemoryError("no room")
        return inner(nodes)

    model.logits = logits  # type: ignore[method-assign]
    engine = LocalEngine(model, max_batch=5)
    requests = mixed_requests(model)
    for request in requests:
        engine.submit(request, RandomSource())
    found: dict[int, Completion] = {}
    while engine.pending:
        before = engine.pending
        try:
            found.update((id(c.request), c) for c in engine.step())
        except MemoryError:
            assert engine.pending == before
    assert answers([found[id(request)] for request in requests]) == expected


@pytest.mark.parametrize("value, word", [(math.nan, "NaN"), (math.inf, "infinite")])
def test_rows_that_are_no_distribution(value: float, word: str) -> None:
    model = models()[0]

    def logits(nodes: Sequence[Prefix]) -> torch.Tensor:
        rows = torch.zeros(len(nodes), model.vocab_size)
        rows[-1, 2] = value
        return rows

    model.logits = logits  # type: ignore[method-assign]
    engine = LocalEngine(model)
    engine.submit(Generate(model.root.extend((1, 2, 3)), TextSpec(max_tokens=2), 1), RandomSource())
    with pytest.raises(RequestError, match=rf"table model of 6 tokens gave {word} .* \[1, 2, 3\].*dtype="):
        engine.step()
    assert engine.pending == 0 and engine.step() == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_logits_of_any_type_that_may_be_trained(dtype: torch.dtype) -> None:
    model = models()[0]
    table = torch.nn.Parameter(torch.linspace(0.0, 1.0, model.vocab_size, dtype=dtype)[None])
    model.logits = lambda nodes: table  # type: ignore[method-assign]
    (completion,) = run(LocalEngine(model), [Generate(model.root, TextSpec(max_tokens=1), 5)])
    wanted = table.detach().double().log_softmax(1)[0, completion.value.tokens[0]]
    assert completion.log_prob == pytest.approx(float(wanted), abs=1e-6)


def test_logits_of_the_wrong_shape() -> None:
    model = models()[0]
    model.logits = lambda nodes: torch.zeros(len(nodes), 3)  # type: ignore[method-assign]
    engine = LocalEngine(model)
    engine.submit(Generate(model.root, TextSpec(max_tokens=2), 1), RandomSource())
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        engine.step()


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="max_batch=0"):
        LocalEngine(models()[0], max_batch=0)
    with pytest.raises(TypeError, match="cannot compute a Request"):
        LocalEngine(models()[0]).submit(Request(), RandomSource())
