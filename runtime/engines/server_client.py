"""Talking to a server: one connection pool, many requests at a time, and patience where it helps.

All clients share one asyncio loop in a thread of its own, so that a caller can wait for whatever is answered first.
What another try may mend (busy, restarting, unreachable, a reply cut short) is tried again; the rest is an error that
says what to do.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from threading import Lock, Thread
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit
from weakref import finalize

T = TypeVar("T")

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be over the next time."""

_jitter = random.Random()
"""Not the randomness of inference: when requests are sent again must differ, and changes no result."""

_DAMAGED = (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer raises if it is not what was asked for: it lacks something, or holds infinities for numbers,
or brackets without end."""

_SHOWN = 300
"""The most characters shown of what a server wrote."""


class ServerError(RuntimeError):
    """A server did not do what was asked of it; the message says what to do.

    Attributes:
        refused: the server answered, and would answer the same again.
        status: the HTTP status of its answer, where that is the refusal.
    """

    def __init__(self, message: str, refused: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.refused = refused
        self.status = status


class _Passing(Exception):
    """This try failed; the next may not.

    Attributes:
        flaw: it may be a flaw of the server's, which lasts.
        wait: the seconds that it wants to be left alone, or ``None``.
    """

    def __init__(self, message: str, flaw: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.flaw = flaw
        self.wait = wait


class _Lines:
    """The ways to a server that one process has.

    Attributes:
        loop: where they are used.
        slots: as many as there may be requests under way.
        pool: the connections.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, slots: asyncio.Semaphore, pool: Any) -> None:
        self.loop = loop
        self.slots = slots
        self.pool = pool


class Client:
    """Sends JSON requests to one server.

    Attributes:
        url: where the server's API begins, without credentials.
        concurrency: the most requests under way at a time.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        concurrency: int = 64,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
        retries: int = 5,
        backoff: float = 0.5,
        longest_wait: float = 60.0,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: such as ``http://localhost:8000/v1``.
            api_key: sent as a bearer token, and shown nowhere.
            concurrency: the most requests under way at a time; the others wait here, in order.
            timeout: seconds for one try, from its first byte to the last of its answer.
            connect_timeout: seconds to reach the server.
            retries: how often a request is sent again.
            backoff: seconds before the first of these; each later wait is twice as long, and a little random.
            longest_wait: seconds that no wait exceeds; a server that asks for more gets an error.

        Raises:
            ValueError: an argument is outside its range.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: give at least 1")
        if retries < 0:
            raise ValueError(f"retries={retries}: give 0 or more")
        for name, seconds in (("timeout", timeout), ("connect_timeout", connect_timeout)):
            if not seconds > 0:
                raise ValueError(f"{name}={seconds}: give a positive number of seconds")
        self.url = _without_credentials(url)
        self.concurrency = concurrency
        self._base = url.rstrip("/")
        self._key = api_key
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._retries = retries
        self._backoff = backoff
        self._longest_wait = longest_wait
        self._lines: _Lines | None = None

    def limit(self, concurrency: int) -> None:
        """Change how many requests may be under way at a time; while none is."""
        self.concurrency, self._lines = concurrency, None

    def send(self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> Future[T]:
        """Send a request and go on.

        Args:
            path: relative to the URL, such as ``completions``; from the server's root if it begins with a slash.
            body: what to post; ``None`` to get.
            read: what to make of the decoded answer; a ``ValueError``, ``KeyError``, ``TypeError``, ``IndexError``,
                ``AttributeError``, ``ArithmeticError`` or ``RecursionError`` from it says that the answer is damaged,
                and the request is sent again.

        Returns:
            A future of what ``read`` returned, or of a :class:`ServerError`. Cancelling it ends the request.
        """
        return asyncio.run_coroutine_threadsafe(self._persist(path, body, read), _loop())

    def ask(self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T], patient: bool = True) -> T:
        """As :meth:`send`, and wait.

        Args:
            path, body, read: as for :meth:`send`.
            patient: whether to send it as often as may be; else only once again after an answer that looks like an
                error of the server's making (500, or none of an OpenAI-compatible server).

        Raises:
            ServerError: there is no good answer.
        """
        return asyncio.run_coroutine_threadsafe(self._persist(path, body, read, patient), _loop()).result()

    async def _persist(
        self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T], patient: bool = True
    ) -> T:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(_noticed)
        lines = self._open()
        async with lines.slots:
            start = time.monotonic()
            for tried in range(self._retries + 1):
                try:
                    return await asyncio.wait_for(self._once(lines.pool, path, body, read), self._timeout)
                except asyncio.TimeoutError:
                    problem = _Passing(f"no answer within {self._timeout:g} s (timeout=)")
                except _Passing as error:
                    problem = error
                    if error.flaw and tried and not patient:
                        raise ServerError(f"{self.url}, {path}: {problem}", refused=True) from error
                if tried < self._retries:
                    await asyncio.sleep(self._pause(tried, problem))
            raise ServerError(
                f"{self.url}, {path}: {problem}. Tried {self._retries + 1} times in {time.monotonic() - start:.1f} s. "
                "Look whether the server is up and what its log says; load_lm(url, retries=, timeout=, concurrency=) "
                "says how patient to be, and how much to ask at a time"
            )

    def _pause(self, tried: int, problem: _Passing) -> float:
        """Seconds until the next try: longer each time, and not less than the server asks for.

        Those that it asked to come back after the same time come back at different ones.
        """
        least = problem.wait or 0.0
        if least > self._longest_wait:
            raise ServerError(
                f"{self.url}: {problem}; it asks to be left alone for {least:g} s, longer than "
                f"longest_wait={self._longest_wait:g}: run again later, or give load_lm a longer one"
            )
        own = self._backoff * 2.0 ** min(tried, 64) * _jitter.uniform(0.5, 1.5)
        return min(self._longest_wait, least + own)

    async def _once(self, pool: Any, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> T:
        import httpx2

        method = "GET" if body is None else "POST"
        try:
            response = await pool.request(method, urljoin(self._base + "/", path), json=body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _Passing(f"can't be reached ({self._hidden(str(error))})") from error
        except httpx2.TransportError as error:
            name = type(error).__name__
            raise _Passing(f"the connection broke ({name}: {self._hidden(str(error))})") from error
        except httpx2.DecodingError as error:
            raise _Passing(f"the answer is damaged ({self._hidden(str(error))})") from error
        status, text = response.status_code, response.text
        if status in _AGAIN:
            wait = _seconds(response.headers.get("retry-after"))
            raise _Passing(f"it answered {status}: {self._said(text)}", status == 500, wait)
        if not 200 <= status < 300:
            raise self._refused(path, status, text)
        try:
            return read(response.json())
        except _DAMAGED as error:
            raise _Passing(
                f"the answer is none of an OpenAI-compatible server: {self._shown(text)!r} ({type(error).__name__}: "
                f"{error})",
                True,
            ) from error

    def _open(self) -> _Lines:
        """The ways to the server; made in the loop's thread, where they are used. A fork makes its own."""
        import httpx2

        loop = asyncio.get_running_loop()
        if self._lines is None or self._lines.loop is not loop:
            headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
            limits = httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
            pool = httpx2.AsyncClient(
                headers=headers,
                limits=limits,
                timeout=httpx2.Timeout(self._timeout, connect=self._connect_timeout, pool=None),
                # A proxy from the environment has no way to this machine.
                trust_env=not _is_loopback(self._base),
            )
            self._lines = _Lines(loop, asyncio.Semaphore(self.concurrency), pool)
            finalize(self._lines, _close, pool, loop)
        return self._lines

    def _refused(self, path: str, status: int, text: str) -> ServerError:
        said = f"{self.url}, {path}: the server refused ({status}): {self._said(text)}"
        if status in (401, 403):
            return ServerError(f"{said}. Give load_lm an api_key=, or set PPL_API_KEY", True, status)
        if status in (301, 302, 307, 308):
            return ServerError(f"{said}. It points elsewhere: give load_lm the address that it points to", True, status)
        if status == 404:
            way = "Give load_lm the address up to and with /v1, and model= as the server names it"
            return ServerError(f"{said}. {way}", True, status)
        return ServerError(said, True, status)

    def _said(self, text: str) -> str:
        """The message in a server's error, or the beginning of it all."""
        import json

        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return self._shown(text) or "nothing more"
        for name in ("error", "detail", "message"):
            if isinstance(found, dict) and found.get(name):
                found = found[name]
        return self._shown(found if isinstance(found, str) else json.dumps(found))

    def _shown(self, text: str) -> str:
        text = " ".join(self._hidden(text).split())
        return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text

    def __repr__(self) -> str:
        return f"Client({self.url!r})"


_lock = Lock()
_running: dict[int, asyncio.AbstractEventLoop] = {}


def _loop() -> asyncio.AbstractEventLoop:
    """The loop of this process, in a thread that ends with it. A fork has no threads, and starts its own."""
    with _lock:
        loop = _running.get(os.getpid())
        if loop is None:
            loop = _running[os.getpid()] = asyncio.new_event_loop()
            Thread(target=loop.run_forever, name="ppl-servers", daemon=True).start()
        return loop


def _noticed(task: asyncio.Task[Any]) -> None:
    """Have asyncio not complain that nobody asked for an error: of a dropped request nobody does."""
    if not task.cancelled():
        task.exception()


def _close(pool: Any, loop: asyncio.AbstractEventLoop) -> None:
    # In a fork the loop of before looks as if it ran, and its connections are still the other process's.
    if loop is _running.get(os.getpid()) and loop.is_running():
        asyncio.run_coroutine_threadsafe(pool.aclose(), loop)


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After header says: seconds, or a date (RFC 9110, section 10.2.3)."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
