"""A forward pass through a model's own modules, whatever they are, with keys and values in slots.

It hooks into transformers' interface for attention functions, so that stems serve every architecture that uses the
interface without extras of its own (soft caps, sinks); whether a model does is found out by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .kv_attention import Part, attention
from .kv_cache import SlotCache
from .kv_masks import Kinds
from .kv_plan import Batch

NAME = "ppl_shared_prefix"
"""What the attention function is called among transformers'."""

_EXTRAS = ("softcap", "s_aux", "position_bias")
"""Arguments that would change the softmax, which the merge does not know of."""

Parts = Mapping[str, Sequence[Tensor | None]]
"""Kind of attention → for each group, which positions of the stem its queries see; ``None`` for all."""

_reading: ContextVar[tuple[SlotCache, Kinds, Parts] | None] = ContextVar("reading", default=None)


class Modules:
    """Calls the model itself.

    Args:
        model: the ``transformers`` model.
        cache: where keys and values are.
        kinds: its kinds of attention.
    """

    def __init__(self, model: Any, cache: SlotCache, kinds: Kinds) -> None:
        self.model = model
        self.cache = cache
        self.kinds = kinds

    def __call__(self, batch: Batch) -> Tensor:
        """Put a batch through the model: logits of the wanted tokens [wanted, vocab_size]."""
        masks = self.kinds.masks(batch, self.model.dtype)
        # Models with one kind of layer take the mask itself, those that mix kinds a mask for each.
        mask = masks if len(masks) > 1 else next(iter(masks.values()))
        self.cache.begin(batch.step)
        hook = None
        head = self.model.get_output_embeddings()
        if batch.wanted is not None and head is not None:
            wanted = batch.wanted
            # The head of a prompt's last token costs as much as a layer, and of all its tokens as much as the model:
            # only wanted tokens go through it. Done from outside, this works whatever a model does with its logits.
            hook = head.register_forward_pre_hook(
                lambda _, args: (args[0].flatten(0, 1)[wanted.to(args[0].device)][None],)
            )
        try:
            with _stems(self.cache, self.kinds, batch, self.model.dtype):
                logits: Tensor = self.model(
                    input_ids=batch.tokens,
                    attention_mask=mask,
                    position_ids=batch.positions,
                    past_key_values=self.cache,
                    return_dict=True,
                    use_cache=True,
                ).logits
        finally:
            if hook is not None:
                hook.remove()
        logits = logits.flatten(0, 1)
        return logits if batch.wanted is None or hook is not None else logits[batch.wanted.to(logits.device)]


@contextmanager
def _stems(cache: SlotCache, kinds: Kinds, batch: Batch, dtype: torch.dtype) -> Iterator[None]:
    """Attend to the stems of the step that ``cache`` has begun."""
    token = _reading.set((cache, kinds, kinds.stem_masks(batch, dtype)) if batch.step.groups else None)
    try:
        yield
    finally:
        _reading.reset(token)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function: as ``sdpa``, plus the stems of the rows that have one.

    Args:
        module: the attention layer.
        query: [rows, heads, q, dim].
        key, value: each row's own positions [rows, key heads, used, dim].
        attention_mask: additive, [rows, 1, q, used].
        dropout: not used in inference.
        scaling: of the scores; by default 1/√dim.
        **kwargs: what transformers hands to attention functions.

    Returns:
        The outputs [rows, q, heads, dim], and no weights.

    Raises:
        NotImplementedError: the layer wants something of its softmax that can't be merged.
    """
    current = _reading.get()
    layer = None if current is None else current[0].current
    if current is None or layer is None or layer.step is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    extras = [name for name in _EXTRAS if kwargs.get(name) is not None]
    if extras or dropout:
        raise NotImplementedError(f"attention with {', '.join(extras) or 'dropout'}")
    _, kinds, masks = current
    parts = [
        Part(group, *layer.stem(group), mask)
        for group, mask in zip(layer.step.groups, masks[kinds.of_layer[layer.index]], strict=True)
    ]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attention(query, key, value, attention_mask, scale, parts), None


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
