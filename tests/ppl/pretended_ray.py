"""As much of Ray as the workers' pool asks of it, in this process: actors that need places, and die when told to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any


class RayError(Exception): ...


class RayActorError(RayError): ...


class RayTaskError(RayError): ...


class OutOfMemoryError(RayError): ...


class WorkerCrashedError(RayError): ...


class NodeDiedError(RayError): ...


class ObjectLostError(RayError): ...


class WaitsForever(AssertionError): ...


class PretendedRay:
    """A cluster of some places.

    Attributes:
        exceptions: what it raises.
        started: how many actors were asked for.
        killed: how many were killed.
    """

    exceptions = SimpleNamespace(
        RayActorError=RayActorError,
        RayTaskError=RayTaskError,
        OutOfMemoryError=OutOfMemoryError,
        WorkerCrashedError=WorkerCrashedError,
        NodeDiedError=NodeDiedError,
        ObjectLostError=ObjectLostError,
    )

    def __init__(
        self,
        places: int,
        gpus: int = 0,
        own: bool = True,
        dies: Callable[[int, int], Exception | None] = lambda actor, number: None,
    ) -> None:
        """Start it.

        Args:
            places: how many actors have room at once.
            gpus: how many GPUs it says it has.
            own: whether this process started it.
            dies: of the number of an actor and of a problem (-1: its start), what kills it there.
        """
        self.places, self.gpus, self.dies = places, gpus, dies
        self.started = self.killed = 0
        self.holding: weakref.WeakSet[_Actor] = weakref.WeakSet()
        self.asking: list[weakref.ref[_Actor]] = []
        node = SimpleNamespace(is_head=lambda: own)
        self._private = SimpleNamespace(worker=SimpleNamespace(_global_node=node))

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
        resources = {"CPU": float(self.places), **({"GPU": float(self.gpus)} if self.gpus else {})}
        return [gone, {"Alive": True, "Resources": resources}]

    def put(self, value: Any) -> Any:
        return lambda: value

    def get(self, reference: Any) -> Any:
        return reference()

    def kill(self, actor: _Actor) -> None:
        self.killed += 1
        self.holding.discard(actor)

    def remote(self, **_: float) -> Callable[[type], Any]:
        return lambda kind: SimpleNamespace(remote=lambda: _Actor(self, kind()))

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        for asking in list(self.asking):
            actor = asking()
            if actor is None:
                self.asking.remove(asking)
            elif len(self.holding) < self.places:
                self.holding.add(actor)
                self.asking.remove(asking)
            del actor
        for reference in references:
            if reference.of() in self.holding:
                return [reference], []
        raise WaitsForever("no actor of those that are waited for has a place")


class _Actor:
    def __init__(self, ray: PretendedRay, replica: Any) -> None:
        self.ray, self.replica, self.number = ray, replica, ray.started
        ray.started += 1
        ray.asking.append(weakref.ref(self))
        this, number = weakref.ref(self), self.number
        self.up = SimpleNamespace(remote=lambda: _Answer(this, lambda: _end(ray.dies(number, -1))))
        self.run = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *args: _Stream(this, *args)))


class _Answer:
    def __init__(self, of: weakref.ref[_Actor], call: Callable[[], Any]) -> None:
        self.of, self.call = of, call

    def __call__(self) -> Any:
        return self.call()


class _Stream:
    """What an actor sends back, one after the other, as references."""

    def __init__(self, of: weakref.ref[_Actor], numbers: list[int], sent: list[Any]) -> None:
        self.of, self.ray, self.actor = of, of().ray, of().number  # type: ignore[union-attr]
        self.found = self.worked(of().replica, numbers, sent)  # type: ignore[union-attr]

    def worked(self, replica: Any, numbers: list[int], sent: list[Any]) -> Iterator[Any]:
        for number in numbers:
            _end(self.ray.dies(self.actor, number))
            for each in replica.run([number], sent):
                yield lambda each=each: each

    def __next__(self) -> Any:
        return next(self.found)


def _end(error: Exception | None) -> None:
    if error is not None:
        raise error
