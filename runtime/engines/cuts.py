"""Where top-k and top-p cut a distribution: the least logit that is kept."""

from __future__ import annotations

import numpy as np
import torch

_ROUNDING = {torch.float32: 1e-7, torch.float64: 1e-12}
"""Masses this close to ``top_p`` have reached it: a boundary that is exact on paper is not lost to rounding."""


def kth_largest(values: torch.Tensor, k: int, block: int) -> torch.Tensor:
    """The k-th largest value of each row, [rows].

    Args:
        values: [rows, width], the width a multiple of ``block``.
        k: less than the width.
        block: how many neighbours to look at together.
    """
    if 2 * k * block < values.shape[1]:
        # There are fewer than k blocks with a value above the one that is sought, and all of them are among the k
        # with the largest maxima; what is left of these k has the value itself, as often as it is needed.
        blocks = values.unflatten(1, (-1, block))
        best = blocks.amax(2).topk(k, sorted=False).indices
        values = blocks.gather(1, best[:, :, None].expand(-1, -1, block)).flatten(1)
    return values.topk(k).values[:, -1].clone()


def nucleus(
    values: torch.Tensor, heat: float, top_p: float, floor: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The smallest set of most probable tokens that holds a mass; of tokens that are equal, the lower ids.

    Args:
        values: [rows, vocabulary], the largest of each row 0.
        heat: the mass of a token is in proportion to exp(value / heat).
        top_p: the mass, less than 1.
        floor: tokens below it are left out before, [rows].

    Returns:
        The least value that is kept, [rows], and the last token that is kept of those that have it; ``None`` where
        all of them are, in every row.
    """
    if floor is None:
        ordered = _descending(values)
    else:
        most = int((values >= floor[:, None]).sum(1).max())
        ordered = values.topk(most).values
        ordered = ordered.masked_fill(ordered < floor[:, None], -torch.inf)
    mass = (ordered / heat).exp_().cumsum(1, dtype=torch.float64)
    target = (top_p - _ROUNDING[values.dtype]) * mass[:, -1:]
    end = torch.searchsorted(mass, target).clamp_(max=ordered.shape[1] - 1)
    cut = ordered.gather(1, end)
    more = ordered.gather(1, (end + 1).clamp(max=ordered.shape[1] - 1)) == cut
    more &= end + 1 < ordered.shape[1]
    if not bool(more.any()):
        return cut[:, 0], None
    last = torch.full_like(end[:, 0], values.shape[1])
    for row in more[:, 0].nonzero()[:, 0].tolist():
        above = int((ordered[row] > cut[row]).sum())
        equal = (values[row] == cut[row]).nonzero()[:, 0]
        last[row] = equal[int(end[row, 0]) - above]
    return cut[:, 0], last


def _descending(values: torch.Tensor) -> torch.Tensor:
    if values.device.type != "cpu":
        return values.sort(1, descending=True).values
    # Twenty times faster than torch's.
    return torch.from_numpy(np.sort(values.numpy(), axis=1)).flip(1)
