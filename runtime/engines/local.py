"""The engine over a model in this process: the decode loop.

A step puts the distinct nodes that pending requests need through the model in one call, draws and looks up what they
asked for, and lets go of those that finished. Draws are a function of (key, position), so neither ``max_batch`` nor
what else is in flight changes a result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import torch

from ..source import Source
from .base import Completion, Engine, Request, RequestError
from .batch import Batch, Look, Wanted
from .jobs import Choosing, Job, Leaf, Reading, Scoring, Spreading, Writing
from .laws import among, log_probs
from .model import LogitModel, Usage
from .prefix import Prefix
from .requests import Choose, Ending, Generate, Score, Support, TextSpec

_BLOCK = 1 << 24
"""The most float64 entries of a table of probabilities at a time (128 MiB)."""

_WORTH_THREADS = 100_000_000
"""Parameters times rows from which a call of the model is worth more than one CPU thread."""

_one_at_a_time = RLock()
"""Inference may run in several threads; a model's caches serve one batch at a time."""

_ENDINGS = 1024
"""How many texts' endings to remember before starting over."""


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
        self.max_batch = max_batch
        self._jobs: list[Job] = []
        self._endings: dict[TextSpec, Ending] = {}
        self._errors: deque[RequestError] = deque()
        # What a model keeps for a node lives as long as the node. Those of the last step's texts are held here until
        # their programs have run on and hold them in contexts of their own.
        self._recent: list[Job] = []

    def submit(self, request: Request, source: Source) -> None:
        """Take a request; nothing is computed before :meth:`step`.

        Raises:
            TypeError: it is of a kind that this engine does not know.
        """
        self._jobs.append(self._job(request, source))

    def step(self) -> list[Completion]:
        """Compute one batch.

        Returns:
            What finished in it, in the order of submission.

        Raises:
            RequestError: a request cannot be answered. It alone is dropped; the others go on, and
                what finished with it is returned by the next call.
            FloatingPointError: the model gave a row that is no distribution. Nothing has changed.
            Exception: whatever the model raised. Nothing has changed, and the next call tries again.
        """
        if self._errors:
            raise self._errors.popleft()
        batch = Batch(self.max_batch)
        # In the order of submission: if not all fit, the first finish first, and what the model keeps for them goes.
        # Equal histories still share: they reach a node together, and its row moves all that wait there.
        for job in self._jobs:
            if job.completion is None and job.error is None:
                job.plan(batch)
        if batch.rows:
            self._compute(batch)
        return self._collect()

    @property
    def pending(self) -> int:
        """How many requests are not answered yet."""
        return len(self._jobs) + len(self._errors)

    @property
    def usage(self) -> Usage:
        return self.model.usage

    def session(self) -> LocalEngine:
        """Another engine over the same model, with requests of its own."""
        new = LocalEngine(self.model, max_batch=self.max_batch)
        new._endings = self._endings
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
        ending = self._endings.get(spec)
        if ending is None:
            if len(self._endings) >= _ENDINGS:
                self._endings.clear()
            ending = self._endings[spec] = Ending(spec, self.model)
        return ending

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
        self._check(logits, nodes)
        answers = _Answers()
        for law, wanted in batch.wanted.items():
            rows = wanted.rows()
            size = max(1, _BLOCK // logits.shape[-1])
            for start in range(0, len(rows), size):
                block = rows[start : start + size]
                whole = len(block) == len(nodes)
                answers.add(log_probs(logits if whole else logits[block], law), block, wanted, size)
        answers.tell()

    def _check(self, logits: torch.Tensor, nodes: Sequence[Prefix]) -> None:
        expected = (len(nodes), self.model.vocab_size)
        if tuple(logits.shape) != expected:
            raise ValueError(f"{self.model.describe()} gave logits of shape {tuple(logits.shape)}, not {expected}")
        good = logits.amax(-1).isfinite()  # the largest is NaN if any is, and -inf if all are
        if bool(good.all()):
            return
        row = int(good.logical_not().nonzero()[0, 0])
        tokens = nodes[row].tokens()
        what = "NaN" if bool(logits[row].isnan().any()) else "infinite"
        raise FloatingPointError(
            f"{self.model.describe()} gave {what} logits after a context of {len(tokens)} tokens that ends in "
            f"{list(tokens[-8:])}; try another dtype"
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


class _Answers:
    """What was found for a batch, before anyone is told."""

    def __init__(self) -> None:
        self._drawn: list[tuple[Sequence[Writing], list[int], list[float], list[float]]] = []
        self._dead: list[Writing] = []
        self._found: list[tuple[Look, float]] = []
        self._spread: list[tuple[Spreading, Leaf, list[int], list[float]]] = []

    def add(self, table: torch.Tensor, rows: Sequence[int], wanted: Wanted, size: int) -> None:
        """Answer what concerns some rows.

        Args:
            table: log-probabilities [len(rows), vocabulary].
            rows: which rows of the batch these are.
            wanted: what is asked; about other rows too.
            size: the most rows to draw from at a time.
        """
        at = {row: i for i, row in enumerate(rows)}
        for draws in wanted.draws.values():
            here = [i for i, row in enumerate(draws.rows) if row in at]
            for start in range(0, len(here), size):
                some = here[start : start + size]
                self._draw(table, [at[draws.rows[i]] for i in some], [draws.jobs[i] for i in some], draws.source)
        looks = [look for look in wanted.looks if look.row in at]
        if looks:
            values = table[[at[look.row] for look in looks], [look.token for look in looks]].tolist()
            for i, look in enumerate(looks):
                if look.allowed is not None:
                    values[i] = float(among(table[at[look.row]], look.allowed)[look.token])
            self._found.extend(zip(looks, values, strict=True))
        for row, job, leaf in wanted.spreads:
            if row in at:
                line = table[at[row]] if leaf.allowed is None else among(table[at[row]], leaf.allowed)
                tokens = (line > -torch.inf).nonzero()[: job.limit + 1, 0]
                self._spread.append((job, leaf, tokens.tolist(), line[tokens].tolist()))

    def _draw(self, table: torch.Tensor, places: Sequence[int], jobs: Sequence[Writing], source: Source) -> None:
        if places != list(range(len(table))):
            table = table[places]
        if any(job.allowed is not None for job in jobs):
            self._draw_among(table, jobs, source)
            return
        tokens = source.choose_rows(table, [job.key for job in jobs], [len(job.tokens) for job in jobs])
        found = _entries(table, tokens)
        self._drawn.append((jobs, tokens, found, found))

    def _draw_among(self, table: torch.Tensor, jobs: Sequence[Writing], source: Source) -> None:
        """Draw where constraints rule tokens out."""
        rows = [row if job.allowed is None else among(row, job.allowed) for row, job in zip(table, jobs, strict=True)]
        masked = torch.stack(rows)
        alive = (masked.amax(-1) > -torch.inf).tolist()
        self._dead += [job for job, lives in zip(jobs, alive, strict=True) if not lives]
        kept = [i for i, lives in enumerate(alive) if lives]
        if kept:
            jobs, masked, table = [jobs[i] for i in kept], masked[kept], table[kept]
            tokens = source.choose_rows(masked, [job.key for job in jobs], [len(job.tokens) for job in jobs])
            self._drawn.append((jobs, tokens, _entries(masked, tokens), _entries(table, tokens)))

    def tell(self) -> None:
        """Hand everything to its job."""
        for jobs, tokens, found, bases in self._drawn:
            for job, token, log_prob, base in zip(jobs, tokens, found, bases, strict=True):
                job.drawn(token, log_prob, base)
        for job in self._dead:
            job.ruled_out()
        for look, log_prob in self._found:
            look.job.found(look.slot, log_prob)
        for spreading, leaf, tokens, log_probs_ in self._spread:
            spreading.spread(leaf, tokens, log_probs_)
        for touched in self._settling():
            touched.settle()

    def _settling(self) -> Iterator[Reading | Spreading]:
        jobs: dict[Reading | Spreading, None] = {look.job: None for look, _ in self._found}
        jobs.update((job, None) for job, *_ in self._spread)
        return iter(jobs)


def _entries(table: torch.Tensor, tokens: Sequence[int]) -> list[float]:
    """The entry of one token in each row."""
    chosen = torch.tensor(tokens, device=table.device).unsqueeze(-1)
    found: list[float] = table.gather(-1, chosen).squeeze(-1).tolist()
    return found
