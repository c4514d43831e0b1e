"""Posteriors made by hand."""

from __future__ import annotations

import math
from typing import Any

from ppl.posterior import Posterior
from ppl.runtime.result import Choice, Guarantee, Result, Run

HOSTILE = "<script>alert(1)</script>&\"'[bold red]x[/][/]\x1b[31mred\x1b]0;title\x07\r\n\u202eevil\ud800"


def make(
    values: list[Any],
    weights: list[float] | None = None,
    traces: list[tuple[Choice, ...]] | None = None,
    guarantee: Guarantee = "proper",
    log_evidence: float | None = -3.214,
    **more: Any,
) -> Posterior:
    weights = [1.0] * len(values) if weights is None else weights
    runs = [
        Run(v, math.log(w) if w > 0 else -math.inf, traces[i] if traces else (Choice("x", v, -0.5),), -float(i))
        for i, (v, w) in enumerate(zip(values, weights, strict=True))
    ]
    particles = more.pop("particles", len(values))
    remedy = f"more particles (n={4 * particles})"
    return Posterior(
        Result(
            runs,
            log_evidence,
            guarantee,
            f"SMC(n={len(values)})",
            "solve",
            particles,
            7,
            remedy=remedy,
            **more,
        )
    )
