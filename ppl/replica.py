"""What runs on a worker of a Ray cluster: problems that it is handed, and what is told of those that fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from traceback import walk_tb
from types import FrameType
from typing import Any

from .compiler.installed import is_installed
from .posterior import Posterior
from .running import Journals, Problems, stream

_PACKAGE = __name__.partition(".")[0]


class FailedOnWorker(RuntimeError):
    """A program raised on a worker what can't be sent as it is; the text says what it was, and where."""


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

        Raises:
            FailedOnWorker: the program raised what can't be sent.
        """
        if self._problems is None:
            # Here and not before the call, where an error (a module that is not to be found, say) would count as death.
            self._problems = the_ray().get(sent[0])
        problems, journals = self._problems
        try:
            yield from stream(problems, numbers, journals=journals)
        except Exception as error:
            if _can_be_sent(error):
                raise
            raise FailedOnWorker(_told(error)) from None


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


def _can_be_sent(error: Exception) -> bool:
    """Whether an exception comes out where it is sent as it went in."""
    from ray import cloudpickle

    try:
        return type(cloudpickle.loads(cloudpickle.dumps(error))) is type(error)
    except Exception:  # whatever its class does when it is taken apart or put together
        return False


def _told(error: Exception) -> str:
    """An exception in words, with the last line of the user's own that led to it."""
    lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__) if _is_users_frame(frame)]
    place = f' at "{lines[-1][0]}", line {lines[-1][1]}' if lines else ""
    return (
        f"{type(error).__name__}: {error}{place}. (It was raised on a worker, and can't be sent as it is: an exception "
        "that pickle can copy comes back as itself)"
    )


def _is_users_frame(frame: FrameType) -> bool:
    """Whether a frame is of code of the user's own; a script's has the name of what is the main module elsewhere."""
    module, file = str(frame.f_globals.get("__name__")), frame.f_code.co_filename
    return module.partition(".")[0] != _PACKAGE and not file.startswith("<frozen ") and not is_installed(file)
