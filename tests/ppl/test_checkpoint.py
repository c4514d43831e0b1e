"""Checkpoints: a run that died goes on to the posterior that it would have had; another run's is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppl import (
    Posterior,
    ProgramError,
    barrier,
    call,
    dist,
    factor,
    infer,
    infer_many,
    observe,
    program,
    sample,
    table_lm,
)
from ppl.checkpoint import Checkpoint, CheckpointMismatch
from ppl.lm import LM
from ppl.runtime.journal import Journal

LETTERS = table_lm(["a", "b", "c"], seed=1, eos=".")
ASKED: list[str] = []
"""What the batched function was asked for."""


def rewards(texts: list[str]) -> list[float]:
    ASKED.extend(map(str, texts))
    return [-0.3 * text.count("a") for text in texts]


@program
def story(lm: LM, steps: int) -> tuple[str, int]:
    context = lm.context("ab")
    side = 0
    for _ in range(steps):
        text = sample(context.text(max_tokens=3))
        context = context + text
        factor(call(rewards, text))
        side += sample(dist.categorical([0.5, 0.5]))
        observe(context.choice(["a", "b"]), "b")
    return str(context), side


def run(path: Path | None, **options: Any) -> Posterior:
    ASKED.clear()  # what a function reads is part of what is run
    return infer(story, LETTERS, 3, **{"seed": 5, "checkpoint": path, **(options or {"n": 4})})


def outcome(posterior: Posterior) -> Any:
    """Everything that a posterior is made of, apart from what it cost to compute."""
    runs = [
        (r.value, r.log_weight, r.log_joint, [(*c, tuple(getattr(c.value, "tokens", ()))) for c in r.trace])
        for r in posterior.runs
    ]
    cost = posterior.cost
    return runs, posterior.log_evidence, posterior.history, (cost.tokens, cost.model_calls, cost.calls)


@pytest.fixture
def journals_only() -> Iterator[None]:
    """What is finished is not stored as a posterior, so that its journal stays, and is what a run goes on from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "finish", lambda self, number, posterior: None)
        yield


def journal(path: Path) -> Path:
    return path / "000000.journal"


# --- going on -------------------------------------------------------------------------------------------------------


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


# --- planted bugs ---------------------------------------------------------------------------------------------------


def _lose(write: Callable[[Journal, Any], None], file: Journal, record: Any, count: int) -> None:
    if count != 3:
        write(file, record)


def _repeat(write: Callable[[Journal, Any], None], file: Journal, record: Any, count: int) -> None:
    for _ in range(2 if count == 3 else 1):
        write(file, record)


def _swap(write: Callable[[Journal, Any], None], file: Journal, record: Any, count: int) -> None:
    """One particle's answer is written down as another's."""
    other = next((entry for entry in record if entry[2] != record[0][2]), record[0])
    record[0][2], other[2] = other[2], record[0][2]
    write(file, record)


def _late(write: Callable[[Journal, Any], None], file: Journal, record: Any, count: int) -> None:
    """One answer of a record is lost, and the rest kept."""
    write(file, record[1:] if count == 2 else record)


@pytest.mark.usefixtures("journals_only")
@pytest.mark.parametrize("bug", [_lose, _repeat, _swap, _late])
def test_a_journal_that_loses_or_mixes_up_answers_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: Callable[..., None]
) -> None:
    undisturbed = outcome(run(None))
    count = 0
    write = Journal.append

    def append(self: Journal, record: Any) -> None:
        nonlocal count
        bug(write, self, record, count)
        count += 1

    monkeypatch.setattr(Journal, "append", append)
    run(tmp_path)
    monkeypatch.undo()
    try:
        found = outcome(run(tmp_path))
    except ProgramError as error:
        assert "the checkpoint does not fit the run" in str(error)
    else:
        assert found != undisturbed


@pytest.mark.usefixtures("journals_only")
@pytest.mark.parametrize("change", ["lose", "repeat", "exchange", "alter"])
def test_damage_to_the_file_costs_work_and_nothing_else(tmp_path: Path, change: str) -> None:
    undisturbed = outcome(run(None))
    run(tmp_path)
    lines = journal(tmp_path).read_bytes().splitlines(keepends=True)
    match change:
        case "lose":
            del lines[2]
        case "repeat":
            lines.insert(2, lines[2])
        case "exchange":
            lines[2], lines[3] = lines[3], lines[2]
        case "alter":
            lines[2] = lines[2].replace(b"1", b"2", 1)
    journal(tmp_path).write_bytes(b"".join(lines))
    assert outcome(run(tmp_path)) == undisturbed


@pytest.mark.usefixtures("journals_only")
def test_a_program_that_does_not_repeat_itself_is_told(tmp_path: Path) -> None:
    times = iter(range(100))

    @program
    def clocked(lm: LM) -> str:
        context = lm.context("ab"[: 1 + next(times) // 3])
        text = sample(context.text(max_tokens=3))
        return text

    infer(clocked, LETTERS, n=3, seed=0, checkpoint=tmp_path, passes=[])
    with pytest.raises(ProgramError, match=r"text.*asks for something else at request 0(.|\n)*test_checkpoint.py"):
        infer(clocked, LETTERS, n=3, seed=0, checkpoint=tmp_path, passes=[])


# --- refusals -------------------------------------------------------------------------------------------------------

MODULE = """
from ppl import *
from ppl.nested import nested
{extra}
LIMIT = {limit}

def bonus(text):
    return {bonus}

@program
def side():
    return sample(dist.categorical([0.5, 0.5]))

aside = nested(side, {nested})

@program
def told(lm, words=2):{comment}
    z = aside()
    text = sample(lm.context("a").text(max_tokens=LIMIT))
    factor(bonus(text))
    return {result}
"""
USUAL = {
    "limit": "2",
    "bonus": "-0.5 * len(text)",
    "comment": "",
    "result": "text",
    "extra": "",
    "nested": "'smc', n=2",
}


def told(folder: Path, **changes: str) -> Any:
    """The program of a module with some of its text changed."""
    from importlib.util import module_from_spec, spec_from_file_location

    text = MODULE.format(**{**USUAL, **changes})
    file = folder / f"told_{abs(hash(text))}.py"
    file.write_text(text)
    spec = spec_from_file_location("told", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.told


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"result": "text + 'x'"}, {}, r"told\(\): \w+ then, \w+ now"),
        ({"limit": "3"}, {}, r"LIMIT in told\(\): 2 then, 3 now"),
        ({"bonus": "-0.7 * len(text)"}, {}, r"bonus\(\): "),
        ({"nested": "'smc', n=3"}, {}, r"aside in told\(\): \w+ then, \w+ now"),
        ({}, {"seed": 2}, "seed: 1 then, 2 now"),
        ({}, {"n": 5}, r"method: SMC\(n=4\).* then, SMC\(n=5\)"),
        ({}, {"resampling": "multinomial"}, r"method: .*multinomial"),
        ({}, {"kwargs": {"words": 3}}, "the arguments"),
        ({}, {"lm": table_lm(["a", "b", "c"], seed=2, eos=".")}, "the model table"),
        ({}, {"on_error": "kill"}, "on_error: 'raise' then, 'kill' now"),
        ({}, {"passes": []}, "passes: .* then, none now"),
        ({}, {"budget": {"tokens": 9}}, r"budget: .* then, Budget\(tokens=9"),
        ({}, {"stop": lambda population: False}, "stop: None then"),
        ({}, {"proposals": {"text": lambda site: site.prior}}, "proposals: None then"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_another_run_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, str], options: dict[str, Any], message: str
) -> None:
    usual: dict[str, Any] = {"n": 4, "seed": 1, "checkpoint": tmp_path / "checkpoint"}
    infer(told(tmp_path), LETTERS, **usual)
    given = {**usual, **options}
    with pytest.raises(CheckpointMismatch, match=message):
        infer(told(tmp_path, **changes), given.pop("lm", LETTERS), **given)


def test_layout_comments_and_unused_names_may_change(tmp_path: Path) -> None:
    usual: dict[str, Any] = {"n": 4, "seed": 1, "checkpoint": tmp_path / "checkpoint"}
    first = infer(told(tmp_path), LETTERS, **usual)
    changed = told(tmp_path, comment="  # as it should\n\n", extra="UNUSED = 3\n")
    assert outcome(infer(changed, LETTERS, **usual))[0] == outcome(first)[0]


def test_other_problems_are_refused(tmp_path: Path) -> None:
    infer_many(story, [(LETTERS, 1), (LETTERS, 2)], n=2, seed=0, checkpoint=tmp_path)
    with pytest.raises(CheckpointMismatch, match="the arguments of problem 1"):
        infer_many(story, [(LETTERS, 1), (LETTERS, 3)], n=2, seed=0, checkpoint=tmp_path)
    with pytest.raises(CheckpointMismatch, match="how many problems: 2 then, 1 now"):
        infer_many(story, [(LETTERS, 1)], n=2, seed=0, checkpoint=tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    known = json.loads((tmp_path / "run.json").read_text())
    known["what"]["ppl"] = "0.0.1"
    (tmp_path / "run.json").write_text(json.dumps(known))
    with pytest.raises(CheckpointMismatch, match=r"ppl: 0\.0\.1 then, "):
        run(tmp_path)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointMismatch, match=r"thesis\.txt"):
        run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointMismatch, match="can't be read"):
        run(tmp_path)


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    @program
    def nested() -> int:
        barrier()
        with pytest.raises(BlockingIOError, match="in use"):
            run(tmp_path)
        return 0

    @program
    def outer() -> int:
        found = call(inside, 0)
        return found

    def inside(rows: list[int]) -> list[int]:
        with pytest.raises(BlockingIOError, match="in use"):
            infer(outer, n=1, seed=0, checkpoint=tmp_path)
        return rows

    assert infer(outer, n=1, seed=0, checkpoint=tmp_path).mode() == 0


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
