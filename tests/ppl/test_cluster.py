"""Problems on Ray workers: the same posteriors as in one process, whoever dies on the way."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppl import Posterior, call, dist, factor, infer, infer_many, infer_stream, load_lm, program, sample, table_lm
from ppl.cluster import NoPlaceForWorkers, Workers, WorkersDied
from ppl.context import Context
from ppl.lm import LM
from ppl.replica import FailedOnWorker

LETTERS = table_lm(["a", "b", "c"], seed=1, eos=".")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield ray
    ray.shutdown()


@program
def by_name(lm: LM, start: str) -> str:
    text = sample(lm.context(start).text(max_tokens=3))
    return str(text)


def story(diary: Path, deadly: str = "", deaths: int = 1) -> Any:
    """A program that only this process holds; its judge kills the process over one problem, some times.

    The judge notes in the diary what it is asked for, and who it is.
    """

    def judge(starts: list[str], texts: list[str]) -> list[float]:
        lines = diary.read_text().splitlines() if diary.exists() else []
        with diary.open("a") as file:
            file.writelines(f"{start} {os.getpid()}\n" for start in starts)
        if deadly in starts and deadly and sum(line == "killed" for line in lines) < deaths:
            with diary.open("a") as file:
                file.write("killed\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return [-0.4 * text.count("a") for text in texts]

    @program
    def step(context: Context) -> str:
        text = sample(context.text(max_tokens=3))
        return text

    @program
    def told(lm: LM, start: str) -> str:
        context = lm.context(start)
        for _ in range(3):
            text = step(context)
            context = context + text
            factor(call(judge, start, text))
        return str(context)

    return told


def outcome(posterior: Posterior) -> Any:
    draws = [[(c.address, str(c.value), c.value.tokens, c.log_prob) for c in run.trace] for run in posterior.runs]
    cost = posterior.cost
    return draws, [(r.value, r.log_weight) for r in posterior.runs], posterior.history, (cost.tokens, cost.calls)


STARTS = ["a", "b", "c", "ab", "bc", "ca", "abc"]


def test_a_killed_workers_problems_are_run_again_to_the_same_posterior(cluster: Any, tmp_path: Path) -> None:
    inputs = [(LETTERS, start) for start in STARTS]
    undisturbed = infer_many(story(tmp_path / "local"), inputs, n=5, seed=3)
    diary = tmp_path / "diary"
    options: dict[str, Any] = {"n": 5, "seed": 3, "concurrency": 2, "checkpoint": tmp_path / "checkpoint"}
    found = list(infer_stream(story(diary, "c"), inputs, workers=2, **options))
    assert sorted(number for number, _ in found) == list(range(len(inputs)))
    for number, posterior in found:
        assert outcome(posterior) == outcome(undisturbed[number])
    lines = diary.read_text().splitlines()
    workers = {line.split()[1] for line in lines if line != "killed"}
    assert lines.count("killed") == 1
    assert len(workers) > 1, "the dead worker's problem was taken by another"
    assert str(os.getpid()) not in workers
    # What the dead worker had been told was written down: only what it was asked last is asked again.
    asked = sum(line.startswith("c ") for line in lines)
    assert asked == undisturbed[2].cost.calls + 5


def test_errors_come_from_the_users_line(cluster: Any) -> None:
    @program
    def wrong(lm: LM, start: str) -> int:
        text = sample(lm.context(start).text(max_tokens=2))
        return {"a": 1}[start + "?"]

    with pytest.raises(KeyError, match=r"a\?"):
        infer_many(wrong, [(LETTERS, "a")], n=2, seed=0, workers=Workers(1))


class Unsent(Exception):
    """What can't be put together again from what it is taken apart to."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def test_errors_that_cannot_be_sent_are_told_with_the_users_line(cluster: Any) -> None:
    @program
    def wrong(held: bool) -> int:
        side = sample(dist.categorical([0.5, 0.5]))
        if held:
            error = ValueError("held on to")
            error.lock = threading.Lock()  # type: ignore[attr-defined]
            raise error
        raise Unsent("mould", "the cellar")

    here = re.escape(__file__)
    with pytest.raises(FailedOnWorker, match=rf'^Unsent: mould in the cellar at "{here}", line \d+\. \(It was'):
        infer_many(wrong, [(False,)], method="importance", n=2, seed=0, workers=1)
    with pytest.raises(FailedOnWorker, match=rf'^ValueError: held on to at "{here}", line \d+\.'):
        infer_many(wrong, [(True,)], method="importance", n=2, seed=0, workers=1)


def test_without_a_gpu_workers_that_reserve_one_are_refused(cluster: Any) -> None:
    with pytest.raises(NoPlaceForWorkers, match=r"1 GPUs .*there are: 2 CPUs and 0 GPUs"):
        infer_many(by_name, [(LETTERS, "a")], n=2, workers=Workers(1, gpus=1))


@pytest.mark.slow
def test_a_problem_that_kills_every_worker_is_named(cluster: Any, tmp_path: Path) -> None:
    inputs = [(LETTERS, start) for start in STARTS]
    finished = []
    with pytest.raises(WorkersDied, match=r"3 workers died over problem 2: .*memory"):
        for number, _ in infer_stream(story(tmp_path / "diary", "c", 99), inputs, n=5, seed=3, workers=2):
            finished.append(number)
    assert 2 not in finished


def test_what_cannot_be_sent_is_told_here(cluster: Any) -> None:
    with pytest.raises(TypeError, match=r"by_name or its arguments can't be sent to workers: a Context belongs"):
        infer_many(by_name, [(LETTERS.context("a"), "a")], n=2, workers=2)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"ppl-lm\[ray\]"):
        infer_many(by_name, [(LETTERS, "a")], n=2, workers=2)


def test_senseless_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="workers=0: give 1 or more"):
        infer_many(by_name, [(LETTERS, "a")], n=2, workers=0)
    with pytest.raises(ValueError, match="progress is not shown"):
        infer_many(by_name, [(LETTERS, "a")], n=2, workers=2, progress=True)


def test_programs_of_modules_and_models_are_sent_by_name() -> None:
    assert pickle.loads(pickle.dumps(by_name)) is by_name
    lm = load_lm()
    assert pickle.loads(pickle.dumps(lm)) is lm
    letters = pickle.loads(pickle.dumps(LETTERS))
    assert outcome(infer(by_name, letters, "a", n=4, seed=0)) == outcome(infer(by_name, LETTERS, "a", n=4, seed=0))


def test_posteriors_come_as_they_are_finished_without_workers_too() -> None:
    found = infer_stream(by_name, [(LETTERS, start) for start in STARTS], n=3, seed=0, concurrency=2)
    number, posterior = next(found)
    assert outcome(posterior) == outcome(infer(by_name, LETTERS, STARTS[number], n=3, seed=0))
    assert sorted([number, *(number for number, _ in found)]) == list(range(len(STARTS)))
