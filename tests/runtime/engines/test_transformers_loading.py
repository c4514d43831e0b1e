"""Tokenizers whose tokens are exact bytes, and loading a model from a folder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ppl.runtime.engines.loading import load_transformers
from ppl.runtime.engines.transformers import TransformersModel

from .test_transformers import model_of
from .tiny_models import VOCAB, make, plain_logits


def byte_level_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2, **{char: i + 3 for i, char in enumerate(alphabet)}}
    tokenizer = Tokenizer(
        models.BPE(vocab={**vocab, "he": len(vocab), "Ġa": len(vocab) + 1}, merges=[("h", "e"), ("Ġ", "a")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "é"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[("▁", "a")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def big_llama() -> Any:
    return make("llama").__class__(
        make("llama").config.__class__(**{**make("llama").config.to_dict(), "vocab_size": 280})
    )


@pytest.mark.parametrize("make_tokenizer", [byte_level_tokenizer, byte_fallback_tokenizer])
@pytest.mark.parametrize("text", ["he said a\n b", "é 漢字 🙂", ""])
def test_tokens_are_exact_bytes(make_tokenizer: Any, text: str) -> None:
    lm = TransformersModel(big_llama(), make_tokenizer())
    tokens = lm.encode(text)
    assert b"".join(map(lm.decode_bytes, tokens)) == text.encode()
    assert [lm.decode_bytes(token) for token in (1, 2)] == [b"", b""]
    assert lm.eos_tokens == {2}


def test_implicit_bos_and_chat() -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[a]{% endif %}"
    )
    messages = [{"role": "user", "content": "he"}]
    with_bos, without = byte_level_tokenizer(bos=True), byte_level_tokenizer()
    lm = TransformersModel(big_llama(), with_bos)
    assert lm.bos == 1 and 1 not in lm.encode("he")
    torch.testing.assert_close(
        lm.logits([lm.root.extend(lm.encode("he a"))])[0],
        plain_logits(lm.model, with_bos("he a")["input_ids"]),
        atol=1e-4,
        rtol=0,
    )
    with pytest.raises(ValueError, match="no chat template"):
        lm.encode_chat(messages)
    with_bos.chat_template = without.chat_template = template
    expected = b"[user]he[a]"
    assert b"".join(map(lm.decode_bytes, lm.encode_chat(messages))) == expected and 1 not in lm.encode_chat(messages)
    other = TransformersModel(big_llama(), without)
    assert other.bos is None and other.encode_chat(messages)[0] == 1


def test_no_tokenizer_is_a_clear_error() -> None:
    lm = TransformersModel(model_of("llama"))
    with pytest.raises(ValueError, match="without a tokenizer"):
        lm.encode("he")
    assert "LlamaForCausalLM" in lm.describe() and "float32 on cpu" in lm.describe()


def test_load_from_a_folder(tmp_path: Any) -> None:
    plain = big_llama()
    plain.save_pretrained(tmp_path)
    byte_level_tokenizer(bos=True).save_pretrained(tmp_path)
    lm = load_transformers(tmp_path, device="cpu")
    tokens = lm.encode("he said")
    row = lm.logits([lm.root.extend(tokens)])[0]
    torch.testing.assert_close(row, plain_logits(plain, (1, *tokens)), atol=1e-4, rtol=0)
    half = load_transformers(tmp_path, device="cpu", dtype="bfloat16")
    rows = half.logits([half.root.extend(tokens), half.root])
    assert rows.dtype == torch.float32 and "bfloat16" in half.describe()
    with pytest.raises(ValueError, match="dtype"):
        load_transformers(tmp_path, dtype="int8")


def test_load_without_a_tokenizer(tmp_path: Any) -> None:
    model_of("gpt2").save_pretrained(tmp_path)
    lm = load_transformers(tmp_path, device="cpu")
    assert lm.tokenizer is None and lm.vocab_size == VOCAB
