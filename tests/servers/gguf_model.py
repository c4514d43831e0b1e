"""Writes a Llama checkpoint with a byte-level BPE tokenizer as a GGUF file, which llama.cpp serves.

    python gguf_model.py FOLDER FILE

runs in an environment that has the packages gguf and safetensors; nothing else of this project is needed there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def paired(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of a query or key projection in llama.cpp's order: rotary positions turn neighbours there, not halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_settings(writer: Any, config: dict[str, Any]) -> None:
    """The shape of the model."""
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def write_tokenizer(writer: Any, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    """The tokens and merges. llama.cpp knows ways to cut texts into words by name, and has not this tokenizer's.

    GPT-2's agrees with it on ASCII without apostrophes: runs of digits and signs are longer words there, and no merge
    joins any of them.
    """
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    names = special | {token: name for name, token in tokenizer["model"]["vocab"].items()}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in sorted(names)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([names[token] for token in sorted(names)])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    # Left out, it would be token 11, an ordinary one.
    writer.add_bos_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def write_tensors(writer: Any, weights: dict[str, np.ndarray[Any, Any]], config: dict[str, Any]) -> None:
    """The weights, in float32."""
    heads = {"self_attn.q_proj": config["num_attention_heads"], "self_attn.k_proj": config["num_key_value_heads"]}
    for name, weight in weights.items():
        plain = name.removesuffix(".weight")
        layer = ""
        if plain.startswith("model.layers."):
            _, _, number, plain = plain.split(".", 3)
            layer = f"blk.{number}."
        if plain in heads:
            weight = paired(weight, heads[plain])
        writer.add_tensor(f"{layer}{NAMES[plain]}.weight", np.ascontiguousarray(weight, dtype=np.float32))


def main(folder: str, file: str) -> None:
    source = Path(folder)
    config = json.loads((source / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    write_settings(writer, config)
    write_tokenizer(writer, json.loads((source / "tokenizer.json").read_text()), config)
    write_tensors(writer, load_file(source / "model.safetensors"), config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
