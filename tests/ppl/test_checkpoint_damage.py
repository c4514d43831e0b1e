"""A journal that is written wrong, damaged or of another run is seen; damage costs work and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ppl import ProgramError, infer, program, sample
from ppl.checkpoint import CheckpointMismatch
from ppl.lm import LM
from ppl.runtime.journal import Journal

from .interrupted import LETTERS, journal, outcome, run


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


def test_damage_to_a_finished_posterior_is_seen(tmp_path: Path) -> None:
    first = run(tmp_path)
    file = tmp_path / "000000.json"
    kept = file.read_text()
    for damaged in (kept[:100], kept.replace("0.", "1.", 1), kept.replace("SMC", "CMS", 1), "[]"):
        assert damaged != kept
        file.write_text(damaged)
        with pytest.raises(CheckpointMismatch, match=r"000000\.json can't be read .*run again"):
            run(tmp_path)
    file.unlink()
    assert outcome(run(tmp_path)) == outcome(first)


@pytest.mark.usefixtures("journals_only")
def test_a_program_that_does_not_repeat_itself_is_told(tmp_path: Path) -> None:
    times = iter(range(100))

    @program
    def clocked(lm: LM) -> str:
        context = lm.context("ab"[: 1 + next(times) // 3])
        text = sample(context.text(max_tokens=3))
        return text

    infer(clocked, LETTERS, n=3, seed=0, checkpoint=tmp_path, passes=[])
    with pytest.raises(ProgramError, match=r"text.*asks for something else at request 0(.|\n)*_damage.py"):
        infer(clocked, LETTERS, n=3, seed=0, checkpoint=tmp_path, passes=[])
