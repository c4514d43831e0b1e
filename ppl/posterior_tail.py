"""The tail of importance weights."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from .posterior_record import Record

TRUSTED = 0.7
_FEWEST = 25


class HeavyTail(UserWarning):
    """A few runs hold most of the weight, and others that were not seen might hold more."""


def pareto_k(posterior: Record) -> float:
    """See ``Posterior.pareto_k``."""
    k = tail(posterior)
    if k > TRUSTED:
        warnings.warn(
            f"Pareto k = {k:.2f}, over {TRUSTED}: {posterior.method} of {posterior.program} rests on few runs. Draw "
            "more, propose nearer to the posterior (proposals=), or resample on the way (method='smc')",
            HeavyTail,
            stacklevel=4,
        )
    return k


def tail(posterior: Record) -> float:
    """The same without a warning.

    Raises:
        ImportError: arviz is not installed.
    """
    logs = [run.log_weight for run in posterior.runs]
    if posterior.n < _FEWEST or not logs:
        return math.nan
    top = max(logs)
    largest = sum(top - log < 1e-9 for log in logs)
    # As many as are fitted (Vehtari et al., 2024) have the largest weight: the tail is flat, and has no shape to fit.
    if largest == len(logs) or largest > min(0.2 * posterior.n, 3.0 * math.sqrt(posterior.n)):
        return 0.0
    import numpy as np

    # Particles that were ruled out have no run, but they are draws like the others.
    padded = np.array(logs + [min(logs) - 700.0] * max(posterior.n - len(logs), 0))
    return _shape(padded - top)


def _shape(log_weights: np.ndarray) -> float:
    """The shape of the generalised Pareto distribution that fits the tail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from arviz import psislw
        except ImportError:  # arviz 1 has it elsewhere, for densities that weights are one over
            from arviz_stats.base import array_stats  # type: ignore[import-not-found, unused-ignore]

            return float(array_stats.psislw(-log_weights)[1])
        return float(psislw(log_weights)[1])
