"""Many problems on many machines: problems shared among the workers of a Ray cluster.

``infer_many(..., workers=8)`` starts eight Ray actors, in the cluster that ``ray.init`` finds (``RAY_ADDRESS``, or an
address given to ``ray.init`` before), else on this machine. Each gets the program, the inputs and a replica of every
model once. When it is up it is handed problems, as many at a time as share its batches well, and fewer towards the end.
What is finished streams back at once. A worker that dies is replaced, and what it had not finished is run again, with
the same seeds: a posterior is a function of its problem and seed, and not of who computes it.

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
from .replica import Replica, the_ray
from .running import Journals, Problems, warn_user
from .runtime.source import fresh_seed

_ATTEMPTS = 3
"""How many workers may die of a problem before it is to blame."""
_SHARES = 3
"""A worker is handed one over this of its share of what is left, so that all end together."""
_DEATHS = ("RayActorError", "OutOfMemoryError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError")
"""What Ray raises if a worker is no more, or what it had sent is lost."""


class WorkersDied(RuntimeError):
    """Workers died again and again, on the same problems or before they had any; the text says on which."""


class NoPlaceForWorkers(RuntimeError):
    """The cluster has no machine that one of the workers fits on; the text says what there is."""


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
        ConnectionError: the cluster that Ray knows of can't be reached.
        WorkersDied: see there.
        NoPlaceForWorkers: no machine of the cluster has what a worker reserves.
        FailedOnWorker: a program raised what can't be sent; anything else that it raises comes as it is.
    """
    which = list(range(len(problems.calls)) if numbers is None else numbers)
    pool = _Pool(problems, workers if isinstance(workers, Workers) else Workers(workers), which, journals)
    try:
        yield from pool.run()
    finally:
        pool.close()


def _connect(ray: Any) -> None:
    """Join the cluster that Ray knows of, or start one on this machine.

    Raises:
        ConnectionError: there is none where Ray looks for one.
    """
    if ray.is_initialized():
        return
    try:
        ray.init(include_dashboard=False, logging_level="WARNING")
    except ConnectionError as error:
        raise ConnectionError(
            f"Ray can't reach the cluster that it knows of ({error}). If that is gone, set RAY_ADDRESS=local to start "
            "one on this machine, or RAY_ADDRESS to the address of another; 'ray stop' forgets the old one"
        ) from error


class _Pool:
    """The actors, and what each is at."""

    def __init__(self, problems: Problems, workers: Workers, numbers: Sequence[int], journals: Journals | None) -> None:
        self._ray = the_ray()
        _connect(self._ray)
        _look_for_a_place(self._ray, workers)
        self._sent = _put(self._ray, problems, journals)
        self._actor = self._ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus)(Replica)
        self._count = min(workers.count, len(numbers))
        self._concurrency = max(1, problems.concurrency)
        self._waiting = deque(numbers)
        self._suspects: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self._busy: dict[Any, tuple[Any, set[int]]] = {}  # what streams back → the actor, and what it still owes
        self._starting: dict[Any, Any] = {}  # what tells that an actor is up → the actor
        self._stillborn = 0  # how many in a row died before they were up
        self._deadly = tuple(getattr(self._ray.exceptions, name) for name in _DEATHS)

    def run(self) -> Iterator[tuple[int, Posterior]]:
        """Hand out problems, and yield what comes back."""
        for _ in range(self._count):
            self._start()
        # Nothing here may hold on to an actor that is done: one that waits for its place gets it when that is gone.
        while self._busy or (self._starting and (self._waiting or self._suspects)):
            (ready,), _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, fetch_local=False)
            if ready in self._starting:
                self._started(ready)
            elif (found := self._next(ready)) is not None:
                yield found

    def close(self) -> None:
        """Drop whatever is under way."""
        for actor in [*(actor for actor, _ in self._busy.values()), *self._starting.values()]:
            self._ray.kill(actor)
        self._busy.clear()
        self._starting.clear()

    def _start(self) -> None:
        """Ask for an actor. It may have to wait for its place, and is handed problems only once it is up."""
        actor = self._actor.remote()
        self._starting[actor.up.remote()] = actor

    def _started(self, ready: Any) -> None:
        """An actor is up, or has died on the way."""
        actor = self._starting.pop(ready)
        try:
            self._ray.get(ready)
        except self._deadly as error:
            self._ray.kill(actor)
            self._stillborn += 1
            if self._stillborn >= _ATTEMPTS:
                raise WorkersDied(
                    f"{_ATTEMPTS} workers died before they were handed a problem: {error}. See that all machines of "
                    "the cluster have the memory for them, and the same Python with the same packages"
                ) from None
            self._start()
        else:
            self._stillborn = 0
            self._hand_out(actor)

    def _next(self, stream_: Any) -> tuple[int, Posterior] | None:
        """What an actor has finished; ``None`` if it is at its end, and was handed more or replaced."""
        actor, owed = self._busy[stream_]
        try:
            found = next(stream_, None)
            if found is not None:
                number, posterior = self._ray.get(found)
                owed.discard(number)
                return number, posterior
        except self._deadly:
            del self._busy[stream_]
            self._ray.kill(actor)  # it may only have lost what it sent
            self._blame(owed)
            self._start()
        except self._ray.exceptions.RayTaskError as error:
            raise getattr(error, "cause", None) or error from None
        else:
            del self._busy[stream_]
            self._hand_out(actor)
        return None

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


def _look_for_a_place(ray: Any, workers: Workers) -> None:
    """See that some machine has what a worker reserves, on which Ray would wait without a word.

    Ray does not say whether a cluster gets more machines by itself. One that this process started doesn't; of any other
    it is only warned.

    Raises:
        NoPlaceForWorkers: none has, and none will come.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {"CPU": workers.cpus, "GPU": workers.gpus}
    if any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        return
    there = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes) or "none"
    lack = (
        f"each worker reserves {workers.cpus:g} CPUs and {workers.gpus:g} GPUs on one machine, and no machine of the "
        f"Ray cluster has them (there are: {there})"
    )
    instead = "Reserve less (workers=Workers(count, cpus=..., gpus=...)), or start Ray with more"
    own = getattr(getattr(getattr(ray, "_private", None), "worker", None), "_global_node", None)
    if own is not None and own.is_head():
        raise NoPlaceForWorkers(f"{lack}. {instead}")
    warn_user(f"{lack}. It is waited for one to join. {instead}")


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
