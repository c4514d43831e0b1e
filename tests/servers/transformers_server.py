"""A server that answers as ``transformers serve`` was seen to, over a table model, so that the law of its texts can be
checked exactly.

What differs from others: it takes texts and gives texts, without log-probabilities; it leaves end tokens out; a stop
string may begin in the prompt; and it calls whatever has as many tokens as were asked for "length", ended or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl.runtime.source import RandomSource, derive

from .table_server import Refused, TableServer, law_of


class TransformersServer(TableServer):
    """The side of ``transformers serve`` of ``/v1/completions``."""

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(body["prompt"], str):
            raise Refused("prompt must be a string.", 422)
        prompt = self.model.encode(body["prompt"])
        tokens = self._written(body, prompt)
        choice = {
            "index": 0,
            "text": self._read(tokens).decode(errors="replace"),
            "finish_reason": "length" if len(tokens) >= body["max_tokens"] else "stop",
        }
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}
        return {"object": "text_completion", "model": self.name, "choices": [choice], "usage": usage}

    def _written(self, body: Mapping[str, Any], prompt: Sequence[int]) -> list[int]:
        key = derive(int(body.get("seed") or 0), "table server")
        tokens: list[int] = []
        while len(tokens) < body["max_tokens"]:
            laws = self._laws((*prompt, *tokens), law_of(body))
            [token] = RandomSource().choose_rows(laws, [0], [key], [len(tokens)]).tolist()
            before = len(self._read([*prompt, *tokens]))
            tokens.append(token)
            text = self._read([*prompt, *tokens])
            # A stop string counts if it ends in the last token.
            stops = [stop.encode() for stop in body.get("stop") or ()]
            if token in self.model.eos_tokens or any(stop in text[max(0, before - len(stop) + 1) :] for stop in stops):
                break
        return tokens

    def _read(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self.model.decode_bytes, tokens))
