"""A real server: ``transformers serve`` with the bundled model, beside the same model in this process.

It gives texts, without ids and without log-probabilities: what can be compared are texts and how often they come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ppl import condition, infer, load_lm, program, sample
from ppl.bundled import model_path
from ppl.lm import LM
from ppl.runtime.engines.base import RequestError
from ppl.runtime.engines.requests import PLAIN, Law
from ppl.runtime.engines.server_model import ServerModel
from tests.servers.faulty_proxy import FAULTS, UNTOLD, FaultyProxy, proxying
from tests.servers.processes import started, transformers_serve

NAME = str(model_path())
PROMPT = "Q: Start with 17. Add 25. Multiply by 3.\n"

pytest.importorskip("fastapi", reason="transformers serve needs its extra: pip install 'transformers[serving]'")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with started(transformers_serve(), "/health", patience=120) as url:
        yield url


@pytest.fixture(scope="module")
def served(url: str) -> LM:
    return load_lm(url, model=NAME)


@program
def solve(lm: LM) -> str:
    thought = lm.context(PROMPT)
    for _ in range(2):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        condition("=" in line)
    return str(thought).removeprefix(PROMPT)


def test_it_says_what_it_can_do(served: LM) -> None:
    told = served.describe()
    for words in (
        "transformers serve",
        "prompts as text",
        "no log-probabilities",
        "can't score",
        "one request at a time",
    ):
        assert words in told


def test_the_most_likely_text_is_the_same(served: LM) -> None:
    here = load_lm()
    for prompt in (PROMPT, PROMPT + "17+25=42\n", "Check: 2+2=5\n"):
        for settings in ({"stop": "\n"}, {"max_tokens": 5}, {"stop": ("=", "no")}):
            there, expected = (
                lm.context(prompt).text(**{"max_tokens": 40, **settings}, temperature=0).sample(0)  # type: ignore[arg-type]
                for lm in (served, here)
            )
            assert (str(there), there.finish, there.tokens) == (str(expected), expected.finish, expected.tokens)


def pearson(served: LM, law: Law, n: int = 60) -> float:
    """How unlike the model in this process the server's next tokens are: Pearson's statistic over the value that it
    exceeds once in 10,000 runs (Wilson and Hilferty, 1931)."""
    prompt = "Q: Start with "
    there, here = (lm.context(prompt).token(*law) for lm in (served, load_lm()))
    counts = Counter(str(there.sample(seed)) for seed in range(n))
    probabilities = {str(text): math.exp(log_prob) for text, log_prob in here.outcomes()}
    large = [text for text, p in probabilities.items() if n * p >= 4]
    cells = [(counts[text], n * probabilities[text]) for text in large]
    rest = n - math.fsum(expected for _, expected in cells)
    if rest > 1:
        cells.append((n - sum(count for count, _ in cells), rest))
    elif set(counts) - set(probabilities):
        return math.inf
    statistic = math.fsum((count - expected) ** 2 / expected for count, expected in cells)
    degrees = len(cells) - 1
    assert degrees >= 1
    return statistic / (degrees * (1 - 2 / (9 * degrees) + 3.719 * math.sqrt(2 / (9 * degrees))) ** 3)


@pytest.mark.parametrize("law", [(1.0, 1.0, None), (2.0, 1.0, 3), (1.5, 0.6, None)])
def test_texts_come_as_often_as_they_should(served: LM, law: Law) -> None:
    assert pearson(served, law) < 1.0


def test_a_law_that_the_server_is_not_told_is_seen(url: str) -> None:
    lm = load_lm(url, model=NAME, retries=4)
    model = lm.model
    assert isinstance(model, ServerModel)
    kind = model.abilities.kind
    forgetful = replace(kind, law=lambda law, ends: kind.sampling(PLAIN, ends))
    model.abilities = replace(model.abilities, kind=forgetful)
    assert pearson(lm, (4.0, 1.0, None)) > 1.0


def test_inference_on_it_and_again_with_every_fault(url: str, served: LM) -> None:
    plain = infer(solve, served, method="smc", n=8, seed=2)
    assert all("=" in run.value for run in plain.runs if run.log_weight > -math.inf)
    faults = [fault for fault in FAULTS if fault not in UNTOLD]
    proxy = FaultyProxy(lambda number: faults[number // 2 % len(faults)] if number % 2 else "")
    with proxying(proxy, url) as broken:
        lm = load_lm(broken, model=NAME, backoff=0.01, retries=6)
        again = infer(solve, lm, method="smc", n=8, seed=2)
    assert proxy.seen >= 2 * len(faults)
    assert [run.value for run in again.runs] == [run.value for run in plain.runs]
    assert again.log_evidence == plain.log_evidence


def test_what_it_cannot_do_is_refused(served: LM) -> None:
    with pytest.raises(RequestError, match="can't tell the log-probability of a given text"):
        served.context(PROMPT).line().log_prob("17+25=42\n")
    with pytest.raises(RequestError, match="use a server that does"):
        served.context(PROMPT).choice(["yes", "no"]).sample(0)


def test_another_model_is_an_error(url: str) -> None:
    with pytest.raises(RuntimeError, match="pinned to"):
        load_lm(url, model="another", tokenizer=NAME)
    with pytest.raises(RuntimeError, match=r"which model\?.*model="):
        load_lm(url)
