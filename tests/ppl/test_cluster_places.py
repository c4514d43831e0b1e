"""How problems are handed out: to workers that are up, wherever there is room, whatever becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from ppl import dist, infer_many, infer_stream, program, sample
from ppl.cluster import NoPlaceForWorkers, Workers, WorkersDied
from ppl.posterior import Posterior

from . import pretended_ray
from .pretended_ray import PretendedRay


@program
def coin(number: int) -> tuple[int, int]:
    side = sample(dist.categorical([0.5, 0.5]))
    return number, side


def drawn(posterior: Posterior) -> Any:
    return [(run.value, run.log_weight) for run in posterior.runs]


def run(ray: PretendedRay, monkeypatch: pytest.MonkeyPatch, workers: int | Workers, count: int = 6) -> None:
    """Run some problems on workers, to the posteriors of this process."""
    options: dict[str, Any] = {"method": "importance", "n": 2, "seed": 0}
    inputs = list(range(count))
    here = infer_many(coin, inputs, **options)
    for module in ("ppl.cluster", "ppl.replica"):
        monkeypatch.setattr(f"{module}.the_ray", lambda: ray)
    there = dict(infer_stream(coin, inputs, workers=workers, **options))
    assert sorted(there) == inputs
    assert [drawn(there[i]) for i in inputs] == [drawn(each) for each in here]


@pytest.mark.parametrize(("places", "workers"), [(1, 2), (1, 6), (2, 2), (2, 3), (3, 8)])
def test_workers_for_whom_there_is_no_room_hold_up_no_problem(
    monkeypatch: pytest.MonkeyPatch, places: int, workers: int
) -> None:
    ray = PretendedRay(places)
    run(ray, monkeypatch, workers)
    assert ray.started == min(workers, 6)
    assert not ray.holding and not any(asking() for asking in ray.asking), "all places are given back"


DEATHS = ["RayActorError", "OutOfMemoryError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError"]


@pytest.mark.parametrize("death", DEATHS)
def test_problems_of_a_worker_that_is_gone_are_run_again(monkeypatch: pytest.MonkeyPatch, death: str) -> None:
    error = getattr(pretended_ray, death)
    ray = PretendedRay(2, dies=lambda actor, number: error("gone") if (actor, number) == (0, 0) else None)
    run(ray, monkeypatch, 2)
    assert ray.started == 3, "two workers, and one in the place of the dead"


@pytest.mark.parametrize("death", ["RayActorError", "OutOfMemoryError"])
def test_a_problem_over_which_all_die_is_named(monkeypatch: pytest.MonkeyPatch, death: str) -> None:
    error = getattr(pretended_ray, death)
    ray = PretendedRay(2, dies=lambda actor, number: error("gone") if number == 4 else None)
    with pytest.raises(WorkersDied, match="3 workers died over problem 4: most likely memory ran out"):
        run(ray, monkeypatch, 2)


def test_workers_that_never_come_up_are_no_problems_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = PretendedRay(2, dies=lambda actor, number: pretended_ray.RayActorError("no ppl here") if number < 0 else None)
    with pytest.raises(WorkersDied, match="3 workers died before they were handed a problem: no ppl here"):
        run(ray, monkeypatch, 2)
    one = PretendedRay(2, dies=lambda actor, number: pretended_ray.RayActorError("a hiccup") if actor == 0 else None)
    run(one, monkeypatch, 2)


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        (Workers(1, gpus=1), r"reserves 1 CPUs and 1 GPUs .* no machine .*\(there are: 2 CPUs and 0 GPUs\).* cpus="),
        (Workers(2, cpus=2.5), r"reserves 2\.5 CPUs and 0 GPUs"),
    ],
)
def test_what_no_machine_has_is_told_at_once(monkeypatch: pytest.MonkeyPatch, workers: Workers, message: str) -> None:
    with pytest.raises(NoPlaceForWorkers, match=message):
        run(PretendedRay(2), monkeypatch, workers)


def test_a_cluster_that_may_grow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="reserves 1 CPUs and 1 GPUs .* It is waited for one to join"):
        run(PretendedRay(2, own=False), monkeypatch, Workers(1, gpus=1))


def test_half_a_gpu_is_enough_for_half(monkeypatch: pytest.MonkeyPatch) -> None:
    run(PretendedRay(2, gpus=1), monkeypatch, Workers(2, gpus=0.5))


def test_a_cluster_that_is_gone_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(PretendedRay):
        def is_initialized(self) -> bool:
            return False

        def init(self, **options: Any) -> None:
            raise ConnectionError("Failed to connect to GCS at 192.0.2.2:44663")

    with pytest.raises(ConnectionError, match=r"192\.0\.2\.2(.|\n)*RAY_ADDRESS=local"):
        run(Gone(2), monkeypatch, 2)
