"""The law of the compiler: a compiled program equals CPython, also after its runs have been copied anywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .driver import Machine, Outcome, Suspended, define, run_plain

ANSWERS = 60


def differences(source: str, seed: int = 0, runs: int = 3, forks: int = 3) -> list[str]:
    """Where the compiled program ``f`` of ``source`` differs from CPython.

    Args:
        source: a module that defines ``f``, a program of two numbers.
        seed: for the arguments, the answers and the places of the copies.
        runs: how many runs from the beginning to compare.
        forks: how many copies to make of each; each goes on with answers of its own.

    Returns:
        A description of each difference; none if the law holds.
    """
    choose = random.Random(seed)
    plain, compiled = define(source)
    found: list[str] = []
    for _ in range(runs):
        args = (choose.randrange(4), choose.randrange(5))
        answers = _answers(choose)
        copies: list[Suspended] = []

        def at_request(state: Suspended, copies: list[Suspended] = copies) -> None:
            if choose.random() < 0.2 and len(copies) < forks:
                copies.append(state.fork(_answers(choose)))

        machine = Machine(at_request)
        outcome = machine.start(compiled, args, answers)
        found += _compare(f"f{args} with {answers[:12]}", run_plain(plain, args, answers), outcome)
        doubled = {a for a in machine.addresses if machine.addresses.count(a) > 1}
        if doubled:
            found.append(f"addresses used twice: {sorted(doubled)}")
        for copy in copies:
            where = f"f{args} copied after {copy.run.asked} answers, with {list(copy.run.answers[:12])}"
            found += _compare(where, run_plain(plain, args, copy.run.answers), Machine().resume(copy))
    return found


def _answers(choose: random.Random) -> list[int]:
    return [choose.randrange(6) for _ in range(ANSWERS)]


def _compare(where: str, plain: Outcome, compiled: Outcome) -> list[str]:
    if plain == compiled:
        return []
    lines = [where, f"  CPython:  {plain.value}", f"  compiled: {compiled.value}"]
    longest: Sequence[int] = range(max(len(plain.log), len(compiled.log)))
    for i in longest:
        pair = [log[i] if i < len(log) else None for log in (plain.log, compiled.log)]
        if pair[0] != pair[1]:
            lines.append(f"  effect {i}: {pair[0]} by CPython, {pair[1]} compiled")
            break
    return ["\n".join(lines)]
