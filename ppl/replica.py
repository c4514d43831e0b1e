"""What runs on a worker of a Ray cluster: problems that it is handed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .posterior import Posterior
from .running import Journals, Problems, stream


class Replica:
    """What a worker does: it is sent the problems once, and runs those that it is told to."""

    def __init__(self) -> None:
        self._problems: tuple[Problems, Journals | None] | None = None

    def up(self) -> None:
        """Say that the worker is there."""

    def run(self, numbers: Sequence[int], sent: Sequence[Any]) -> Iterator[tuple[int, Posterior]]:
        """Run some of the problems; what is finished is sent back at once.

        Args:
            numbers: which.
            sent: one reference to all of them and their journals, in Ray's store.
        """
        if self._problems is None:
            # Here and not before the call, where an error (a module that is not to be found, say) would count as death.
            self._problems = the_ray().get(sent[0])
        problems, journals = self._problems
        yield from stream(problems, numbers, journals=journals)


def the_ray() -> Any:
    """The module of Ray.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ImportError(
            "workers= shares problems among the processes of a Ray cluster, and Ray is not installed: "
            'pip install "ppl-lm[ray]", or leave workers= out'
        ) from None
    return ray
