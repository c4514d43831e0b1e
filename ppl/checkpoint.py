"""Checkpoints: a folder from which a run that died goes on, to the posterior that it would have had.

In the folder are ``run.json``, which says what was run; a journal of answers for each problem (see
``runtime/recording.py`` for what is in it and why that is enough); and in its place, once the problem is finished, its
posterior, if that is made of plain data and texts. Everything is JSON; reading it evaluates nothing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from .finished import read, written
from .lm import LM
from .posterior import Posterior
from .running import Journals, Problems, warn_user
from .runtime.journal import Journal
from .runtime.source import fresh_seed

_FORMAT = 1
_RUN = "run.json"
_LOCK = "lock"
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
        lms: Sequence[LM] = (),
    ) -> None:
        """Begin a checkpoint, or go on with the one that is there.

        Args:
            path: a folder; made if it is not there.
            what: what is run, by the name of what may differ.
            held: what its variables hold that may change on the way; a difference is only warned of.
            problems: a digest of the arguments of each, and its seed.
            lms: the models in use.

        Raises:
            CheckpointMismatch: the folder holds the checkpoint of another run, or something else.
            BlockingIOError: another process is at work in it.
        """
        self.path = Path(path)
        self._lms = lms
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise CheckpointMismatch(f"checkpoint={str(path)!r} is a file, or in one; name a folder") from None
        self._lock, self._process = _locked(self.path), os.getpid()
        try:
            self.seeds = self._begun(dict(what), dict(held), problems)
        except BaseException:
            self.close()
            raise

    @property
    def journals(self) -> Journals:
        """From the number of a problem to its journal. It may be sent to other processes."""
        return partial(_journal, self.path.absolute())

    def finish(self, number: int, posterior: Posterior) -> None:
        """Keep the posterior of a problem, if it can be written; else the journal is what there is to go by."""
        content = written(posterior, self._lms)
        if content is not None:
            _write(self._file(number), {"posterior": content, "check": _check(content)}, None)
            _journal(self.path, number).path.unlink(missing_ok=True)

    def finished(self, number: int) -> Posterior | None:
        """The posterior of a problem, if it is finished and was written."""
        file = self._file(number)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["check"] != _check(found["posterior"]):
                raise ValueError("its checksum is another")
            return read(found["posterior"], self._lms)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, LookupError) as error:
            raise CheckpointMismatch(f"{file} can't be read ({error}); without it, its problem is run again") from None

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06}.json"

    def close(self) -> None:
        """Leave it to other processes."""
        if self._lock is not None:
            if self._process == os.getpid():  # else this is a forked child, which has let go of it
                _held.discard(self._lock)
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
        known = _known(file)
        begun = [(str(digest), asked) for digest, asked, _ in known["problems"]]
        different = [*_differences(known["what"], what), *_other_problems(begun, problems)]
        if different:
            raise CheckpointMismatch(
                f"checkpoint={str(self.path)!r} is of another run. What differs:\n"
                + "\n".join(f"  {line}" for line in different)
                + "\nRun it as it was begun, or name another folder"
            )
        for line in _differences(known["held"], held):
            warn_user(
                f"checkpoint={str(self.path)!r}: the program reads what was something else when the run was begun: "
                f"{line}. If that is no cache or counter, name another folder"
            )
        return [int(seed) for *_, seed in known["problems"]]


def _known(file: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if known["format"] != _FORMAT:
            raise ValueError(f"its format is {known['format']}, not {_FORMAT}")
        return {"what": dict(known["what"]), "held": dict(known["held"]), "problems": list(known["problems"])}
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointMismatch(f"{file} can't be read ({error}); name another folder") from None


def _journal(folder: Path, number: int) -> Journal:
    return Journal(folder / f"{number:06}.journal")


def open_checkpoint(path: str | os.PathLike[str], problems: Problems) -> Checkpoint:
    """The checkpoint of some problems.

    Args:
        path: the folder.
        problems: what is run, on what, and how.

    Raises:
        CheckpointMismatch: the folder holds another run.
        BlockingIOError: another process is at work in it.
    """
    from .identity import Identity

    identity = Identity()
    program, method = problems.program, problems.method
    what = {"ppl": _version(), "python": ".".join(platform.python_version_tuple()[:2])}
    if "torch" in sys.modules:
        what["torch"] = str(sys.modules["torch"].__version__)
    what["program"] = identity.of(program)
    what["method"] = f"{_ADDRESS.sub('', method.describe())} ({identity.of(method)})"
    if program.pipeline is not None:
        what["passes"] = ", ".join(each.name for each in program.pipeline.passes) or "none"
        what["keep"] = ", ".join(sorted(program.pipeline.keep))
    budget, stop = problems.limits
    what["budget"] = repr(budget)
    for name, value in (("proposals", problems.proposals), ("on_error", problems.on_error), ("stop", stop)):
        what[name] = identity.shown(value)
    digests = [(identity.of(call), seed) for call, seed in zip(problems.calls, problems.seeds, strict=True)]
    return Checkpoint(path, {**what, **identity.parts}, identity.held, digests, identity.lms)


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


def _write(file: Path, content: Any, indent: int | None = 1) -> None:
    """Write a file as a whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    with open(new, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=indent, allow_nan=False)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(new, file)


def _check(content: Any) -> int:
    """A checksum of what a file holds: a digit that changed on the disk would be read as well."""
    return crc32(json.dumps(content).encode())


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
            f"checkpoint={str(path)!r} is in use by another inference; wait for its end, or name another folder"
        ) from None
    _held.add(lock)
    return lock


_held: set[int] = set()
"""The locks of this process."""


def _let_go() -> None:
    """In a forked child: a lock is its parent's, and must go with that."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_go)
