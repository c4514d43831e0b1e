"""Text to tokens and back, with exact bytes, for any ``transformers`` tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


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
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.kind = self._find_kind()
        self.bos = self._find_bos()
        added = {int(index): token for index, token in tokenizer.added_tokens_decoder.items()}
        self._added = {index: str(token) for index, token in added.items()}
        # Chat markers are often special without being listed as one of the tokenizer's named special tokens.
        marked = {index for index, token in added.items() if getattr(token, "special", False)}
        self._special = marked.union(tokenizer.all_special_ids)
        self._alphabet = byte_alphabet()
        self._bytes: dict[int, bytes] = {}

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` alone."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_chat(self, messages: Sequence[Mapping[str, str]], skip_bos: bool) -> tuple[int, ...]:
        """The token ids of a conversation up to where the model's turn begins.

        Args:
            messages: mappings with the keys ``role`` and ``content``.
            skip_bos: leave out a BOS token that the template begins with, because the model's paths have one.

        Raises:
            ValueError: the tokenizer has no chat template.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise ValueError("this model's tokenizer has no chat template; give the context as text")
        plain = [dict(message) for message in messages]
        text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        tokens = self.encode(text)
        return tokens[1:] if skip_bos and tokens[:1] == (self.bos,) else tokens

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
        return str(self.tokenizer.decode([token])).encode()

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

    def _find_bos(self) -> int | None:
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return None
        return int(bos) if list(self.tokenizer("a")["input_ids"])[:1] == [bos] else None
