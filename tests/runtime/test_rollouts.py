"""Trials of what comes next: drawn, or greedy, in searches and in look-ahead filters."""

from __future__ import annotations

from typing import Any

import pytest
from torch.distributions import Normal, Uniform

from ppl import Program, barrier, dist, factor, infer, program, sample, table_lm, validate
from ppl.runtime.errors import ProgramError
from ppl.runtime.methods import Beam, LookAhead

lm = table_lm(["a", "b", "c", "\n"], {(): {"a": 3, "b": 2, "c": 1}, ("a",): {"b": 1}, ("b",): {"a": 1, "c": 5}})


@program
def forks() -> tuple[int, int]:
    """What is likely after 0 is bad, what is likely after 1 is good; the mean is the same."""
    x = sample(dist.uniform([0, 1]))
    barrier()
    y = sample(dist.categorical([0.6, 0.4] if x == 0 else [0.4, 0.6]))
    factor(1.0 if y else -1.0)
    return x, y


@pytest.mark.parametrize(("method", "first"), [(Beam(n=16, m=8, rollouts="greedy"), 1), (Beam(n=16, m=8), 0)])
def test_a_beam_ranks_by_what_is_likely_to_come(method: Beam, first: int) -> None:
    """By their own weights the two beginnings are equal, so plain beams keep either."""
    kept = [{value[0] for value, _ in infer(forks, method=method, seed=s)} for s in range(12)]
    assert all(one == {1} for one in kept) == bool(first)


def trials_of(prog: Program, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The values of the choices in the trials of the first step, and their weights."""
    from ppl.runtime.methods import beam

    original = beam.rollouts
    found: list[list[Any]] = []

    def spied(*args: Any) -> Any:
        rows = yield from original(*args)
        for trial in () if found else (trial for row in rows for trial in row):
            assert trial.trace is not None
            found.append([*(c.value for c in trial.trace.choices()), round(trial.log_weight, 9)])
        return rows

    monkeypatch.setattr(beam, "rollouts", spied)
    infer(prog, method=Beam(n=4, m=2, rollouts="greedy"), seed=0)
    return found


def test_text_choices_and_densities_take_their_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    @program
    def many_kinds() -> None:
        barrier()
        text = sample(lm.context("").text(max_tokens=2, temperature=5.0), proposal=lm.context("b").text(max_tokens=2))
        word = sample(lm.context("b").choice(["a", "c"]))
        number = sample(Normal(3.0, 1.0), proposal=Normal(0.0, 9.0))
        count = sample(dist.mixture([dist.delta(1), dist.uniform([2, 3])], [0.4, 0.6]))
        factor(0.25 if (text, word, float(number), count) == ("ab", "c", 3.0, 1) else 0.0)

    found = trials_of(many_kinds, monkeypatch)
    assert found and all(row == ["ab", "c", 3.0, 1, 0.25] for row in found)


def test_what_has_no_mode_is_told_where_and_what_to_do() -> None:
    @program
    def flat() -> None:
        barrier()
        x = sample(Uniform(0.0, 1.0))
        factor(float(x))

    with pytest.raises(ProgramError, match=r"(?s)sample 'x': a greedy rollout.*give a number of rollouts"):
        infer(flat, method=Beam(n=4, m=2, rollouts="greedy"), seed=0)


@pytest.mark.parametrize("pilots", [1, 2, "greedy"])
def test_look_ahead_is_proper_whatever_its_pilots(pilots: Any) -> None:
    certificate = validate(forks, method=LookAhead(pilots=pilots, ess_threshold=1.0), n=2)
    assert certificate, str(certificate)


def test_greedy_pilots_even_the_weights_where_the_likely_is_what_counts() -> None:
    @program
    def sure() -> None:
        """Each beginning has one likely end, and the ends differ in weight."""
        x = sample(dist.uniform(range(4)))
        barrier()
        y = sample(dist.flip(0.95))
        factor(1.5 * x if y else 0.0)

    def ess(method: LookAhead) -> float:
        return sum(infer(sure, method=method, seed=s).ess for s in range(20)) / 20

    assert ess(LookAhead(n=8, pilots="greedy", ess_threshold=1.0)) > ess(LookAhead(n=8, ess_threshold=0.0)) + 2.0


WRONG: list[tuple[Any, dict[str, Any]]] = [
    (Beam, {"rollouts": "gredy"}),
    (Beam, {"rollouts": -1}),
    (LookAhead, {"pilots": 0}),
]


@pytest.mark.parametrize(("method", "wrong"), WRONG)
def test_what_is_no_number_of_trials_is_refused(method: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="or 'greedy' for one"):
        method(**wrong)
