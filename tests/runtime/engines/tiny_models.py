"""Tiny random-weight models of many architectures, and their plain logits as an oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 97
MAX_LENGTH = 64

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # Large weights, so that attention is sharp and a wrongly seen or hidden position changes the logits.
    "initializer_range": 0.3,
}
_GEMMA = {**_SHAPE, "head_dim": 8, "num_hidden_layers": 3}


def _gpt2() -> Any:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=MAX_LENGTH,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.3,
        )
    )


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE)),
    "llama-eager": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE, attn_implementation="eager")),  # type: ignore[call-arg]
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SHAPE)),
    "qwen2-sliding": lambda: Qwen2ForCausalLM(
        Qwen2Config(**_SHAPE, use_sliding_window=True, sliding_window=5, max_window_layers=1)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SHAPE, head_dim=8)),
    "gpt2": _gpt2,
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SHAPE, head_dim=8, sliding_window=5)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_GEMMA)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_GEMMA, sliding_window=5, attn_logit_softcapping=20.0)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **_GEMMA,
            sliding_window=5,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        )
    ),
}


def make(name: str, seed: int = 0) -> Any:
    """A random model, the same for the same name and seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name]().float().eval()


@torch.no_grad()
def plain_logits(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """Next-token logits after ``tokens`` by one plain forward pass without a cache [vocab]."""
    return model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0, -1]
