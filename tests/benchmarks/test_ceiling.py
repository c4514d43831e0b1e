"""What can be expected of so many tries at each step."""

from __future__ import annotations

import math
from typing import cast

import pytest
from ceiling import reachable, step_probabilities

from ppl import SMC, infer_many, load_lm, program, sample
from ppl.bundled.problems import problems
from ppl.runtime.engines.model import LogitModel

EASY = problems(1, 4)[0]


def test_the_steps_of_a_solution_have_its_density() -> None:
    lm = load_lm()
    model = cast(LogitModel, lm.model)
    node = model.root.extend(lm.encode(EASY.prompt))
    total = 0.0
    for token in lm.encode(EASY.solution):
        total += float(model.logits([node])[0].double().log_softmax(-1)[token])
        node = node.child(token)
    steps = step_probabilities(EASY, lm)
    assert len(steps) == len(EASY.lines)
    assert math.fsum(map(math.log, steps)) == pytest.approx(total, abs=1e-3)


def test_one_try_is_a_whole_run() -> None:
    """Its probability is how often a run is right, here to four standard errors."""

    @program
    def attempt(prompt: str) -> tuple[str, ...]:
        thought = load_lm().context(prompt)
        lines: tuple[str, ...] = ()
        for _ in range(5):
            line = sample(thought.line(max_tokens=16))
            thought = thought + line
            lines = (*lines, str(line).rstrip())
        return lines

    [posterior] = infer_many(attempt, [EASY.prompt], method=SMC(n=2000), seed=0)
    right = posterior.probability(lambda lines: lines == EASY.lines)
    expected = reachable(step_probabilities(EASY, load_lm()), 1)
    assert 0.02 < expected < 0.98
    assert right == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 2000))


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_tries_at_each_step(tries: int) -> None:
    assert reachable([0.5, 0.25], tries) == pytest.approx((1 - 0.5**tries) * (1 - 0.75**tries))
    assert reachable([1.0, 0.0], tries) == 0.0
    assert reachable([1.0, 1.0], tries) == 1.0
