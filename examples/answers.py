"""From runs to an answer: searches under one budget, and ways to choose.

The same program is searched in several ways, each with the same number of tokens; then one posterior is asked for an
answer in several ways. Searches rank partial runs by the program's own weight: here each line that is right arithmetic
keeps it, and each that is not divides it by ten. They promise nothing, and say so.
"""

from __future__ import annotations

import math
from textwrap import fill

from ppl import Budget, Posterior, factor, infer, load_lm, program, sample
from ppl.answers import best, best_of_majority, decide, majority, rpc, weighted_majority
from ppl.bundled.problems import arithmetic_holds, solve
from ppl.equality import numeric

QUESTION = (
    "Start with 51. Add 39. Add 33. Add 785. Multiply by 7. Add 627. Subtract 560. Add 703. Add 725. Subtract 91. "
    "Add 141. Add 491."
)
METHODS = ("smc", "steering", "beam", "dvts", "a-star", "best-of-n", "self-consistency", "weighted-majority")
TOKENS = 2_400

lm = load_lm()


@program
def answer(question: str) -> str:
    thought = lm.context(f"Q: {question}\n")
    for _ in range(13):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        if line.startswith("A:"):
            break
        factor(0.0 if arithmetic_holds(line) else math.log(0.1))
    return line.removeprefix("A:").strip()


def search(method: str, tokens: int = TOKENS, seed: int = 0) -> Posterior:
    """One way to spend the budget; what is not finished by then is no answer."""
    return infer(
        answer,
        QUESTION,
        method=method,
        n=4 if method in ("steering", "a-star") else 16,
        seed=seed,
        budget=Budget(tokens=tokens),
    )


def choices(posterior: Posterior) -> dict[str, str | None]:
    """Answers of one posterior, by the rule that chose them; numbers count by their value."""
    same = numeric()
    return {
        "majority": majority(posterior, same),
        "weighted majority": weighted_majority(posterior, same),
        "best evidence": best(posterior),
        "best of majority": best_of_majority(posterior, alpha=0.2, same=same)[0],
        "rpc": rpc(posterior, same),
        "only if 90 % sure": decide(posterior, abstain=0.9, same=same).action,
    }


def main() -> None:
    right = solve(QUESTION)[-1].removeprefix("A: ")
    print(fill(QUESTION, 100), f"\nThe right answer is {right}.\n")
    print(f"{'method':18} {'answer':>8} {'tokens':>7}  guarantee")
    for method in METHODS:
        posterior = search(method)
        said = "-" if posterior.empty else posterior.mode()
        print(f"{method:18} {said:>8} {posterior.cost.tokens:7,}  {posterior.guarantee}", end="")
        print(f" ({posterior.incomplete})" if posterior.incomplete else "")
    print("\nOne posterior, asked in several ways:")
    for rule, chosen in choices(infer(answer, QUESTION, method="importance", n=32, seed=0)).items():
        print(f"  {rule:18} {chosen if chosen is not None else 'no answer'}")


if __name__ == "__main__":
    main()
