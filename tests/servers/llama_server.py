"""A server that answers as llama.cpp's ``llama-server`` was seen to, over a table model, so that its ways are tested
where it is not installed.

What differs from others: tokens come with their ids, under ``content``; after sampling they have probabilities, before
it log-probabilities; a stop string is cut off, with its tokens; a grammar of tokens forces what is written, and leaves
the log-probabilities before sampling as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ppl.runtime.engines.requests import PLAIN

from .table_server import Refused, TableServer, law_of


class LlamaServer(TableServer):
    """``llama-server``'s side of ``/v1/completions``."""

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if body.get("echo"):
            raise Refused("Only no echo is supported", 500)
        if body.get("samplers") != ["temperature", "top_k", "top_p"]:
            raise Refused("the default samplers are another law")
        prompt = self._prompt(body["prompt"])
        forced = body.get("grammar")
        tokens, finish = self._draw(body, prompt) if forced is None else self._forced(forced, body["max_tokens"])
        told = [self._entry(body, (*prompt, *tokens[:i]), token) for i, token in enumerate(tokens)]
        text = b"".join(map(self.model.decode_bytes, tokens)).decode()
        for stop in body.get("stop") or ():
            if stop in text:
                text = text[: text.index(stop)]
                told = told[: -len(self.model.encode(stop))]
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": {"content": told} if told else None}
        details = {"cached_tokens": max(0, len(prompt) - 1)}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens), "prompt_tokens_details": details}
        return {"object": "text_completion", "model": self.name, "choices": [choice], "usage": usage}

    def _forced(self, grammar: str, count: int) -> tuple[list[int], str]:
        """The one text of a grammar such as ``root ::= <[3]> <[5]>``; then nothing is left but the end."""
        head, _, body = grammar.partition("::=")
        if head.strip() != "root" or not re.fullmatch(r'( <\[\d+\]>)+| ""', body):
            raise Refused("failed to parse grammar")
        tokens = [int(token) for token in re.findall(r"\d+", body)]
        if len(tokens) < count:
            return [*tokens, *sorted(self.model.eos_tokens)[:1]], "stop"
        return tokens[:count], "length"

    def _entry(self, body: Mapping[str, Any], place: Sequence[int], token: int) -> dict[str, Any]:
        sampled = bool(body.get("post_sampling_probs"))
        row = self._row(place, law_of(body) if sampled else PLAIN)
        value, best = ("prob", "top_probs") if sampled else ("logprob", "top_logprobs")
        shown = row.exp() if sampled else row
        most = row.topk(min(body.get("logprobs") or 0, len(row))).indices.tolist()
        return {
            **self._named(token, value, shown),
            best: [self._named(other, value, shown) for other in most if not sampled or float(shown[other]) > 0.0],
        }

    def _named(self, token: int, value: str, shown: torch.Tensor) -> dict[str, Any]:
        text = self.model.decode_bytes(token).decode()
        return {"id": token, "token": text, "bytes": list(text.encode()), value: float(shown[token])}
