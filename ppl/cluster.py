"""Many problems on many machines: problems shared among the workers of a Ray cluster.

``infer_many(..., workers=8)`` starts eight Ray actors, in the cluster that ``ray.init`` finds (``RAY_ADDRESS``, or an
address given to ``ray.init`` before), else on this machine. Each gets the program, the inputs and a replica of every
model once; then it is handed problems, as many at a time as share its batches well, and fewer towards the end. What is
finished streams back at once. A worker that dies is replaced, and what it had not finished is run again, with the same
seeds: a posterior is a function of its problem and seed, and not of who computes it.

What is sent goes by Ray's own transport, cloudpickle: it is for processes that trust each other. A program of a module
that workers can import is sent by name, any other (a script's, a notebook's) with its source. Models come from
``load_lm`` of the same arguments on each worker, so a path must be there; texts that come back are strings with tokens
and know no model.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .posterior import Posterior
from .running import Journals, Problems, stream
from .runtime.source import fresh_seed

_ATTEMPTS = 3
"""How many workers may die of a problem before it is to blame."""
_SHARES = 3
"""A worker is handed one over this of its share of what is left, so that all end together."""


class WorkersDied(RuntimeError):
    """Workers died again and again on the same problems; the text says on which."""


@dataclass(frozen=True)
class Workers:
    """Ray actors to run problems.

    Attributes:
        count: how many.
        cpus: what each reserves, of CPUs.
        gpus: of GPUs; 1 for models of which each worker has one on a GPU of its own, 0.5 where two share one.
    """

    count: int
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"workers={self.count}: give 1 or more, or None to work in this process")


def stream_on_workers(
    problems: Problems,
    workers: int | Workers,
    numbers: Sequence[int] | None = None,
    journals: Journals | None = None,
) -> Iterator[tuple[int, Posterior]]:
    """As ``running.stream``, on the workers of a Ray cluster.

    Args:
        problems: the problems.
        workers: how many, or which.
        numbers: which of the problems; all by default.
        journals: of the problems, in files that all workers can reach.

    Raises:
        ImportError: Ray is not installed.
        WorkersDied: see there.
    """
    which = list(range(len(problems.calls)) if numbers is None else numbers)
    pool = _Pool(problems, workers if isinstance(workers, Workers) else Workers(workers), which, journals)
    try:
        yield from pool.run()
    finally:
        pool.close()


class Replica:
    """What a worker does: it is sent the problems once, and runs those that it is told to."""

    def __init__(self) -> None:
        self._problems: tuple[Problems, Journals | None] | None = None

    def run(self, numbers: Sequence[int], sent: Sequence[Any]) -> Iterator[tuple[int, Posterior]]:
        """Run some of the problems; what is finished is sent back at once.

        Args:
            numbers: which.
            sent: one reference to all of them and their journals, in Ray's store.
        """
        if self._problems is None:
            # Here and not before the call, where an error (a module that is not to be found, say) would count as death.
            self._problems = _ray().get(sent[0])
        problems, journals = self._problems
        yield from stream(problems, numbers, journals=journals)


class _Pool:
    """The actors, and what each is at."""

    def __init__(self, problems: Problems, workers: Workers, numbers: Sequence[int], journals: Journals | None) -> None:
        self._ray = _ray()
        if not self._ray.is_initialized():
            self._ray.init(include_dashboard=False, logging_level="WARNING")
        self._sent = _put(self._ray, problems, journals)
        self._actor = self._ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus)(Replica)
        self._count = min(workers.count, len(numbers))
        self._concurrency = max(1, problems.concurrency)
        self._waiting = deque(numbers)
        self._suspects: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self._busy: dict[Any, tuple[Any, set[int]]] = {}  # what streams back → the actor, and what it still owes

    def run(self) -> Iterator[tuple[int, Posterior]]:
        """Hand out problems, and yield what comes back."""
        for _ in range(self._count):
            self._hand_out(self._actor.remote())
        while self._busy:
            (stream_,), _ = self._ray.wait(list(self._busy), num_returns=1, fetch_local=False)
            actor, owed = self._busy[stream_]
            try:
                found = next(stream_, None)
                if found is not None:
                    number, posterior = self._ray.get(found)
                    owed.discard(number)
                    yield number, posterior
                    continue
            except self._ray.exceptions.RayActorError:
                self._blame(owed)
                actor = self._actor.remote()
            except self._ray.exceptions.RayTaskError as error:
                raise getattr(error, "cause", None) or error from None
            del self._busy[stream_]
            self._hand_out(actor)

    def close(self) -> None:
        """Drop whatever is under way."""
        for actor, _ in self._busy.values():
            self._ray.kill(actor)
        self._busy.clear()

    def _hand_out(self, actor: Any) -> None:
        """Give an actor its next problems, if any are left."""
        if self._suspects:  # alone, so that it is known which one kills its worker
            numbers = [self._suspects.popleft()]
        else:
            size = min(self._concurrency, max(1, len(self._waiting) // (_SHARES * self._count)))
            numbers = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
        if numbers:
            running = actor.run.options(num_returns="streaming").remote(numbers, [self._sent])
            self._busy[running] = (actor, set(numbers))

    def _blame(self, owed: set[int]) -> None:
        """A worker died over some problems: they are run again, one by one."""
        self._deaths.update(owed)
        guilty = sorted(number for number in owed if self._deaths[number] >= _ATTEMPTS)
        if guilty:
            raise WorkersDied(
                f"{_ATTEMPTS} workers died over problem {', '.join(map(str, guilty))}: most likely memory ran out "
                "(Ray's logs tell). Take fewer particles, give each worker more (workers=Workers(count, cpus=...)), or "
                "leave the problem out. With checkpoint= what was finished is kept"
            )
        self._suspects.extend(sorted(owed))


def _put(ray: Any, problems: Problems, journals: Journals | None) -> Any:
    """The problems in Ray's store, with seeds of their own: the same on whichever worker.

    Raises:
        TypeError: they hold what can't be sent.
    """
    seeds = [fresh_seed() if seed is None else seed for seed in problems.seeds]
    try:
        return ray.put((replace(problems, seeds=seeds), journals))
    except TypeError as error:
        raise TypeError(
            f"{problems.program.name} or its arguments can't be sent to workers: {error.__cause__ or error}. What "
            "belongs to a process, such as contexts, connections and open files, is best made in the program"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError(
            "workers= shares problems among the processes of a Ray cluster, and Ray is not installed: "
            'pip install "ppl-lm[ray]", or leave workers= out'
        ) from None
    return ray
