"""Tools: a calculator that a language model may use, run once for all particles.

`call(f, ...)` is for whatever is better done for many at once: a reward model, unit tests, retrieval. `f` is an
ordinary Python function that takes one *list* for each argument, a row for each particle, and returns as many results;
here it looks up nothing, it just calculates. Particles that wait for the same function share one run of it.

The model writes the left side of an equation, up to "=". The calculator writes the right side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ppl import Posterior, call, infer, load_lm, program, sample
from ppl.bundled.problems import solve

QUESTION = "Start with 99. Subtract 6. Multiply by 6. Add 684. Subtract 378."

lm = load_lm()
batches: list[int] = []


def calculator(expressions: Sequence[str]) -> list[str]:
    """Exact results; `?` for what is no sum, difference or product."""
    batches.append(len(expressions))
    results = []
    for expression in expressions:
        parts = re.fullmatch(r"(\d+)([-+*])(\d+)=", expression)
        if parts is None:
            results.append("?")
            continue
        a, b = int(parts[1]), int(parts[3])
        results.append(str({"+": a + b, "-": a - b, "*": a * b}[parts[2]]))
    return results


@program
def alone(question: str) -> str:
    """The model does everything itself."""
    thought = lm.context(f"Q: {question}\n")
    for _ in range(12):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        if line.startswith("A:"):
            break
    return line.removeprefix("A: ").strip()


@program
def with_calculator(question: str) -> str:
    """The model decides what to calculate, the tool calculates."""
    thought = lm.context(f"Q: {question}\n")
    for _ in range(12):
        part = sample(thought.text(stop=["=", "\n"], max_tokens=16))
        thought = thought + part
        if not part.endswith("="):
            break
        result = call(calculator, part)
        thought = thought + f"{result}\n"
    return part.removeprefix("A: ").strip()


def run(tool: bool, question: str = QUESTION, n: int = 32, seed: int = 0) -> Posterior:
    return infer(with_calculator if tool else alone, question, method="forward", n=n, seed=seed)


def main() -> None:
    right = solve(QUESTION)[-1].removeprefix("A: ")
    print(f"{QUESTION}\nThe right answer is {right}.\n")
    for tool in (False, True):
        posterior = run(tool)
        print(f"{'With the calculator' if tool else 'By itself'}: P(right) = {posterior.probability(right):.2f}")
        print(posterior.summary(), "\n")
    print(f"The calculator ran {len(batches)} times, on batches of {batches}: {sum(batches)} calculations.")


if __name__ == "__main__":
    main()
