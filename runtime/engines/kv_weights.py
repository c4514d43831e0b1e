"""The weights of a decoder's layers, laid out for few and fast matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class LayerWeights:
    """One layer: matrices [inputs, outputs], each with its bias, and settings. ``None``: the model does not have it.

    Attributes:
        heads, key_heads: how many heads of queries there are, and of keys and of values.
        scale: of attention's scores.
        eps: what the norms add to a variance.
        act: the activation of the gate.
        before, after: the norms' weights, before attention and after it [width].
        qkv: queries, keys and values side by side.
        q_norm, k_norm: the weights of the norms of each head's query and key [head_dim].
        out: attention's output.
        gate_up: both inner parts of the feed-forward layer side by side.
        down: its output.
    """

    heads: int
    key_heads: int
    scale: float
    eps: float
    act: Callable[[Tensor], Tensor]
    before: Tensor
    qkv: tuple[Tensor, Tensor | None]
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: tuple[Tensor, Tensor | None]
    after: Tensor
    gate_up: tuple[Tensor, Tensor | None]
    down: tuple[Tensor, Tensor | None]


def layer_weights(layer: Any, in_place: bool) -> LayerWeights:
    """The weights of a layer of the Llama kind.

    Args:
        layer: the module.
        in_place: whether the module's own weights become views of these, so that memory holds them once. Their values
            stay as they are.
    """
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        attention.q_proj.out_features // attention.head_dim,
        attention.k_proj.out_features // attention.head_dim,
        attention.scaling,
        layer.input_layernorm.variance_epsilon,
        mlp.act_fn,
        layer.input_layernorm.weight,
        joined([attention.q_proj, attention.k_proj, attention.v_proj], in_place),
        attention.q_norm.weight if hasattr(attention, "q_norm") else None,
        attention.k_norm.weight if hasattr(attention, "k_norm") else None,
        joined([attention.o_proj], in_place),
        layer.post_attention_layernorm.weight,
        joined([mlp.gate_proj, mlp.up_proj], in_place),
        joined([mlp.down_proj], in_place),
    )


def joined(linears: Sequence[Any], in_place: bool) -> tuple[Tensor, Tensor | None]:
    """One matrix [inputs, outputs] and bias [outputs] for several linear layers of the same input.

    A copy on a CPU lies row by row: for a batch of few rows, a product spends a third of its time on turning the usual
    layout around. Otherwise it is the usual layout, seen transposed.
    """
    parts = [linear.weight.detach() for linear in linears]
    if in_place:
        joint = torch.cat(parts)
        for linear, part in zip(linears, joint.split([len(part) for part in parts]), strict=True):
            linear.weight.data = part
        matrix = joint.t()
    elif parts[0].device.type == "cpu":
        matrix = torch.cat([part.t() for part in parts], 1).contiguous()
    else:
        matrix = torch.cat(parts).t()
    if linears[0].bias is None:
        return matrix, None
    return matrix, torch.cat([linear.bias.detach() for linear in linears])


def product(x: Tensor, matrix: Tensor, bias: Tensor | None, plus: Tensor | None = None) -> Tensor:
    """``x @ matrix``, plus what is given."""
    if plus is None:
        return torch.mm(x, matrix) if bias is None else torch.addmm(bias, x, matrix)
    x = torch.addmm(plus, x, matrix)
    return x if bias is None else x.add_(bias)
