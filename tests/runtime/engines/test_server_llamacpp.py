"""Real servers: llama.cpp with the bundled model, beside the same in this process. ``make test-llamacpp`` runs it.

There are two: llama-cpp-python's, written in Python, and llama.cpp's own ``llama-server``. The environment variables
``PPL_LLAMACPP_PYTHON`` and ``PPL_LLAMA_SERVER`` name the interpreter of an environment that has the first, and the
program that is the second.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator

import pytest

from ppl import Text, condition, infer, load_lm, observe, program, sample
from ppl.bundled import model_path
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from tests.servers.faulty_proxy import FAULTS, FaultyProxy, proxying
from tests.servers.processes import GGUF, llama_cpp_python, llama_server, started

PYTHON, SERVER = os.environ.get("PPL_LLAMACPP_PYTHON", ""), os.environ.get("PPL_LLAMA_SERVER", "")
PROMPT = "Q: Start with 17. Add 25. Multiply by 3.\n"
LAWS: list[dict[str, float]] = [
    {},
    {"top_k": 5, "temperature": 0.7},
    {"top_k": 5, "top_p": 0.8},
    {"temperature": 0},
    {"temperature": 0.7},
    {"temperature": 1.6, "top_p": 0.7},
]
CLOSE = 2e-4
"""Two implementations in float32, over some twenty tokens."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="make test-llamacpp says where llama.cpp is")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundled model as llama.cpp reads it."""
    file = tmp_path_factory.mktemp("llamacpp") / "bundled.gguf"
    subprocess.run([PYTHON, str(GGUF), str(model_path()), str(file)], check=True)
    return str(file)


@pytest.fixture(scope="module", params=["llama-cpp-python", "llama-server"])
def url(request: pytest.FixtureRequest, weights: str) -> Iterator[str]:
    own = request.param == "llama-server"
    if own and not SERVER:
        pytest.skip("PPL_LLAMA_SERVER names no llama-server")
    command = llama_server(SERVER, weights) if own else llama_cpp_python(PYTHON, weights)
    with started(command, "/health" if own else "/v1/models", 60) as url:
        yield url


@pytest.fixture(scope="module")
def served(url: str) -> LM:
    return load_lm(url, tokenizer=str(model_path()))


def own_server(lm: LM) -> bool:
    return "llama.cpp" in lm.describe()


def refusal(lm: LM, law: dict[str, float]) -> str:
    """Why a law is refused; empty if it is not. ``llama-server`` reports under every law."""
    if own_server(lm) or law.get("temperature") == 0:
        return ""
    if {"temperature", "top_p"} <= law.keys():
        return "after top_p, not before"
    return "" if "top_k" in law or not law else "give top_k"


def test_it_says_what_it_can_do(served: LM) -> None:
    told = served.describe()
    own = ("llama.cpp", "token ids", "after temperature and top-k/top-p")
    other = ("llama-cpp-python", "prompts as text", "of the model itself")
    for words in (*(own if own_server(served) else other), "scores texts (grammar)", "no masks"):
        assert words in told


def test_texts_are_cut_into_tokens_alike(served: LM) -> None:
    """The same text has the same probability: so the server reads it as the same tokens."""
    here = load_lm()
    for text in (PROMPT + "17+25=42\n", "Check: 9999-123=1\n", "Q: Start with 5. Subtract 3.\n5-3=2\nA: 2\n"):
        before, after = text[:-3], text[-3:]
        there, local = (lm.context(before).text(stop="\n").log_prob(after) for lm in (served, here))
        assert there == pytest.approx(local, abs=CLOSE)


@pytest.mark.parametrize("law", LAWS)
def test_log_probabilities_are_those_of_the_model_in_this_process(served: LM, law: dict[str, float]) -> None:
    here = load_lm()
    there, local = (lm.context(PROMPT).line(max_tokens=24, **law) for lm in (served, here))  # type: ignore[arg-type]
    if refusal(served, law):
        with pytest.raises(RequestError, match=refusal(served, law)):
            there.sample(0)
        return
    for seed in range(8):
        text = there.sample(seed)
        completion = served.compute(there.draw(seed))
        assert completion.value.finish in ("stop", "length", "eos")
        again = local.log_prob(Text("", completion.value.tokens, None, here))
        assert completion.log_prob == pytest.approx(again, abs=CLOSE)
        if law in ({}, {"top_k": 5, "temperature": 0.7}, {"top_k": 5, "top_p": 0.8}):
            known = local.log_prob(Text(str(text), text.tokens, text.finish, here))
            assert there.log_prob(text) == pytest.approx(known, abs=CLOSE)


def test_draws_come_as_often_as_they_should(served: LM) -> None:
    """Of 120 tokens at a high temperature, each comes about as often as in this process."""
    here = load_lm()
    context = "Q: Start with "
    there, local = (lm.context(context).token(top_k=4, temperature=2.0) for lm in (served, here))
    counts: dict[str, int] = {}
    for seed in range(120):
        text = str(there.sample(seed))
        counts[text] = counts.get(text, 0) + 1
    for outcome, log_prob in local.outcomes():
        p = math.exp(log_prob)
        assert abs(counts.get(str(outcome), 0) - 120 * p) < 5 * math.sqrt(120 * p * (1 - p)) + 1


def test_choices_and_ends_of_texts(served: LM) -> None:
    here = load_lm()
    options = ["yes\n", "no\n", "17+25=42\n", "17+25=41\n"]
    there, local = (lm.context(PROMPT).choice(options).outcomes() for lm in (served, here))
    assert [p for _, p in there] == pytest.approx([p for _, p in local], abs=CLOSE)
    request = served.context(PROMPT).text(max_tokens=200).draw(1)
    ended = served.compute(request)
    assert ended.value.finish == "eos" and ended.value.tokens[-1] in here.model.eos_tokens
    # What llama-cpp-python leaves out, it can't have weighed either.
    assert math.isnan(ended.log_prob) is not own_server(served)
    for stop in ("=", "2\n", ("25", "42")):
        text = served.context(PROMPT).text(stop=stop, max_tokens=40).sample(3)
        assert text.finish == "stop" and any(text.endswith(s) for s in ([stop] if isinstance(stop, str) else stop))


@program
def solve(lm: LM) -> str:
    thought = lm.context(PROMPT)
    for _ in range(2):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        condition("=" in line)
    observe(thought.choice(["A: ", "Q: "]), "A: ")
    return str(thought).removeprefix(PROMPT)


def test_a_seed_repeats_a_run_and_faults_change_nothing(url: str, served: LM) -> None:
    plain = infer(solve, served, method="smc", n=16, seed=2)
    proxy = FaultyProxy(lambda number: FAULTS[number // 2 % len(FAULTS)] if number % 2 else "")
    with proxying(proxy, url) as broken:
        lm = load_lm(broken, tokenizer=str(model_path()), backoff=0.01, retries=8)
        again = infer(solve, lm, method="smc", n=16, seed=2)
    assert [run.value for run in again.runs] == [run.value for run in plain.runs]
    assert again.log_evidence == pytest.approx(plain.log_evidence, abs=CLOSE)
    assert not math.isnan(plain.runs[0].log_joint)


def test_smc_there_and_here_find_the_same(served: LM) -> None:
    """The evidence of the same program, and each run's log-probability, by the server and in this process."""
    there, here = (infer(solve, lm, method="smc", n=64, seed=1) for lm in (served, load_lm()))
    assert there.log_evidence == pytest.approx(here.log_evidence, abs=0.15)
    known = {run.value: run.log_joint for run in here.runs}
    both = [run for run in there.runs if run.value in known]
    assert both
    for run in both:
        assert run.log_joint == pytest.approx(known[run.value], abs=1e-2)


def test_mh_on_a_server(served: LM) -> None:
    @program
    def line() -> str:
        text = sample(served.context(PROMPT).line(max_tokens=16))
        condition("=" in text)
        return text

    found = infer(line, method="mh", steps=20, seed=0)
    assert all("=" in run.value for run in found.runs)


def test_what_it_cannot_do_is_refused(served: LM) -> None:
    with pytest.raises(RequestError, match="does not give whole distributions"):
        served.context(PROMPT).token().outcomes()
