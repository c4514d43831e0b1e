"""Pictures of a posterior. Importing this module imports matplotlib; ``Posterior.plot`` does so when it is called."""

from __future__ import annotations

import math
import textwrap
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .posterior_bins import spread
from .posterior_genealogy import Genealogy
from .posterior_report import facts, losses, title
from .posterior_values import freeze, labels, shorten, visible

try:
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError as error:
    raise ImportError("plots need matplotlib: pip install ppl-lm[plot]") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .posterior import PlotKind, Posterior

INK, MUTED, FAINT, GRID = "#1f2933", "#7b8794", "#d5dae0", "#e9ecef"
PALETTE = ("#2f6db5", "#d98e2b", "#3a9a8c", "#bf4f6b", "#7b68b5")  # the most probable answers, in order
OTHER = "#6b7683"
_KINDS = ("answers", "genealogy", "evidence", "all")
_MOST_ANSWERS = 12
_SMALL = 0.08  # where no share is larger, whole percents tell too little
_MORE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic"),
    *("WenQuanYi Zen Hei", "Noto Sans", "Arial Unicode MS", "Noto Sans Symbols", "Segoe UI Symbol", "Noto Emoji"),
)


class PosteriorFigure(Figure):
    """A figure that notebooks show although it has no window."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save, with no warning for each character of model text that no installed font has."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


@cache
def _fonts() -> list[str]:
    """Fonts for model text: the usual one, then what is installed for scripts that it lacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


def plot(posterior: Posterior, path: str | Path | None = None, kind: PlotKind = "all") -> Figure:
    """Draw a posterior: see :meth:`Posterior.plot`."""
    if kind not in _KINDS:
        raise ValueError(f"kind={kind!r}: give one of {', '.join(map(repr, _KINDS))}")
    if not posterior.history and kind in ("genealogy", "evidence"):
        raise ValueError(f"{posterior.method} kept no history of its particles, so there is no {kind} to draw")
    if kind == "answers":
        posterior.distribution()  # raises if there are none
    particles = max((len(generation.log_weights) for generation in posterior.history), default=0)
    wide = min(max(3.4 + 0.85 * len(posterior.history), 5.6), 14.0)
    tall = min(max(4.2, 1.6 + 0.11 * particles), 10.0)
    if kind == "genealogy":
        figure = _figure(wide, tall)
        _draw_genealogy(figure.subplots(), posterior, tall - 1.0)
    elif kind == "evidence":
        figure = _figure(min(max(6.0, wide), 10.0), 4.4)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1.0))
        _draw_evidence(upper, posterior)
        upper.tick_params(labelbottom=False)
        _draw_ess(lower, posterior)
    elif kind == "all" and len(posterior.history) > 1 and posterior.guarantee != "exact":
        tall = max(tall, 4.8)
        figure = _figure(4.6 + wide, tall)
        columns: Any = figure.subfigures(1, 2, width_ratios=(4.6, wide), wspace=0.03)
        left, right = columns
        _draw_answers(_top_part(left, figure, posterior), posterior)
        upper, lower = right.subplots(2, 1, sharex=True, height_ratios=(tall - 1.8, 0.8))
        _draw_genealogy(upper, posterior, tall - 2.3)
        upper.tick_params(labelbottom=False)
        _draw_ess(lower, posterior)
    else:
        figure = _figure(6.4, 1.5 + 0.36 * max(_shown(posterior), 4 if posterior.empty else 2))
        _draw_answers(figure.subplots(), posterior)
    known = facts(posterior)[: 1 if posterior.guarantee == "exact" else 2]
    room = max(int(11 * figure.get_figwidth()) - len("     ".join(known)), 24)  # characters left on the line
    figure.suptitle(
        "  ·  ".join(title(posterior, room) + known),
        x=0.012,
        ha="left",
        fontsize=10.5,
        color=INK,
        parse_math=False,
    )
    if path is not None:
        figure.savefig(path, dpi=160)
    return figure


def _figure(width: float, height: float) -> Figure:
    return PosteriorFigure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1), facecolor="white"
    )


def _top_part(column: Any, figure: Figure, posterior: Posterior) -> Axes:
    """Axes as tall as the answers need, at the top of a column."""
    tall = float(figure.get_figheight()) - 0.8
    need = tall if posterior.empty else min(0.9 + 0.38 * max(_shown(posterior), 2), tall)
    if need > tall - 0.5:
        return column.subplots()
    upper, lower = column.subplots(2, 1, height_ratios=(need, tall - need))
    lower.set_axis_off()
    return upper


def _shown(posterior: Posterior) -> int:
    return 0 if posterior.empty else len(_bars(posterior)[0])


def _clean(axes: Axes, heading: str) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=8, length=0, pad=5)
    axes.set_axisbelow(True)
    axes.set_title(heading, loc="left", fontsize=9, color=MUTED, pad=8)


def _colours(posterior: Posterior) -> dict[Any, str]:
    if posterior.empty:
        return {}
    values = list(posterior.distribution())
    if spread(posterior.distribution()) is not None:
        return {freeze(v): PALETTE[0] for v in values}
    return {freeze(v): PALETTE[i] if i < len(PALETTE) else OTHER for i, v in enumerate(values)}


# ---- Answers


def _draw_answers(axes: Axes, posterior: Posterior) -> None:
    if posterior.empty:
        _draw_losses(axes, posterior)
        return
    answers = posterior.distribution()
    bars, rest = _bars(posterior)
    rows = range(len(bars))
    shares = [p for _, p, _, _ in bars]
    axes.barh(rows, shares, height=0.62, color=[colour for *_, colour in bars], linewidth=0)
    reach = []
    for row, (_, p, error, _) in enumerate(bars):
        low, high = max(p - error, 0.0), min(p + error, 1.0)
        if error > 0.0:
            axes.plot([low, high], [row, row], color=INK, linewidth=1.1, alpha=0.75, solid_capstyle="butt")
        reach.append(max(high, p))
        axes.annotate(
            _percent(p, max(shares) <= _SMALL), (reach[-1], row), (5, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=INK,
        )  # fmt: skip
    _clean(axes, "answers" if answers.exact else "answers ± standard error")
    axes.set_yticks(rows, [label for label, *_ in bars], parse_math=False, family=_fonts())
    axes.tick_params(axis="y", labelsize=9, labelcolor=INK)
    axes.set_xlim(0.0, max(reach) * 1.14)
    axes.set_ylim(max(len(bars), 2) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    if rest > 0.0:
        more = len(answers) - _MOST_ANSWERS
        hold = f"{more:,} other values hold" if more > 1 else "1 other value holds"
        axes.set_xlabel(f"{hold} {rest:.1%}", fontsize=8, color=MUTED, loc="left")


def _bars(posterior: Posterior) -> tuple[list[tuple[str, float, float, str]], float]:
    """What to draw of answers, or of intervals of many numbers: label, share, its error, colour; what the rest hold."""
    answers = posterior.distribution()
    found = spread(answers)
    if found is not None:
        return [(b.label, b.share, b.error, PALETTE[0]) for b in found.bins], 0.0
    colours, pairs = _colours(posterior), list(answers.items())
    pairs, hidden = pairs[:_MOST_ANSWERS], pairs[_MOST_ANSWERS:]
    names = labels([v for v, _ in pairs], 26)
    bars = [(n, p, answers.standard_errors[v], colours[freeze(v)]) for n, (v, p) in zip(names, pairs, strict=True)]
    return bars, math.fsum(p for _, p in hidden)


def _percent(share: float, small: bool) -> str:
    """A share in words, to a tenth of a percent where all are small."""
    least, digits = (0.001, 1) if small else (0.01, 0)
    return f"{share:.{digits}%}" if share > least / 2 else f"<{least:.{digits}%}"


def _draw_losses(axes: Axes, posterior: Posterior) -> None:
    _clean(axes, "no answers: every particle was ruled out")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    lines = [part for line in losses(posterior, 8) for part in (*textwrap.wrap(line, 56, break_on_hyphens=False), "")]
    text = "\n".join(lines)
    axes.text(
        0.0, 0.98, text, transform=axes.transAxes, fontsize=8, color=INK, va="top", linespacing=1.5, parse_math=False
    )


# ---- Genealogy


def _draw_genealogy(axes: Axes, posterior: Posterior, inches: float) -> None:
    tree = Genealogy(posterior)
    spacing = 72.0 * inches / (tree.height + 1)  # points from row to row
    scale = min(spacing / 7.0, 1.5) ** 2
    colours = _colours(posterior)
    _draw_edges(axes, tree, colours)
    for t, generation in enumerate(tree.generations):
        living = [i for i, w in enumerate(generation) if w > 0.0]
        fresh = [i for i, w in enumerate(generation) if w == 0.0 and not tree.dead_before(t, i)]
        sizes = [scale * min(6.0 + 16.0 * generation[i] * len(generation), 130.0) for i in living]
        shades = [_node_colour(tree, t, i, colours) for i in living]
        spots = [tree.rows[t][i] for i in living]
        axes.scatter([t] * len(spots), spots, s=sizes, c=shades, linewidths=0.7, edgecolors="white", zorder=3)
        spots = [tree.rows[t][i] for i in fresh]
        axes.scatter([t] * len(spots), spots, s=13 * min(scale, 1.0), c="#a9b2bc", marker="x", linewidths=0.9, zorder=2)
    if posterior.empty or spread(posterior.distribution()) is None:
        _label_answers(axes, tree, colours, 10.5 / spacing)
    _clean(axes, "genealogy: node size is weight, grey lineages died out, × has weight zero")
    axes.spines["bottom"].set_visible(False)
    axes.set_yticks([])
    axes.set_ylim(tree.height - 0.3, -0.7)
    _step_ticks(axes, posterior)


def _node_colour(tree: Genealogy, t: int, i: int, colours: dict[Any, str]) -> str:
    if not tree.survives[t][i]:
        return "#c3cad2"
    return colours.get(tree.answer[t][i], INK)


def _draw_edges(axes: Axes, tree: Genealogy, colours: dict[Any, str]) -> None:
    bend = [k / 16 for k in range(17)]
    ease = [3 * u**2 - 2 * u**3 for u in bend]
    lost, kept, kept_colours = [], [], []
    for t, parents in enumerate(tree.parents):
        for child, parent in enumerate(parents):
            if tree.generations[t][parent] == 0.0:
                continue
            start, end = tree.rows[t][parent], tree.rows[t + 1][child]
            curve = [(t + u, start + (end - start) * e) for u, e in zip(bend, ease, strict=True)]
            if tree.survives[t + 1][child]:
                kept.append(curve)
                kept_colours.append(colours.get(tree.answer[t + 1][child], INK))
            else:
                lost.append(curve)
    axes.add_collection(LineCollection(lost, colors=FAINT, linewidths=0.7, zorder=1))
    axes.add_collection(LineCollection(kept, colors=kept_colours, linewidths=1.2, alpha=0.8, zorder=1.5))


def _label_answers(axes: Axes, tree: Genealogy, colours: dict[Any, str], gap: float) -> None:
    last = len(tree.rows) - 1
    axes.set_xlim(-0.35, last + 0.35)
    free = -math.inf
    groups = tree.answer_groups()
    distinct = {freeze(value): value for *_, value in groups}
    names = dict(zip(distinct, labels(distinct.values(), 22), strict=True))
    for first, final, value in groups:
        middle = (first + final) / 2
        if middle < free + gap:
            continue
        free = middle
        axes.annotate(
            names[freeze(value)], (last, middle), (12, 0), textcoords="offset points", va="center", fontsize=8,
            color=colours[freeze(value)], parse_math=False, annotation_clip=False, family=_fonts(),
        )  # fmt: skip


# ---- Over time


def _draw_evidence(axes: Axes, posterior: Posterior) -> None:
    steps = range(len(posterior.history))
    running = [g.log_evidence if math.isfinite(g.log_evidence) else math.nan for g in posterior.history]
    axes.plot(steps, running, color=PALETTE[0], linewidth=1.6, marker="o", markersize=4.5, markeredgecolor="white")
    _clean(axes, "running log evidence")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.04, y=0.15)


def _draw_ess(axes: Axes, posterior: Posterior) -> None:
    sizes = [max(len(g.log_weights), 1) for g in posterior.history]
    shares = [g.ess / n for g, n in zip(posterior.history, sizes, strict=True)]
    shades = [PALETTE[0] if g.ancestors is not None else "#a9c1de" for g in posterior.history]
    axes.bar(range(len(shares)), shares, width=0.34, color=shades, linewidth=0)
    _clean(axes, "effective sample size before resampling (light: not resampled)")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_ylim(0.0, 1.05)
    axes.set_yticks([0.0, 0.5, 1.0], ["0%", "50%", "100%"])
    _step_ticks(axes, posterior)


def _step_ticks(axes: Axes, posterior: Posterior) -> None:
    history = posterior.history
    stride = max(1, math.ceil(len(history) / 14))
    steps = range(0, len(history), stride)
    names = [shorten(visible(history[t].site), 12) or "end" for t in steps]
    axes.set_xticks(steps, [f"{name}\n{t}" for name, t in zip(names, steps, strict=True)], parse_math=False)
    axes.tick_params(axis="x", labelsize=8)
