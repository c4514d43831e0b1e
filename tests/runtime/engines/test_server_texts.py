"""Servers that give texts only, or leave end tokens out: texts end where, and as, those of the local engine do."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from ppl import load_lm
from ppl.lm import LM
from ppl.runtime.engines import server_jobs
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.requests import Generate, Generated, TextSpec
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource, derive
from tests.servers.table_server import TableServer, serving
from tests.servers.transformers_server import TransformersServer

TABLE = TableModel.random(2, ["a", "b", "\n"], eos="<end>")
ENDLESS = TableModel(["a", "b"], {(): {"a": 1}}, eos="<end>")
KINDS = ["openai", "transformers"]


@contextmanager
def served(model: Any, kind: str, table: TableServer | None = None) -> Iterator[tuple[LM, TableServer]]:
    """A server of texts only, as this make has it."""
    if table is None:
        make = TransformersServer if kind == "transformers" else TableServer
        table = make(model, owner="?", ids=False, best=0, scoring=None)
    with serving(table) as url:
        lm = load_lm(url, tokenizer=model, kind=kind, backoff=0.01, concurrency=1)
        table.bodies.clear()
        yield lm, table


def small_chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Ask for few tokens at a time, so that short texts take several requests."""
    monkeypatch.setattr(server_jobs, "_CHUNK", size)
    monkeypatch.setattr(server_jobs, "_SHORT_CHUNK", size)


def drawn(lm: LM, context: str, spec: TextSpec, n: int) -> list[Generated]:
    engine = lm.engine.session()
    for seed in range(n):
        engine.submit(Generate(lm.context(context).node, spec, derive(seed, "draw")), RandomSource())
    found = []
    while engine.pending:
        found += [completion.value for completion in engine.step()]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("stop", "most"), [("b", 20), (None, 20), ("b", 3), (None, 7)])
def test_texts_are_as_long_as_they_may_be(
    kind: str, stop: str | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 7)
    with served(ENDLESS, kind) as (lm, table):
        text = lm.context("ab").text(stop=stop, max_tokens=most).sample(0)
    assert (len(text.tokens), text.finish) == (most, "length")
    assert sum(body["max_tokens"] for body in table.bodies) == most


def test_what_the_server_drew_counts() -> None:
    """Where its tokens are others than the tokenizer writes, and where it stops short of what it was asked for."""
    pairs = TableModel(["a", "aa", "b"], {(): {"a": 1}}, eos="<end>")

    class Short(TableServer):
        def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
            return super()._complete({**body, "max_tokens": min(5, body["max_tokens"])})

    with served(pairs, "openai", Short(pairs, owner="?", ids=False, best=0, scoring=None)) as (lm, table):
        text = lm.context("b").text("b", max_tokens=12).sample(0)
    assert (str(text), len(text.tokens), text.finish) == ("a" * 12, 6, "length")
    assert [body["max_tokens"] for body in table.bodies] == [12, 7, 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("context", "spec"),
    [
        ("ab", TextSpec(max_tokens=4)),
        ("ab", TextSpec(stop=("bb", "\na"), max_tokens=4)),
        ("a\n", TextSpec(stop=("\n\n",), max_tokens=4)),
        ("ab", TextSpec(max_tokens=1)),
    ],
)
def test_texts_end_as_those_of_the_local_engine(
    kind: str, context: str, spec: TextSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 2)
    local = load_lm(TABLE).context(context)
    law = local.text(spec.stop or None, max_tokens=spec.max_tokens).outcomes()
    n = 60
    with served(TABLE, kind) as (lm, _):
        counts = Counter[tuple[Any, Any]]((found.tokens, found.finish) for found in drawn(lm, context, spec, n))
    mass: defaultdict[tuple[Any, Any], float] = defaultdict(float)
    for text, log_prob in law:
        mass[text.tokens, text.finish] += math.exp(log_prob)
    assert counts.keys() <= mass.keys()
    largest = [end for end, p in mass.items() if n * p > 6]
    for end in largest:
        assert abs(counts[end] - n * mass[end]) < 4.5 * math.sqrt(n * mass[end]), (end, counts[end], n * mass[end])
    for finish in ("stop", "eos", "length"):
        p = sum(p for end, p in mass.items() if end[1] == finish)
        found = sum(count for end, count in counts.items() if end[1] == finish)
        assert abs(found - n * p) <= 4 * math.sqrt(n * p * (1 - p)) + 1e-9, (finish, found, n * p)


class Ends(TableServer):
    """Writes one text, then ends it; the end token is not listed."""

    writes = ""

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._complete(body)
        if len(self.bodies) > self.loading:
            found["choices"][0] |= {"text": self.writes, "finish_reason": "stop"}
            if self.best:
                names = [*self.writes]
                told = {"tokens": names, "token_logprobs": [-0.5] * len(names), "top_logprobs": None}
                found["choices"][0]["logprobs"] = told
        return found

    loading: float = math.inf


@pytest.mark.parametrize("best", [0, 2])
@pytest.mark.parametrize("kind", ["openai", "llama-cpp-python", "transformers"])
@pytest.mark.parametrize(("writes", "stop"), [("", "\n"), ("\n", "\n\n")])
def test_an_end_after_a_context_with_a_part_of_a_stop_string(best: int, kind: str, writes: str, stop: str) -> None:
    if kind == "transformers" and (best or writes == "\n"):
        pytest.skip("it has no log-probabilities, and would take what was written for the stop string")
    table = Ends(TABLE, owner="?", ids=False, best=best, scoring=None, whole=False)
    table.writes = writes
    with served(TABLE, kind, table) as (lm, _):
        table.loading = 0
        texts = [lm.context(context).text(stop, max_tokens=9).sample(0) for context in ("a", "a\n")]
    for text in texts:
        assert (str(text), text.finish) == (writes, "eos")
    assert len(table.bodies) == 2


def test_a_server_that_writes_nothing_is_an_error_and_not_asked_for_ever() -> None:
    class Silent(Ends):
        def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
            found = super()._complete(body)
            if len(self.bodies) > self.loading:
                found["choices"][0]["finish_reason"] = "length"
            return found

    table = Silent(TABLE, owner="?", ids=False, best=0, scoring=None)
    with served(TABLE, "openai", table) as (lm, _):
        table.loading = 0
        with pytest.raises(RequestError, match="without writing anything"):
            lm.context("a").text("b", max_tokens=40).sample(0)
    assert len(table.bodies) == 1


class Bytes(TableModel):
    """A model that writes é in two tokens."""

    def decode_bytes(self, token: int) -> bytes:
        return {0: b"\xc3", 1: b"\xa9"}.get(token) or super().decode_bytes(token)

    def encode(self, text: str) -> tuple[int, ...]:
        return super().encode(text.replace("é", "xy").replace("\ufffd", "?"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [8, None])
def test_no_character_is_torn(kind: str, most: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch, 3)
    rows = {(): {"x": 1}, ("x",): {"y": 1}, ("x", "y"): {"x": 1}, ("x", "y") * 5: {"b": 1}}
    model = Bytes(["x", "y", "b", "a", "?"], rows, eos="<end>")
    table = TransformersServer(model, owner="?", ids=False, best=0, scoring=None)
    with served(model, kind, table) as (lm, _):
        text = lm.context("a").text("b", max_tokens=most).sample(0)
    assert (str(text), text.finish) == (("é" * 4, "length") if most else ("é" * 5 + "b", "stop"))
