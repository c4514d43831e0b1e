"""Multi-step arithmetic with a small language model and a checker of its steps.

The model writes one equation a line, and an early mistake spoils everything after it. `condition` says what a right
line is. Forward sampling ignores that evidence: it shows what the model would say by itself. SMC rules out a run at
its first wrong equation and copies a healthy one in its place, so that the surviving runs have no wrong line.

The checker knows arithmetic, not the question: a run that skips a step still passes, so compare the answers.
"""

from __future__ import annotations

import math

from ppl import Posterior, condition, infer, load_lm, program, sample
from ppl.bundled.problems import arithmetic_holds, solve

QUESTION = "Start with 62. Add 63. Add 617. Add 49. Add 252. Subtract 134."

lm = load_lm()


@program
def answer(question: str) -> str:
    thought = lm.context(f"Q: {question}\n")
    for _ in range(12):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        if line.startswith("A:"):
            break
        condition(arithmetic_holds(line))
    return line.removeprefix("A:").strip()


def run(method: str, question: str = QUESTION, n: int = 32, seed: int = 1) -> Posterior:
    return infer(answer, question, method=method, n=n, seed=seed)


def main() -> None:
    right = solve(QUESTION)[-1].removeprefix("A: ")
    print(f"{QUESTION}\nThe right answer is {right}.\n")
    for method, title in (("forward", "What the model says by itself"), ("smc", "Given that every equation is right")):
        posterior = run(method)
        print(f"{title}: P(right) = {posterior.probability(right):.2f}")
        print(posterior.summary(), "\n")
    print("The most probable run of the last posterior:")
    for choice in posterior.best_run().trace:
        print(f"  {choice.address:8} {choice.value!r:18} probability {math.exp(choice.log_prob):.3f}")


if __name__ == "__main__":
    main()
