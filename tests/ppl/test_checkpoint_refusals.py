"""Checkpoints of another run are refused, and told what differs; so are two runs at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ppl import barrier, call, infer, infer_many, program, table_lm
from ppl.checkpoint import CheckpointMismatch

from .interrupted import LETTERS, outcome, run, story

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
    with pytest.raises(CheckpointMismatch, match="is a file"):
        run(tmp_path / "thesis.txt")


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
