"""Next-token distributions: draws and log-probabilities from a model's logits, for a whole batch at once.

A vocabulary has a hundred thousand tokens and a draw wants one of them. So nothing of the vocabulary's size is kept
beside the logits: a pass over each row, a few rows at a time in a buffer that fits a processor's cache, finds the
largest logit, where top-k and top-p cut, and the mass of each block of tokens. A draw finds its block by these masses,
then its token in the block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from .cuts import kth_largest, nucleus
from .requests import Allowed, Law

if TYPE_CHECKING:
    import numpy as np

_BUFFER = {"cpu": 1 << 20}
"""Bytes of the buffer that rows pass through, by kind of device: half of a core's cache of the second level."""
_LARGE_BUFFER = 1 << 28
"""The same where nothing is gained by staying small."""

_COLDEST = 1e-30
"""Temperatures below this are as good as this in float32, where they are 0: ties share, others have no mass."""


class NextTokens:
    """The distributions that a law makes of some rows of logits: divided by the temperature, then top-k, then top-p.

    Computed in the type of the logits; masses are added up, and log-probabilities given, in float64. What is found for
    a row does not depend on the rows beside it.

    Args:
        logits: [n, vocabulary], float32 or float64. Not copied, and never changed.
        law: (temperature, top_p, top_k).
        rows: which rows of ``logits``, in order; all of them by default.

    Attributes:
        alive: whether any token is left, for each distribution.
        device: where the logits are.
        vocabulary: how many tokens there are.
    """

    def __init__(self, logits: torch.Tensor, law: Law, rows: Sequence[int] | None = None) -> None:
        temperature, self._top_p, self._top_k = law
        self.device, self.vocabulary = logits.device, logits.shape[1]
        self._logits = logits
        self._rows = None if rows is None else torch.tensor(rows, device=self.device)
        self._greedy = temperature == 0.0
        coldest = 0.0 if logits.dtype == torch.float64 else _COLDEST
        self._heat = 1.0 if self._greedy else max(temperature, coldest)
        if self._top_k is not None and self._top_k >= self.vocabulary:
            self._top_k = None
        # About as many tokens in a block as there are blocks.
        self._block = 1 << ((self.vocabulary - 1).bit_length() + 1) // 2
        self._bias: torch.Tensor | None = None
        self._which: torch.Tensor | None = None
        self._shift: torch.Tensor | None = None
        count = len(logits) if rows is None else len(rows)
        found = [self._measured(part, buffer) for part, buffer in self._parts(count)]
        tops, floors, lasts, masses = zip(*found, strict=True)
        self._top = torch.cat(tops)
        self._floor = torch.cat(floors) if floors[0] is not None else None
        self._last = None
        if any(last is not None for last in lasts):
            ids = [torch.full_like(top, self.vocabulary, dtype=torch.int64) for top in tops]
            self._last = torch.cat([i if last is None else last for i, last in zip(ids, lasts, strict=True)])
        self._add_up(torch.cat(masses))

    def among(self, places: Sequence[int], allowed: Sequence[Allowed]) -> NextTokens:
        """Some of these distributions, renormalised over the allowed tokens.

        Args:
            places: which, by their places among these; a distribution may come several times.
            allowed: the tokens, for each.
        """
        new = NextTokens.__new__(NextTokens)
        new.__dict__.update(self.__dict__)
        at = torch.tensor(places, device=self.device)
        new._rows = at if self._rows is None else self._rows[at]
        new._top = self._top[at]
        new._floor = None if self._floor is None else self._floor[at]
        new._last = None if self._last is None else self._last[at]
        distinct = {id(some): some for some in allowed}
        number = {name: i for i, name in enumerate(distinct)}
        new._which = torch.tensor([number[id(some)] for some in allowed], device=self.device)
        new._bias = torch.stack([_bias(some, self._logits) for some in distinct.values()])
        found = [new._measured_among(part, buffer) for part, buffer in new._parts(len(places))]
        shifts, masses = zip(*found, strict=True)
        new._shift = torch.cat(shifts)
        new._add_up(torch.cat(masses))
        return new

    def log_probs(self, places: Sequence[int], tokens: torch.Tensor) -> torch.Tensor:
        """The log-probability of one token under each of some distributions.

        Args:
            places: which distributions, by their places among these.
            tokens: int64 [places].

        Returns:
            float64 [places]; ``-inf`` where excluded.
        """
        at = torch.tensor(places, device=self.device)
        return self._relative(at[:, None], tokens[:, None])[:, 0] - self._normaliser[at]

    def at(self, places: Sequence[int], points: np.ndarray) -> torch.Tensor:
        """Tokens by the inverse of the distribution function: that of a uniform number has the distribution's law.

        Args:
            places: which distributions, by their places among these; each has a token that is left.
            points: from [0, 1), float64 [places].

        Returns:
            int64 [places], on the device of the logits.
        """
        rows = torch.tensor(places, device=self.device)
        sums = self._sums[rows]
        target = torch.from_numpy(points).to(self.device)[:, None] * sums[:, -1:]
        block = _under(sums, target)
        before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
        share = (target - before) / (sums.gather(1, block) - before)
        tokens = block * self._block + torch.arange(self._block, device=self.device)
        inside = tokens < self.vocabulary
        weights = self._relative(rows[:, None], tokens.clamp(max=self.vocabulary - 1)).exp() * inside
        within = weights.cumsum(1)
        return (block * self._block + _under(within, share * within[:, -1:]))[:, 0]

    def table(self, places: Sequence[int] | None = None) -> torch.Tensor:
        """All log-probabilities of some distributions, float64 [places, vocabulary]; ``-inf`` where excluded."""
        at = (
            torch.arange(len(self._top), device=self.device)
            if places is None
            else torch.tensor(places, device=self.device)
        )
        tokens = torch.arange(self.vocabulary, device=self.device)[None]
        return self._relative(at[:, None], tokens) - self._normaliser[at, None]

    def faulty(self) -> int | None:
        """The place of the first row that is no distribution, if there is one; what is found for it means nothing."""
        good = self._top.isfinite()  # the largest is NaN if any is, and -inf if all are
        return None if bool(good.all()) else int(good.logical_not().nonzero()[0, 0])

    # --- one pass over the rows -------------------------------------------------------------------------------------

    def _parts(self, count: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Some rows at a time, with a buffer for them that is ``-inf`` behind the vocabulary."""
        logits = self._logits
        width = -(-logits.shape[1] // self._block) * self._block
        limit = _BUFFER.get(logits.device.type, _LARGE_BUFFER)
        step = min(count, max(1, limit // (width * logits.element_size())))
        buffer = logits.new_empty(step, width)
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            some = buffer[: part.stop - start]
            some[:, logits.shape[1] :] = -math.inf
            yield part, some

    def _chosen(self, part: slice) -> torch.Tensor:
        return self._logits[part] if self._rows is None else self._logits[self._rows[part]]

    def _measured(
        self, part: slice, buffer: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        """Largest logit, the least that is kept, the last token kept of those equal to it, and the blocks' masses."""
        logits = self._chosen(part)
        top = logits.amax(1)
        below = buffer[:, : logits.shape[1]]
        torch.sub(logits, top[:, None], out=below)
        floor = last = None
        if self._greedy:
            floor, last = torch.zeros_like(top), below.argmax(1)
        else:
            if self._top_k is not None:
                floor = kth_largest(buffer, self._top_k, self._block)
            if self._top_p < 1.0:
                floor, last = nucleus(below, self._heat, self._top_p, floor)
        return top, floor, last, self._masses(buffer, _kept(buffer, floor, last))

    def _measured_among(self, part: slice, buffer: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest of the allowed, relative to the largest logit, and the blocks' masses relative to that."""
        assert self._bias is not None and self._which is not None
        below = buffer[:, : self.vocabulary]
        torch.sub(self._chosen(part), self._top[part, None], out=below)
        floor, last = self._floor, self._last
        kept = _kept(buffer, None if floor is None else floor[part], None if last is None else last[part])
        below += self._bias[self._which[part]]
        largest = below.amax(1)
        shift = torch.where(largest == -math.inf, 0.0, largest)
        below -= shift[:, None]
        return shift, self._masses(buffer, kept)

    def _masses(self, buffer: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """Σ exp over each block of what is kept, [rows, blocks]; the buffer is used up."""
        if self._heat != 1.0:
            buffer /= self._heat
        buffer.exp_()
        if kept is not None:
            buffer *= kept
        return buffer.unflatten(1, (-1, self._block)).sum(2)

    def _add_up(self, masses: torch.Tensor) -> None:
        self._sums = masses.double().cumsum(1)
        mass = self._sums[:, -1]
        self.alive = mass > 0.0
        # Where no token is left, all are at -inf and stay there.
        self._normaliser = torch.where(self.alive, mass, 1.0).log()

    # --- single entries ---------------------------------------------------------------------------------------------

    def _relative(self, at: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities up to the normaliser.

        Args:
            at: which distributions, int64 [n, 1].
            tokens: int64 [n, k] or [1, k].

        Returns:
            float64 [n, k]; ``-inf`` where excluded.
        """
        rows = at if self._rows is None else self._rows[at]
        below = self._logits[rows, tokens] - self._top[at]  # to the bit as in the pass over the rows
        found = below.to(torch.float64, copy=True)
        if self._bias is not None:
            assert self._which is not None and self._shift is not None
            found += self._bias[self._which[at], tokens] - self._shift[at]
        if self._heat != 1.0:
            found /= self._heat
        if self._floor is not None:
            floor = self._floor[at]
            kept = below >= floor
            if self._last is not None:
                kept &= (below > floor) | (tokens <= self._last[at])
            found.masked_fill_(~kept, -math.inf)
        return found


def _kept(below: torch.Tensor, floor: torch.Tensor | None, last: torch.Tensor | None) -> torch.Tensor | None:
    """1 for tokens that are kept and 0 for others, of the type of ``below``; ``None`` if all are."""
    if floor is None:
        return None
    # A comparison in place gives numbers of its operand's type, and those multiply many times faster than bits.
    kept = below.clone().ge_(floor[:, None])
    if last is not None:
        ids = torch.arange(below.shape[1], device=below.device)
        kept.masked_fill_((below == floor[:, None]) & (ids > last[:, None]), 0.0)
    return kept


def _under(edges: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Where a target falls between cumulative masses, int64 [rows, 1]; never where there is no mass.

    Rounding may carry the target up to the last edge itself, behind which there is none.
    """
    last = (edges < edges[:, -1:]).sum(1, keepdim=True)
    return torch.minimum(torch.searchsorted(edges, target, right=True), last)


def _bias(allowed: Allowed, logits: torch.Tensor) -> torch.Tensor:
    """0 for allowed tokens, ``-inf`` for others, of the type and on the device of ``logits``; [vocabulary]."""
    bias: torch.Tensor | None = allowed.bias
    if bias is None or bias.device != logits.device or bias.dtype != logits.dtype:
        bias = logits.new_full((logits.shape[1],), -math.inf)
        bias[list(allowed.tokens)] = 0.0
        allowed.bias = bias
    return bias
