"""A real server: vLLM with the bundled model, beside the same model in this process. ``make test-vllm`` runs it.

vLLM takes an environment of its own, whose interpreter the environment variable ``PPL_VLLM_PYTHON`` names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ppl import Text, condition, infer, load_lm, observe, program, sample
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from tests.servers.faulty_proxy import FAULTS, FaultyProxy, proxying
from tests.servers.processes import started, vllm_serve

PYTHON = os.environ.get("PPL_VLLM_PYTHON", "")
PROMPT = "Q: Start with 17. Add 25. Multiply by 3.\n"
CLOSE = 2e-4
"""Two implementations in float32, over some twenty tokens."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="make test-vllm says where vLLM is")]


@pytest.fixture(scope="module", params=["raw_logprobs", "processed_logprobs"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    command = vllm_serve(PYTHON, "--logprobs-mode", request.param)
    with started(command, "/health", 300, {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}) as url:
        yield url


@pytest.fixture(scope="module")
def served(url: str) -> LM:
    return load_lm(url)


def processed(lm: LM) -> bool:
    return "log-probabilities after temperature and top-k/top-p" in lm.describe()


def test_it_says_what_it_can_do(served: LM) -> None:
    for words in ("vLLM", "prompts as token ids", "prompt_logprobs", "no masks"):
        assert words in served.describe()
    assert processed(served) or "of the model itself and its 20 best tokens" in served.describe()


@pytest.mark.parametrize(
    "law", [{}, {"top_k": 5, "temperature": 0.7}, {"top_k": 5, "top_p": 0.8}, {"temperature": 0}, {"temperature": 0.7}]
)
def test_log_probabilities_are_those_of_the_model_in_this_process(served: LM, law: dict[str, float]) -> None:
    here = load_lm()
    there, local = (lm.context(PROMPT).line(max_tokens=24, **law) for lm in (served, here))  # type: ignore[arg-type]
    if law == {"temperature": 0.7} and not processed(served):
        with pytest.raises(RequestError, match="--logprobs-mode processed_logprobs"):
            there.sample(0)
        return
    for seed in range(8):
        text = there.sample(seed)
        drawn = served.compute(there.draw(seed)).value
        assert drawn.finish in ("stop", "length", "eos")
        known = local.log_prob(Text(str(text), text.tokens, text.finish, here))
        completion = served.compute(replace(there.draw(seed)))
        again = local.log_prob(Text("", completion.value.tokens, None, here))
        assert completion.log_prob == pytest.approx(again, abs=CLOSE)
        if law != {"temperature": 0.7}:
            assert there.log_prob(text) == pytest.approx(known, abs=CLOSE)


def test_choices_and_ends_of_texts(served: LM) -> None:
    here = load_lm()
    options = ["yes\n", "no\n", "17+25=42\n", "17+25=41\n"]
    there, local = (lm.context(PROMPT).choice(options).outcomes() for lm in (served, here))
    assert [p for _, p in there] == pytest.approx([p for _, p in local], abs=CLOSE)
    text = served.context(PROMPT).text(max_tokens=200).sample(1)
    assert text.finish == "eos" and text.tokens[-1] in here.model.eos_tokens


def test_a_seed_repeats_a_run_and_faults_change_nothing(url: str, served: LM) -> None:
    @program
    def solve(lm: LM) -> str:
        thought = lm.context(PROMPT)
        for _ in range(2):
            line = sample(thought.line(max_tokens=16))
            thought = thought + line
            condition("=" in line)
        observe(thought.choice(["A: ", "Q: "]), "A: ")
        return str(thought).removeprefix(PROMPT)

    plain = infer(solve, served, method="smc", n=16, seed=2)
    proxy = FaultyProxy(lambda number: FAULTS[number // 2 % len(FAULTS)] if number % 2 else "")
    with proxying(proxy, url) as broken:
        again = infer(solve, load_lm(broken, backoff=0.01, retries=8), method="smc", n=16, seed=2)
    assert [run.value for run in again.runs] == [run.value for run in plain.runs]
    assert again.log_evidence == pytest.approx(plain.log_evidence, abs=CLOSE)
    assert not math.isnan(plain.runs[0].log_joint)


def test_mh_on_a_server(served: LM) -> None:
    @program
    def line() -> str:
        text = sample(served.context(PROMPT).line(max_tokens=16))
        condition("=" in text)
        return text

    found = infer(line, method="mh", steps=20, seed=0)
    assert all("=" in run.value for run in found.runs)
