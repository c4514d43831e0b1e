"""The local engine against laws enumerated by hand from exact probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import NormalDist

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppl.runtime.engines import local
from ppl.runtime.engines.base import Completion, Request, SupportTooLarge
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.requests import Choose, Ending, Generate, Score, Support, TextSpec
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource, derive

Tokens = tuple[int, ...]

VOCABULARY = ["a", "b", "ab", "\n", "b\na"]
SPECS = [
    TextSpec(stop=("\n",), max_tokens=3),
    TextSpec(stop=("bb", "ba"), max_tokens=3),
    TextSpec(stop=("aab", "ab"), max_tokens=4, top_k=3),
    TextSpec(stop=(), max_tokens=2, temperature=0.5),
    TextSpec(stop=("b\n", "\n\n"), max_tokens=3, temperature=1.7, top_p=0.7),
    TextSpec(stop=("a",), max_tokens=4, temperature=0.8, top_k=4, top_p=0.6),
    TextSpec(stop=("a",), max_tokens=5, temperature=0.0),
    TextSpec(stop=("\n",), max_tokens=1),
    TextSpec(stop=("bbab",), max_tokens=3, top_p=0.5, top_k=2, temperature=0.25),
]


def models() -> list[TableModel]:
    return [
        TableModel.random(0, VOCABULARY, eos="<end>"),
        TableModel.random(1, VOCABULARY, eos=None),
        TableModel.random(2, VOCABULARY, eos="<end>", order=1, sparsity=0.4),
    ]


# ---- the oracle: plain Python, from the definition


def next_token(model: TableModel, context: Tokens, spec: TextSpec) -> dict[int, float]:
    probs = [model.probability(context, token) for token in range(model.vocab_size)]
    if spec.temperature == 0:
        return {probs.index(max(probs)): 1.0}
    kept = {token: p for token, p in enumerate(probs) if p > 0}
    if spec.top_k is not None:
        least = sorted(kept.values(), reverse=True)[: spec.top_k][-1]
        kept = {token: p for token, p in kept.items() if p >= least}
    powered = {token: float(p) ** (1 / spec.temperature) for token, p in kept.items()}
    total = sum(powered.values())
    nucleus: dict[int, float] = {}
    for token in sorted(powered, key=lambda token: (-powered[token], token)):
        if sum(nucleus.values()) / total < spec.top_p - 1e-9:
            nucleus[token] = powered[token]
    mass = sum(nucleus.values())
    return {token: weight / mass for token, weight in nucleus.items()}


def ended(model: TableModel, tokens: Tokens, spec: TextSpec) -> str | None:
    text = b"".join(map(model.decode_bytes, tokens))
    if tokens and tokens[-1] in model.eos_tokens:
        return "eos"
    if any(stop.encode() in text for stop in spec.stop):
        return "stop"
    return "length" if len(tokens) == spec.max_tokens else None


def texts(model: TableModel, context: Tokens, spec: TextSpec) -> dict[Tokens, tuple[str, float]]:
    """Every complete text with its finish and probability."""
    found = {}
    open_texts: list[tuple[Tokens, float]] = [((), 1.0)]
    while open_texts:
        text, probability = open_texts.pop()
        for token, p in next_token(model, context + text, spec).items():
            longer = (*text, token)
            finish = ended(model, longer, spec)
            if finish is None:
                open_texts.append((longer, probability * p))
            else:
                found[longer] = (finish, probability * p)
    return found


# ---- helpers


def run(engine: LocalEngine, requests: Sequence[Request]) -> list[Completion]:
    source = RandomSource()
    for request in requests:
        engine.submit(request, source)
    found: dict[int, Completion] = {}
    while engine.pending:
        for completion in engine.step():
            found[id(completion.request)] = completion
    return [found[id(request)] for request in requests]


def check_support(model: TableModel, context: Tokens, spec: TextSpec) -> None:
    node = model.root.extend(context)
    (completion,) = run(LocalEngine(model), [Support(node, spec, 10_000)])
    expected = texts(model, context, spec)
    assert {g.tokens: g.finish for g, _ in completion.value} == {tokens: f for tokens, (f, _) in expected.items()}
    for generated, log_prob in completion.value:
        assert log_prob == pytest.approx(math.log(expected[generated.tokens][1]), abs=1e-9)
    assert math.fsum(math.exp(log_prob) for _, log_prob in completion.value) == pytest.approx(1, abs=1e-9)


def chi_square(counts: Counter[Tokens], law: dict[Tokens, float], alpha: float) -> None:
    """Fails with probability ``alpha`` if the counts follow the law (rare outcomes pooled)."""
    total = sum(counts.values())
    assert counts.keys() <= law.keys()
    common = {x: p for x, p in law.items() if p * total >= 5}
    cells = [(counts[x], p * total) for x, p in common.items()]
    rest = 1 - sum(common.values())
    if rest * total >= 5:
        cells.append((total - sum(c for c, _ in cells), rest * total))
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in cells)
    k = len(cells) - 1
    # Wilson and Hilferty's approximation of the quantile.
    z = NormalDist().inv_cdf(1 - alpha)
    assert statistic < k * (1 - 2 / (9 * k) + z * math.sqrt(2 / (9 * k))) ** 3


def mixed_requests(model: TableModel) -> list[Request]:
    """Of all kinds, with shared nodes, shared beginnings and paths."""
    a, b = model.root.extend((0, 1)), model.root.extend((0, 1, 2))
    requests: list[Request] = [
        Generate(node, spec, derive(7, i)) for i, spec in enumerate(SPECS * 3) for node in (a, b)
    ]
    requests += [Score(a, tokens, SPECS[1]) for tokens in texts(model, (0, 1), SPECS[1])]
    requests += [Choose(a, ((0,), (0, 1), (2, 3)), key=3), Choose(b, ((0,), (1, 1, 1)), index=1)]
    requests += [Support(a, SPECS[0], 1000), Choose(a, ((0,), (2, 3)))]
    return requests


def answers(completions: Sequence[Completion]) -> list[tuple[object, float, int]]:
    return [(c.value, c.log_prob, c.tokens) for c in completions]


# ---- the law of a text


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("which", range(3))
def test_support_is_the_enumerated_law(which: int, spec: TextSpec) -> None:
    check_support(models()[which], (0, 3), spec)


@pytest.mark.parametrize("spec", SPECS[:6], ids=str)
def test_score_of_every_sequence(spec: TextSpec) -> None:
    model = models()[0]
    assert spec.max_tokens is not None
    longest = min(3, spec.max_tokens + 1)
    sequences = [s for n in range(longest + 1) for s in product(range(model.vocab_size), repeat=n)]
    node = model.root.extend((2,))
    expected = texts(model, (2,), spec)
    for completion in run(LocalEngine(model), [Score(node, s, spec) for s in sequences]):
        tokens = completion.value
        if tokens in expected:
            assert completion.log_prob == pytest.approx(math.log(expected[tokens][1]), abs=1e-9)
        else:
            assert completion.log_prob == -math.inf


def test_score_of_unknown_tokens() -> None:
    model = models()[0]
    (completion,) = run(LocalEngine(model), [Score(model.root, (99,), TextSpec(max_tokens=1))])
    assert completion.log_prob == -math.inf


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_draws_score_as_they_were_drawn(spec: TextSpec) -> None:
    model = models()[2]
    node = model.root.extend((1,))
    drawn = run(LocalEngine(model), [Generate(node, spec, derive(0, i)) for i in range(40)])
    scored = run(LocalEngine(model), [Score(node, c.value.tokens, spec) for c in drawn])
    assert [c.log_prob for c in drawn] == [c.log_prob for c in scored]
    law = texts(model, (1,), spec)
    assert all(law[c.value.tokens][0] == c.value.finish and c.tokens == len(c.value.tokens) for c in drawn)


def draw_counts(model: TableModel, spec: TextSpec, n: int) -> Counter[Tokens]:
    node = model.root.extend((1, 1))
    return Counter(
        c.value.tokens for c in run(LocalEngine(model), [Generate(node, spec, derive(5, i)) for i in range(n)])
    )


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[4], SPECS[5]], ids=str)
def test_draws_follow_the_law(spec: TextSpec) -> None:
    model = models()[0]
    law = {tokens: p for tokens, (_, p) in texts(model, (1, 1), spec).items()}
    chi_square(draw_counts(model, spec, 4000), law, alpha=1e-4)


def test_greedy_takes_the_first_of_equals() -> None:
    model = TableModel(["x", "y", "z"], {(): {"x": 1, "y": 2, "z": 2}})
    (completion,) = run(LocalEngine(model), [Generate(model.root, TextSpec(max_tokens=2, temperature=0.0), 1)])
    assert completion.value.tokens == (1, 1)
    assert completion.log_prob == 0.0


def test_a_tiny_temperature_is_no_infinity() -> None:
    model = TableModel(["x", "y"], {(): {"x": 1, "y": 2}})
    (completion,) = run(LocalEngine(model), [Generate(model.root, TextSpec(max_tokens=2, temperature=1e-300), 1)])
    assert completion.value.tokens == (1, 1)


def test_a_nucleus_of_equals_takes_the_first() -> None:
    names = [f"<{i}>" for i in range(40)]
    model = TableModel(names, {(): dict.fromkeys(names, 1)})
    for top_p, size in ((0.5, 20), (0.51, 21), (1e-13, 1)):
        (completion,) = run(LocalEngine(model), [Support(model.root, TextSpec(max_tokens=1, top_p=top_p), 40)])
        assert [g.tokens for g, _ in completion.value] == [(i,) for i in range(size)]
        assert [p for _, p in completion.value] == pytest.approx([-math.log(size)] * size)


# ---- a law's test must fail for a wrong law


def test_planted_bugs_in_the_law_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = local.log_probs
    bugs: list[Callable[..., torch.Tensor]] = [
        lambda x, law: right(x, (1.0, law[1], law[2])),
        lambda x, law: right(x, (law[0], 1.0, law[2])),
        lambda x, law: right(x, (law[0], law[1], None)),
        lambda x, law: torch.where(right(x, law) == -torch.inf, -torch.inf, x.log_softmax(-1)),
    ]
    for bug in bugs:
        monkeypatch.setattr(local, "log_probs", bug)
        with pytest.raises(AssertionError):
            check_support(models()[0], (0, 3), SPECS[5])


def test_a_planted_bug_in_the_stops_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Ending.after
    monkeypatch.setattr(Ending, "after", lambda self, tail, token, count: right(self, tail[1:], token, count))
    with pytest.raises(AssertionError):
        check_support(models()[0], (0, 3), SPECS[1])


def test_a_planted_bug_in_the_draws_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RandomSource.choose_rows
    monkeypatch.setattr(
        RandomSource, "choose_rows", lambda self, rows, keys, counters: right(self, rows, keys, [0] * len(keys))
    )
    model = models()[0]
    law = {tokens: p for tokens, (_, p) in texts(model, (1, 1), SPECS[0]).items()}
    with pytest.raises(AssertionError):
        chi_square(draw_counts(model, SPECS[0], 4000), law, alpha=1e-4)


# ---- where a text ends


class Pieces:
    """A vocabulary of given byte strings; the last id ends a text."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [*pieces, b""]
        self.eos_tokens = frozenset({len(pieces)})

    def decode_bytes(self, token: int) -> bytes:
        return self.pieces[token]


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple),
    st.lists(st.text("ab", max_size=3).map(str.encode), min_size=1, max_size=4),
    st.lists(st.integers(0, 10), max_size=12),
    st.none() | st.integers(1, 8),
)
def test_endings_are_those_of_naive_rescanning(
    stop: tuple[str, ...], pieces: list[bytes], picks: list[int], most: int | None
) -> None:
    vocabulary = Pieces(pieces)
    tokens = [pick % len(vocabulary.pieces) for pick in picks]
    expected: tuple[int, str | None] = (len(tokens), None)
    for n in range(1, len(tokens) + 1):
        text = b"".join(map(vocabulary.decode_bytes, tokens[:n]))
        finish = (
            "eos"
            if tokens[n - 1] in vocabulary.eos_tokens
            else "stop"
            if any(s.encode() in text for s in stop)
            else "length"
            if n == most
            else None
        )
        if finish is not None:
            expected = (n, finish)
            break
    assert Ending(TextSpec(stop, most), vocabulary).of(tokens) == expected


def test_stops_of_many_bytes_across_tokens() -> None:
    euro = "€".encode()
    vocabulary = Pieces([euro[:1], euro[1:2], euro[2:], b"x"])
    ending = Ending(TextSpec(("€",), 10), vocabulary)
    assert ending.of((3, 0, 1, 2, 3)) == (4, "stop")
    tail = b""
    for count in range(1, 9):
        tail, _ = ending.after(tail, 3, count)
        assert len(tail) <= len(euro) - 1
    assert not ending.completes((0, 1)) and not ending.completes(()) and ending.completes((3, 4))


@pytest.mark.parametrize(
    "field",
    [{"stop": ("",)}, {"max_tokens": 0}, {"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_k": 0}],
)
def test_specs_are_checked(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        TextSpec(**field)  # type: ignore[arg-type]


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
    monkeypatch.setattr(local, "_BLOCK", 2 * model.vocab_size)
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


# ---- choices


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0, 0.0])
def test_the_law_of_a_choice(temperature: float) -> None:
    model = models()[0]
    context = (0, 1)
    options = ((0,), (0, 1), (2, 3, 3), (1,))
    node = model.root.extend(context)
    joint = [
        math.prod(float(model.probability(context + option[:i], option[i])) for i in range(len(option)))
        for option in options
    ]
    powered = [p ** (1 / temperature) if temperature else float(p == max(joint)) for p in joint]
    law = [w / sum(powered) for w in powered]
    engine = LocalEngine(model)
    scored = run(engine, [Choose(node, options, index=i, temperature=temperature) for i in range(4)])
    assert [math.exp(c.log_prob) for c in scored] == pytest.approx(law)
    drawn = run(engine, [Choose(node, options, key=derive(3, i), temperature=temperature) for i in range(2000)])
    assert all(math.exp(c.log_prob) == pytest.approx(law[c.value]) for c in drawn)
    if temperature:
        chi_square(Counter((c.value,) for c in drawn), {(i,): p for i, p in enumerate(law)}, alpha=1e-4)
    (whole,) = run(engine, [Choose(node, options, temperature=temperature)])
    assert [i for i, _ in whole.value] == [i for i, p in enumerate(law) if p > 0]
    (none,) = run(engine, [Choose(node, options, index=-1)])
    assert none.log_prob == -math.inf


def test_a_choice_among_the_impossible_is_an_error_of_its_own() -> None:
    model = TableModel(["x", "y", "z"], {(): {"x": 1, "y": 1}})
    engine = LocalEngine(model)
    fine = Generate(model.root, TextSpec(max_tokens=1), 1)
    for request in (Choose(model.root, ((2,), (0, 2)), key=1), fine):
        engine.submit(request, RandomSource())
    with pytest.raises(ValueError, match="none of the 2 options"):
        engine.step()
    (completion,) = engine.step()
    assert completion.request is fine and len(completion.value.tokens) == 1
    assert engine.pending == 0 and model.usage.forwards == 1


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
    with pytest.raises(FloatingPointError, match=rf"table model of 6 tokens gave {word} .* \[1, 2, 3\]"):
        engine.step()
    assert engine.pending == 1
    engine.cancel()
    assert engine.pending == 0 and engine.step() == []


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


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tables are tiny
    yield
    torch.set_num_threads(threads)
