"""Text to tokens and back, with exact bytes, for any ``transformers`` tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")

_MARKS = ("\n", "\x02", "|", "a", "1")
"""What to put before a text so that it stands in the middle; some tokenizers merge some of them with what follows."""

_REMEMBERED = 1024
"""How many texts' tokens to remember: programs add the same ones to their contexts again and again."""

_SAMPLE = "a one, two 3 4.\nplaying"
"""A text to see how tokens read together."""


def byte_alphabet() -> dict[str, int]:
    """The characters that byte-level BPE (GPT-2 and its many heirs) writes bytes as."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    table.update({chr(256 + index): byte for index, byte in enumerate(others)})
    return table


def _types(part: Any) -> set[str]:
    """The type names in a tokenizer's JSON description, at any depth."""
    if isinstance(part, dict):
        return {str(part.get("type"))}.union(*map(_types, part.values()))
    if isinstance(part, list):
        return set().union(*map(_types, part))
    return set()


class Tokens:
    """A tokenizer as models need it: no hidden special tokens, and the bytes of each token.

    Attributes:
        tokenizer: the ``transformers`` tokenizer.
        kind: how vocabulary entries are written: "byte_level", "metaspace" or "plain".
        bos: the id that the tokenizer puts before every text by default, or ``None``.
        dropped: further ids that it puts there by default, which are left out.
        opens_with_space: whether a text's tokens read as if it began with a space.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.kind = self._find_kind()
        self.bos, self.dropped = self._find_beginning()
        added = {int(index): token for index, token in tokenizer.added_tokens_decoder.items()}
        self._added = {index: str(token) for index, token in added.items()}
        # Chat markers are often special without being listed as one of the tokenizer's named special tokens.
        marked = {index for index, token in added.items() if getattr(token, "special", False)}
        self._special = marked.union(tokenizer.all_special_ids)
        self._alphabet = byte_alphabet()
        self._bytes: dict[int, bytes] = {}
        self._plain = self._find_reading() if self.kind == "plain" else _alone
        self.opens_with_space = self._read(self.encode("a")).startswith(b" ")
        self._after = lru_cache(_REMEMBERED)(self._find_after)

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, as of one that begins here."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_after(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` where other text stands before it.

        They differ where the tokenizer puts a space before whatever it is given, as that of Llama 2 does.
        """
        return self._after(text) if self.opens_with_space else self.encode(text)

    def _find_after(self, text: str) -> tuple[int, ...]:
        found = self.encode(text)
        if self._read(found) == text.encode():
            return found
        second = None
        for mark in _MARKS:
            before, whole = self.encode(mark), self.encode(mark + text)
            if whole[: len(before)] != before:
                continue
            rest = whole[len(before) :]
            if self._read(rest) == text.encode():
                return rest
            second = second or rest
        return second or found  # no tokens read as this text: the tokenizer normalises it, say

    def encode_chat(self, messages: Sequence[Mapping[str, str]], skip: int | None) -> tuple[int, ...]:
        """The token ids of a conversation up to where the model's turn begins.

        Args:
            messages: mappings with the keys ``role`` and ``content``.
            skip: the BOS token that the model's paths have anyway, to be left out where the template begins with it.

        Raises:
            ValueError: the tokenizer has no chat template, or that refuses the messages.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise ValueError("this model's tokenizer has no chat template; give the context as text")
        plain = [dict(message) for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "jinja2":
                raise
            raise ValueError(f"the chat template of this model's tokenizer refuses these messages: {error}") from None
        tokens = self.encode(text)
        return tokens[1:] if skip is not None and tokens[:1] == (skip,) else tokens

    def decode_bytes(self, token: int) -> bytes:
        """The bytes that ``token`` stands for; empty for special tokens and ids that the tokenizer does not have."""
        found = self._bytes.get(token)
        if found is None:
            found = self._bytes[token] = self._decode(token)
        return found

    def _decode(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        written = self.tokenizer.convert_ids_to_tokens(token)
        if written is None:
            return b""
        if self.kind == "byte_level" and all(char in self._alphabet for char in written):
            return bytes(self._alphabet[char] for char in written)
        if self.kind == "metaspace":
            byte = _BYTE_TOKEN.fullmatch(written)
            return bytes([int(byte[1], 16)]) if byte else written.replace("▁", " ").encode()
        return self._plain(self.tokenizer, token).encode()

    def _read(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self.decode_bytes, tokens))

    def _find_reading(self) -> _Reading:
        """The way to read single tokens that comes to what the tokenizer reads in all of them."""
        sample = self.encode(_SAMPLE)
        if not sample:
            return _alone
        anchor = sample[0]
        want = self.tokenizer.decode(list(sample)).strip()
        ways: list[_Reading] = [_alone, partial(_behind, anchor=anchor), partial(_before, anchor=anchor)]
        for way in ways:
            if "".join(way(self.tokenizer, token) for token in sample).strip() == want:
                return way
        return _alone

    def _find_kind(self) -> str:
        backend = getattr(self.tokenizer, "backend_tokenizer", None) or getattr(self.tokenizer, "_tokenizer", None)
        if backend is None or not hasattr(backend, "to_str"):
            # Slow SentencePiece tokenizers describe nothing, but keep the model they were made from.
            return "metaspace" if hasattr(self.tokenizer, "sp_model") else "plain"
        described = json.loads(backend.to_str())
        decoder, pre = described.get("decoder"), described.get("pre_tokenizer")
        if "ByteLevel" in _types(decoder) or (decoder is None and "ByteLevel" in _types(pre)):
            return "byte_level"
        spaces = {"Metaspace", "ByteFallback"} & (_types(decoder) | _types(pre))
        return "metaspace" if spaces or "▁" in json.dumps(decoder, ensure_ascii=False) else "plain"

    def _find_beginning(self) -> tuple[int | None, tuple[int, ...]]:
        """The BOS token that the tokenizer puts before every text, if it does, and what else it puts there."""
        alone, whole = self.encode("a"), tuple(self.tokenizer("a")["input_ids"])
        places = range(len(whole) - len(alone) + 1) if alone else ()
        begins = next((i for i in places if whole[i : i + len(alone)] == alone), 1)
        before, bos = whole[:begins], self.tokenizer.bos_token_id
        return (int(bos), before[1:]) if bos is not None and before[:1] == (bos,) else (None, before)


_Reading = Callable[[Any, int], str]
"""How a token reads, by the tokenizer's own decoder."""


def _alone(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token]))


def _behind(tokenizer: Any, token: int, anchor: int) -> str:
    """Behind another: where decoders put a space before words, but not before the first."""
    before, both = tokenizer.decode([anchor]), str(tokenizer.decode([anchor, token]))
    return both[len(before) :] if both.startswith(before) else _alone(tokenizer, token)


def _before(tokenizer: Any, token: int, anchor: int) -> str:
    """Before another: where they put one behind words, but not behind the last."""
    after, both = tokenizer.decode([anchor]), str(tokenizer.decode([token, anchor]))
    return both[: len(both) - len(after)] if both.endswith(after) else _alone(tokenizer, token)
