"""Which positions the tokens of ragged rows see, for each kind of attention that a model's layers have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .kv_plan import Batch

_SPANS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of attention that see a part of the path, and the setting that says how large a part."""


class Kinds:
    """The kinds of attention of a model.

    Attributes:
        spans: each kind with its span: the window of a sliding kind, the chunk length of a chunked one.
        of_layer: the kind of each layer.
    """

    def __init__(self, spans: Mapping[str, int | None], of_layer: list[str]) -> None:
        self.spans = spans
        self.of_layer = of_layer

    def masks(self, batch: Batch, dtype: torch.dtype) -> dict[str, Tensor]:
        """For each kind, what the rows see of their slots: additive masks [rows, 1, q, used]."""
        return {
            kind: build_mask(kind, span, batch.positions, batch.step.used, dtype, batch.shifts)
            for kind, span in self.spans.items()
        }

    def needed_masks(self, batch: Batch, dtype: torch.dtype) -> dict[str, Tensor | None]:
        """The same, with ``None`` where every row sees all that is read."""
        spans = self.spans.items()
        level = {kind for kind, span in spans if batch.level and (span is None or batch.longest <= span)}
        if len(level) == len(self.spans):
            return dict.fromkeys(level)
        masks = self.masks(batch, dtype)
        return {kind: None if kind in level else mask for kind, mask in masks.items()}

    def stem_masks(self, batch: Batch, dtype: torch.dtype) -> dict[str, list[Tensor | None]]:
        """For each kind and group, what its rows see of their stem.

        Returns:
            Additive masks [rows of the group, 1, q, length]; ``None`` where all is seen.
        """
        found: dict[str, list[Tensor | None]] = {}
        for kind, span in self.spans.items():
            masks: list[Tensor | None] = []
            for group in batch.step.groups:
                # Positions in a chunk or window that reaches back to the path's start see the whole stem.
                if span is None or batch.longest <= span:
                    masks.append(None)
                else:
                    positions = batch.positions if group.rows is None else batch.positions[group.rows]
                    masks.append(build_mask(kind, span, positions, group.length, dtype))
            found[kind] = masks
        return found


def kinds_of(config: Any) -> Kinds | None:
    """The kinds of attention among a model's layers, or ``None`` if some layer is not attention."""
    if "local" in (getattr(config, "attention_layers", None) or ()):
        # GPT-Neo's local layers take their window from the shape of the mask, which says nothing of ragged rows.
        return None
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        spans = {kind: getattr(config, name, None) for kind, name in _SPANS.items()}
        only = next((kind for kind, span in spans.items() if span is not None), "full_attention")
        kinds = [only] * int(config.num_hidden_layers)
    if not set(kinds) <= {"full_attention", *_SPANS}:
        return None
    return Kinds(
        {kind: getattr(config, _SPANS[kind]) if kind in _SPANS else None for kind in dict.fromkeys(kinds)}, list(kinds)
    )


def build_mask(
    kind: str, span: int | None, positions: Tensor, used: int, dtype: torch.dtype, shifts: Tensor | None = None
) -> Tensor:
    """The additive attention mask of ragged rows.

    Args:
        kind: "full_attention", "sliding_attention" or "chunked_attention".
        span: the window of a sliding kind, the chunk length of a chunked one.
        positions: the position of each query [rows, q].
        used: how many cached positions are read.
        dtype: the dtype the model computes in, which attention kernels want of a mask.
        shifts: the position of the first that is read, for each row [rows]; by default 0.

    Returns:
        A mask [rows, 1, q, used], 0 where a query sees a position and the lowest number elsewhere. Each query sees
        at least itself.
    """
    query = positions[:, None, :, None]
    key = torch.arange(used, device=positions.device)
    if shifts is not None:
        key = key + shifts[:, None, None, None]
    hidden = key > query
    if kind == "sliding_attention" and span is not None:
        hidden |= key <= query - span
    elif kind == "chunked_attention" and span is not None:
        hidden |= key // span != query // span
    mask = torch.zeros(hidden.shape, dtype=dtype, device=positions.device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)
