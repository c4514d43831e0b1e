"""A server that answers as SGLang's documentation and source say, over a table model; SGLang itself needs a GPU.

What differs from others: ids of the prompt and of what was written come on request, beside strings that need not tell
tokens apart; log-probabilities are those after the temperature, and before top-k and top-p; a table of the most
probable tokens keeps one of several that read alike; an echoed prompt has the model's own log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl.runtime.engines.requests import PLAIN

from .table_server import Refused, TableServer, law_of

FIELDS = {
    *("model", "prompt", "max_tokens", "stop", "seed", "logprobs", "echo", "return_token_ids"),
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "no_stop_trim", "skip_special_tokens"),
}
"""Fields of a request that its documentation knows, of those that this package may send."""


class SGLangServer(TableServer):
    """SGLang's side of ``/v1/completions``."""

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if body.keys() - FIELDS:
            raise Refused(f"unknown fields: {sorted(body.keys() - FIELDS)}")
        if not body["prompt"]:
            raise Refused("Prompt cannot be empty")
        prompt = self._prompt(body["prompt"])
        tokens, finish = self._draw(body, prompt)
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        choice["text"] = self._read(tokens)
        if body.get("logprobs") is not None:
            choice["logprobs"] = self._both(body, prompt, tokens)
        if body.get("return_token_ids"):
            choice |= {"token_ids": tokens, "prompt_token_ids": list(prompt)}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens), "prompt_tokens_details": None}
        return {"object": "text_completion", "model": self.name, "choices": [choice], "usage": usage}

    def _read(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.model.decode_bytes, tokens)).decode()

    def _both(self, body: Mapping[str, Any], prompt: Sequence[int], tokens: Sequence[int]) -> dict[str, Any]:
        """Log-probabilities of the prompt, if it is echoed, and of what was written."""
        heat, _, _ = law_of(body)
        written = self._places(prompt, tokens, (heat, 1.0, None), body["logprobs"])
        if not body.get("echo"):
            return written
        read = self._places((), prompt, PLAIN, body["logprobs"])
        read["token_logprobs"][0] = read["top_logprobs"][0] = None
        return {name: read[name] + written[name] for name in read}

    def _places(self, before: Sequence[int], tokens: Sequence[int], law: Any, count: int) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for i, token in enumerate(tokens):
            row = self._row((*before, *tokens[:i]), law)
            most = row.topk(min(count, len(row)))
            best: dict[str, float] = {}
            for other, log_prob in zip(most.indices.tolist(), most.values.tolist(), strict=True):
                best.setdefault(self._read([other]), max(log_prob, -9999.0))
            found["tokens"].append(self._read([token]))
            found["token_logprobs"].append(max(float(row[token]), -9999.0))
            found["top_logprobs"].append(best)
            found["text_offset"].append(-1)
        return found
