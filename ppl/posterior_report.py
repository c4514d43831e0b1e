"""What there is to say about a posterior, in words and numbers; ``posterior_views`` gives it a form."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .compiler.errors import Span
from .diagnostics import ESS_LIMIT, RHAT_LIMIT, NoChains
from .posterior_bins import spread
from .posterior_tail import TRUSTED, tail
from .posterior_values import labels, listed, shorten, show, visible
from .runtime.result import Death

if TYPE_CHECKING:
    from .posterior import Posterior
    from .posterior_distribution import Distribution

BAR_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table of answers.

    Attributes:
        label: the value, safe to print on one line.
        share: its probability.
        probability: the same as people read it.
        error: its standard error as people read it; empty where there is none.
        count: how many runs have it.
        rest: the line stands for all values that have no line of their own.
    """

    label: str
    share: float
    probability: str
    error: str
    count: int
    rest: bool = False

    @property
    def bar(self) -> str:
        """The probability as a bar of at most ``BAR_WIDTH`` characters; the rest has none."""
        eighths = 0 if self.rest else round(self.share * BAR_WIDTH * 8)
        if not _writes_blocks():
            return "#" * round(eighths / 8)
        return "█" * (eighths // 8) + "▏▎▍▌▋▊▉"[eighths % 8 - 1] * (eighths % 8 > 0)


def _writes_blocks() -> bool:
    """Whether what is printed can hold the characters that bars are made of."""
    try:
        "█▏".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def rows(distribution: Distribution, limit: int = 8, width: int = 40) -> list[Row]:
    """The most probable values, and a line for the others where more than ``limit`` remain out of sight.

    Many numbers are shown by intervals.
    """
    digits = 6 if distribution.exact else 3
    found = spread(distribution)
    if found is not None:
        return [
            Row(b.label, b.share, probability(b.share, digits), f"± {b.error:.3f}" if b.error else "", b.count)
            for b in found.bins
        ]
    pairs = list(distribution.items())
    shown = pairs if len(pairs) <= limit + 1 else pairs[:limit]
    out: list[Row] = []
    for (value, p), label in zip(shown, labels([value for value, _ in shown], width), strict=True):
        error = "" if distribution.exact else f"± {distribution.standard_errors[value]:.3f}"
        out.append(Row(label, p, probability(p, digits), error, distribution.counts[value]))
    if len(shown) < len(pairs):
        hidden = pairs[len(shown) :]
        p = math.fsum(p for _, p in hidden)
        count = sum(distribution.counts[value] for value, _ in hidden)
        out.append(Row(f"… {len(hidden):,} other values", p, probability(p, digits), "", count, rest=True))
    return out


def probability(p: float, digits: int = 3) -> str:
    """``0.934``; never 0 or 1 by rounding."""
    if p in (0.0, 1.0):
        return f"{p:.0f}"
    least = 10.0**-digits
    if p < least / 2:
        return f"<{least:.{digits}f}"
    if p > 1.0 - least / 2:
        return f">{1.0 - least:.{digits}f}"
    return f"{p:.{digits}f}"


def seconds(duration: float) -> str:
    """``84 ms``, ``3.2 s``, ``2 min 05 s``."""
    if duration < 0.0005:
        return "<1 ms"
    if duration < 0.9995:
        return f"{duration * 1000:.0f} ms"
    if duration < 59.95:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest:02d} s"


def title(posterior: Posterior, width: int) -> list[str]:
    """Program, method, guarantee, in about ``width`` characters, of which the end of the method gives way."""
    program = shorten(visible(posterior.program), 40)
    method = visible(posterior.method)
    room = max(width - len(program) - len(posterior.guarantee) - 6, 8)
    return [program, method if len(method) <= room else method[: room - 1] + "…", posterior.guarantee]


def facts(posterior: Posterior) -> list[str]:
    """The evidence, how many particles are behind the answers, and what they cost."""
    out = []
    if posterior.result.log_evidence is not None:
        out.append(f"log evidence {posterior.result.log_evidence:.2f}")
    runs = len(posterior.runs)
    found = spread(posterior.distribution()) if runs else None
    if found is not None:
        out.append(str(found))
    if posterior.result.chains is not None and runs:
        out.append(_mixing(posterior))
    elif posterior.guarantee != "exact" and not posterior.result.listed and runs:
        out.append(f"ESS {posterior.ess:.1f} of {posterior.n}")
        if not math.isnan(k := _tail(posterior)):
            out.append(f"Pareto k {k:.2f}")
    if runs:
        out.append(f"{posterior.distinct:,} distinct of {_plural(runs, 'run')}")
    cost = posterior.cost
    if cost.tokens:
        out.append(_plural(cost.tokens, "token"))
    if cost.calls:
        out.append(_plural(cost.calls, "call"))
    if cost.seconds:
        out.append(seconds(cost.seconds))
    return out


def _mixing(posterior: Posterior) -> str:
    """How far chains have come, or why that can't be told."""
    states = f"{posterior.n:,} states of {_plural(posterior.result.chains or 0, 'chain')}"
    try:
        rhat = posterior.rhat
    except NoChains:
        return f"{states}, too few for an ESS"
    except ImportError:
        return f"{states} (ESS and R-hat need arviz)"
    if math.isnan(posterior.ess):
        return f"{states}, all alike"
    return f"bulk ESS {posterior.ess:.0f} of {states}" + ("" if math.isnan(rhat) else f", R-hat {rhat:.2f}")


def _tail(posterior: Posterior) -> float:
    """The shape of the weights' tail, where particles are independent and weighted; NaN elsewhere."""
    if posterior.guarantee != "proper" or posterior.ancestry or posterior.result.log_evidence is None:
        return math.nan
    try:
        return tail(posterior)
    except ImportError:
        return math.nan


def caveats(posterior: Posterior) -> list[str]:
    """What a reader of the numbers has to know, in a line each."""
    if posterior.incomplete is not None:
        shares = ", each with its share of that" if posterior.result.listed else ""
        return [f"Incomplete: {posterior.incomplete}. Here is what was finished by then{shares}."]
    if posterior.guarantee == "heuristic":
        return ["A search, not inference: these weights estimate no posterior."]
    if posterior.empty or posterior.guarantee == "exact":
        return []
    out = []
    if posterior.ancestry:
        out.append("± leaves out that particles share ancestors: a lower bound.")
    if posterior.result.chains is not None:
        out.append("± leaves out that successive states are alike: a lower bound.")
        if posterior.ess < ESS_LIMIT or _disagree(posterior):
            out.append(
                "The chains have not settled (R-hat over 1.01 or ESS under 400): run more steps, or other kernels."
            )
    elif (k := _tail(posterior)) > TRUSTED:
        out.append(f"Pareto k of {k:.2f}, over {TRUSTED}: a few runs decide, and runs not seen may hold more mass.")
    elif posterior.n > 1 and posterior.ess < 0.1 * posterior.n:
        out.append("Few particles carry the weight: take these numbers as rough.")
    return out


def _disagree(posterior: Posterior) -> bool:
    """Whether chains can be compared and differ."""
    try:
        return posterior.rhat > RHAT_LIMIT
    except (NoChains, ImportError):
        return False


def losses(posterior: Posterior, limit: int | None = None) -> list[str]:
    """Where particles were lost, a line each, the most first."""
    deaths = posterior.deaths
    total = sum(death.count for death in deaths)
    # Resampling replaces the dead, so more can die than live at once. Of chains, those died that looked for a first
    # run, and what is counted are states.
    of = posterior.n if posterior.result.chains is None and total <= posterior.n else None
    lines = [_loss(death, of) for death in deaths[:limit]]
    hidden = deaths[len(lines) :]
    if hidden:
        lines.append(f"{_plural(len(hidden), 'other place')} ruled out {sum(death.count for death in hidden)}")
    return lines


def _loss(death: Death, of: int | None) -> str:
    span = death.site.span
    source = visible(span.text)
    where = f"{death.site.kind} at {place(span)}" + (f" `{shorten(source, 72)}`" if source else "")
    share = f"{death.count} of {of}" if of is not None else f"{death.count:,}"
    if death.error is None:
        return f"{where} ruled out {share}"
    return f"{where} failed for {share}: {shorten(visible(death.error), 120)}"


def place(span: Span) -> str:
    """``file:line``, the file as seen from the working directory if it lies within."""
    prefix = os.path.join(os.getcwd(), "")
    return visible(f"{span.file.removeprefix(prefix)}:{span.line}")


def empty_report(posterior: Posterior) -> str:
    """Why there is no posterior, where the particles went, and what to do about it."""
    lines = [f"{_emptiness(posterior)}, so {visible(posterior.program)} has no posterior."]
    lines += [f"  {line}" for line in losses(posterior)]
    if posterior.incomplete is not None:
        lines.append("Let it go on for longer, with a larger budget=, max_open= or the like, or use fewer particles.")
    elif posterior.guarantee == "exact":
        lines.append("The evidence contradicts the program: no run can satisfy it. Check the conditions above.")
    else:
        remedy = posterior.result.remedy
        if posterior.deaths and all(death.site.kind == "observe" for death in posterior.deaths):
            lines.append("Is what is observed there a value that its distribution can give?")
        lines.append(
            f"What can help: {'' if remedy is None else f'{remedy}; '}softer evidence, that is factor(log_weight) in "
            "place of condition; or a better proposal, sample(d, proposal=q)."
        )
    return "\n".join(lines)


def _emptiness(posterior: Posterior) -> str:
    if posterior.incomplete is not None:
        return f"{posterior.incomplete}, with no run finished"
    if posterior.guarantee == "exact" or posterior.n < 1:
        return "all runs were ruled out"
    return f"all {posterior.n} particles were ruled out" if posterior.n > 1 else "the one particle was ruled out"


def unknown_address(address: str, known: Sequence[str]) -> str:
    """That no run with weight has the address, and which addresses there are."""
    from difflib import get_close_matches

    close = get_close_matches(address, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close and close[0] != address else "."
    return f"no run with weight has the address {address!r}{hint} The addresses are: {listed(known, 20) or 'none'}"


def one_line(posterior: Posterior) -> str:
    """``Posterior(mode='42', P=0.93, log_evidence=-3.21, ess=28.4/32)``."""
    if posterior.empty:
        return f"Posterior(empty: {_emptiness(posterior)})"
    answers = posterior.distribution()
    mode = answers.mode()
    found = spread(answers)
    parts = [f"mode={show(mode, 40)}", f"P={probability(answers[mode], 2)}"]
    if found is not None:
        parts = [f"mean={found.shown(found.mean)}", f"sd={found.sd:.3g}"]
    if posterior.result.log_evidence is not None:
        parts.append(f"log_evidence={posterior.result.log_evidence:.2f}")
    if posterior.guarantee == "exact":
        parts.append("exact")
    elif not posterior.result.listed and not math.isnan(posterior.ess):
        parts.append(f"ess={posterior.ess:.1f}/{posterior.n}")
    if posterior.incomplete is not None:
        parts.append("incomplete")
    elif posterior.guarantee == "heuristic":
        parts.append("heuristic")
    return f"Posterior({', '.join(parts)})"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
