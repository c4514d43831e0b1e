"""The scheduler: many tasks, shared batches.

A task is a generator that yields the waits of its particles and is sent those that were answered. The scheduler runs
every task as far as it goes, and only when none can go on does it let an engine do one step. So batches are as full
as they can be, nothing ever idles on a timer, and requests of all particles of all problems meet in one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from threading import Event
from types import FunctionType
from typing import Any, TypeVar

from .engines.base import Completion, Engine, RequestError
from .engines.model import Usage
from .errors import ProgramError
from .machine import CallRequest, Wait
from .rows import check_rows
from .source import Source

T = TypeVar("T")
Answered = list[tuple[Wait, Completion]]
Task = Generator[list[Wait], Answered, T]


class Scheduler:
    """Runs tasks to their end.

    Args:
        concurrency: how many tasks may be under way at once; the next starts when one ends.

    Attributes:
        failed: the number of the task that an error is of, if it is of one.
    """

    def __init__(self, concurrency: int = 64) -> None:
        self.concurrency = max(1, concurrency)
        self.failed: int | None = None
        self._owner: dict[int, tuple[int, Wait]] = {}
        self._sessions: dict[Engine, Engine] = {}
        self._before: list[Usage] = []
        self._answered = Event()
        self._calls: list[Wait] = []
        self._tasks: dict[int, tuple[Task[Any], Source]] = {}

    def run(self, tasks: Iterable[tuple[Task[T], Source]]) -> Iterator[tuple[int, T]]:
        """Run tasks, in batches shared between them.

        Args:
            tasks: each with the source that its model draws come from; taken lazily.

        Yields:
            The number of a task and its result, in order of completion.
        """
        waiting = iter(enumerate(tasks))
        ready: deque[tuple[int, Answered | None]] = deque()
        exhausted = False
        try:
            while True:
                while not exhausted and len(self._tasks) < self.concurrency:
                    entry = next(waiting, None)
                    if entry is None:
                        exhausted = True
                        break
                    number, started = entry
                    self._tasks[number] = started
                    ready.append((number, None))
                while ready:
                    number, answered = ready.popleft()
                    try:
                        self._resume(number, answered)
                    except StopIteration as stop:
                        del self._tasks[number]
                        yield number, stop.value
                    except Exception:
                        self.failed = number
                        raise
                if not self._tasks:
                    if exhausted:
                        return
                    continue
                ready.extend(self._step())
        finally:
            for engine in self._sessions.values():
                engine.cancel()
            for task, _ in self._tasks.values():
                task.close()

    def usage(self) -> dict[str, Usage]:
        """What each model has computed since this scheduler first used it, by its name; ``#2`` and so on tell models
        of one name apart."""
        found: dict[str, Usage] = {}
        for (engine, session), before in zip(self._sessions.items(), self._before, strict=True):
            same = sum(name.partition("#")[0] == engine.name for name in found)
            found[f"{engine.name}#{same + 1}" if same else engine.name] = session.usage.since(before)
        return found

    def _resume(self, number: int, answered: Answered | None) -> None:
        """Let a task go on, and submit what its particles wait for."""
        task, source = self._tasks[number]
        waits = next(task) if answered is None else task.send(answered)
        for wait in waits:
            self._owner[id(wait.request)] = (number, wait)
            if wait.engine is None:
                self._calls.append(wait)
                continue
            session = self._sessions.get(wait.engine)
            if session is None:
                session = self._sessions[wait.engine] = wait.engine.session()
                session.on_answer(self._answered.set)
                self._before.append(session.usage.snapshot())
            session.submit(wait.request, source)

    def _step(self) -> list[tuple[int, Answered | None]]:
        """One batch of work; the tasks that can go on, with their answers."""
        completions: list[Completion] = []
        busy = [engine for engine in self._sessions.values() if engine.pending]
        if busy:
            # Engines first: particles that they release may join a batch of calls.
            for engine in busy:
                engine.start()
            # Nobody waits for a server while an engine here has work, or while another server has answered.
            while not (able := [engine for engine in busy if not engine.waiting]):
                self._answered.wait()
                self._answered.clear()
            # Of those here the fullest: what others are asked meanwhile joins their next batch.
            here = max((engine for engine in able if not engine.elsewhere), key=lambda e: e.pending, default=None)
            for engine in able:
                if not (engine.elsewhere or engine is here):
                    continue
                try:
                    completions += engine.step()
                except RequestError as error:
                    raise self._located(error) from error
        elif self._calls:
            completions = self._flush_calls()
        else:
            raise RuntimeError("no task can go on and nothing is pending")
        answers: dict[int, Answered] = {}
        for completion in completions:
            number, wait = self._owner.pop(id(completion.request))
            answers.setdefault(number, []).append((wait, completion))
        return list(answers.items())

    def _located(self, error: RequestError) -> ProgramError:
        """The error, with the place in the program that asked."""
        self.failed, wait = self._owner[id(error.request)]
        particle = wait.particle
        ask = wait.ask or particle.ask
        assert ask is not None
        address = particle.scope.prefix + ask.local_address
        return ProgramError(f"{ask.site.kind} {address!r}: {error}", ask.site.span)

    def _flush_calls(self) -> list[Completion]:
        """Run each batched function once, on all rows that wait for it."""
        by_function: dict[Any, list[CallRequest]] = {}
        checking = False
        for wait in self._calls:
            assert isinstance(wait.request, CallRequest)
            checking = checking or self._tasks[self._owner[id(wait.request)][0]][1].precise
            by_function.setdefault(_identity(wait.request.function), []).append(wait.request)
        self._calls = []
        completions = []
        for name, requests in by_function.items():
            function = requests[0].function
            results = run_batched(function, requests)
            if checking:
                check_rows(name, requests, results, run_batched)
            completions += [Completion(r, value) for r, value in zip(requests, results, strict=True)]
        return completions


def _identity(function: Any) -> Any:
    """What makes rows share a call. A lambda in a program is a new function for each particle, of the same code."""
    if type(function) is FunctionType and not function.__defaults__ and not function.__kwdefaults__:
        try:
            return (id(function.__code__), *(id(cell.cell_contents) for cell in function.__closure__ or ()))
        except ValueError:  # a cell is still empty
            return id(function)
    return function if type(function).__hash__ is not None else id(function)


def run_batched(function: Callable[..., Sequence[Any]], requests: Sequence[CallRequest]) -> Sequence[Any]:
    """The results of a batched function, one a row.

    Raises:
        ProgramError: the rows do not fit together, or the function returned another number of results.
    """
    site = requests[0].site
    widths = {len(r.args) for r in requests}
    if len(widths) != 1:
        raise ProgramError("call() was given different numbers of arguments for one function", site.span)
    columns = [list(column) for column in zip(*(r.args for r in requests), strict=True)]
    name = getattr(function, "__name__", repr(function))
    try:
        results = function(*columns)
    except Exception as error:
        raise ProgramError(
            f"call({name}, ...) failed with {type(error).__name__}: {error}. {name} is given one list an argument, "
            f"with a row for each of the {len(requests)} particles that wait, and returns as many results",
            site.span,
        ) from error
    try:
        count = len(results)
    except TypeError:
        count = -1
    if count != len(requests) or isinstance(results, (str, bytes)):
        shown = f"{count} results" if count >= 0 else f"a {type(results).__name__}"
        raise ProgramError(
            f"call({name}, ...): {name} was given {len(requests)} rows, one list an argument, and must return a list "
            f"of {len(requests)} results; it returned {shown}. For a function of one row write it without call()",
            site.span,
        )
    return list(results)
