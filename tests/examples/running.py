"""Examples as tests take them: their names without their main, and their estimates held against the truth."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ppl import Posterior

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REPEATS = 16


@cache
def load(name: str) -> dict[str, Any]:
    """An example's names, without its main()."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


def agrees(estimates: Sequence[float], truth: float, rounding: float = 1e-9) -> None:
    """The mean of independent estimates is `truth`, but for chance: |t| < 5, missed once in 6,000 at 15 d.o.f."""
    error = float(np.std(estimates, ddof=1)) / math.sqrt(len(estimates))
    assert abs(float(np.mean(estimates)) - truth) < 5.0 * error + rounding, (np.mean(estimates), truth, error)


def unbiased(
    run: Callable[[int], Posterior], log_z: float, f: Callable[[Posterior], float], mean: float, repeats: int = REPEATS
) -> None:
    """E[Ẑ] = Z and E[Ẑ f] = Z E[f], over independent seeds."""
    posteriors = [run(seed) for seed in range(repeats)]
    ratios = [math.exp(p.log_evidence - log_z) for p in posteriors]
    agrees(ratios, 1.0)
    agrees([0.0 if p.empty else ratio * f(p) for ratio, p in zip(ratios, posteriors, strict=True)], mean)
