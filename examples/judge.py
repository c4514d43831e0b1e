"""A model judges its own steps: as evidence with `observe`, or as a mere hint with `twist`.

The model proposes the next step of a solution and is then asked to check it. `observe(verdict, "yes\\n")` multiplies a
run by the probability of the verdict "yes": soft evidence, and the posterior becomes prior x P(yes). `twist` uses the
same number only to steer the search: it decides which particles are copied, and is divided out again at the end. So
`observe` changes the answer, and `twist` changes only which runs the effort is spent on.
"""

from __future__ import annotations

import math
from typing import Any

from ppl import Posterior, infer, load_lm, observe, program, sample, twist

WRITTEN = "Q: Start with 49. Add 74. Subtract 105. Subtract 3. Add 27.\n49+74=123\n"
CANDIDATES = ("123-105=18\n", "123-105=28\n", "123-105=2\n", "123-105=7\n")

lm = load_lm()


def verdict(step: str) -> Any:
    """The distribution over the model's answers when asked whether a step is right."""
    return lm.context(f"Check: {step}").choice(["yes\n", "no\n"])


@program
def unjudged() -> str:
    step = sample(lm.context(WRITTEN).choice(CANDIDATES))
    return step.strip()


@program
def judged() -> str:
    step = sample(lm.context(WRITTEN).choice(CANDIDATES))
    observe(verdict(step), "yes\n")
    return step.strip()


@program
def hinted() -> str:
    step = sample(lm.context(WRITTEN).choice(CANDIDATES))
    twist(verdict(step).log_prob("yes\n"))
    return step.strip()


def by_hand() -> dict[str, tuple[float, float, float]]:
    """step -> its probability before the verdict, the probability of "yes", and Bayes' rule of the two."""
    prior = {str(step): math.exp(w) for step, w in lm.context(WRITTEN).choice(CANDIDATES).outcomes()}
    yes = {step: math.exp(verdict(step).log_prob("yes\n")) for step in prior}
    total = sum(prior[step] * yes[step] for step in prior)
    return {step.strip(): (prior[step], yes[step], prior[step] * yes[step] / total) for step in prior}


def run(prog: Any, method: str = "smc", seed: int = 0, **options: Any) -> Posterior:
    return infer(prog, method=method, seed=seed, **options)


def main() -> None:
    found = [run(unjudged, "enumerate"), run(judged, "enumerate"), run(judged, n=200)]
    found.append(run(hinted, n=200, ess_threshold=1.0))
    print(f"{'':14}    by hand            enumerated       SMC, 200 particles")
    print(f"{'step':14} prior  P(yes)  bayes  prior  observe  observe  twist (only a hint)")
    for step, (prior, yes, posterior) in by_hand().items():
        plain, exact, observed, steered = (each.probability(step) for each in found)
        print(f"{step:14} {prior:.3f}  {yes:.3f}  {posterior:.3f}  ", end="")
        print(f"{plain:.3f}    {exact:.3f}    {observed:.3f}  {steered:.3f}")
    approval, hint = (math.exp(found[i].log_evidence) for i in (1, 3))
    print(f"\nThe evidence of `judged`: P(the model approves of its own step) = {approval:.3f}, exact")
    print(f"The evidence of `hinted`: {hint:.3f}, an estimate of 1: a hint is no evidence")


if __name__ == "__main__":
    main()
