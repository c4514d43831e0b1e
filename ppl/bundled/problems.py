"""Multi-step arithmetic problems: a seeded generator, an exact solver and two checkers.

A problem is a chain of operations on one number, and each line of its solution is one step that can be checked:

    Q: Start with 17. Add 25. Multiply by 3. Subtract 40.
    17+25=42
    42*3=126
    126-40=86
    A: 86

An early mistake spoils everything after it, so the share of right chains falls with their length. All values lie
between 0 and `LARGEST`. Everything here is a function of its arguments: the same seed gives the same problems on
every machine. The splits "train" and "test" cannot share a question, because the hash of a question decides which
split it belongs to.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "LARGEST",
    "Problem",
    "Split",
    "answer_in",
    "arithmetic_holds",
    "check_prompt",
    "check_step",
    "corrupt",
    "problem",
    "problems",
    "solve",
    "split_of",
    "stream",
]

Split = Literal["train", "test"]

LARGEST = 9999
"""The largest value that a step may have as its result."""

_NUMBER = r"(0|[1-9][0-9]*)"
_START = re.compile(rf"Start with {_NUMBER}\.")
_OPERATION = re.compile(rf" (Add|Subtract|Multiply by) {_NUMBER}\.")
_EQUATION = re.compile(rf"{_NUMBER}([-+*]){_NUMBER}={_NUMBER}")
_ANSWER = re.compile(rf"^A: {_NUMBER}$", re.MULTILINE)
_SIGNS = {"Add": "+", "Subtract": "-", "Multiply by": "*"}
_TRIES = 2000


@dataclass(frozen=True)
class Problem:
    """A question together with its right solution.

    Attributes:
        question: The operations in words, such as "Start with 17. Add 25."
        prompt: The question as the model expects it: "Q: ", the question and a newline.
        steps: The right equations in order, one for each operation, without newlines and without the answer line.
        answer: The final number, in digits.
    """

    question: str
    prompt: str
    steps: tuple[str, ...]
    answer: str

    @property
    def length(self) -> int:
        """The number of operations, which is also the number of equations."""
        return len(self.steps)

    @property
    def lines(self) -> tuple[str, ...]:
        """All lines of the right solution: the equations and, last, the answer line."""
        return (*self.steps, f"A: {self.answer}")

    @property
    def solution(self) -> str:
        """The text that should follow the prompt: every line with a newline behind it."""
        return "".join(f"{line}\n" for line in self.lines)


def _apply(left: int, sign: str, right: int) -> int:
    if sign == "+":
        return left + right
    return left - right if sign == "-" else left * right


def solve(question: str) -> tuple[str, ...]:
    """Solve a question.

    Args:
        question: The operations in words; a leading "Q: " and whitespace around the question are tolerated.

    Returns:
        The lines of the right solution without newlines: the equations and, last, the answer line "A: n".

    Raises:
        ValueError: The text is not a question of this kind, or a value falls below zero.
    """
    text = question.strip().removeprefix("Q: ")
    start = _START.match(text)
    if start is None:
        raise ValueError(f"not a question: {question!r}")
    value, at = int(start[1]), start.end()
    lines: list[str] = []
    while at < len(text):
        operation = _OPERATION.match(text, at)
        if operation is None:
            raise ValueError(f"not an operation: {text[at:]!r}")
        sign, operand = _SIGNS[operation[1]], int(operation[2])
        result = _apply(value, sign, operand)
        if result < 0:
            raise ValueError(f"a value falls below zero: {value}{sign}{operand}")
        lines.append(f"{value}{sign}{operand}={result}")
        value, at = result, operation.end()
    return (*lines, f"A: {value}")


def arithmetic_holds(line: str) -> bool:
    """Whether a line is a right equation; the question is not known here.

    A right equation may still be the wrong step: `check_step` looks at the question too.

    Args:
        line: A line such as "17+25=42"; one newline at its end is tolerated.

    Returns:
        True if and only if the line is `a+b=c`, `a-b=c` or `a*b=c` in plain digits and the equation is right.
    """
    match = _EQUATION.fullmatch(line.removesuffix("\n"))
    return match is not None and _apply(int(match[1]), match[2], int(match[3])) == int(match[4])


def check_step(question: str, lines_so_far: Sequence[str], line: str) -> bool:
    """Whether a line is exactly the right next line of a solution.

    Args:
        question: The operations in words, as `solve` takes them.
        lines_so_far: The lines that were written before; one newline at the end of each is tolerated.
        line: The line to check, an equation or the answer line; one newline at its end is tolerated.

    Returns:
        True if and only if the lines so far and this line together are how the right solution begins. After a
        wrong line no line is right, and neither is anything after the answer line.
    """
    written = [*(earlier.removesuffix("\n") for earlier in lines_so_far), line.removesuffix("\n")]
    return written == list(solve(question)[: len(written)])


def answer_in(text: str) -> str | None:
    """The answer that a written solution ends in.

    Args:
        text: What the model wrote.

    Returns:
        The digits in the first line of the form "A: n", or None where there is no such line.
    """
    match = _ANSWER.search(text)
    return None if match is None else match[1]


def split_of(question: str) -> Split:
    """The split that a question belongs to; about one question in sixteen is held out as "test".

    Args:
        question: The operations in words, exactly as in `Problem.question`.

    Returns:
        "test" or "train", decided by a hash of the text alone.
    """
    return "test" if hashlib.sha256(question.encode()).digest()[0] % 16 == 0 else "train"


def _operation(rng: random.Random, value: int) -> tuple[str, int]:
    """Draw an operation in words and its operand so that the result stays between 0 and `LARGEST`."""
    bound = 99 if value < 100 else 999
    choices = [("Add", 38, min(bound, LARGEST - value)), ("Subtract", 34, min(bound, value))]
    if value > 0:
        choices.append(("Multiply by", 28, min(9, LARGEST // value)))
    possible = [(word, weight, most) for word, weight, most in choices if most >= (2 if word == "Multiply by" else 1)]
    word, _, most = rng.choices(possible, [weight for _, weight, _ in possible])[0]
    return word, rng.randint(2 if word == "Multiply by" else 1, most)


def _draw(rng: random.Random, steps: int, split: Split) -> Problem:
    """Draw questions until one belongs to the split."""
    while True:
        value = rng.randint(2, 99)
        question = f"Start with {value}."
        for _ in range(steps):
            word, operand = _operation(rng, value)
            question += f" {word} {operand}."
            value = _apply(value, _SIGNS[word], operand)
        if split_of(question) == split:
            *equations, _ = solve(question)
            return Problem(question, f"Q: {question}\n", tuple(equations), str(value))


def _checked(steps: int, split: Split) -> None:
    if steps < 1:
        raise ValueError(f"a problem has at least one step, not {steps}")
    if split not in ("train", "test"):
        raise ValueError(f'the split is "train" or "test", not {split!r}')


def problem(seed: int, steps: int, split: Split = "train") -> Problem:
    """Make one problem.

    Args:
        seed: Which problem; the same seed, number of steps and split always give the same one.
        steps: The number of operations, at least 1.
        split: The split that the question belongs to.

    Returns:
        The problem.
    """
    _checked(steps, split)
    return _draw(random.Random(f"{seed}/{split}/{steps}"), steps, split)


def stream(lengths: Iterator[int], seed: int, split: Split = "train") -> Iterator[Problem]:
    """Make problems without end, as training needs them; questions may repeat.

    Args:
        lengths: The number of operations for each problem; the stream ends with it.
        seed: Which stream.
        split: The split that the questions belong to.

    Yields:
        One problem for each length.
    """
    for index, steps in enumerate(lengths):
        _checked(steps, split)
        yield _draw(random.Random(f"{seed}/{split}/{index}/{steps}"), steps, split)


def problems(
    n: int, steps: int | tuple[int, int] | list[int] = (1, 10), seed: int = 0, split: Split = "test"
) -> list[Problem]:
    """Make a list of problems that all differ.

    Args:
        n: How many.
        steps: The number of operations: one number for all, a tuple (lowest, highest) to draw from evenly, or a list
            that the problems go through in turn, again and again.
        seed: Which list; a longer list with the same seed begins with the shorter one.
        split: The split that the questions belong to.

    Returns:
        `n` problems, no question twice.

    Raises:
        ValueError: There are not enough different questions of so few steps.
    """
    if isinstance(steps, list) and not steps:
        raise ValueError("the list of lengths is empty")
    found: dict[str, Problem] = {}
    for index in range(n):
        rng = random.Random(f"{seed}/{split}/{index}")
        if isinstance(steps, tuple):
            length = rng.randint(*steps)
        else:
            length = steps if isinstance(steps, int) else steps[index % len(steps)]
        _checked(length, split)
        for _ in range(_TRIES):
            made = _draw(rng, length, split)
            if made.question not in found:
                found[made.question] = made
                break
        else:
            raise ValueError(f"there are hardly more than {index} different questions to draw from")
    return list(found.values())


def check_prompt(line: str) -> str:
    """The prompt that asks the model whether an equation is right; it answers "yes" or "no".

    Args:
        line: An equation such as "17+25=42"; one newline at its end is tolerated.

    Returns:
        "Check: ", the equation and a newline.
    """
    return f"Check: {line.removesuffix(chr(10))}\n"


def corrupt(line: str, rng: random.Random) -> str:
    """Make an equation wrong in a plausible way: one digit of the result off, or a carry lost or made up.

    Args:
        line: A right equation without a newline.
        rng: Where the choice comes from.

    Returns:
        The same equation with a different result, which is not negative.
    """
    head, _, tail = line.rpartition("=")
    result = int(tail)
    while True:
        place = 10 ** rng.randrange(len(tail))
        if rng.random() < 0.5:
            wrong = result + rng.choice((-1, 1)) * place
        else:
            digit = result // place % 10
            wrong = result + (rng.randrange(10) - digit) * place
        if wrong != result and wrong >= 0:
            return f"{head}={wrong}"
