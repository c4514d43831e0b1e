"""The table of laws: every method, what it promises, and whether it keeps that on every program of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .certificate import Certificate, TooLarge, certificate_of
from .law_programs import CORPUS
from .runtime.methods import METHODS, Method


@dataclass(frozen=True)
class Row:
    """A method's certificates.

    Attributes:
        method: its name.
        certificates: one a program and number of particles.
        too_large: programs that had too many outcomes to be explored at some number of particles.
    """

    method: str
    certificates: tuple[Certificate, ...]
    too_large: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every certificate is true, and there is at least one."""
        return bool(self.certificates) and all(self.certificates)

    @property
    def guarantee(self) -> str:
        """What the method promises."""
        return self.certificates[0].guarantee

    @property
    def error(self) -> float:
        """The largest error of all."""
        return max(c.error for c in self.certificates)

    @property
    def leaves(self) -> int:
        """How many sequences of random outcomes were run in all."""
        return sum(c.leaves for c in self.certificates)

    @property
    def programs(self) -> int:
        """On how many programs it was checked."""
        return len({c.program for c in self.certificates})

    @property
    def figures(self) -> tuple[str, str, str]:
        """How many programs and outcomes were checked, and the largest error, as text."""
        return str(self.programs), f"{self.leaves:,}", f"{self.error:.0e}"


def certify(
    name: str,
    methods: Iterable[Method],
    limit: int = 2_000,
    told: Callable[[Certificate], None] | None = None,
) -> Row:
    """Check one method, in some variants, on the corpus.

    Args:
        name: what to call it.
        methods: the method with the options to check; their number of particles stays as it is.
        limit: the most outcomes to explore for a program at one number of particles.
        told: called with each certificate.
    """
    found: list[Certificate] = []
    too_large: list[str] = []
    for method in methods:
        for title, (program, args) in CORPUS.items():
            try:
                certificate = certificate_of(program, (args, {}), [method], limit)
            except TooLarge:
                too_large.append(title)
                continue
            found.append(certificate)
            if told is not None:
                told(certificate)
    return Row(name, tuple(found), tuple(dict.fromkeys(too_large)))


def variants(method: type[Method]) -> list[Method]:
    """The variants of a registered method that the table checks: up to 3 particles, and what it adds itself."""
    counts = [{"n": n} for n in (1, 2, 3) if n >= method.least] if "n" in method.__dataclass_fields__ else [{}]
    return [method(**count, **more) for count in counts for more in method.law_variants]


def table(limit: int = 2_000, told: Callable[[Certificate], None] | None = None) -> list[Row]:
    """A row for every registered method."""
    return [certify(name, variants(method), limit, told) for name, method in METHODS.items()]


def to_markdown(rows: Iterable[Row]) -> str:
    """The table as Markdown."""
    lines = [
        "| method | guarantee | law | programs | outcomes explored | largest error | |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        verdict = "holds" if row.holds else "**does not hold**"
        cells = [f"`{row.method}`", row.guarantee, row.certificates[0].law, *row.figures, verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show_table(limit: int = 2_000, markdown: Path | None = None) -> list[Row]:
    """Make the table, print it, and write it as Markdown if a file is given."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    errors = Console(stderr=True)
    with errors.status("certifying") as status:
        rows = table(limit, lambda c: status.update(f"{c.program} by {c.method}"))
    shown = Table("method", "guarantee", "law", "programs", "outcomes", "error", "", box=None)
    for row in rows:
        verdict = "[green]holds[/]" if row.holds else "[bold red]DOES NOT HOLD[/]"
        shown.add_row(row.method, row.guarantee, escape(row.certificates[0].law), *row.figures, verdict)
    Console().print(shown)
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(to_markdown(rows) + "\n", encoding="utf-8")
    return rows
