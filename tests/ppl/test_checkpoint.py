"""Checkpoints: a run that died goes on to the posterior that it would have had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppl import Posterior, call, dist, factor, infer, infer_many, program, sample
from ppl.lm import LM

from .interrupted import ASKED, LETTERS, journal, outcome, run, story


def test_a_finished_run_is_repeated_without_a_model_or_function_call(tmp_path: Path) -> None:
    undisturbed = run(None)
    first = run(tmp_path)
    again = run(tmp_path)
    assert outcome(first) == outcome(again) == outcome(undisturbed)
    assert first.cost.forwards > 0
    assert ASKED == []
    assert again.result == first.result, "with all texts' tokens and models, and the cost"
    assert again.runs[0].trace[0].value.lm is LETTERS
    assert not journal(tmp_path).exists()


@pytest.mark.usefixtures("journals_only")
def test_so_is_one_whose_values_are_no_data(tmp_path: Path) -> None:
    undisturbed = run(None)
    first = run(tmp_path)
    again = run(tmp_path)
    assert outcome(first) == outcome(again) == outcome(undisturbed)
    assert first.cost.forwards > 0
    assert (again.cost.forwards, again.cost.positions, ASKED) == (0, 0, [])


def test_values_of_any_type_come_back(tmp_path: Path) -> None:
    class Answer:
        def __init__(self, text: str) -> None:
            self.text = text

    @program
    def wrapped(lm: LM) -> Answer:
        text = sample(lm.context("a").text(max_tokens=2))
        return Answer(text)

    for _ in range(2):
        found = infer(wrapped, LETTERS, n=3, seed=0, checkpoint=tmp_path)
        assert all(type(value) is Answer for value in (run.value for run in found.runs))
    assert found.cost.forwards == 0


def test_a_finished_problem_without_models_is_not_run_again(tmp_path: Path) -> None:
    runs = []

    def note(x: int) -> int:
        runs.append(x)
        return x

    @program
    def coins() -> tuple[int, ...]:
        first = sample(dist.categorical([0.5, 0.5]))
        return (note(first), 2)

    first = infer(coins, n=4, seed=0, checkpoint=tmp_path)
    count = len(runs)
    with pytest.warns(UserWarning, match="cache or counter"):
        again = infer(coins, n=4, seed=0, checkpoint=tmp_path)
    assert len(runs) == count == 4
    assert again.result == first.result


METHODS: dict[str, dict[str, Any]] = {
    "smc": {"n": 3},
    "importance": {"n": 3},
    "mh": {"steps": 4},
    "pgibbs": {"n": 3, "steps": 2},
    "beam": {"n": 4},
}


@pytest.mark.usefixtures("journals_only")
@pytest.mark.parametrize("method", METHODS)
def test_wherever_the_journal_breaks_off_the_posterior_is_the_same(tmp_path: Path, method: str) -> None:
    """Cut at every line, and inside of some: the torn line and all that depended on it are computed again."""
    options = {"method": method, **METHODS[method]}
    undisturbed = _outcome_or_less(run(None, **options))
    run(tmp_path, **options)
    whole = journal(tmp_path).read_bytes()
    ends = [0, *(i + 1 for i, byte in enumerate(whole) if byte == ord("\n"))]
    assert len(ends) > 4
    for cut in [*ends, *(end + 7 for end in ends[:-1:3]), *(end - 1 for end in ends[1::3])]:
        journal(tmp_path).write_bytes(whole[:cut])
        found = run(tmp_path, **options)
        assert _outcome_or_less(found) == undisturbed, f"cut after {cut} bytes"
        if method == "mh":  # chains take turns, and what is known already makes theirs others: answers in other groups
            again = run(tmp_path, **options)
            assert _outcome_or_less(again) == undisturbed and again.cost.forwards == 0
        else:
            assert journal(tmp_path).read_bytes() == whole
        assert cut == len(whole) or found.cost.forwards + found.cost.calls > 0


def _outcome_or_less(posterior: Posterior) -> Any:
    return [(run.value, run.log_weight) for run in posterior.runs], posterior.history, posterior.cost.tokens


def test_the_engine_may_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = outcome(run(None))
    model: Any = LETTERS.model
    whole, left = model.logits, 4

    def dying(nodes: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError("the server is gone")
        return whole(nodes)

    monkeypatch.setattr(model, "logits", dying)
    attempts = 0
    while True:
        attempts, left = attempts + 1, 4
        try:
            found = run(tmp_path)
        except ConnectionError:
            continue
        break
    assert attempts > 2, "it died on the way"
    assert outcome(found) == undisturbed


def test_of_many_problems_only_what_is_left_is_computed(tmp_path: Path) -> None:
    inputs = [(LETTERS, steps) for steps in (2, 3, 1, 3)]
    seeds = [3, 1, 4, 1]
    options: dict[str, Any] = {"n": 4, "seed": seeds, "checkpoint": tmp_path, "concurrency": 2}
    undisturbed = infer_many(story, inputs, n=4, seed=seeds)
    ASKED.clear()
    infer_many(story, inputs, **options)
    (tmp_path / "000002.json").unlink()
    ASKED.clear()
    found = infer_many(story, inputs, **options)
    assert list(map(outcome, found)) == list(map(outcome, undisturbed))
    assert not list(tmp_path.glob("*.journal"))
    assert len(ASKED) == found[2].cost.calls == 4


def test_a_seed_that_was_chosen_is_kept(tmp_path: Path) -> None:
    first = run(tmp_path, seed=None)
    again = run(tmp_path, seed=None)
    assert first.seed == again.seed
    assert outcome(first) == outcome(again)


@pytest.mark.usefixtures("journals_only")
def test_a_budget_is_spent_in_the_same_way(tmp_path: Path) -> None:
    options = {"budget": {"tokens": 25}, "method": "importance", "n": 4}
    undisturbed = run(None, **options)
    assert undisturbed.incomplete
    run(tmp_path, **options)
    whole = journal(tmp_path).read_bytes()
    lines = whole.splitlines(keepends=True)
    for count in range(len(lines)):
        journal(tmp_path).write_bytes(b"".join(lines[:count]))
        assert _outcome_or_less(run(tmp_path, **options)) == _outcome_or_less(undisturbed)


@pytest.mark.usefixtures("journals_only")
def test_answers_that_are_no_data_are_asked_for_again(tmp_path: Path) -> None:
    asked = []

    class Opinion:
        def __init__(self, good: bool) -> None:
            self.good = good

    def judged(texts: list[str]) -> list[Opinion]:
        asked.append(len(texts))
        return [Opinion("b" in text) for text in texts]

    @program
    def liked(lm: LM) -> str:
        text = sample(lm.context("a").text(max_tokens=3))
        opinion = call(judged, text)
        factor(0.0 if opinion.good else -1.0)
        more = sample(lm.context("b").text(max_tokens=2))
        return text + more

    first = infer(liked, LETTERS, n=5, seed=0, checkpoint=tmp_path)
    with pytest.warns(UserWarning, match=r"asked in .*judged\(\): \[\] then, \[5\] now") as found:
        again = infer(liked, LETTERS, n=5, seed=0, checkpoint=tmp_path)
    assert found[0].filename == __file__
    assert outcome(first) == outcome(again)
    assert again.cost.forwards == 0
    assert asked == [5, 5]


@pytest.mark.usefixtures("journals_only")
def test_enumerated_texts_come_back_as_they_were(tmp_path: Path) -> None:
    @program
    def short(lm: LM) -> str:
        text = sample(lm.context("a").text(max_tokens=2))
        letter = sample(lm.context("b").choice(["a", "bc"]))
        factor(-0.5 * text.count("a"))
        return text + letter

    first = infer(short, LETTERS, method="enumerate", checkpoint=tmp_path)
    again = infer(short, LETTERS, method="enumerate", checkpoint=tmp_path)
    assert outcome(first) == outcome(again)
    assert again.cost.forwards == 0
    assert again.runs[0].trace[0].value.tokens_for(LETTERS) is not None


# --- killed ---------------------------------------------------------------------------------------------------------


def killed(trials: int, seed: int, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.ppl.killed_runs", str(trials), str(seed), str(folder)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    undisturbed, *found = map(json.loads, done.stdout.splitlines())
    assert len(found) == trials
    for trial in found:
        _same(trial["outcome"], undisturbed["outcome"])
    assert any(any(trial["kept"]) for trial in found), "no run was killed after its beginning"
    # What is begun anew is a common beginning or two; the rest was kept.
    assert min(trial["positions"] for trial in found) < undisturbed["positions"]


def _same(found: Any, expected: Any) -> None:
    """Values, tokens and counts are equal; log-probabilities up to the rounding of differently filled batches."""
    if isinstance(expected, dict):
        for key in expected:
            _same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            _same(mine, theirs)
    else:
        assert found == (pytest.approx(expected, abs=1e-5) if isinstance(expected, float) else expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    killed(5, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_many_random_moments(tmp_path: Path) -> None:
    killed(50, 1, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_child_holds_no_checkpoint(tmp_path: Path) -> None:
    """Such as a pool of processes that a batched function has made, and that outlives the run."""
    children: list[int] = []

    def rewards(xs: list[float]) -> list[float]:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent lets go
            os._exit(0)
        children.append(child)
        os.close(reading)
        children.append(writing)
        return [-x for x in xs]

    @program
    def weighed() -> float:
        x = sample(dist.uniform([0.0, 1.0]))
        factor(call(rewards, x))
        return x

    try:
        first = infer(weighed, n=2, seed=0, checkpoint=tmp_path)
        again = infer(weighed, n=2, seed=0, checkpoint=tmp_path)
        assert first.log_evidence == again.log_evidence
    finally:
        for child, writing in zip(children[::2], children[1::2], strict=True):
            os.close(writing)
            os.waitpid(child, 0)


@pytest.mark.usefixtures("journals_only")
def test_a_budget_in_seconds_begins_where_the_journal_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = run(tmp_path, budget={"seconds": 60.0})
    assert not undisturbed.incomplete
    seconds = iter(range(1_000_000))
    monkeypatch.setattr("ppl.runtime.budget.time.monotonic", lambda: next(seconds))
    lines = journal(tmp_path).read_bytes().splitlines(keepends=True)
    journal(tmp_path).write_bytes(b"".join(lines))
    again = run(tmp_path, budget={"seconds": 60.0})
    assert not again.incomplete and outcome(again) == outcome(undisturbed)


def test_a_run_that_asks_nobody_is_bounded_too(tmp_path: Path) -> None:
    @program
    def walk() -> int:
        total = 0
        for _ in range(100):
            total = total + sample(dist.flip(0.5))
        return total

    found = infer(walk, method="mh", steps=10**7, budget={"seconds": 0.3}, checkpoint=tmp_path, seed=0)
    assert found.incomplete
