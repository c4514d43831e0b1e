"""Cells of the comparison of all methods: what one measures, where they are kept, and what they add up to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from contenders import NOISE, attempt, method_for

import ppl.compiler
import ppl.runtime
from ppl import Posterior, infer_many
from ppl.bundled.problems import Problem
from ppl.lm import LM

BOOTSTRAPS = 10_000
STRIDE = 1_000_003


@dataclass(frozen=True)
class Task:
    """What a cell is about.

    Attributes:
        method, checker, budget: which, with which checker, and how many tokens a problem.
        length, problems, seeds: so many problems of so many steps each, each with so many seeds.
        draw: which list of problems they are from.
        code: a digest of the code that measured it.
    """

    method: str
    checker: str
    budget: int
    length: int
    problems: int
    seeds: int
    draw: int
    code: str


@dataclass(frozen=True)
class Cell:
    """What came out.

    Attributes:
        task: of what.
        right: for each problem, how many seeds had the right answer.
        silent: how many of all runs had no answer.
        tokens: of all runs together.
        most: of one run.
    """

    task: Task
    right: tuple[int, ...]
    silent: int
    tokens: int
    most: int


def measure(task: Task, asked: Sequence[Problem], lm: LM) -> Cell:
    """Answer problems of one length with all seeds, in shared batches.

    Args:
        task: what to do.
        asked: the problems.
        lm: the model.

    Raises:
        RuntimeError: a run exceeded its budget.
    """
    method = method_for(task.method, task.budget, task.length + 1)
    inputs = [(p.question, NOISE[task.checker], task.method == "a-star", lm) for p in asked for _ in range(task.seeds)]
    # Problems with one seed would share their random numbers, and so their luck.
    seeds = [STRIDE * (i % task.seeds) + i // task.seeds + 1000 * task.length for i in range(len(inputs))]
    posteriors = infer_many(
        attempt, inputs, method=method, seed=seeds, budget={"tokens": task.budget}, concurrency=len(inputs)
    )
    most = max(p.cost.tokens for p in posteriors)
    if most > task.budget:
        raise RuntimeError(f"{task.method} used {most} tokens of {task.budget}")
    groups = [posteriors[i : i + task.seeds] for i in range(0, len(posteriors), task.seeds)]
    right = tuple(sum(answer(p) == problem.answer for p in group) for problem, group in zip(asked, groups, strict=True))
    return Cell(task, right, sum(p.empty for p in posteriors), sum(p.cost.tokens for p in posteriors), most)


def answer(posterior: Posterior) -> str | None:
    """The mode, if there is one."""
    return None if posterior.empty else str(posterior.mode())


class Store:
    """Cells as JSON lines, so that a run that was cut goes on where it stopped.

    Args:
        path: of the file; it is made when there is something to keep.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cells = {cell.task: cell for cell in self._read()}

    def cell(self, task: Task, measured: Callable[[], Cell]) -> Cell:
        """The cell of ``task``: the one that is kept, else what ``measured()`` gives, which is kept."""
        cell = self._cells.get(task)
        if cell is None:
            cell = self._cells[task] = measured()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(asdict(cell))}")  # a line that was cut before stays one of its own
        return cell

    def _read(self) -> Iterable[Cell]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the run was cut while it wrote
                continue
            if set(entry) == {f.name for f in fields(Cell)}:
                yield Cell(**{**entry, "task": Task(**entry["task"]), "right": tuple(entry["right"])})


@lru_cache(1)
def code() -> str:
    """A digest of all that decides a cell: the package, the model, the program and the methods' options."""
    packages = [Path(str(module.__file__)).parent for module in (ppl, ppl.compiler, ppl.runtime)]
    files = {file for folder in packages for pattern in ("*.py", "*.safetensors") for file in folder.rglob(pattern)}
    here = Path(__file__).parent
    digest = blake2b(digest_size=8)
    for file in [*sorted(files), here / "contenders.py", here / "cells.py"]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Entry:
    """Cells of one method, checker and budget, over all lengths.

    Attributes:
        cells: at least one, all with as many seeds.
    """

    cells: tuple[Cell, ...]

    @cached_property
    def right(self) -> np.ndarray:
        """For each problem, the share of seeds with a right answer [problems]."""
        return np.concatenate([np.array(cell.right) / cell.task.seeds for cell in self.cells])

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the accuracy."""
        return bootstrap(self.right)

    def ahead_of(self, other: Entry) -> tuple[float, tuple[float, float]]:
        """How much more accurate it is than another on the same problems, with its 95 % interval."""
        return self.accuracy - other.accuracy, bootstrap(self.right - other.right)

    @property
    def silent(self) -> float:
        """The share of runs without an answer."""
        return sum(cell.silent for cell in self.cells) / self._runs

    @property
    def tokens(self) -> float:
        """Of a run, on average."""
        return sum(cell.tokens for cell in self.cells) / self._runs

    @property
    def most(self) -> int:
        """Tokens of the run that took most."""
        return max(cell.most for cell in self.cells)

    @property
    def _runs(self) -> int:
        return sum(cell.task.problems * cell.task.seeds for cell in self.cells)


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """A 95 % interval for the mean by the percentile bootstrap (Efron, 1979) over problems, all seeds of one together.

    Args:
        values: one a problem [problems]; a difference of two methods' values makes it a paired bootstrap.
    """
    n = len(values)
    drawn = np.random.default_rng(0).integers(0, n, (BOOTSTRAPS, n))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
