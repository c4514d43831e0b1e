"""The table of laws: every method, what it promises, and whether it keeps that on every program of a corpus.

A method gets into the table by being registered (``runtime.methods.register``, or a place in ``METHODS``). What it must
say is in its class:

- ``name``, by which ``infer`` finds it, and ``guarantee``; a class without them can't be made.
- ``evidence = False`` if its population does not estimate the evidence. A *proper* method that says so is checked
  against the program without its evidence.
- ``law_variants``: the options with which the table checks it, each on the whole corpus; where it has a field ``n``, at
  ``n`` = 1, 2 and 3, from ``least`` on. They should make every branch of its code run on programs of two or three
  steps (a threshold of 1.0, say), and keep the number of random outcomes small.
- ``memoryless = True`` if, between steps, the population is its whole state: see ``Method``. Then equal populations are
  merged, and many more programs are small enough.

``certificate.CHECKS`` tells how the law of each guarantee is checked. A method without a certificate that holds fails
the tests (``tests/laws/test_table.py``), and so does one that is not in the README's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .certificate import Certificate, TooLarge, certificate_of, law_of
from .law_programs import CORPUS
from .runtime.methods import METHODS, Method
from .runtime.result import Guarantee

LIMIT = 400
"""The most runs for a program at one number of particles, in a table that is made while one waits."""

HEADINGS = ("method", "guarantee", "law", "programs", "cases", "left out", "runs", "largest error", "")


@dataclass(frozen=True)
class Row:
    """A method's certificates.

    Attributes:
        method: its name.
        guarantee: what it promises.
        law: the law that was checked.
        certificates: program of the corpus and certificate, one for each set of options and number of particles.
        too_large: programs that had too many outcomes, once for each set of options and number of particles.
    """

    method: str
    guarantee: Guarantee
    law: str
    certificates: tuple[tuple[str, Certificate], ...]
    too_large: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every certificate is true, and there is at least one."""
        return bool(self.certificates) and all(certificate for _, certificate in self.certificates)

    @property
    def error(self) -> float:
        """The largest error of all; for heuristics, which promise nothing, a total variation distance."""
        return max((certificate.error for _, certificate in self.certificates), default=0.0)

    @property
    def leaves(self) -> int:
        """How many runs it took in all."""
        return sum(certificate.leaves for _, certificate in self.certificates)

    @property
    def programs(self) -> int:
        """On how many programs it was checked."""
        return len({title for title, _ in self.certificates})

    @property
    def verdict(self) -> str:
        """In a few words."""
        if not self.certificates:
            return "NOT CHECKED"
        if self.guarantee == "heuristic":
            return "no promise"
        return "holds" if self.holds else "DOES NOT HOLD"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row under ``HEADINGS``, without the verdict."""
        error = f"{self.error:.2f}" if self.guarantee == "heuristic" else f"{self.error:.0e}"
        counts = (self.programs, len(self.certificates), len(self.too_large), self.leaves)
        return (self.method, self.guarantee, self.law, *(f"{count:,}" for count in counts), error)


def certify(
    name: str,
    methods: Sequence[Method],
    limit: int = LIMIT,
    told: Callable[[Certificate], None] | None = None,
) -> Row:
    """Check one method, in some variants, on the corpus.

    Args:
        name: what to call it.
        methods: the method with the options to check, at least one; their number of particles stays as it is.
        limit: the most runs for a program with one of them.
        told: called with each certificate.
    """
    found: list[tuple[str, Certificate]] = []
    too_large: list[str] = []
    for method in methods:
        for title, (program, args) in CORPUS.items():
            try:
                certificate = certificate_of(program, (args, {}), [method], limit)
            except TooLarge:
                too_large.append(title)
                continue
            found.append((title, certificate))
            if told is not None:
                told(certificate)
    return Row(name, methods[0].guarantee, law_of(methods[0]), tuple(found), tuple(too_large))


def variants(method: type[Method], counts: Iterable[int] = (1, 2, 3)) -> list[Method]:
    """The variants of a registered method that the table checks: what it names itself, at each number of particles."""
    sizes = [{"n": n} for n in counts if n >= method.least] if "n" in method.__dataclass_fields__ else [{}]
    return [method(**size, **more) for size in sizes for more in method.law_variants]


def table(limit: int = LIMIT, told: Callable[[Certificate], None] | None = None) -> list[Row]:
    """A row for every registered method."""
    return [certify(name, variants(method), limit, told) for name, method in METHODS.items()]


def to_markdown(rows: Iterable[Row]) -> str:
    """The table as Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---:|---:|---:|---:|---:|---|"]
    for row in rows:
        method, *others = row.cells
        verdict = row.verdict if row.holds else f"**{row.verdict.lower()}**"
        lines.append(f"| {' | '.join([f'`{method}`', *others, verdict])} |")
    return "\n".join(lines)


def show_table(limit: int = LIMIT, markdown: Path | None = None) -> list[Row]:
    """Make the table, print it, and write it as Markdown if a file is given."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    errors = Console(stderr=True)
    with errors.status("certifying") as status:
        rows = table(limit, lambda c: status.update(f"{c.program} by {c.method}"))
    # Few laws and many methods: in a terminal they are told below.
    laws = {law: number for number, law in enumerate(dict.fromkeys(row.law for row in rows), 1)}
    lines = [(*row.cells[:2], str(laws[row.law]), *row.cells[3:], row.verdict) for row in rows]
    shown = Table(box=None)
    for heading, cells in zip(HEADINGS, zip(*lines, strict=True), strict=True):
        side: Literal["left", "right"] = "left" if heading in ("method", "guarantee", "") else "right"
        shown.add_column(heading, justify=side, min_width=max(map(len, (*cells, *heading.split()))))
    for row, line in zip(rows, lines, strict=True):
        shown.add_row(*map(escape, line[:-1]), f"[{'green' if row.holds else 'bold red'}]{line[-1]}[/]")
    console = Console()
    console.print(shown)
    for law, number in laws.items():
        console.print(f"{number}  {escape(law)}", style="dim", highlight=False)
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(to_markdown(rows) + "\n", encoding="utf-8")
    return rows
