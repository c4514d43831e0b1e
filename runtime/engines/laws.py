"""Next-token distributions: draws and log-probabilities from a model's logits, for a whole batch at once.

Rows of logits are measured in one pass (``measured``). What comes after looks at single entries of them: a draw finds
its block by the masses of blocks, then its token in the block. On arrays this small a call costs more than its
arithmetic, and numpy's calls cost a fraction of torch's. So one code runs on numpy's arrays where the logits are in a
processor's memory, and on torch's tensors on any other device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from . import numpy_masses
from .measured import Measured, measure, measure_among
from .requests import Allowed, Law

_BELOW = 1.0 - 2.0**-53
"""A float64 times this is the next one towards zero. Rounding may carry a part of a mass up to the whole of it, behind
which there is no token: a part of what is just below the mass stays below."""

_SMALL = 1024


@lru_cache(256)
def _counted(count: int) -> np.ndarray:
    """0, 1, ... to so many: an array this small is made as slowly as it is used."""
    found = np.arange(count)
    found.setflags(write=False)
    return found


Array = Any
"""An array of numpy, or a tensor on the device of the logits; exact checks give numpy's everywhere."""


class NextTokens:
    """The distributions that a law makes of some rows of logits: divided by the temperature, then top-k, then top-p.

    Computed in the type of the logits; masses are added up, and log-probabilities given, in float64. What is found for
    a row does not depend on the rows beside it.

    Args:
        logits: [n, vocabulary], of any floating-point type. Not copied on a CPU, and never changed.
        law: (temperature, top_p, top_k).
        rows: which rows of ``logits``, in order; all of them by default.

    Attributes:
        device: where the logits are.
        vocabulary: how many tokens there are.
    """

    def __init__(self, logits: torch.Tensor, law: Law, rows: Sequence[int] | None = None) -> None:
        self._take(measure(logits, law, rows))

    def among(self, places: Sequence[int], allowed: Sequence[Allowed]) -> NextTokens:
        """Some of these distributions, renormalised over the allowed tokens.

        Args:
            places: which, by their places among these; a distribution may come several times.
            allowed: the tokens, for each.
        """
        new = NextTokens.__new__(NextTokens)
        new._take(measure_among(self._found, places, allowed))
        return new

    def log_probs(self, places: Sequence[int] | Array, tokens: Sequence[int] | Array) -> Array:
        """The log-probability of one token under each of some distributions.

        Args:
            places: which distributions, by their places among these.
            tokens: as many ids.

        Returns:
            float64 [places]; ``-inf`` where excluded.
        """
        at = self._array(places)
        return self._relative(at, self._array(tokens)) - self._normaliser[at]

    def at(self, places: Sequence[int] | Array, points: Array) -> Array:
        """Tokens by the inverse of the distribution function: that of a uniform number has the distribution's law.

        Args:
            places: which distributions, by their places among these; each has a token that is left.
            points: from [0, 1), float64 [places].

        Returns:
            int64 [places].
        """
        at, each, xp = self._array(places), self._first(len(places)), self._xp
        sums = self._sums[at]
        target = self._array(points) * (sums[:, -1] * _BELOW)
        block = self._under(sums, target)
        before = sums[each, block - 1] * (block > 0)
        share = (target - before) / (sums[each, block] - before)
        first = block * len(self._offsets)
        tokens = first[:, None] + self._offsets
        if self.vocabulary % len(self._offsets):  # the last block is a short one
            behind = tokens >= self.vocabulary
            weights = xp.exp(self._relative(at[:, None], xp.where(behind, 0, tokens)))
            within = xp.where(behind, 0.0, weights).cumsum(1)
        else:
            within = xp.exp(self._relative(at[:, None], tokens)).cumsum(1)
        return first + self._under(within, share * (within[:, -1] * _BELOW))

    def table(self, places: Sequence[int] | None = None) -> torch.Tensor:
        """All log-probabilities of some distributions, float64 [places, vocabulary]; ``-inf`` where excluded."""
        at = (self._first(len(self._top)) if places is None else self._array(places))[:, None]
        found = self._relative(at, self._first(self.vocabulary)) - self._normaliser[at]
        return torch.from_numpy(found) if self._xp is np else found

    @property
    def alive(self) -> Array:
        """Whether any token is left, for each distribution."""
        return self._sums[:, -1] > 0.0

    @property
    def sound(self) -> Array:
        """Whether each row is a distribution; what is found for one that is not means nothing."""
        return self._xp.isfinite(self._top)  # the largest is NaN if any is, and -inf if all are

    def faulty(self) -> int | None:
        """The place of the first row that is no distribution, if there is one."""
        good = self.sound.tolist()
        return None if all(good) else good.index(False)

    # --- single entries ---------------------------------------------------------------------------------------------

    def _take(self, found: Measured) -> None:
        """Keep what was measured, as arrays."""
        self._found = found
        rows, among = found.rows, found.among
        self.device, self.vocabulary, self._heat = rows.logits.device, rows.logits.shape[1], rows.heat
        self._half = rows.logits.dtype in (torch.float16, torch.bfloat16)
        self._xp: Any = np if self.device.type in numpy_masses.DEVICES else torch
        self._logits, self._rows, self._top, self._floor, self._last, masses = map(
            self._view, (rows.logits, rows.numbers, found.top, found.floor, found.last, found.masses)
        )
        self._among = None if among is None else [self._view(part) for part in among]
        self._offsets = self._first(rows.block)
        self._sums = self._double(masses).cumsum(1)
        mass = self._sums[:, -1]
        if among is not None:  # where no token is left, all are at -inf and stay there
            mass = self._xp.where(self.alive, mass, 1.0)
        self._normaliser = self._xp.log(mass)

    def _view(self, found: torch.Tensor | None) -> Array:
        if found is None or self._xp is torch:
            return found
        return (found.detach() if found.requires_grad else found).numpy()

    def _array(self, values: Any) -> Array:
        return np.asarray(values) if self._xp is np else torch.as_tensor(values, device=self.device)

    def _first(self, count: int) -> Array:
        """0, 1, ... to so many."""
        if self._xp is np:
            return _counted(count) if count <= _SMALL else np.arange(count)
        return torch.arange(count, device=self.device)

    def _double(self, found: Array) -> Array:
        return found.astype(np.float64) if self._xp is np else found.double()

    def _wide(self, found: Array) -> Array:
        return found.float() if self._half else found

    def _under(self, edges: Array, target: Array) -> Array:
        """Where a target, less than the last edge, falls between cumulative masses, int64 [n]; never where there is no
        mass."""
        above = edges > target[:, None]
        return (above if self._xp is np else above.byte()).argmax(1)

    def _relative(self, at: Array, tokens: Array) -> Array:
        """Log-probabilities up to the normaliser, float64; ``-inf`` where excluded.

        Args:
            at: which distributions, int64.
            tokens: int64, of a shape that goes with that.
        """
        rows = at if self._rows is None else self._rows[at]
        below = self._wide(self._logits[rows, tokens]) - self._top[at]  # to the bit as in the pass over the rows
        found = self._double(below)
        if self._among is not None:
            bias, which, shift = self._among
            found = found + (bias[which[at], tokens] - shift[at])
        if self._heat != 1.0:
            found = found / self._heat
        if self._floor is not None:
            floor = self._floor[at]
            kept = below >= floor
            if self._last is not None:
                kept &= (below > floor) | (tokens <= self._last[at])
            found = self._xp.where(kept, found, -math.inf)
        return found
