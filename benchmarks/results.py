"""Where benchmarks put their figures: a section each of ``benchmarks/RESULTS.md``, between its markers."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Put ``text`` between the markers of section ``name``; a section that is not there yet goes to the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    head, rest = old.split(begin, 1)
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def command(about: str | None, section: str, report: Callable[[], str], argv: Sequence[str] | None) -> None:
    """What a benchmark without settings does as a program: print its report, and write it down."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    text = report()
    print(text)
    if not options.no_write:
        write_section(section, text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    return "\n".join((*lines, *(f"| {' | '.join(row)} |" for row in rows)))


def machine() -> str:
    """What the figures were measured on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {os.cpu_count()} CPU cores ({platform.machine()}), one thread"


def best(run: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some runs: what is left when others do not disturb."""
    return min(once(run) for _ in range(repeats))


def once(run: Callable[[], object]) -> float:
    """Seconds of this process in one run."""
    started = time.process_time()
    run()
    return time.process_time() - started


def paired(ours: Callable[[], object], theirs: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """Seconds of the fastest runs of two, taken in turns so that the machine's moods hit both."""
    both = [(once(ours), once(theirs)) for _ in range(repeats)]
    return min(a for a, _ in both), min(b for _, b in both)
