"""A forward pass of models of the Llama kind in few operations, for what decoding does most: one token for each row.

A model's modules spend more than half of such a pass on calling each other and on operations on little data. Here
a layer is some fifteen operations on joined weights (``kv_weights``) that read and write the slots themselves.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm

from .kv_attention import Part, attention
from .kv_cache import SlotCache, SlotLayer
from .kv_masks import Kinds
from .kv_plan import Batch
from .kv_swift import layer as swift_layer
from .kv_weights import LayerWeights, layer_weights, product
from .memory import size_of

_KNOWN = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Models whose layers are: norm, attention with rotary positions, norm, gated feed-forward layer."""

COPIED_BYTES = 1 << 30
"""The most memory that joined copies of weights may take; larger models are joined in place, or not at all."""


def why_not(model: Any, own: bool) -> str:
    """Why :class:`Decoder` does not do for a model, or "".

    Args:
        model: a ``transformers`` causal language model.
        own: whether its weights may be joined in place.
    """
    kind = type(model)
    if kind.__name__ not in _KNOWN or not kind.__module__.startswith("transformers.models."):
        return "it is not known for its layers"
    source = sys.modules[kind.__module__]
    for module in model.modules():
        theirs = type(module).__module__
        if not (theirs == source.__name__ or theirs.startswith(("torch.nn.modules.", "transformers.activations"))):
            return f"it has a {type(module).__name__}"
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return f"its {type(module).__name__} has a hook"
    if len({(weight.device, weight.dtype) for weight in model.parameters()}) > 1:
        return "its weights are of several types or on several devices"
    size = size_of(model.model.layers)
    if not own and size > COPIED_BYTES:
        return f"a copy of its weights takes {size / (1 << 30):.1f} GiB"
    return ""


class Decoder:
    """Computes what the model would, from joined weights.

    Args:
        model: a model that :func:`why_not` has nothing against.
        cache: where keys and values are.
        kinds: its kinds of attention.
        swift: whether rows of one token go through ``kv_swift``, which can compute the model.
    """

    def __init__(self, model: Any, cache: SlotCache, kinds: Kinds, swift: bool = False) -> None:
        self.cache = cache
        self.kinds = kinds
        self.swift = swift
        self._model = model
        self._state: list[tuple[int, int]] = []
        self.refresh()

    def refresh(self) -> None:
        """Take the model's weights as they are now, if they have changed."""
        state = self._weights_state()
        if state and state == self._state:
            return
        layers = self._model.model.layers
        in_place = size_of(layers) > COPIED_BYTES
        with torch.no_grad():
            self._layers = [layer_weights(layer, in_place) for layer in layers]
        self._state = self._weights_state()

    def _weights_state(self) -> list[tuple[int, int]]:
        """What changes when the weights do; empty if they don't tell, as those made in inference mode."""
        weights = list(self._model.parameters())
        if any(weight.is_inference() for weight in weights):
            return []
        return [(weight.data_ptr(), weight._version) for weight in weights]

    def __call__(self, batch: Batch) -> Tensor:
        """Put a batch through the model: logits of the wanted tokens [wanted, vocab_size]."""
        body = self._model.model
        x = embedding(batch.tokens, body.embed_tokens.weight)
        turn = _turn(*body.rotary_emb(x, batch.positions))
        stems = self.kinds.stem_masks(batch, x.dtype)
        ragged = batch.step.ragged
        masks = {} if ragged else self.kinds.needed_masks(batch, x.dtype)
        self.cache.begin(batch.step)
        shape = batch.tokens.shape
        x = x.flatten(0, 1)
        for index, (weights, slots) in enumerate(zip(self._layers, self.cache.slot_layers, strict=True)):
            if ragged:
                x = swift_layer(weights, x, (turn[0][:, 0], turn[1][:, 0]), slots, batch.step)
                continue
            kind = self.kinds.of_layer[index]
            groups = zip(batch.step.groups, stems[kind], strict=True)
            parts = [Part(group, *slots.stem(group), seen) for group, seen in groups]
            x = _layer(weights, x, shape, turn, slots, masks[kind], parts)
        if batch.wanted is not None:
            x = x[batch.wanted]
        return linear(_norm(x, body.norm.weight, body.norm.variance_epsilon), self._model.lm_head.weight)


def _turn(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """What rotary positions [rows, q, dim] multiply a head with, and its halves swapped [rows * q, 1, dim]."""
    half = cos.shape[-1] // 2
    swapped = torch.cat((-sin[..., :half], sin[..., half:]), -1)
    return cos.flatten(0, 1)[:, None], swapped.flatten(0, 1)[:, None]


def _layer(
    weights: LayerWeights,
    x: Tensor,
    shape: torch.Size,
    turn: tuple[Tensor, Tensor],
    slots: SlotLayer,
    mask: Tensor | None,
    parts: list[Part],
) -> Tensor:
    """One layer.

    Args:
        weights: its weights.
        x: its input [rows * q, width].
        shape: (rows, q).
        turn: from :func:`_turn`.
        slots: where its keys and values are.
        mask: what each row sees of its slot.
        parts: the stems.

    Returns:
        Its output [rows * q, width].
    """
    heads, both = weights.heads, weights.heads + weights.key_heads
    qkv = product(_norm(x, weights.before, weights.eps), *weights.qkv)
    qkv = qkv.view(len(x), both + weights.key_heads, -1)
    turned = qkv[:, :both]
    if weights.q_norm is not None and weights.k_norm is not None:
        query = _norm(turned[:, :heads], weights.q_norm, weights.eps)
        turned = torch.cat((query, _norm(turned[:, heads:], weights.k_norm, weights.eps)), 1)
    turned = torch.addcmul(turned * turn[0], turned.roll(turned.shape[-1] // 2, -1), turn[1])
    query, key, value = (
        part.unflatten(0, shape).transpose(1, 2) for part in (turned[:, :heads], turned[:, heads:], qkv[:, both:])
    )
    found = attention(query, *slots.update(key, value), mask, weights.scale, parts)
    x = product(found.view(len(x), -1), *weights.out, x)
    gate, up = product(_norm(x, weights.after, weights.eps), *weights.gate_up).chunk(2, -1)
    return product(weights.act(gate).mul_(up), *weights.down, x)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x over its root mean square, times the weight."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return rms_norm(x, weight.shape, weight, eps)
    # There torch makes ten operations of it. With |x| = sqrt(n) times the root mean square, four do.
    n = x.shape[-1]
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    size = torch.hypot(size, size.new_tensor(math.sqrt(n * eps))).mul_(1.0 / math.sqrt(n))
    return (x / size).mul_(weight)
