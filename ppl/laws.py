"""The table of laws: every method, kernel and pass, what it promises, and whether it keeps that on some programs.

A method gets into the table by being registered (``runtime.methods.register``, or a place in ``METHODS``). What it must
say is in its class:

- ``name``, by which ``infer`` finds it, and ``guarantee``; a class without them can't be made.
- ``evidence = False`` if its population does not estimate the evidence. A *proper* method that says so is checked
  against the program without its evidence.
- ``law_variants``: the options with which the table checks it, each on the whole corpus; where it has a field ``n``, at
  ``n`` = 1, 2 and 3, from ``least`` on, or at the ``n`` that is among the options. Between them they should give every
  option two values, make every branch of its code run on programs of two or three steps (a threshold of 1.0, say), and
  keep the number of random outcomes small.
- ``memoryless = True`` if, between steps, the population is its whole state: see ``Method``. Then equal populations are
  merged, and many more programs are small enough.

A kernel gets into it by a row in ``law_kernels.KERNELS``, a pass by being in ``PASSES``, where it says its level.

``certificate.CHECKS`` tells how the law of each guarantee is checked. What has no certificate that holds fails the
tests (``tests/laws/test_table.py``), and so does what is not in the README's table, or has an option that no variant
takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .certificate import Certificate, TooLarge, certificate_of, law_of
from .certificate_passes import LAWS as PASS_LAWS
from .certificate_passes import validate_passes
from .compiler.passes import PASSES, Pass
from .law_kernels import KERNELS
from .law_programs import CORPUS, TO_REWRITE
from .runtime.methods import METHODS, MH, Method

LIMIT = 100
"""The most runs for a program at one number of particles, in a table that is made while one waits."""

COUNTS = ("programs", "cases", "left out", "runs", "largest error", "")
Told = Callable[[Certificate], None]
"""Is told of each certificate."""


@dataclass(frozen=True)
class Row:
    """The certificates of a method, a kernel or a pass.

    Attributes:
        name: what it is called.
        guarantee: what it promises.
        law: the law that was checked.
        certificates: program of the corpus and certificate, one for each set of options and number of particles.
        left_out: programs that had too many outcomes, or for which the options make no sense, once for each set of
            options and number of particles.
        without_effect: programs that a pass leaves as they are.
    """

    name: str
    guarantee: str
    law: str
    certificates: tuple[tuple[str, Certificate], ...]
    left_out: tuple[str, ...]
    without_effect: frozenset[str] = frozenset()

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
        """On how many programs it was checked; of a pass, how many of them it changes."""
        return len({title for title, _ in self.certificates} - self.without_effect)

    @property
    def verdict(self) -> str:
        """In a few words."""
        if not self.certificates:
            return "NOT CHECKED"
        if self.guarantee == "heuristic":
            return "no promise"
        if not self.holds:
            return "DOES NOT HOLD"
        return "holds" if self.programs else "changes none of them"

    @property
    def cells(self) -> dict[str, str]:
        """What stands in it, by heading; under the last its verdict."""
        error = f"{self.error:.2f}" if self.guarantee == "heuristic" else f"{self.error:.0e}"
        counts = [f"{count:,}" for count in (self.programs, len(self.certificates), len(self.left_out), self.leaves)]
        found = {"guarantee": self.guarantee, "law": self.law}
        return found | dict(zip(COUNTS, (*counts, error, self.verdict), strict=True))


@dataclass(frozen=True)
class Section:
    """The rows of one kind of thing.

    Attributes:
        of: what they are of: ``method``, ``kernel`` or ``pass``.
        headings: of the columns after the name.
        rows: in order.
    """

    of: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def certify(name: str, methods: Sequence[Method], limit: int = LIMIT, told: Told | None = None) -> Row:
    """Check one method, in some variants, on the corpus.

    Args:
        name: what to call it.
        methods: the method with the options to check, at least one; their number of particles stays as it is. A program
            that was too large for some options is not tried again with more particles: those come later.
        limit: the most runs for a program with one of them.
        told: called with each certificate.
    """
    found: list[tuple[str, Certificate]] = []
    left_out: list[str] = []
    too_large: set[tuple[str, str]] = set()
    for method in methods:
        options = repr(replace(method, n=method.least) if _counts(type(method)) else method)  # type: ignore[call-arg]
        for title, (program, args) in CORPUS.items():
            if (title, options) in too_large or not _makes_sense(method, title):
                left_out.append(title)
                continue
            try:
                certificate = certificate_of(program, (args, {}), [method], limit)
            except TooLarge:
                too_large.add((title, options))
                left_out.append(title)
                continue
            found.append((title, certificate))
            if told is not None:
                told(certificate)
    return Row(name, methods[0].guarantee, law_of(methods[0]), tuple(found), tuple(left_out))


def _makes_sense(method: Method, title: str) -> bool:
    """Whether a program of the corpus has what the options speak of, such as sites at which to resample."""
    try:
        method.check(CORPUS[title][0].sites)
    except ValueError:
        return False
    return True


def _counts(method: type[Method]) -> bool:
    """Whether it has a number of particles."""
    return "n" in method.__dataclass_fields__


def variants(method: type[Method], counts: Iterable[int] = (1, 2, 3)) -> list[Method]:
    """The variants of a registered method that the table checks: what it names itself, at each number of particles."""
    sizes = [{"n": n} for n in counts if n >= method.least] if _counts(method) else [{}]
    free = [more for more in method.law_variants if "n" not in more]
    found = [method(**more) for more in method.law_variants if "n" in more]
    return found + [method(**size, **more) for size in sizes for more in free]


def certify_pass(new: Pass, limit: int = LIMIT, told: Told | None = None) -> Row:
    """Check a pass of the compiler, by itself, on the corpus."""
    found: list[tuple[str, Certificate]] = []
    left_out: list[str] = []
    corpus = CORPUS | TO_REWRITE
    for title, (program, args) in corpus.items():
        try:
            certificate = validate_passes(program, *args, passes=[new], limit=limit)
        except TooLarge:
            left_out.append(title)
            continue
        found.append((title, certificate))
        if told is not None:
            told(certificate)
    same = frozenset(title for title, (program, _) in corpus.items() if not program.optimised([new]).changed)
    return Row(new.name, new.level.name.lower(), PASS_LAWS[new.level], tuple(found), tuple(left_out), same)


def table(limit: int = LIMIT, told: Told | None = None) -> list[Section]:
    """A row for every registered method, every kernel and every pass."""
    methods = [certify(name, variants(method), limit, told) for name, method in METHODS.items()]
    kernels = [
        certify(kind.__name__, [MH(kernel=kernel) for kernel in row], limit, told) for kind, row in KERNELS.items()
    ]
    passes = [certify_pass(each, limit, told) for each in PASSES.values()]
    return [
        Section("method", ("guarantee", "law", *COUNTS), tuple(methods)),
        Section("kernel", ("law", *COUNTS), tuple(kernels)),
        Section("pass", ("guarantee", "law", *COUNTS), tuple(passes)),
    ]


def to_markdown(sections: Iterable[Section]) -> str:
    """The table as Markdown, section by section."""
    return "\n\n".join("\n".join(_markdown(section)) for section in sections)


def _markdown(section: Section) -> list[str]:
    words = [heading for heading in section.headings if heading not in COUNTS]
    lines = [f"| {' | '.join((section.of, *section.headings))} |"]
    lines.append(f"|{'---|' * (1 + len(words))}{'---:|' * (len(COUNTS) - 1)}---|")
    for row in section.rows:
        *cells, verdict = (row.cells[heading] for heading in section.headings)
        lines.append(f"| {' | '.join([f'`{row.name}`', *cells, verdict if row.holds else f'**{verdict.lower()}**'])} |")
    return lines


def show_table(limit: int = LIMIT, markdown: Path | None = None) -> list[Row]:
    """Make the table, print it, and write it as Markdown if a file is given."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    with Console(stderr=True).status("certifying") as status:
        sections = table(limit, lambda c: status.update(f"{c.program} by {c.method}"))
    rows = [row for section in sections for row in section.rows]
    # Few laws and many rows: in a terminal they are told below.
    laws = {law: str(number) for number, law in enumerate(dict.fromkeys(row.law for row in rows), 1)}
    console = Console()
    for section in (each for each in sections if each.rows):
        lines = [
            (row.name, *(laws[row.law] if heading == "law" else row.cells[heading] for heading in section.headings))
            for row in section.rows
        ]
        headings = (section.of, *section.headings)
        shown = Table(box=None)
        for heading, cells in zip(headings, zip(*lines, strict=True), strict=True):
            side: Literal["left", "right"] = "left" if heading in (section.of, "guarantee", "") else "right"
            shown.add_column(heading, justify=side, min_width=max(map(len, (*cells, *heading.split()))))
        for row, line in zip(section.rows, lines, strict=True):
            shown.add_row(*map(escape, line[:-1]), f"[{'green' if row.holds else 'bold red'}]{line[-1]}[/]")
        console.print(shown)
        console.print()
    for law, number in laws.items():
        console.print(f"{number}  {escape(law)}", style="dim", highlight=False)
    if markdown is not None:
        markdown.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(to_markdown(sections) + "\n", encoding="utf-8")
    return rows
