"""Pictures of statistical certificates: ranks and their distribution functions, or means. Drawn with matplotlib."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .mean_test import MeanCheck
from .plots import FAINT, GRID, INK, MUTED, PALETTE, PosteriorFigure
from .statistical import StatisticalCertificate, Uniformity, shown_p
from .uniformity import ecdf_band, histogram

try:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError("plots need matplotlib: pip install ppl-lm[plot]") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD, BAD = PALETTE[0], PALETTE[3]
_MOST_ROWS = 8
_LEVEL = 0.05  # of the bands drawn, for eyes; the verdict has its own rate


def plot(certificate: StatisticalCertificate, path: str | Path | None = None) -> Figure:
    """Draw a certificate: see :meth:`StatisticalCertificate.plot`."""
    ranks = [c for c in certificate.comparisons if isinstance(c, Uniformity)]
    means = [c for c in certificate.comparisons if isinstance(c, MeanCheck)]
    # The worst first, where not all have room; else in their own order.
    shown = ranks if len(ranks) <= _MOST_ROWS else sorted(ranks, key=lambda c: c.p_value)[:_MOST_ROWS]
    if shown:
        figure = _figure(8.2, 1.0 + 1.75 * len(shown))
        _draw_ranks(figure, shown, certificate)
    else:
        figure = _figure(7.0, 1.6 + 0.4 * len(means))
        _draw_means(figure.subplots(), means, certificate)
    verdict = "holds" if certificate else "does not hold"
    name = textwrap.shorten(f"{certificate.program} by {certificate.method}", 60, placeholder=" …")
    facts = [name, f"the law {verdict}: {shown_p(certificate.p_value)}", f"{certificate.leaves:,} runs"]
    if len(shown) < len(ranks):
        facts.append(f"{len(shown)} of {len(ranks)} quantities")
    figure.suptitle("  ·  ".join(facts), x=0.012, ha="left", fontsize=10.5, color=INK, parse_math=False)
    if path is not None:
        figure.savefig(path, dpi=160)
    return figure


def _figure(width: float, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    return PosteriorFigure(figsize=(width, height), layout=layout, facecolor="white")


def _draw_ranks(figure: Figure, shown: list[Uniformity], certificate: StatisticalCertificate) -> None:
    axes: Any = figure.subplots(len(shown), 2, squeeze=False, sharex=True, width_ratios=(1.0, 1.15))
    for row, check in enumerate(shown):
        colour = BAD if _is_off(check, certificate) else GOOD
        uniforms = [u for u in check.uniforms if not math.isnan(u)]
        left, right = axes[row]
        _draw_histogram(left, uniforms, colour)
        _draw_difference(right, uniforms, colour)
        name = textwrap.shorten(check.name, 34, placeholder=" …")
        lost = len(check.uniforms) - len(uniforms)
        _clean(left, name, shown_p(check.p_value) + (f", {lost} impossible" if lost else ""))
        _clean(right, "", "")
    axes[0][1].set_title("distribution function less uniform, 95 % band", loc="left", fontsize=8, color=MUTED, pad=6)
    axes[-1][0].set_xlabel("rank, as a share", fontsize=8, color=MUTED)
    axes[-1][1].set_xlabel("rank, as a share", fontsize=8, color=MUTED)


def _is_off(check: Uniformity | MeanCheck, certificate: StatisticalCertificate) -> bool:
    return not certificate and check.p_value <= certificate.false_alarm


def _draw_histogram(axes: Axes, uniforms: list[float], colour: str) -> None:
    counts = histogram(uniforms)
    cells, n = len(counts), len(uniforms)
    expected = n / cells
    spread = 1.96 * math.sqrt(n / cells * (1.0 - 1.0 / cells))
    axes.axhspan(max(expected - spread, 0.0), expected + spread, color=GRID, linewidth=0)
    axes.axhline(expected, color=MUTED, linewidth=0.8)
    axes.bar(
        [(i + 0.5) / cells for i in range(cells)], counts, width=0.9 / cells, color=colour, alpha=0.85, linewidth=0
    )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.12 * max(*counts, expected + spread))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def _draw_difference(axes: Axes, uniforms: list[float], colour: str) -> None:
    n = len(uniforms)
    band = ecdf_band(n, _LEVEL)
    points = np.concatenate([[0.0], band.points, [1.0]])
    low = np.concatenate([[0.0], band.low / n - band.points, [0.0]])
    high = np.concatenate([[0.0], band.high / n - band.points, [0.0]])
    axes.fill_between(points, low, high, color=GRID, linewidth=0, step="post")  # as the curve is drawn
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    ordered = np.sort(np.asarray(uniforms))
    below = np.searchsorted(ordered, points, side="right") / n
    axes.plot(points, below - points, color=colour, linewidth=1.5, drawstyle="steps-post")
    axes.set_xlim(0.0, 1.0)
    reach = 1.15 * max(float(np.abs(below - points).max()), float(high.max()))
    axes.set_ylim(-reach, reach)
    axes.yaxis.set_major_locator(MaxNLocator(3))


def _draw_means(axes: Axes, means: list[MeanCheck], certificate: StatisticalCertificate) -> None:
    for row, check in enumerate(means):
        error = check.standard_error or 1.0
        colour = BAD if _is_off(check, certificate) else GOOD
        off = (check.mean - check.expected) / error
        axes.plot([off - 1.0, off + 1.0], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(off, row, "o", color=colour, markersize=5.5)
    axes.axvspan(-certificate.tolerance, certificate.tolerance, color=GRID, linewidth=0, zorder=0)
    axes.axvline(0.0, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(means)), [str(check) for check in means], parse_math=False)
    axes.set_ylim(len(means) - 0.4, -0.6)
    reach = max(abs(value) for value in axes.get_xlim())
    axes.set_xlim(-reach, reach)
    _clean(axes, "mean less what the law says, in standard errors", "")


def _clean(axes: Axes, heading: str, note: str) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=8, length=0, pad=4)
    axes.set_axisbelow(True)
    axes.set_title(heading, loc="left", fontsize=9, color=INK, pad=6, parse_math=False)
    axes.set_title(note, loc="right", fontsize=8, color=MUTED, pad=6)
