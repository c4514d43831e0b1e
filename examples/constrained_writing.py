"""Constrained writing: whole lines of a language model, kept only if they obey.

A character model writes an acrostic: line i must begin with the i-th letter of a word, and have three to five letters.
The program says so with `condition`; the posterior holds the poems that obey, and the *evidence* is the probability
that the model, left to itself, writes one that does. Here that has a closed form, for the model is a Markov chain.

Importance sampling writes whole poems and throws away nearly all. SMC looks after every line, and goes on with copies
of the poems that still obey.
"""

from __future__ import annotations

import math

import numpy as np

from ppl import Posterior, condition, infer, program, sample, table_lm

TEXT = """
sun moon star rain snow leaf tree rose lily moss pine pond pool lark swan seal lion loon lamp lane lost mist spin span
plan plum port past pale palm rest real rail root song sail salt sand soil tale tall tone nest noon north april
primrose summer rustle petal lantern
"""
WORDS = TEXT.split()
INITIALS, LENGTHS = "psl", (3, 4, 5)
LETTERS = sorted(set("".join(WORDS)))
COUNTS = {a: dict.fromkeys([*LETTERS, "\n"], 0) for a in [*LETTERS, "\n"]}
for _word in WORDS:
    for _a, _b in zip("\n" + _word, _word + "\n", strict=True):
        COUNTS[_a][_b] += 1

# After a letter (or a newline), the next one in proportion to how often it follows in WORDS.
lm = table_lm([*LETTERS, "\n"], {(): COUNTS["\n"], **{(a,): row for a, row in COUNTS.items()}})


@program
def acrostic(initials: str) -> str:
    poem = lm.context()
    for initial in initials:
        line = sample(poem.line(max_tokens=12))
        condition(line.startswith(initial) and line.endswith("\n") and len(line.strip()) in LENGTHS)
        poem = poem + line
    return str(poem)


def exact_log_evidence(initials: str) -> float:
    """By powers of the transition matrix: P(first letter), then so many letters, then the newline."""
    states = [*LETTERS, "\n"]
    step = np.array([[COUNTS[a][b] / sum(COUNTS[a].values()) for b in states] for a in states])
    inner = step.copy()
    inner[:, -1] = 0.0  # not yet a newline
    written = sum(np.linalg.matrix_power(inner, length - 1) @ step[:, -1] for length in LENGTHS)
    return math.fsum(math.log(step[-1, i] * written[i]) for i in map(states.index, initials))


def run(method: str, initials: str = INITIALS, n: int = 1000, seed: int = 0) -> Posterior:
    return infer(acrostic, initials, method=method, n=n, seed=seed)


def main() -> None:
    exact = exact_log_evidence(INITIALS)
    print(f"The model writes such a poem once in {math.exp(-exact):,.0f} times (log evidence {exact:.3f}, exact).\n")
    for method, n in (("importance", 3000), ("smc", 1000)):
        posterior = run(method, n=n)
        print(f"{method}: {len(posterior.runs)} of {posterior.n} runs obey, log evidence {posterior.log_evidence:.3f}")
    print("\nThe most probable poems by SMC:\n")
    for poem, probability in list(posterior)[:3]:
        print("\n".join(f"   {line}" for line in poem.splitlines()), f"  (probability {probability:.3f})\n")


if __name__ == "__main__":
    main()
