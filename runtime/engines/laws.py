"""Next-token distributions: from a model's logits to normalised log-probabilities, a whole batch at once."""

from __future__ import annotations

import math

import torch

from .requests import Allowed, Law

_ROUNDING = 1e-12
"""Masses this close to ``top_p`` have reached it: a boundary that is exact on paper is not lost to rounding."""


def log_probs(logits: torch.Tensor, law: Law) -> torch.Tensor:
    """The distributions that ``law`` makes of ``logits``: divided by the temperature, then top-k, then top-p.

    Args:
        logits: [rows, vocabulary], any float type, of which each row has a finite largest entry.
        law: (temperature, top_p, top_k).

    Returns:
        Normalised log-probabilities, float64 [rows, vocabulary] on the same device; ``-inf`` where excluded.
    """
    temperature, top_p, top_k = law
    x = logits.double()
    if temperature == 0.0:
        best = torch.full_like(x, -math.inf)
        return best.scatter_(-1, x.argmax(-1, keepdim=True), 0.0)
    if temperature != 1.0:
        # The largest goes to 0 first, so that no temperature, however small, makes an infinity of it.
        x = (x - x.amax(-1, keepdim=True)) / temperature
    if top_k is not None and top_k < x.shape[-1]:
        x = x.masked_fill(x < x.topk(top_k, dim=-1).values[:, -1:], -math.inf)
    x = x - x.logsumexp(-1, keepdim=True)
    return _nucleus(x, top_p) if top_p < 1.0 else x


def _nucleus(x: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the most probable tokens up to the one with which the mass reaches ``top_p``; renormalise."""
    ordered, order = x.sort(dim=-1, descending=True, stable=True)
    mass = ordered.exp()
    drop = mass.cumsum(-1) - mass >= top_p - _ROUNDING
    drop[:, 0] = False
    x = x.masked_fill(torch.zeros_like(drop).scatter_(-1, order, drop), -math.inf)
    return x - x.logsumexp(-1, keepdim=True)


def among(x: torch.Tensor, allowed: Allowed) -> torch.Tensor:
    """Distributions renormalised over the allowed tokens.

    Args:
        x: normalised log-probabilities, float64 [rows, vocabulary] or [vocabulary].
        allowed: the tokens.

    Returns:
        Log-probabilities of the same shape; all ``-inf`` where no allowed token has positive probability.
    """
    mask = allowed.mask
    if mask is None or mask.device != x.device:
        mask = torch.ones(x.shape[-1], dtype=torch.bool)
        mask[list(allowed.tokens)] = False
        mask = allowed.mask = mask.to(x.device)
    x = x.masked_fill(mask, -math.inf)
    mass = x.logsumexp(-1, keepdim=True)
    return x - mass.nan_to_num(neginf=0.0)
