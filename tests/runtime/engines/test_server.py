"""The server engine against a server over a table model, whose probabilities are known exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ppl import condition, infer, load_lm, observe, program, sample
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.requests import Generate, Score, TextSpec
from ppl.runtime.engines.server_laws import Reported
from ppl.runtime.engines.server_model import ServerModel
from ppl.runtime.engines.table import TableModel
from ppl.runtime.exact import ExactSource
from ppl.runtime.source import RandomSource, derive
from tests.servers.table_server import TableServer, serving

VOCABULARY = ["a", "b", "ab", "\n", "b\na"]
TABLE = TableModel.random(0, VOCABULARY, eos="<end>")
LOCAL = LM(TABLE, LocalEngine(TABLE), "local")

SPECS = [
    TextSpec(stop=("\n",), max_tokens=3),
    TextSpec(stop=("bb", "ba"), max_tokens=3),
    TextSpec(max_tokens=4),
    TextSpec(max_tokens=1),
    TextSpec(stop=("a",), max_tokens=5, temperature=0.0),
    TextSpec(stop=("\n",)),
    TextSpec(max_tokens=6, pause="line"),
    TextSpec(max_tokens=6, pause="token"),
    TextSpec(stop=("b\n",), max_tokens=4, before=b"b"),
]
LAWS = [
    TextSpec(stop=("aab", "ab"), max_tokens=4, top_k=3),
    TextSpec(stop=("a",), max_tokens=4, temperature=0.8, top_k=4, top_p=0.6),
    TextSpec(max_tokens=3, top_p=0.5, top_k=2, temperature=0.25),
]
UNTOLD = [TextSpec(max_tokens=2, temperature=0.5), TextSpec(stop=("b",), max_tokens=3, temperature=1.7, top_p=0.7)]


@contextmanager
def served(table: TableServer, **options: Any) -> Iterator[LM]:
    with serving(table) as url:
        yield load_lm(url, tokenizer=table.model, **options)


def exact(lm: LM, request: Any) -> float:
    """The log-probability of the same tokens by the table."""
    engine = LocalEngine(TABLE)
    context = TABLE.root.extend(request.context.tokens())
    engine.submit(Score(context, request.tokens, request.spec), RandomSource())
    [found] = engine.step()
    return found.log_prob


def drawn(lm: LM, spec: TextSpec, text: str, seed: int) -> tuple[tuple[int, ...], str, float]:
    node = lm.context(text).node
    found = lm.compute(Generate(node, spec, derive(seed, "draw")))
    return found.value.tokens, found.value.finish, found.log_prob


@pytest.mark.parametrize("processed", [True, False])
def test_draws_carry_the_log_probability_of_the_law_they_are_drawn_from(processed: bool) -> None:
    specs = [*SPECS, *LAWS, *(UNTOLD if processed else [])]
    with served(TableServer(TABLE, tempered=processed, truncated=processed, best=5)) as lm:
        for spec in specs:
            for seed in range(4):
                node = lm.context("ab").node
                tokens, finish, log_prob = drawn(lm, spec, "ab", seed)
                assert finish in ("stop", "eos", "length", "pause")
                unpaused = spec if finish != "pause" else TextSpec(max_tokens=len(tokens))
                assert log_prob == pytest.approx(exact(lm, Score(node, tokens, unpaused)), abs=1e-6), (spec, tokens)


def test_a_planted_error_of_the_law_is_seen() -> None:
    """The check above has power: reports of the model itself, taken for those of the law, are far off."""
    with served(TableServer(TABLE, tempered=False, truncated=False, best=5)) as lm:
        spec = LAWS[1]
        lm.model.abilities.reported.__dict__.update(tempered=True, truncated=True)  # type: ignore[attr-defined]
        gaps = []
        for seed in range(4):
            tokens, _, log_prob = drawn(lm, spec, "ab", seed)
            gaps.append(abs(log_prob - exact(lm, Score(lm.context("ab").node, tokens, spec))))
        assert max(gaps) > 0.1


@pytest.mark.parametrize("scoring", ["prompt_logprobs", "echo"])
def test_scores_are_the_tables(scoring: str) -> None:
    with served(TableServer(TABLE, owner="vllm", scoring=scoring, best=5)) as lm:
        context = lm.context("ab")
        for spec in [*SPECS[:6], *LAWS]:
            for text in ("a\n", "aab", "b\na", "bb", "ab"):
                request = Score(context.node, (*TABLE.encode(text), *sorted(TABLE.eos_tokens)), spec)
                cut = Score(context.node, TABLE.encode(text), spec)
                for asked in (request, cut):
                    assert lm.compute(asked).log_prob == pytest.approx(exact(lm, asked), abs=1e-6)


def test_scores_of_other_places_are_none() -> None:
    """A server that is off by one in its echo is not believed."""
    with served(TableServer(TABLE, owner="?", scoring="late echo", best=5), kind="openai") as lm:
        assert "can't score texts" in lm.describe()


def test_choices_are_the_tables_and_share_requests() -> None:
    table = TableServer(TABLE)
    options = ["a", "ab", "aba", "b"]
    with served(table) as lm:
        table.bodies.clear()
        for temperature in (1.0, 0.5):
            choice = lm.context("ab").choice(options, temperature)
            expected = LOCAL.context("ab").choice(options, temperature).outcomes()
            assert [(str(o), p) for o, p in choice.outcomes()] == [(str(o), pytest.approx(p)) for o, p in expected]
        tokens = {TABLE.encode(option) for option in options}
        leaves = [t for t in tokens if not any(o != t and o[: len(t)] == t for o in tokens)]
        assert len(table.bodies) == 2 * len(leaves) < 2 * len(options)


def test_texts_keep_the_tokens_that_were_drawn() -> None:
    table = TableServer(TABLE)
    with served(table) as lm:
        context = lm.context("ab")
        first = next(t for seed in range(200) if TABLE.encode(t := context.text(max_tokens=3).sample(seed)) != t.tokens)
        table.bodies.clear()
        (context + first).token().sample(0)
        assert table.bodies[-1]["prompt"] == [*TABLE.encode("ab"), *first.tokens]


def test_a_seed_gives_the_same_text_whatever_else_is_asked() -> None:
    with served(TableServer(TABLE), concurrency=3) as lm:
        requests = [Generate(lm.context("ab").node, SPECS[0], derive(seed, "x")) for seed in range(12)]
        alone = [lm.compute(request).value for request in requests]
        engine = lm.engine.session()
        for request in reversed(requests):
            engine.submit(request, RandomSource())
        found = {}
        while engine.pending:
            found.update({id(c.request): c.value for c in engine.step()})
        assert [found[id(request)] for request in requests] == alone
        assert len(set(alone)) > 2


def test_no_more_at_a_time_than_allowed_and_alike_beginnings_together() -> None:
    table = TableServer(TABLE)
    with served(table, concurrency=1) as lm:
        engine = lm.engine.session()
        table.bodies.clear()
        for seed in range(8):
            engine.submit(Generate(lm.context("ba" if seed % 2 else "ab").node, SPECS[3], seed), RandomSource())
        while engine.pending:
            engine.step()
        prompts = [tuple(body["prompt"]) for body in table.bodies]
        assert prompts == sorted(prompts) and len(set(prompts)) == 2
        assert table.busiest == 1


def test_what_finished_returns_while_others_go_on() -> None:
    with served(TableServer(TABLE)) as lm:
        engine = lm.engine.session()
        for seed in range(4):
            engine.submit(Generate(lm.context("ab").node, TextSpec(max_tokens=1), seed), RandomSource())
        bad = Generate(lm.context("ab").node, TextSpec(max_tokens=1), 0)
        engine.submit(bad, ExactSource([]))
        with pytest.raises(RequestError, match="outcomes can't be explored"):
            engine.step()
        done = 0
        while engine.pending:
            done += len(engine.step())
        assert done == 4


def test_what_a_server_cannot_do_is_refused_before_anything_is_sent() -> None:
    table = TableServer(TABLE, tempered=False, truncated=False, best=5, scoring=None)
    with served(table) as lm:
        context = lm.context("ab")
        table.bodies.clear()
        for ask, reason in [
            (lambda: context.text(max_tokens=1, temperature=0.5).sample(0), "top_k, at most 5"),
            (lambda: context.text(max_tokens=1, top_p=0.5).sample(0), "processed_logprobs"),
            (lambda: context.text(max_tokens=1).log_prob("a"), "use a server that does"),
            (lambda: context.choice(["a", "b"]).sample(0), "use a server that does"),
            (lambda: context.text(max_tokens=1).outcomes(), "does not give whole distributions"),
        ]:
            with pytest.raises(RequestError, match=reason):
                ask()
        assert not table.bodies
        for word in ("vLLM", "5 best tokens", "can't score texts", "no masks"):
            assert word in lm.describe()


def test_a_refusal_names_the_line_of_the_program() -> None:
    with served(TableServer(TABLE, scoring=None)) as lm:

        @program
        def judged() -> None:
            observe(lm.context("ab").text(max_tokens=1), "a")

        with pytest.raises(Exception, match=r"(?s)can't tell the log-probability.*test_server\.py"):
            infer(judged, method="importance", n=2, seed=0)


def test_smc_finds_the_posterior_of_the_table() -> None:
    @program
    def writes(lm: LM) -> str:
        context, text = lm.context("a"), ""
        for _ in range(3):
            token = sample(context.token())
            context = context + token
            text += token
            condition("ab" not in token)
        observe(context.token(), "b")
        return text

    exactly = infer(writes, LOCAL, method="enumerate")
    with served(TableServer(TABLE)) as lm:
        found = infer(writes, lm, method="smc", n=200, seed=1)
    assert found.log_evidence == pytest.approx(exactly.log_evidence, abs=0.3)
    p, q = (posterior.probability(lambda value: value.startswith("a")) for posterior in (exactly, found))
    assert q == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 100))


@pytest.mark.parametrize("whole", [True, False])
def test_an_end_token_that_the_server_leaves_out(whole: bool) -> None:
    with served(TableServer(TABLE, whole=whole)) as lm:
        ended = [found for seed in range(40) if (found := drawn(lm, SPECS[2], "ab", seed))[1] == "eos"]
        assert ended
        for tokens, _, log_prob in ended:
            assert tokens[-1] in TABLE.eos_tokens
            assert math.isnan(log_prob) is not whole


def test_a_text_without_a_bound_takes_what_room_there_is() -> None:
    with served(TableServer(TABLE, limit=12)) as lm:
        finished = [drawn(lm, SPECS[5], "ab" * 3, seed)[1] for seed in range(12)]
        assert set(finished) <= {"stop", "eos"}
        with pytest.raises(RequestError, match=r"refused \(400\): 6 \+ 3 tokens|3 \+ 20 tokens"):
            drawn(lm, TextSpec(max_tokens=20), "ab" * 3, 0)


@pytest.mark.parametrize(("tempered", "truncated"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_which_law_is_reported_is_found_out(tempered: bool, truncated: bool, kind: str) -> None:
    with served(TableServer(TABLE, tempered=tempered, truncated=truncated, best=5), kind=kind) as lm:
        assert isinstance(lm.model, ServerModel)
        assert lm.model.abilities.reported == Reported(tempered, truncated, 5)


def test_a_model_that_is_sure_tells_nothing_about_its_reports() -> None:
    """Of one sure token the probability is 1 under every law: that must not pass for a report after truncation."""
    sure = TableModel(["a", "b"], {(): {"a": 999_999, "b": 1}}, eos="$")
    with served(TableServer(sure, tempered=False, truncated=False, best=2)) as lm:
        assert isinstance(lm.model, ServerModel)
        reported = lm.model.abilities.reported
        assert reported is not None and not reported.truncated and not reported.tempered


def test_a_server_of_texts_only() -> None:
    """No ids, no log-probabilities: it can be drawn from, and says what it lacks."""
    table = TableServer(TableModel.random(3, ["a", "b", "\n"], eos="$"), owner="?", ids=False, best=0, scoring=None)
    with served(table, kind="openai") as lm:
        assert "prompts as text" in lm.describe() and "no log-probabilities" in lm.describe()

        @program
        def writes() -> str:
            line = sample(lm.context("a").line(max_tokens=4))
            condition("b" in line)
            return line

        found = infer(writes, method="smc", n=60, seed=0)
        local = load_lm(table.model)
        by_hand = sum(math.exp(p) for text, p in local.context("a").line(max_tokens=4).outcomes() if "b" in text)
        assert found.log_evidence == pytest.approx(math.log(by_hand), abs=0.4)
        assert all("b" in run.value and math.isnan(run.log_joint) for run in found.runs if run.log_weight > -math.inf)
        with pytest.raises(ArithmeticError, match="how probable"):
            infer(writes, method="mh", steps=4, seed=0)


def test_strings_that_several_tokens_read_as_are_no_tokens() -> None:
    with serving(TableServer(TABLE, owner="?", ids=False, scoring=None)) as url:
        lm = load_lm(url, tokenizer=TABLE, kind="openai")
        tokens, _, log_prob = drawn(lm, SPECS[3], "a", 0)
        assert len(tokens) == 1 and log_prob < 0.0


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(TableServer(TABLE, key="sesame")) as url:
        lm = load_lm(url, tokenizer=TABLE, api_key="sesame")
        assert "sesame" not in repr(lm) + repr(lm.model) + repr(lm.model.__dict__) + lm.describe()
        monkeypatch.setenv("PPL_API_KEY", "open")
        with pytest.raises(RuntimeError, match="api_key=") as error:
            load_lm(url, tokenizer=TABLE)
        assert "Bearer …" in str(error.value) and "open" not in str(error.value)


@pytest.mark.parametrize("given", [{}, {"model": "table"}, {"model": "table", "tokenizer": TABLE}])
@pytest.mark.parametrize("key", [None, "stale"])
def test_a_missing_or_wrong_key_is_what_the_error_says(
    given: dict[str, Any], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PPL_API_KEY", raising=False)
    refusal = pytest.raises(RuntimeError, match=r"refused \(401\): wrong key.*Give load_lm an api_key=")
    with serving(TableServer(TABLE, key="sesame")) as url, refusal:
        load_lm(url, api_key=key, **given)


def test_an_address_without_its_end_is_what_the_error_says(tmp_path: Path) -> None:
    with serving(TableServer(TABLE)) as url:
        root = url.removesuffix("/v1")
        with pytest.raises(RuntimeError, match=r"which model\?.*refused \(404\).*up to and with /v1, and model="):
            load_lm(root, tokenizer=TABLE)
        nowhere = str(tmp_path / "none")
        with pytest.raises(ValueError, match=r"no tokenizer.*tokenizer=.*refused \(404\).*up to and with /v1"):
            load_lm(root, model="table", tokenizer=nowhere)
        with pytest.raises(RuntimeError, match="up to and with /v1"):
            load_lm(root, model="table", tokenizer=TABLE)


def test_a_list_of_models_that_is_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TableServer, "models", lambda self: ["welcome"])
    with serving(TableServer(TABLE)) as url:
        with pytest.raises(RuntimeError, match=r"which model\?.*welcome.*up to and with /v1, or load_lm\(url, model="):
            load_lm(url, tokenizer=TABLE, backoff=0.01)
        assert load_lm(url, model="table", tokenizer=TABLE, backoff=0.01).describe()


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with serving(TableServer(TABLE)) as url:
        with pytest.raises(RuntimeError, match=r"no model 'chair'; it serves table"):
            load_lm(url, tokenizer=TABLE, model="chair")
        with pytest.raises(ValueError, match=r"tokenizer=\.\.\."):
            load_lm(url, tokenizer=tmp_path)
        with pytest.raises(ValueError, match="give one of 'vllm'"):
            load_lm(url, tokenizer=TABLE, kind="chair")
        with pytest.raises(RuntimeError, match="up to and with /v1"):
            load_lm(url + "/wrong", tokenizer=TABLE, model="table", kind="vllm")


def test_tokens_of_another_model_are_noticed() -> None:
    other = TableModel.random(1, ["abab", "bbbb", "aaaa", "baba", "\n"], eos="<end>")
    with serving(TableServer(TABLE)) as url:
        with pytest.raises(
            ValueError, match=r"reads \d+ tokens in a text that is 4 by the tokenizer.*'table' has others"
        ):
            load_lm(url, tokenizer=other)
        assert load_lm(url, tokenizer=TABLE).describe()


@pytest.mark.parametrize("told", [None, -1, 0, {}])
def test_a_server_that_counts_tokens_oddly_is_loaded(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = TableServer.complete
    odd = {} if told == {} else {"usage": {"prompt_tokens": told, "completion_tokens": 1}}
    monkeypatch.setattr(
        TableServer,
        "complete",
        lambda self, body: {k: v for k, v in complete(self, body).items() if k != "usage"} | odd,
    )
    with serving(TableServer(TABLE)) as url:
        assert load_lm(url, tokenizer=TABLE).describe()
