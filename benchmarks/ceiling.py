"""How right a method could be that tries each step so many times: what lies past that is the model's fault."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppl.bundled.problems import Problem
from ppl.lm import LM


def step_probabilities(problem: Problem, lm: LM) -> list[float]:
    """The model's probability of each right line after the right lines before it, the answer's line included."""
    context = lm.context(problem.prompt)
    found = []
    for right in problem.lines:
        line = f"{right}\n"
        found.append(math.exp(context.line(max_tokens=16).log_prob(line)))
        context = context + line
    return found


def reachable(steps: Sequence[float], tries: int) -> float:
    """The probability that of several tries at each step, all from the right beginning, one is right: Π 1 − (1 − p)^n.

    An exact checker can't help n runs side by side to more, save that wrong steps may lead to the right answer.

    Args:
        steps: the probability p of each right step.
        tries: n.
    """
    return math.prod(1.0 - (1.0 - p) ** tries for p in steps)
