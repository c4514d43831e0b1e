"""Bugs planted on purpose: wrong methods and kernels that a check must catch.

The first eleven were each found once in public code. The others got past an earlier form of the exact check.

Each module of ``MODULES`` holds a tuple ``BUGS`` of :class:`PlantedBug`. ``python -m tests.laws.planted`` prints, as a
Markdown table, which check caught which bug and with how many particles; ``test_planted.py`` asks that all are caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

MODULES = ("planted_bugs", "planted_kernels", "planted_draws", "planted_chains")


class Verdict(Protocol):
    """What a check returns, such as a ``Certificate``: true when the law holds."""

    @property
    def law(self) -> str: ...
    @property
    def exact(self) -> bool: ...
    @property
    def error(self) -> float: ...
    def __bool__(self) -> bool: ...


@dataclass(frozen=True)
class PlantedBug:
    """A wrong method or kernel, beside the right one.

    Attributes:
        number: its place in the list of bugs that a validator must catch.
        name: what is wrong, in a few words.
        reference: the algorithm or the kind of code in which it was found.
        make: the number of particles (kernels may ignore it) → the wrong thing.
        right: the same for the thing without the bug, which must pass where the bug is caught.
        check: what :attr:`make` or :attr:`right` gave → the verdict of a law on it.
        sizes: the numbers of particles to try.
        hides_at: those of ``sizes`` at which the bug does not show.
    """

    number: int
    name: str
    reference: str
    make: Callable[[int], Any]
    right: Callable[[int], Any]
    check: Callable[[Any], Verdict]
    sizes: tuple[int, ...] = (1, 2, 3)
    hides_at: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What the checks said of one bug.

    Attributes:
        bug: the bug.
        caught: number of particles → the verdict that is false.
        missed: number of particles → the verdict that is true in spite of the bug.
        wronged: number of particles → a false verdict on the thing without the bug; there must be none.
    """

    bug: PlantedBug
    caught: dict[int, Verdict]
    missed: dict[int, Verdict]
    wronged: dict[int, Verdict]

    @property
    def row(self) -> tuple[str, ...]:
        """Number, bug, where from, how checked, law, n at which it was found, n at which it hid, error."""
        found = next(iter(self.caught.values()), None)
        how = "not at all" if found is None else "exactly" if found.exact else "statistically"
        law, error = ("", "") if found is None else (found.law, f"{max(v.error for v in self.caught.values()):.2g}")
        places = (", ".join(map(str, group)) or "–" for group in (self.caught, self.missed))
        return (str(self.bug.number), self.bug.name, self.bug.reference, how, law, *places, error)


HEADINGS = ("", "bug", "found in", "caught", "law", "at n =", "hides at n =", "error")


def planted() -> list[PlantedBug]:
    """Every planted bug, in the order of the list."""
    package = __package__ or "tests.laws"
    bugs: list[PlantedBug] = []
    for name in MODULES:
        bugs += import_module(f"{package}.{name}").BUGS
    return sorted(bugs, key=lambda bug: bug.number)


def try_out(bug: PlantedBug) -> Finding:
    """Check the wrong thing and the right one at each number of particles."""
    caught: dict[int, Verdict] = {}
    missed: dict[int, Verdict] = {}
    wronged: dict[int, Verdict] = {}
    for n in bug.sizes:
        verdict = bug.check(bug.make(n))
        (missed if verdict else caught)[n] = verdict
        innocent = bug.check(bug.right(n))
        if not innocent:
            wronged[n] = innocent
    return Finding(bug, caught, missed, wronged)


def to_markdown(findings: Iterable[Finding]) -> str:
    """The table of what caught what."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rows = [line(HEADINGS), line(["---:", *["---"] * (len(HEADINGS) - 2), "---:"])]
    return "\n".join([*rows, *(line(finding.row) for finding in findings)])


if __name__ == "__main__":
    print(to_markdown(map(try_out, planted())))
