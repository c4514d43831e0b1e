"""Tokenizers whose tokens are exact bytes, and loading a model from a folder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ppl import infer, load_lm, program, sample
from ppl.runtime.engines.loading import load_transformers
from ppl.runtime.engines.transformers import TransformersModel
from ppl.text import Text

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


def spaced_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Puts a space before whatever it is given, as Llama 2's and its heirs' do, each in its own way."""
    if kind == "byte level":
        byte_level = byte_level_tokenizer()
        byte_level.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        return byte_level
    tokenizer = byte_fallback_tokenizer()
    backend = tokenizer.backend_tokenizer
    if kind == "metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = None
    backend.decoder = decoders.Sequence([*SPACED, decoders.Strip(" ", 1, 0)])
    return tokenizer


SPACED = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


@pytest.mark.parametrize("kind", ["metaspace", "prepended", "byte level"])
def test_a_tokenizer_s_space_stands_where_a_context_begins_and_nowhere_else(kind: str) -> None:
    tokenizer = spaced_tokenizer(kind)
    lm = load_lm((big_llama(), tokenizer))
    begun = lm.context("a")
    assert begun.tokens == tuple(tokenizer.encode("a", add_special_tokens=False)) and lm.decode(begun.tokens) == " a"
    for text in ("a", "a\n", "a b"):
        for more in ("b", " b", "\n", "é 漢", "", " "):
            context = lm.context(text) + more
            assert str(context) == text + more and lm.context(str(context)) == lm.context(text + more)
    # What is scored is the text that reads so, wherever it comes from.
    law = begun.text(stop="\n", max_tokens=4)
    for value in ("b\n", " b\n"):
        drawn = law.as_drawn(value)
        assert isinstance(drawn, Text) and drawn == value and lm.decode(drawn.tokens) == value
    assert [lm.decode(option.tokens) for option in begun.choice(["b", " b"]).options] == ["b", " b"]
    assert (lm.context("") + "a").tokens == begun.tokens


def test_tokens_of_words_are_read_with_their_spaces() -> None:
    words = ["[UNK]", "[SEP]", "play", "##ing", "two", "games", "a", "one", ",", "3"]
    pieces = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    ends = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate("abc")} | {"b</w>": 3, "a</w>": 4, "ab</w>": 5},
                                merges=[("a", "b</w>")], end_of_word_suffix="</w>"))  # fmt: skip
    ends.pre_tokenizer, ends.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    for tokenizer, text in ((pieces, "playing two games, a 3"), (ends, "ab b a")):
        lm = load_lm((big_llama(), PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")))
        assert str(lm.context(text)).strip() == lm.model.tokenizer.decode(lm.encode(text)) == text  # type: ignore[attr-defined]


def test_an_option_that_has_no_tokens_is_refused() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("~", "")
    with pytest.raises(ValueError, match=r"options holds '~', which the tokenizer gives no tokens"):
        load_lm((big_llama(), tokenizer)).context("a").choice(["a", "~"])


def test_weights_that_a_folder_lacks_are_not_made_up(tmp_path: Any) -> None:
    plain = big_llama()
    plain.model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no weights for lm_head\.weight of a LlamaForCausalLM"):
        load_transformers(tmp_path, device="cpu")


def test_tokens_that_a_model_has_no_numbers_for() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<new>"])
    small = make("llama")
    assert len(tokenizer) > small.config.vocab_size
    with pytest.raises(ValueError, match=r"the tokenizer gives the id \d+, but LlamaForCausalLM has ids up to"):
        TransformersModel(small, tokenizer).encode("a<new>")


def test_what_stands_before_every_text_is_told() -> None:
    tokenizer = byte_level_tokenizer(bos=True)
    template = processors.TemplateProcessing(single="<s> </s> $A", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = template
    lm = TransformersModel(big_llama(), tokenizer)
    assert lm.bos == 1 and "contexts do not begin with the tokenizer's '</s>'" in lm.describe()


def test_a_template_does_not_write_the_bos_token_that_was_asked_for_again() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    messages = [{"role": "user", "content": "he"}]
    assert TransformersModel(big_llama(), tokenizer, bos=1).encode_chat(messages)[0] != 1
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ValueError, match="refuses these messages: roles must alternate"):
        TransformersModel(big_llama(), tokenizer).encode_chat(messages)


def test_models_of_one_tokenizer_read_each_other_s_tokens_however_their_vocabularies_are_padded() -> None:
    tokenizer = byte_level_tokenizer()
    config = big_llama().config
    torch.manual_seed(0)
    models_ = [big_llama(), type(big_llama())(type(config)(**{**config.to_dict(), "vocab_size": 296}))]
    small, large = (load_lm((model, tokenizer)) for model in models_)
    text = large.context("a").text(max_tokens=3).sample(seed=0)
    assert text.tokens_for(small) == text.tokens

    @program
    def drafted() -> str:
        return str(sample(small.context("a").text(max_tokens=2), proposal=large.context("a").text(max_tokens=2)))

    # What pads a vocabulary is no token of the other: such a draft has no weight.
    found = infer(drafted, n=64, seed=0, method="importance")
    assert len(found.runs) > 8 and all(max(run.trace[0].value.tokens) < 280 for run in found.runs)


def test_what_a_model_is_not_given() -> None:
    for options, says in (
        ({"bos": 10**6}, r"bos=1000000: give one of the model's token ids, 0 to 279"),
        ({"bos": -1}, "bos=-1"),
        ({"cache_bytes": "1GB"}, r"cache_bytes='1GB': give a number of bytes"),
        ({"cache_bytes": -5}, "cache_bytes=-5"),
    ):
        with pytest.raises(ValueError, match=says):
            TransformersModel(big_llama(), byte_level_tokenizer(), **options)
    lm = load_lm((big_llama(), byte_level_tokenizer()))
    with pytest.raises(TypeError, match="the content of a message is a list: give text"):
        lm.context([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="half a character"):
        lm.context([{"role": "user", "content": "\ud800"}])
