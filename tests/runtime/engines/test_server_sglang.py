"""SGLang's wire format, as documented, against the table that is served; SGLang itself was not run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ppl import infer, load_lm, observe, program, sample
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Score, TextSpec
from ppl.runtime.engines.table import TableModel
from ppl.runtime.source import RandomSource
from tests.servers.sglang_server import SGLangServer
from tests.servers.table_server import serving

TABLE = TableModel.random(0, ["a", "b", "ab", "\n", "b\na"], eos="<end>")
SERVER = SGLangServer(TABLE, owner="sglang")


@pytest.fixture(scope="module")
def served() -> Iterator[LM]:
    with serving(SERVER) as url:
        yield load_lm(url, tokenizer=TABLE)


def exact(lm: LM, tokens: tuple[int, ...], spec: TextSpec) -> float:
    engine = LocalEngine(TABLE)
    engine.submit(Score(TABLE.root.extend(TABLE.encode("ab")), tokens, spec), RandomSource())
    [found] = engine.step()
    return found.log_prob


def test_it_says_what_it_can_do(served: LM) -> None:
    for words in ("SGLang", "token ids", "after temperature and its", "scores texts (echo)"):
        assert words in served.describe()


@pytest.mark.parametrize(
    "law",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.7},
        {"top_k": 2},
        {"top_k": 2, "temperature": 0.6},
        {"temperature": 0},
    ],
)
def test_draws_and_scores_are_the_tables(served: LM, law: dict[str, float]) -> None:
    there = served.context("ab").line(max_tokens=3, **law)  # type: ignore[arg-type]
    for seed in range(6):
        drawn = served.compute(there.draw(seed))
        assert drawn.log_prob == pytest.approx(exact(served, drawn.value.tokens, there.spec), abs=1e-6)
    if law in ({}, {"top_k": 2}, {"top_k": 2, "temperature": 0.6}):
        for seed in range(4):
            text = there.sample(seed)
            assert there.log_prob(text) == pytest.approx(exact(served, text.tokens, there.spec), abs=1e-6)


@pytest.mark.parametrize(
    ("law", "reason"),
    [({"top_p": 0.5}, "give top_k"), ({"top_p": 0.5, "top_k": 3}, "before top_k has cut, not after")],
)
def test_laws_that_it_does_not_report_or_does_not_draw_from_are_refused(
    served: LM, law: dict[str, float], reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        served.context("ab").line(max_tokens=3, **law).sample(0)  # type: ignore[arg-type]


def test_texts_keep_their_tokens_and_smc_runs(served: LM) -> None:
    @program
    def writes(lm: LM) -> str:
        context, text = lm.context("a"), ""
        for _ in range(3):
            token = sample(context.token())
            context, text = context + token, text + token
            observe(context.choice(["a", "b"]), "b")
        return text

    there = infer(writes, served, method="smc", n=20, seed=0)
    local = infer(writes, load_lm(TABLE), method="enumerate")
    assert there.log_evidence == pytest.approx(local.log_evidence, abs=0.8)
    known = {tuple(c.value.tokens for c in run.trace): run.log_joint for run in local.runs}
    for run in there.runs:
        assert run.log_joint == pytest.approx(known[tuple(c.value.tokens for c in run.trace)], abs=1e-6)
