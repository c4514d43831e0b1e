"""A proxy that does to answers what networks and busy servers do: late, cut off, refused, garbled."""

from __future__ import annotations

import http.client
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from threading import Event, Lock
from typing import Any
from urllib.parse import urlsplit

from .table_server import running

FAULTS = (
    *("delay", "reset", "cut", "429", "500", "503", "garbage", "half", "nothing", "other", "deep", "infinite"),
    *("shape", "ids", "nan", "null", "bare", "uneven"),
)
"""What may happen to an answer:

delay: it comes 0.2 s late; reset: the connection is reset in the middle; cut: it is closed before anything comes; 429,
500, 503: the server says so; garbage: bytes that are no text; half: the first half, as if it were all; nothing: an
empty answer; other: an answer to another question; deep: brackets without end; infinite: a count that is no number;
shape: a list where an object belongs; ids: token ids that are none; nan, null: log-probabilities that are none; bare:
no log-probabilities; uneven: the most probable tokens in more places than there are tokens.
"""

UNTOLD = ("nan", "null", "bare", "uneven")
"""Those that do nothing where a server gives no log-probabilities."""


class FaultyProxy:
    """Passes requests on, and answers back with faults.

    Attributes:
        faults: says what is to happen to the request of this number; "" for nothing.
        seen: how many requests of completions came.
        retry_after: what 429 and 503 say about coming back, in seconds.
    """

    def __init__(self, faults: Callable[[int], str]) -> None:
        self.faults = faults
        self.seen = 0
        self.retry_after = "0"
        self.over = Event()
        self._lock = Lock()

    def next(self) -> str:
        """The fault of the next request."""
        with self._lock:
            self.seen += 1
            return self.faults(self.seen - 1)


class _FaultyHandler(BaseHTTPRequestHandler):
    """One request of a client: what the proxy says of it is what happens to its answer."""

    proxy: FaultyProxy
    port: int  # of the server behind the proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart

    def do_GET(self) -> None:
        self._send(*self._forward("GET", b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fault = self.proxy.next() if self.path.endswith("/completions") else ""
        match fault:
            case "cut":
                self._drop()
            case "429" | "500" | "503":
                self._send(int(fault), b'{"error": {"message": "not now"}}')
            case "garbage":
                self._send(200, b"\x80\xff<html>\x00")
            case "nothing":
                self._send(200, b"")
            case "deep":
                self._send(200, b"[" * 200_000)
            case "other":
                self._send(200, b'{"object": "list", "data": []}')
            case "hang":
                self.proxy.over.wait(30)
                self._drop()
            case _:
                self._spoil(fault, *self._forward("POST", body))

    def _spoil(self, fault: str, status: int, answer: bytes) -> None:
        if fault == "delay":
            self.proxy.over.wait(0.2)
        if fault == "reset":
            self._head(status, len(answer))
            self.wfile.write(answer[: len(answer) // 2])
            self._drop()
        elif fault == "half":
            self._send(status, answer[: len(answer) // 2])
        elif fault == "nan":
            self._send(status, answer.replace(b'"token_logprobs": [-', b'"token_logprobs": [NaN, -'))
        elif fault == "null":
            self._send(status, re.sub(rb'"token_logprobs": \[[^],]+', b'"token_logprobs": [null', answer))
        elif fault == "bare":
            self._send(status, answer.replace(b'"logprobs": {', b'"logprobs": null, "rest": {'))
        elif fault == "uneven":
            self._send(status, re.sub(rb'"top_logprobs": \[{[^}]*}', b'"top_logprobs": [{}, {}', answer))
        elif fault == "infinite":
            self._send(status, answer.replace(b'"prompt_tokens": ', b'"prompt_tokens": Infinity, "rest": '))
        elif fault == "shape":
            self._send(status, answer.replace(b'"usage": {', b'"usage": [0], "rest": {'))
        elif fault == "ids":
            self._send(status, answer.replace(b'"token_ids": [', b'"token_ids": [-'))
        else:
            self._send(status, answer)

    def _forward(self, method: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            kept = {k: v for k, v in self.headers.items() if k.lower() in ("authorization", "content-type")}
            connection.request(method, self.path, body or None, kept)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("content-length", str(length))
        if status in (429, 503):
            self.send_header("retry-after", self.proxy.retry_after)
        self.end_headers()

    def _send(self, status: int, answer: bytes) -> None:
        self._head(status, len(answer))
        self.wfile.write(answer)

    def _drop(self) -> None:
        """Close without a goodbye: the other side sees a reset."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Nothing: the output is the tests'."""

    def finish(self) -> None:
        with suppress(OSError):  # it was dropped
            super().finish()


@contextmanager
def proxying(proxy: FaultyProxy, url: str) -> Iterator[str]:
    """Stand between a client and the server at ``url``; gives the URL to use instead."""
    target = urlsplit(url)
    assert target.hostname == "127.0.0.1"
    handler = type("Handler", (_FaultyHandler,), {"proxy": proxy, "port": target.port or 80})
    with running(handler) as port:
        try:
            yield f"http://127.0.0.1:{port}{target.path}"
        finally:
            proxy.over.set()
