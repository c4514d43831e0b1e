"""llama-server's wire format against the table that is served; the server itself is run by ``make test-llamacpp``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ppl import infer, load_lm, observe, program, sample
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Score
from ppl.runtime.engines.server_kinds import KINDS, kind_of
from ppl.runtime.engines.server_model import ServerModel
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource
from tests.servers.llama_server import LlamaServer
from tests.servers.table_server import serving

TABLE = TableModel.random(0, ["a", "b", "ab", "\n", "b\na"], eos="<end>")
SERVER = LlamaServer(TABLE, owner="llamacpp")
LAWS: list[dict[str, float]] = [
    {},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_p": 0.6, "temperature": 1.7},
    {"temperature": 0},
]


@pytest.fixture(scope="module")
def served() -> Iterator[LM]:
    with serving(SERVER) as url:
        yield load_lm(url, tokenizer=TABLE)


def exact(request: Score) -> float:
    engine = LocalEngine(TABLE)
    engine.submit(Score(TABLE.root.extend(request.context.tokens()), request.tokens, request.spec), RandomSource())
    [found] = engine.step()
    return found.log_prob


def test_it_says_what_it_can_do(served: LM) -> None:
    for words in ("llama.cpp", "token ids", "after temperature and top-k/top-p", "scores texts (grammar)"):
        assert words in served.describe()
    assert kind_of("me", ["/v1/models", "/extras/tokenize"]) is KINDS["llama-cpp-python"]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("stop", ["\n", "ab", None])
def test_draws_are_the_tables_and_stop_strings_stay(served: LM, law: dict[str, float], stop: str | None) -> None:
    there = served.context("ab").text(stop=stop, max_tokens=4, **law)  # type: ignore[arg-type]
    SERVER.bodies.clear()
    finished = set()
    for seed in range(8):
        drawn = served.compute(there.draw(seed))
        finished.add(drawn.value.finish)
        assert drawn.log_prob == pytest.approx(
            exact(Score(there.context.node, drawn.value.tokens, there.spec)), abs=1e-6
        )
    assert finished <= {"stop", "eos", "length"}
    assert not any(body.get("stop") for body in SERVER.bodies), "what it cuts off was drawn, and can't be known"


def test_a_server_that_is_told_of_stop_strings_loses_what_was_drawn() -> None:
    """Why it is not told: the text seems to end with the end token."""
    with serving(SERVER) as url:
        lm = load_lm(url, tokenizer=TABLE, retries=0)
        model = lm.model
        assert isinstance(model, ServerModel)
        model.abilities = replace(model.abilities, kind=replace(model.abilities.kind, cuts_stops=False))
        there = lm.context("ab").line(max_tokens=6)
        gaps = []
        for seed in range(12):
            try:
                each = lm.compute(there.draw(seed))
            except RequestError as error:
                assert "missing" in str(error)  # all log-probabilities were cut off
            else:
                gaps.append(abs(each.log_prob - exact(Score(there.context.node, each.value.tokens, there.spec))))
        assert gaps and not all(gap < 1e-6 for gap in gaps)


def test_scores_choices_and_ends(served: LM) -> None:
    context = served.context("ab")
    for text in ("a\n", "aab", "b\na", "bb", ""):
        for law in (LAWS[0], {"top_k": 2, "temperature": 0.6}):
            there = context.text(max_tokens=3, **law)  # type: ignore[arg-type]
            assert there.log_prob(text) == pytest.approx(exact(there.score(text)), abs=1e-6)
    options = ["a", "ab", "aba", "b"]
    chosen, local = (lm.context("ab").choice(options).outcomes() for lm in (served, load_lm(TABLE)))
    assert [p for _, p in chosen] == pytest.approx([p for _, p in local], abs=1e-6)


def test_smc_weighs_as_the_table_does(served: LM) -> None:
    @program
    def writes(lm: LM) -> str:
        context, text = lm.context("a"), ""
        for _ in range(2):
            line = sample(context.line(max_tokens=3))
            context, text = context + line, text + line
            observe(context.choice(["a", "b"]), "b")
        return text

    there = infer(writes, served, method="smc", n=12, seed=0)
    local = infer(writes, load_lm(TABLE), method="enumerate")
    known = {tuple(c.value.tokens for c in run.trace): run.log_joint for run in local.runs}
    for run in there.runs:
        assert run.log_joint == pytest.approx(known[tuple(c.value.tokens for c in run.trace)], abs=1e-5)
