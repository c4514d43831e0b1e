"""One pass over rows of logits, which finds all that a draw or a log-probability needs beside the logits themselves.

A vocabulary has a hundred thousand tokens and a draw wants one of them. So nothing of the vocabulary's size is kept:
the pass takes a few rows at a time through a buffer that fits a processor's cache, and finds the largest logit, where
top-k and top-p cut, and the mass of each block of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from . import numpy_masses, triton_masses
from .cuts import kth_largest, nucleus
from .requests import Allowed, Law
from .triton_launch import available

_BUFFER = {"cpu": 1 << 20}
"""Bytes of the buffer that rows pass through, by kind of device: half of a core's cache of the second level."""
_LARGE_BUFFER = 1 << 28
"""The same where nothing is gained by staying small."""

_AT_ONCE = 32
"""How many numbers a processor takes at once, at the most. Those left over at the end of a buffer are computed in
another way: rows are as wide as a multiple of this, so that what one thread finds for a row depends on no other."""

_LOG2_E = math.log2(math.e)

_COLDEST = {torch.float32: 1e-30, torch.float64: 1e-290}
"""Temperatures below these are as good as these: ties share, others have no mass."""
_HOTTEST = 1e30
"""Temperatures above this are as good as this: all tokens that have any mass share it."""


class Rows(NamedTuple):
    """What n distributions are of.

    Attributes:
        logits: [rows, vocabulary].
        numbers: which row each distribution is of, int64 [n]; ``None``: they are in order.
        heat: what logits are divided by.
        block: how many tokens a block has.
    """

    logits: torch.Tensor
    numbers: torch.Tensor | None
    heat: float
    block: int

    @property
    def width(self) -> int:
        """How many entries a row of a buffer has: whole blocks."""
        unit = max(self.block, _AT_ONCE)
        return -(-self.logits.shape[1] // unit) * unit

    def parts(self, count: int) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Some at a time: which, their logits, and a buffer for them, ``-inf`` behind the vocabulary.

        Args:
            count: how many there are.
        """
        vocabulary, width = self.logits.shape[1], self.width
        limit = _BUFFER.get(self.logits.device.type, _LARGE_BUFFER)
        step = min(count, max(1, limit // (width * self.logits.element_size())))
        buffer = self.logits.new_empty(step, width)
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            logits, some = self.logits, buffer
            if step < count:
                some = buffer[: part.stop - start]
            if step < count or self.numbers is not None:
                logits = logits[part if self.numbers is None else self.numbers[part]]
            if width > vocabulary:
                some[:, vocabulary:] = -math.inf
            yield part, logits, some

    def masses(self, buffer: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """Σ exp over each block of what is kept, [rows, blocks]; the buffer is used up."""
        buffer *= _LOG2_E / self.heat
        buffer.exp2_()  # on processors it takes half the time of exp_
        if kept is not None:
            buffer *= kept
        return buffer.view(len(buffer), -1, self.block).sum(2)


class Measured(NamedTuple):
    """What was found for each of n distributions.

    Attributes:
        rows: what they are of.
        top: the largest logit, [n].
        masses: Σ exp over each block of what is kept, relative to the largest that is allowed, [n, blocks].
        floor: the least logit that is kept, relative to the largest, [n]; ``None``: all are kept.
        last: the last token that is kept of those at the floor, int64 [n]; ``None``: all of them are.
        among: what constraints allow of it; ``None``: everything.
    """

    rows: Rows
    top: torch.Tensor
    masses: torch.Tensor
    floor: torch.Tensor | None = None
    last: torch.Tensor | None = None
    among: Among | None = None


class Among(NamedTuple):
    """What constraints allow of n distributions.

    Attributes:
        bias: 0 for allowed tokens and ``-inf`` for others, [constraints, vocabulary].
        which: the constraint of each distribution, int64 [n].
        shift: the largest logit that is allowed, relative to the largest, [n].
    """

    bias: torch.Tensor
    which: torch.Tensor
    shift: torch.Tensor


def measure(logits: torch.Tensor, law: Law, numbers: Sequence[int] | None) -> Measured:
    """Measure the distributions that a law makes of rows of logits.

    Args:
        logits: [rows, vocabulary], of any floating-point type.
        law: (temperature, top_p, top_k).
        numbers: which rows, in order; ``None``: all of them.
    """
    temperature, top_p, top_k = law
    vocabulary = logits.shape[1]
    greedy = temperature == 0.0
    whole = not greedy and top_p == 1.0 and (top_k is None or top_k >= vocabulary)
    by_triton = whole and logits.dtype != torch.float64 and available(logits.device)
    if not by_triton and logits.dtype not in _COLDEST:
        logits = logits.float()
    rows = Rows(
        logits,
        None if numbers is None else torch.tensor(numbers, device=logits.device),
        1.0 if greedy else min(max(temperature, _COLDEST.get(logits.dtype, 1e-30)), _HOTTEST),
        1 << ((vocabulary - 1).bit_length() + 1) // 2,  # about as many tokens in a block as there are blocks
    )
    if by_triton:
        some = logits if rows.numbers is None else logits[rows.numbers]
        some = some if some.stride(1) == 1 else some.contiguous()
        return Measured(rows, *triton_masses.block_masses(some, _LOG2_E / rows.heat, rows.block))
    if whole and numpy_masses.serves(logits):
        some = logits if rows.numbers is None else logits[rows.numbers]
        return Measured(rows, *numpy_masses.block_masses(some, _LOG2_E / rows.heat, rows.block, rows.width))
    tops, floors, lasts, masses = [], [], [], []
    for _, some, buffer in rows.parts(len(logits) if numbers is None else len(numbers)):
        top = some.amax(1)
        below = buffer[:, :vocabulary]
        torch.sub(some, top[:, None], out=below)
        floor = last = None
        if greedy:
            floor, last = torch.zeros_like(top), below.argmax(1)
        else:
            if top_k is not None and top_k < vocabulary:
                floor = kth_largest(buffer, top_k, rows.block)
            if top_p < 1.0:
                floor, last = nucleus(below, rows.heat, top_p, floor)
        masses.append(rows.masses(buffer, _kept(buffer, floor, last)))
        tops.append(top)
        lasts.append(last)
        if floor is not None:
            floors.append(floor)
    ended = None
    if any(last is not None for last in lasts):
        # Where all at the floor are kept, the last of them may be any token.
        ends = [torch.full_like(top, vocabulary, dtype=torch.int64) for top in tops]
        ended = _joined([end if last is None else last for end, last in zip(ends, lasts, strict=True)])
    return Measured(rows, _joined(tops), _joined(masses), _joined(floors) if floors else None, ended)


def measure_among(found: Measured, places: Sequence[int], allowed: Sequence[Allowed]) -> Measured:
    """Measure some distributions anew, among allowed tokens only.

    Args:
        found: the distributions.
        places: which of them; one may come several times.
        allowed: the tokens, for each.
    """
    logits = found.rows.logits
    if logits.dtype not in _COLDEST:
        logits = logits.float()
    at = torch.tensor(places, device=logits.device)
    distinct = {id(some): some for some in allowed}
    number = {name: i for i, name in enumerate(distinct)}
    which = torch.tensor([number[id(some)] for some in allowed], device=logits.device)
    bias = torch.stack([_bias(some, logits) for some in distinct.values()])
    rows = found.rows._replace(logits=logits, numbers=at if found.rows.numbers is None else found.rows.numbers[at])
    top = found.top[at]
    floor = None if found.floor is None else found.floor[at]
    last = None if found.last is None else found.last[at]
    shifts, masses = [], []
    for part, some, buffer in rows.parts(len(places)):
        below = buffer[:, : logits.shape[1]]
        torch.sub(some, top[part, None], out=below)
        kept = _kept(buffer, None if floor is None else floor[part], None if last is None else last[part])
        below += bias[which[part]]
        largest = below.amax(1)
        shifts.append(torch.where(largest == -math.inf, 0.0, largest))
        below -= shifts[-1][:, None]
        masses.append(rows.masses(buffer, kept))
    return Measured(rows, top, _joined(masses), floor, last, Among(bias, which, _joined(shifts)))


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


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


def _bias(allowed: Allowed, logits: torch.Tensor) -> torch.Tensor:
    """0 for allowed tokens, ``-inf`` for others, of the type and on the device of ``logits``; [vocabulary]."""
    bias: torch.Tensor | None = allowed.bias
    if bias is None or bias.device != logits.device or bias.dtype != logits.dtype:
        bias = logits.new_full((logits.shape[1],), -math.inf)
        bias[list(allowed.tokens)] = 0.0
        allowed.bias = bias
    return bias
