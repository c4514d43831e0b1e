"""Posteriors as plain text, in a terminal and in a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from .posterior_report import BAR_WIDTH, Row, caveats, empty_report, facts, losses, probability, rows, title
from .posterior_values import show

if TYPE_CHECKING:
    from rich.panel import Panel
    from rich.table import Table

    from .posterior import Posterior
    from .posterior_distribution import Distribution, WeightedRuns

_WIDTH = 100  # the widest that plain text and panels get
_MUTED = "opacity:.65"
_DOT = " · "


# ---- Plain text


def summary_text(posterior: Posterior) -> str:
    """One screen of plain text."""
    lines = [_DOT.join(title(posterior, _WIDTH))]
    if posterior.empty:
        lines += empty_report(posterior).split("\n")
        lines += [_DOT.join(facts(posterior))]
        return "\n".join(lines)
    lines += [f"  {line}" for line in _table_lines(rows(posterior.distribution()))]
    lines += textwrap.wrap(_DOT.join(facts(posterior)), _WIDTH)
    lines += caveats(posterior)
    lines += losses(posterior, 4)
    return "\n".join(lines)


def distribution_text(distribution: Distribution) -> str:
    """A table, a value a line."""
    lines = _table_lines(rows(distribution, limit=20))
    if distribution.mass < 1.0:
        lines.append(_given(distribution))
    return "\n".join(lines)


def runs_text(runs: WeightedRuns) -> str:
    """The heaviest runs, a line each."""
    order = sorted(range(len(runs)), key=lambda i: -runs.weights[i])
    lines = [f"{len(runs):,} weighted runs" + (", the heaviest first:" if runs else "")]
    for i in order[:10]:
        run = runs[i]
        lines.append(
            f"  [{i}] weight {probability(runs.weights[i]):>6}  log_joint {run.log_joint:>9.4g}  "
            f"{len(run.trace):>3} choices  {show(run.value, 48)}"
        )
    if len(order) > 10:
        lines.append(f"  … {len(order) - 10:,} more")
    return "\n".join(lines)


def _given(distribution: Distribution) -> str:
    return f"among runs that make this choice, which have probability {probability(distribution.mass)}"


def _table_lines(table: Sequence[Row]) -> list[str]:
    label = max(_cells(row.label) for row in table)
    number = max(len(row.probability) for row in table)
    error = max(len(row.error) for row in table)
    count = max(len(str(row.count)) for row in table)
    lines = []
    for row in table:
        parts = [row.label + " " * (label - _cells(row.label)), row.probability.rjust(number)]
        parts += [row.error.ljust(error)] if error else []
        parts += [row.bar.ljust(BAR_WIDTH), f"{row.count:>{count}} run" + "s" * (row.count != 1)]
        lines.append("  ".join(parts))
    return lines


def _cells(text: str) -> int:
    """How many terminal columns the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


# ---- Terminal. Model text goes into ``Text`` objects only, which are not read as markup.


def panel(posterior: Posterior, max_width: int) -> Panel:
    """What ``rich.print(posterior)`` shows."""
    from rich.console import Group, RenderableType
    from rich.panel import Panel
    from rich.text import Text

    width = min(max_width, _WIDTH)
    program, method, guarantee = title(posterior, width - 6)
    colour = {"heuristic": "yellow"}.get(guarantee, "green")
    heading = Text.assemble((program, "bold"), (_DOT, "dim"), method, (_DOT, "dim"), (guarantee, colour))
    parts: list[RenderableType] = []
    if posterior.empty:
        first, *rest = empty_report(posterior).split("\n")
        parts += [Text(first, "bold red"), *(Text(line) for line in rest), Text("")]
    else:
        parts += [_rich_rows(posterior.distribution(), 8, width - 6, bars=max_width >= 60), Text("")]
    parts.append(Text(_DOT.join(facts(posterior)), "bold"))
    parts += [Text(line, "yellow" if guarantee == "heuristic" else "dim") for line in caveats(posterior)]
    if not posterior.empty:
        parts += [Text(line, "dim") for line in losses(posterior, 4)]
    return Panel(
        Group(*parts),
        title=heading,
        title_align="left",
        width=width,
        padding=(1, 2),
        border_style="dim",
    )


def distribution_table(distribution: Distribution, max_width: int) -> Table:
    """What ``rich.print(distribution)`` shows."""
    table = _rich_rows(distribution, 20, max_width)
    if distribution.mass < 1.0:
        table.caption = _given(distribution)
        table.caption_justify = "left"
    return table


def _rich_rows(distribution: Distribution, limit: int, max_width: int, bars: bool = True) -> Table:
    from rich.table import Table
    from rich.text import Text

    table_rows = rows(distribution, limit)
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    errors = any(row.error for row in table_rows)
    # Only the value may shrink in a narrow terminal: half a number is a wrong number.
    table.add_column("value")  # its texts do not wrap; saying so here would let Rich take from the numbers
    left = max_width
    for header, texts in (
        ("prob.", [row.probability for row in table_rows]),
        ("s.e.", [row.error for row in table_rows] if errors else []),
        ("", ["█" * BAR_WIDTH] if bars else []),
        ("runs", [f"{row.count:,}" for row in table_rows]),
    ):
        if texts:
            width = max(map(len, [header, *texts]))
            justify: Literal["left", "right"] = "left" if header in ("", "s.e.") else "right"
            table.add_column(header, justify=justify, no_wrap=True, width=width)
            left -= width + 2
    if max(_cells(row.label) for row in table_rows) > left:  # the middle goes, not what tells them apart
        table_rows = rows(distribution, limit, max(left, 8))
    for i, row in enumerate(table_rows):
        strong = "bold" if i == 0 else "dim" if row.rest else ""
        cells = [Text(row.label, strong, no_wrap=True, overflow="ellipsis"), Text(row.probability, strong)]
        cells += [Text(row.error, "dim")] if errors else []
        cells += [Text(row.bar, "blue")] if bars else []
        cells += [Text(f"{row.count:,}", "dim")]
        table.add_row(*cells)
    return table


# ---- Notebook. Every string is made visible and escaped; colours follow the notebook's theme.


def posterior_html(posterior: Posterior) -> str:
    """A self-contained piece of HTML."""
    program, method, guarantee = title(posterior, 400)
    head = f"<b>{_escape(program)}</b>{_DOT}{_escape(method)}{_DOT}<i>{_escape(guarantee)}</i>"
    if posterior.empty:
        body = "".join(f"<div>{_escape(line)}</div>" for line in empty_report(posterior).split("\n"))
    else:
        body = _html_rows(rows(posterior.distribution(), width=80))
    foot = [f"<div><b>{_escape(_DOT.join(facts(posterior)))}</b></div>"]
    notes = caveats(posterior) + ([] if posterior.empty else losses(posterior, 4))
    foot += [f'<div style="{_MUTED}">{_escape(line)}</div>' for line in notes]
    return _html_box([f'<div style="margin-bottom:.5em">{head}</div>', body, *foot])


def distribution_html(distribution: Distribution) -> str:
    """A self-contained piece of HTML."""
    note = f'<div style="{_MUTED}">{_escape(_given(distribution))}</div>' if distribution.mass < 1.0 else ""
    return _html_box([_html_rows(rows(distribution, limit=20, width=80)), note])


def _html_box(parts: Iterable[str]) -> str:
    return f'<div style="font-size:13px;line-height:1.5;max-width:60em">{"".join(parts)}</div>'


def _html_rows(table: Sequence[Row]) -> str:
    cell = "padding:1px 14px 1px 0;border:none;background:none;text-align:"
    number = f"white-space:nowrap;{cell}"  # half a number is a wrong number
    lines = []
    for row in table:
        width = 0.0 if row.rest else max(100.0 * row.share, 0.5)
        bar = f'<div style="background:#2f6db5;height:.8em;width:{width:.1f}%;border-radius:2px"></div>'
        label = _escape(row.label) if row.rest else f"<code style='background:none'>{_escape(row.label)}</code>"
        lines.append(
            f'<tr style="background:none"><td style="{cell}left">{label}</td>'
            f'<td style="{number}right">{_escape(row.probability)}</td>'
            f'<td style="{number}left;{_MUTED}">{_escape(row.error)}</td>'
            f'<td style="{cell}left;width:12em">{bar}</td>'
            f'<td style="{number}right;{_MUTED}">{row.count:,} run{"s" * (row.count != 1)}</td></tr>'
        )
    return f'<table style="border-collapse:collapse;border:none;margin:0 0 .5em 0">{"".join(lines)}</table>'


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
