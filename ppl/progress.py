"""A live display of inference in the terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .runtime.methods import Method
from .runtime.particle import Particle, Status, Trace
from .runtime.population import Population

_REFRESHES = 8  # a second
_MAX_ROWS = 8


@dataclass(frozen=True, slots=True)
class _Row:
    """What is shown of a problem's population."""

    step: int
    done: int
    dead: int
    particles: int
    ess: float
    log_evidence: float | None


class LiveProgress:
    """Shows on stderr how inference goes on, and clears itself at the end; silent where stderr is no terminal.

    A line a problem under way: its step, where its particles are, how even their weights are (ESS), and log Z so far.
    Above them, over all problems: how many are done, the tokens drawn a second, and the time.
    """

    def __init__(self, problems: int, method: Method, console: Console | None = None, finished: int = 0) -> None:
        """Show nothing yet.

        Args:
            problems: how many there are.
            method: how they are solved.
            console: where to draw; by default on stderr.
            finished: how many of them were solved before.
        """
        self._problems = problems
        self._method = method
        self._console = Console(stderr=True) if console is None else console
        self._visible = self._console.is_terminal or self._console.is_jupyter
        self._rows: dict[int, _Row] = {}
        self._heads: dict[int, dict[int, Trace]] = {}
        self._finished = finished
        self._tokens = 0
        self._started = time.perf_counter()
        self._spinner = Spinner("dots", style="cyan")
        self._lock = Lock()
        self._live: Live | None = None

    def __enter__(self) -> LiveProgress:
        self._started = time.perf_counter()
        if self._visible:
            # Drawn by a thread of its own, so a slow model call does not freeze the clock, nor a fast one flood it.
            self._live = Live(
                console=self._console,
                refresh_per_second=_REFRESHES,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
                get_renderable=self.render,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def report(self, number: int, population: Population) -> None:
        """Note where a problem stands.

        Args:
            number: which problem, from 0.
            population: its particles; they are only looked at.
        """
        if not self._visible:
            return
        particles = population.particles
        tokens = self._count_tokens(number, particles)
        done = sum(p.status is Status.DONE for p in particles)
        dead = sum(p.status is Status.DEAD for p in particles)
        log_evidence = population.log_evidence if self._method.evidence else None
        row = _Row(len(population.history), done, dead, len(particles), population.ess, log_evidence)
        with self._lock:
            self._tokens += tokens
            if population.ended:
                self._finished += 1
                self._heads.pop(number, None)
                if self._problems > 1:
                    self._rows.pop(number, None)
                    return
            self._rows[number] = row

    def _count_tokens(self, number: int, particles: list[Particle]) -> int:
        """The tokens of the choices made since this problem's last report; forks share their common past."""
        old = self._heads.get(number, {})
        heads: dict[int, Trace] = {}
        counted: set[int] = set()
        tokens = 0
        for particle in particles:
            node = particle.trace
            if node is None:
                continue
            heads[id(node)] = node  # kept, so that ids stay those of these nodes
            while node is not None and id(node) not in old and id(node) not in counted:
                counted.add(id(node))
                tokens += len(getattr(node.value, "tokens", ()))
                node = node.before
        self._heads[number] = heads
        return tokens

    # ---- Drawing

    def render(self) -> RenderableType:
        """What the display shows now."""
        with self._lock:
            rows = sorted(self._rows.items())
            finished, tokens = self._finished, self._tokens
        self._spinner.update(text=self._headline(finished, tokens))
        if not rows:
            return self._spinner
        width = next(cells for least, cells in ((100, 16), (80, 8), (0, 0)) if self._console.width >= least)
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(6 if self._problems > 1 else 5):
            table.add_column(no_wrap=True)
        for number, row in rows[:_MAX_ROWS]:
            label = [Text(f"  #{number + 1}", "bold")] if self._problems > 1 else []
            table.add_row(*label, *_cells(row, width, indent=not label))
        parts: list[RenderableType] = [self._spinner, table]
        if len(rows) > _MAX_ROWS:
            parts.append(Text(f"  … and {len(rows) - _MAX_ROWS} more under way", "dim"))
        return Group(*parts)

    def _headline(self, finished: int, tokens: int) -> Text:
        elapsed = time.perf_counter() - self._started
        size: Any = getattr(self._method, "n", None)
        name = type(self._method).__name__ + (f"(n={size})" if size is not None else "")
        parts = [f"{int(elapsed) // 60}:{int(elapsed) % 60:02d}"]
        if self._problems > 1:
            parts.append(f"{finished} of {self._problems} problems done")
        if tokens:
            parts.append(f"{tokens:,} tokens, {tokens / max(elapsed, 1e-9):,.0f}/s")
        line = Text.assemble((name, "bold"), *((" · " + part, "") for part in parts))
        line.truncate(max(self._console.width - 3, 1), overflow="ellipsis")
        return line


def _cells(row: _Row, width: int, indent: bool) -> list[Text]:
    running = row.particles - row.done - row.dead
    where = Text()
    counts = [(row.done, "done", "green"), (running, "running", "cyan"), (row.dead, "dead", "red")]
    for (_, _, colour), cells in zip(counts, _shares([c for c, _, _ in counts], width), strict=True):
        where.append("━" * cells, colour)
    words = Text(" ").join(Text(f"{count} {word}", colour) for count, word, colour in counts if count)
    filled = round(width * row.ess / max(row.particles, 1))
    ess = Text.assemble(("■" * filled, "blue"), ("·" * (width - filled), "dim"), f" {row.ess:.0f}", (" ESS", "dim"))
    ess = ess if width else ess[1:]
    log_z = Text() if row.log_evidence is None else Text.assemble(("log Z ", "dim"), f"{row.log_evidence:.1f}")
    return [Text(("  " if indent else "") + f"step {row.step + 1}"), where, words, ess, log_z]


def _shares(counts: list[int], width: int) -> list[int]:
    """How many of ``width`` cells each count gets: in proportion, all cells given out."""
    total, given, seen, cells = sum(counts), 0, 0, []
    for count in counts:
        seen += count
        upto = round(width * seen / total) if total else 0
        cells.append(upto - given)
        given = upto
    return cells
