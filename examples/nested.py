"""Inference inside inference: judges that work a problem out by themselves, each with a population of its own.

Somebody claims an answer. A judge writes a solution of several lines, each of which must be right arithmetic, and
agrees if it arrives at the claim. The caller asks two judges and compares claims by the *evidence* that they give each:
how probable it is that right solutions end there. One run of a judge nearly always makes a mistake on the way, and two
of them nearly never both get through, so a caller that runs them inline learns little from each of its runs.
`nested(judge, SMC(n=8))` gives each call of the judge eight particles that resample at each line, and the caller takes
over one of them with the weight of all.

It means the same: the two callers below have the same posterior and the same evidence. What differs is how well some
number of tokens estimates them: the spread of the evidence over seeds tells.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev
from textwrap import fill

from ppl import SMC, Posterior, condition, factor, infer, load_lm, nested, program, sample
from ppl.bundled.problems import arithmetic_holds, solve
from ppl.dist import uniform

QUESTION = (
    "Start with 51. Add 39. Add 33. Add 785. Multiply by 7. Add 627. Subtract 560. Add 703. Add 725. Subtract 91. "
    "Add 141. Add 491."
)
RIGHT = solve(QUESTION)[-1].removeprefix("A: ")
CLAIMS = (RIGHT, str(int(RIGHT) + 100))

lm = load_lm()


@program
def judge(question: str, claim: str) -> str:
    thought = lm.context(f"Q: {question}\n")
    for _ in range(13):
        line = sample(thought.line(max_tokens=16))
        thought = thought + line
        if line.startswith("A:"):
            break
        condition(arithmetic_holds(line))
    answer = line.removeprefix("A:").strip()
    factor(0.0 if answer == claim else math.log(0.01))
    return answer


reasoning_judge = nested(judge, SMC(n=8))


@program
def compare_inline(question: str) -> str:
    claim = sample(uniform(CLAIMS))
    for _ in range(2):
        judge(question, claim)
    return claim


@program
def compare(question: str) -> str:
    claim = sample(uniform(CLAIMS))
    for _ in range(2):
        reasoning_judge(question, claim)
    return claim


def run(inner: bool, seed: int = 0, n: int = 4) -> Posterior:
    """Compare the claims in ``n`` runs; where the judges run inline, in so many that about as many tokens are used."""
    prog, runs = (compare, n) if inner else (compare_inline, 16 * n)
    return infer(prog, QUESTION, method="importance", n=runs, seed=seed)


def spread(inner: bool, seeds: int = 8) -> tuple[float, float, float]:
    """Mean and relative standard deviation of the estimated evidence over seeds, and tokens a run."""
    found = [run(inner, seed) for seed in range(seeds)]
    estimates = [math.exp(each.log_evidence) for each in found]
    return fmean(estimates), stdev(estimates) / fmean(estimates), fmean(each.cost.tokens for each in found)


def main() -> None:
    print(fill(QUESTION, 100), f"\nThe right answer is {RIGHT}; claimed are {' and '.join(CLAIMS)}.\n")
    posterior = run(True, n=8)
    for claim in CLAIMS:
        print(f"  {claim:>6}  posterior {posterior.probability(claim):.2f}")
    print(f"\nEstimates of one evidence, from about as many tokens each:\n{'':20}    mean  relative sd  tokens")
    for inner, title in ((False, "judges inline"), (True, "judges with SMC(n=8)")):
        mean, sd, tokens = spread(inner)
        print(f"{title:20} {mean:.4f}  {sd:11.2f}  {tokens:6.0f}")


if __name__ == "__main__":
    main()
