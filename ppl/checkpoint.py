"""Checkpoints: a folder from which a run that died goes on, to the posterior that it would have had.

In the folder are ``run.json``, which says what was run, and a journal of answers for each problem (see
``runtime/recording.py`` for what is in it and why that is enough). Everything is JSON; reading it evaluates nothing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .program import Program
from .runtime.budget import Budget
from .runtime.journal import Journal
from .runtime.methods import Method
from .runtime.source import fresh_seed

_FORMAT = 1
_RUN = "run.json"
_LOCK = "lock"
_OUTSIDE = 6
"""The stack level of whoever called ``infer`` or ``infer_many``, for warnings."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class CheckpointMismatch(ValueError):
    """A checkpoint is of another run; the text says in what they differ."""


class Checkpoint:
    """One folder, of one call of ``infer`` or ``infer_many``, in the hands of one process.

    Attributes:
        path: where it is.
        seeds: the seed of each problem: as asked for, else as it was chosen when the run was first begun.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        what: Mapping[str, str],
        held: Mapping[str, str],
        problems: Sequence[tuple[str, int | None]],
    ) -> None:
        """Begin a checkpoint, or go on with the one that is there.

        Args:
            path: a folder; made if it is not there.
            what: what is run, by the name of what may differ.
            held: what its variables hold that may change on the way; a difference is only warned of.
            problems: a digest of the arguments of each, and its seed.

        Raises:
            CheckpointMismatch: the folder holds the checkpoint of another run, or something else.
            BlockingIOError: another process is at work in it.
        """
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path)
        try:
            self.seeds = self._begun(dict(what), dict(held), problems)
        except BaseException:
            self.close()
            raise

    def journal(self, number: int) -> Journal:
        """The journal of a problem."""
        return Journal(self.path / f"{number:06}.journal")

    def close(self) -> None:
        """Leave it to other processes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begun(
        self, what: dict[str, str], held: dict[str, str], problems: Sequence[tuple[str, int | None]]
    ) -> list[int]:
        file = self.path / _RUN
        if not file.exists():
            others = sorted(entry.name for entry in self.path.iterdir() if entry.name not in (_LOCK, f"{_RUN}.new"))
            if others:
                raise CheckpointMismatch(
                    f"checkpoint={str(self.path)!r} is a folder that holds {others[0]!r} and no {_RUN}: it is no "
                    "checkpoint. Name a new or an empty folder"
                )
            seeds = [fresh_seed() if seed is None else seed for _, seed in problems]
            listed = [[digest, asked, seed] for (digest, asked), seed in zip(problems, seeds, strict=True)]
            _write(file, {"format": _FORMAT, "what": what, "held": held, "problems": listed})
            return seeds
        known = _read(file)
        listed = [(str(digest), asked, int(seed)) for digest, asked, seed in known["problems"]]
        different = [*_differences(known["what"], what), *_other_problems([each[:2] for each in listed], problems)]
        if different:
            raise CheckpointMismatch(
                f"checkpoint={str(self.path)!r} is of another run. What differs:\n"
                + "\n".join(f"  {line}" for line in different)
                + "\nRun it as it was begun, or name another folder"
            )
        for line in _differences(known["held"], held):
            warnings.warn(
                f"checkpoint={str(self.path)!r}: the program reads what was something else when the run was begun: "
                f"{line}. If that is no cache or counter, name another folder",
                stacklevel=_OUTSIDE,
            )
        return [seed for *_, seed in listed]


def _read(file: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if known["format"] != _FORMAT:
            raise ValueError(f"its format is {known['format']}, not {_FORMAT}")
        return {"what": dict(known["what"]), "held": dict(known["held"]), "problems": list(known["problems"])}
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointMismatch(f"{file} can't be read ({error}); name another folder") from None


def open_checkpoint(
    path: str | os.PathLike[str],
    program: Program,
    calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]],
    method: Method,
    seeds: Sequence[int | None],
    settings: Mapping[str, Any],
) -> Checkpoint:
    """The checkpoint of a call of ``infer`` or ``infer_many``.

    Args:
        path: the folder.
        program: what is run.
        calls: its arguments, for each problem.
        method: how.
        seeds: of each problem.
        settings: whatever else decides the outcome, by name.

    Raises:
        CheckpointMismatch: the folder holds another run.
        BlockingIOError: another process is at work in it.
    """
    from .identity import Identity

    identity = Identity()
    what = {"ppl": _version(), "python": ".".join(platform.python_version_tuple()[:2])}
    if "torch" in sys.modules:
        what["torch"] = str(sys.modules["torch"].__version__)
    what["program"] = identity.of(program)
    what["method"] = f"{_ADDRESS.sub('', method.describe())} ({identity.of(method)})"
    for name, value in settings.items():
        what[name] = value if isinstance(value, str) else identity.shown(value)
    problems = [(identity.of(call), seed) for call, seed in zip(calls, seeds, strict=True)]
    return Checkpoint(path, {**what, **identity.parts}, identity.held, problems)


def settings_of(
    program: Program, proposals: Any, on_error: str, limits: tuple[Budget | Mapping[str, float] | None, Any]
) -> dict[str, Any]:
    """What else decides the outcome of a run."""
    pipeline, budget = program.pipeline, Budget.of(limits[0])
    passes = [] if pipeline is None else [each.name for each in pipeline.passes]
    return {
        "passes": ", ".join(passes) or "none",
        "keep": ", ".join(sorted(pipeline.keep)) if pipeline else "",
        "proposals": proposals,
        "on_error": on_error,
        "budget": None if budget is None else repr(budget),
        "stop": limits[1],
    }


def _version() -> str:
    from . import __version__

    return __version__


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    for name in dict.fromkeys((*then, *now)):
        if name not in now:
            yield f"{name}: is no part of it any more"
        elif name not in then:
            yield f"{name}: was no part of it"
        elif then[name] != now[name]:
            yield _changed(name, then[name], now[name])


def _other_problems(then: Sequence[tuple[str, int | None]], now: Sequence[tuple[str, int | None]]) -> Iterable[str]:
    if len(then) != len(now):
        yield _changed("how many problems", len(then), len(now))
        return
    for number, ((old, old_seed), (new, new_seed)) in enumerate(zip(then, now, strict=True)):
        which = f" of problem {number}" if len(now) > 1 else ""
        if old != new:
            yield f"the arguments{which}"
        if old_seed != new_seed:
            yield _changed(f"seed{which}", old_seed, new_seed)


def _changed(name: str, then: object, now: object) -> str:
    return f"{name}: {then} then, {now} now"


def _write(file: Path, content: Any) -> None:
    """Write a file as a whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    with open(new, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=1)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(new, file)


def _locked(path: Path) -> int | None:
    """A lock on a folder, which the system gives back when this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise BlockingIOError(
            f"checkpoint={str(path)!r} is in use by another process; wait for its end, or name another folder"
        ) from None
    return lock
