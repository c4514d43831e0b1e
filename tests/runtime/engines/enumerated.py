"""Laws of texts from their definition, in plain Python, and requests whose answers are compared with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import pytest

from ppl.runtime.engines.base import Completion, Request
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Choose, Generate, Score, Support, TextSpec
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


def draw_counts(model: TableModel, spec: TextSpec, n: int) -> Counter[Tokens]:
    node = model.root.extend((1, 1))
    return Counter(
        c.value.tokens for c in run(LocalEngine(model), [Generate(node, spec, derive(5, i)) for i in range(n)])
    )
