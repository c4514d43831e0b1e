"""The engine over a model in this process: the decode loop.

A step puts the distinct nodes that pending requests need through the model in one call, draws and looks up what they
asked for, and lets go of those that finished. Draws are a function of (key, position), so neither ``max_batch`` nor
what else is in flight changes a result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock

import torch

from ..source import Source
from .ahead import Halts, stretch_of, texts_that_go_on
from .answers import Answers
from .base import Completion, Engine, Request, RequestError
from .batch import Batch
from .jobs import Choosing, Job, Scoring, Writing
from .laws import NextTokens
from .memory import memory_problem
from .model import ContextError, LogitModel, Usage
from .prefix import Prefix
from .requests import Choose, Ending, Generate, Score, Support, TextSpec
from .spreading import Spreading

_WORTH_THREADS = 100_000_000
"""Parameters times rows from which a call of the model is worth more than one CPU thread."""

_one_at_a_time = RLock()
"""Inference may run in several threads; a model's caches serve one batch at a time."""

_ENDINGS = 1024
"""How many texts' endings to remember before starting over."""


@dataclass
class _Limit:
    """The most nodes in a model call, for an engine and all its sessions; halved when memory runs out."""

    rows: int | None


class LocalEngine(Engine):
    """Computes :class:`Generate`, :class:`Score`, :class:`Choose` and :class:`Support` over a :class:`LogitModel`.

    Args:
        model: where logits come from.
        max_batch: the most nodes a model call; ``None`` for no bound. No result depends on it.

    Raises:
        ValueError: ``max_batch`` is less than 1.
    """

    constrains = True

    def __init__(self, model: LogitModel, *, max_batch: int | None = None) -> None:
        if max_batch is not None and max_batch < 1:
            raise ValueError(f"max_batch={max_batch}: give at least 1, or None for no bound")
        self.model = model
        self._limit = _Limit(max_batch)
        self._precise = False
        self._jobs: list[Job] = []
        self._endings: dict[TextSpec, Ending] = {}
        self._last: tuple[TextSpec | None, Ending] = None, Ending(TextSpec(), model)
        self._halts = Halts(model)
        self._errors: deque[RequestError] = deque()
        # What a model keeps for a node lives as long as the node. Those of the last step's texts are held here until
        # their programs have run on and hold them in contexts of their own.
        self._recent: list[Job] = []

    def submit(self, request: Request, source: Source) -> None:
        """Take a request; nothing is computed before :meth:`step`.

        Raises:
            TypeError: it is of a kind that this engine does not know.
        """
        if source.precise:
            self._precise = True
        self._jobs.append(self._job(request, source))

    def step(self) -> list[Completion]:
        """Compute one batch.

        Returns:
            What finished in it, in the order of submission.

        Raises:
            RequestError: a request cannot be answered. It alone is dropped; the others go on, and
                what finished with it is returned by the next call.
            Exception: whatever the model raised. What it was asked for is asked again by the next call.
        """
        if self._errors:
            raise self._errors.popleft()
        batch, problem = Batch(self.max_batch), ""
        # In the order of submission: if not all fit, the first finish first, and what the model keeps for them goes.
        # Equal histories still share: they reach a node together, and its row moves all that wait there.
        for job in self._jobs:
            if job.completion is None and job.error is None:
                job.plan(batch)
        try:
            if self.model.ahead > 1 and batch.rows:
                batch = self._go_on(batch)
            if batch.rows:
                self._compute(batch)
        except ContextError as error:
            for job in batch.askers(error.node):
                job.error = RequestError(str(error), job.request)
        except RuntimeError as error:
            # The error keeps the frames, and thus the tensors, of the failed step alive.
            problem = memory_problem(error)
        if problem:
            self._make_room(batch, problem)
        return self._collect()

    @property
    def max_batch(self) -> int | None:
        """The most nodes a model call; less than was asked for once memory ran out."""
        return self._limit.rows

    @property
    def pending(self) -> int:
        """How many requests are not answered yet."""
        return len(self._jobs) + len(self._errors)

    @property
    def usage(self) -> Usage:
        return self.model.usage

    def session(self) -> LocalEngine:
        """Another engine over the same model, with requests of its own."""
        new = LocalEngine(self.model)
        new._limit = self._limit
        new._endings, new._halts = self._endings, self._halts
        return new

    def cancel(self) -> None:
        """Drop everything pending."""
        self._jobs.clear()
        self._errors.clear()
        self._recent.clear()

    def _job(self, request: Request, source: Source) -> Job:
        match request:
            case Generate():
                return Writing(request, source, self._ending(request.spec))
            case Score():
                return Scoring(request, self.model.vocab_size, self._ending(request.spec))
            case Choose():
                return Choosing(request, source)
            case Support():
                return Spreading(request, self._ending(request.spec))
        raise TypeError(f"{type(self).__name__} cannot compute a {type(request).__name__}")

    def _ending(self, spec: TextSpec) -> Ending:
        if spec is self._last[0]:  # particles ask the same one after the other
            return self._last[1]
        ending = self._endings.get(spec)
        if ending is None:
            if len(self._endings) >= _ENDINGS:
                self._endings.clear()
            ending = self._endings[spec] = Ending(spec, self.model)
        self._last = spec, ending
        return ending

    def _go_on(self, batch: Batch) -> Batch:
        """Let the model write on those texts of a batch that it may go on with by itself; a batch of what is left."""
        with _one_at_a_time:  # what the model has cached must not change in between
            found = texts_that_go_on(batch, self.model)
            if found is None:
                return batch
            law, jobs = found
            with _threads_for(self.model.size * len(jobs)):
                written = self.model.write(stretch_of(law, jobs, self.model.ahead, self._halts))
        gone: set[Job] = set()
        for job, some in zip(jobs, written, strict=True):
            if some is not None:
                job.went_on(some.tokens, some.log_probs, some.last)
                gone.add(job)
        if not gone:
            return batch
        rest = Batch(self.max_batch)
        for other in self._jobs:
            if other.completion is None and other.error is None and other not in gone:
                other.plan(rest)
        return rest

    @torch.no_grad()
    def _compute(self, batch: Batch) -> None:
        """Answer what the batch asks for: first compute everything, which may fail, then change the jobs."""
        nodes = list(batch.rows)
        with _one_at_a_time, _threads_for(self.model.size * len(nodes)):
            self._answer(batch, nodes)

    def _answer(self, batch: Batch, nodes: Sequence[Prefix]) -> None:
        logits = self.model.logits(nodes)
        if logits.device.type == "mps":
            logits = logits.cpu()  # which has no float64
        if self._precise:
            logits = logits.double()
        elif logits.dtype not in (torch.float32, torch.float64):
            logits = logits.float()
        expected = (len(nodes), self.model.vocab_size)
        if tuple(logits.shape) != expected:
            raise ValueError(f"{self.model.describe()} gave logits of shape {tuple(logits.shape)}, not {expected}")
        answers = Answers()
        for law, wanted in batch.wanted.items():
            rows = wanted.rows()
            laws = NextTokens(logits, law, None if len(rows) == len(nodes) else rows)
            faulty = laws.faulty()
            if faulty is not None:
                raise self._no_distribution(logits[rows[faulty]], nodes[rows[faulty]])
            answers.add(laws, rows, wanted)
        answers.tell()

    def _make_room(self, batch: Batch, problem: str) -> None:
        """Compute fewer nodes at a time, after there was no memory for what is asked of so many."""
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if len(batch.rows) > 1:
            self._limit.rows = len(batch.rows) // 2
            return
        for node in batch.rows:
            for job in batch.askers(node):
                job.error = RequestError(
                    f"no memory to draw one token after a context of {node.length} tokens, among "
                    f"{self.model.vocab_size:,}: {problem}. Free memory on the device, or load the model in a smaller "
                    "type (dtype='bfloat16') or on a device with more memory",
                    job.request,
                )

    def _no_distribution(self, logits: torch.Tensor, node: Prefix) -> ContextError:
        tokens = node.tokens()
        what = "NaN" if bool(logits.isnan().any()) else "infinite"
        return ContextError(
            f"{self.model.describe()} gave {what} logits after a context of {len(tokens)} tokens that ends in "
            f"{list(tokens[-8:])}: its weights are damaged, or its numbers too large for the type it runs in; try "
            "another one, such as load_lm(..., dtype='float32')",
            node,
        )

    def _collect(self) -> list[Completion]:
        done = [job for job in self._jobs if job.completion is not None or job.error is not None]
        if not done:
            return []
        # Those that share a step with an error stay among the jobs, finished, for the next step to return.
        errors = [job.error for job in done if job.error is not None]
        if errors:
            self._jobs = [job for job in self._jobs if job.error is None]
            self._errors.extend(errors)
            raise self._errors.popleft()
        self._jobs = [job for job in self._jobs if job.completion is None]
        self._recent = done
        return [job.completion for job in done if job.completion is not None]


@contextmanager
def _threads_for(work: int) -> Iterator[None]:
    """One thread for little work: many threads would mostly wait for each other, worst on a busy machine."""
    threads = torch.get_num_threads()
    if threads == 1 or work >= _WORTH_THREADS:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
