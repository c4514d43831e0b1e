"""An OpenAI-compatible server over a table model, so that what a client makes of its answers can be checked exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import torch

from ppl.runtime.engines.laws import NextTokens
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.engines.requests import PLAIN, Law
from ppl.runtime.source import RandomSource, derive


class Refused(Exception):
    """What the server answers with status 400, or another."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class TableServer:
    """What is served, and how much of the protocol.

    Attributes:
        model: the model: a table, or another.
        name: what it is called.
        owner: the make that it claims to be.
        ids: whether prompts may be token ids, and tokens are named by ids.
        tempered, truncated: which steps of the law show in its log-probabilities.
        best: the most log-probabilities a place; 0 for none at all.
        scoring: "prompt_logprobs", "echo" or ``None``; "late echo" tells of the place after each token.
        whole: whether the end token is among the tokens of an answer.
        key: the API key that it wants.
        limit: the most tokens of a prompt and what follows.
        bodies: what it was sent.
    """

    model: LogitModel
    name: str = "table"
    owner: str = "vllm"
    ids: bool = True
    tempered: bool = True
    truncated: bool = True
    best: int = 20
    scoring: str | None = "prompt_logprobs"
    whole: bool = True
    key: str | None = None
    limit: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    busiest: int = 0
    _busy: int = 0
    _lock: Lock = field(default_factory=Lock)
    _one_at_a_time: Lock = field(default_factory=Lock)

    def models(self) -> dict[str, Any]:
        """The answer to ``GET /v1/models``."""
        entry = {"id": self.name, "object": "model", "owned_by": self.owner, "max_model_len": self.limit}
        return {"object": "list", "data": [entry]}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to ``POST /v1/completions``."""
        with self._lock:
            self.bodies.append(body)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            return self._complete(body)
        finally:
            with self._lock:
                self._busy -= 1

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if body["model"] != self.name:
            raise Refused(f"The model `{body['model']}` does not exist.", 404)
        prompt = self._prompt(body["prompt"])
        if (body.get("logprobs") or 0) > self.best > 0:
            raise Refused(f"Requested sample logprobs of {body['logprobs']}, max allowed: {self.best}")
        if self.limit is not None and len(prompt) + body["max_tokens"] > self.limit:
            raise Refused(f"{len(prompt)} + {body['max_tokens']} tokens are more than max_model_len={self.limit}")
        tokens, finish = self._draw(body, prompt)
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        if finish == "stop" and tokens and tokens[-1] in self.model.eos_tokens and not self.whole:
            tokens = tokens[:-1]
        choice["text"] = b"".join(map(self.model.decode_bytes, tokens)).decode()
        shown, places = tokens, [(*prompt, *tokens[:i]) for i in range(len(tokens))]
        if body.get("echo"):
            if self.scoring not in ("echo", "late echo"):
                raise Refused("echo is not supported")
            late = self.scoring == "late echo"
            shown = [*prompt, *tokens]
            places = [(*prompt, *tokens)[: i + late] for i in range(len(prompt) + len(tokens))]
        if body.get("logprobs") is not None and self.best:
            choice["logprobs"] = self._told(shown, places, self._shown(body), body)
        if body.get("return_token_ids") and self.ids:
            choice["token_ids"] = tokens
        if body.get("prompt_logprobs") is not None:
            if self.scoring != "prompt_logprobs":
                raise Refused("prompt_logprobs is not supported")
            choice["prompt_logprobs"] = self._prompt_logprobs(prompt, body["prompt_logprobs"])
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}
        return {"object": "text_completion", "model": self.name, "choices": [choice], "usage": usage}

    def _prompt(self, prompt: Any) -> tuple[int, ...]:
        if isinstance(prompt, str):
            return self.model.encode(prompt)
        if not self.ids:
            raise Refused("prompt must be a string.")
        return tuple(prompt)

    def _draw(self, body: Mapping[str, Any], prompt: Sequence[int]) -> tuple[list[int], str]:
        stops = body.get("stop") or []
        key = derive(int(body.get("seed") or 0), "table server")
        tokens: list[int] = []
        text = b""
        while len(tokens) < body["max_tokens"]:
            laws = self._laws((*prompt, *tokens), law_of(body))
            [token] = RandomSource().choose_rows(laws, [0], [key], [len(tokens)]).tolist()
            tokens.append(token)
            text += self.model.decode_bytes(token)
            if token in self.model.eos_tokens or any(stop.encode() in text for stop in stops):
                return tokens, "stop"
        return tokens, "length"

    def _row(self, context: Sequence[int], law: Law) -> torch.Tensor:
        return self._laws(context, law).table()[0]

    def _laws(self, context: Sequence[int], law: Law) -> NextTokens:
        node = self.model.root.extend(context)
        with self._one_at_a_time:
            return NextTokens(self.model.logits([node]).detach(), law)

    def _shown(self, body: Mapping[str, Any]) -> Law:
        temperature, top_p, top_k = law_of(body)
        heat = temperature if self.tempered else 1.0
        return (heat, top_p, top_k) if self.truncated else (heat, 1.0, None)

    def _told(
        self, tokens: Sequence[int], places: Sequence[tuple[int, ...]], law: Law, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        found: list[float | None] = []
        best: list[dict[str, float] | None] = []
        for token, place in zip(tokens, places, strict=True):
            if not place and body.get("echo"):
                found.append(None)
                best.append(None)
                continue
            row = self._row(place, law)
            found.append(_json(row[token]))
            most = row.topk(min(body["logprobs"], len(row)))
            best.append({self._name(t): _json(x) for t, x in zip(most.indices.tolist(), most.values, strict=True)})
        return {"tokens": [self._name(t) for t in tokens], "token_logprobs": found, "top_logprobs": best}

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self.ids else self.model.decode_bytes(token).decode()

    def _prompt_logprobs(self, prompt: Sequence[int], count: int) -> list[dict[str, Any] | None]:
        found: list[dict[str, Any] | None] = [None]
        for i in range(1, len(prompt)):
            row = self._row(prompt[:i], PLAIN)
            kept = {*row.topk(min(count, len(row))).indices.tolist(), prompt[i]} if count else {prompt[i]}
            found.append({str(t): {"logprob": _json(row[t])} for t in kept})
        return found


def law_of(body: Mapping[str, Any]) -> Law:
    top_k = body.get("top_k")
    return body.get("temperature", 1.0), body.get("top_p", 1.0), None if top_k in (None, -1, 0) else top_k


def _json(log_prob: torch.Tensor) -> float:
    return max(float(log_prob), -9999.0) if not math.isnan(float(log_prob)) else math.nan


@contextmanager
def serving(table: TableServer) -> Iterator[str]:
    """Serve a table model on a free port of the loopback interface; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are written apart

        def do_GET(self) -> None:
            if self._may_ask():
                self._answer(table.models() if self.path == "/v1/models" else None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self._may_ask():
                return
            try:
                self._answer(table.complete(body) if self.path == "/v1/completions" else None)
            except Refused as error:
                self._answer({"error": {"message": str(error)}}, error.status)

        def _may_ask(self) -> bool:
            if table.key is None or self.headers.get("authorization") == f"Bearer {table.key}":
                return True
            self._answer({"error": {"message": f"wrong key {self.headers.get('authorization')}"}}, 401)
            return False

        def _answer(self, found: Any, status: int = 200) -> None:
            text = json.dumps({"error": "Not Found"} if found is None else found).encode()
            self.send_response(404 if found is None else status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            """Nothing: the output is the tests'."""

    with running(Handler) as port:
        yield f"http://127.0.0.1:{port}/v1"


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that go away in the middle are what some tests are about."""


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """An HTTP server in a thread, on a free port of the loopback interface; gives the port."""
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
