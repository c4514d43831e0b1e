"""Replay: what is repeated, what is scored anew, what is drawn, and at what cost."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ppl import Program, ProgramError, barrier, call, condition, dist, factor, observe, program, sample, table_lm
from ppl.certificate_parts import alone
from ppl.runtime.follow import KEEP, REDRAW, Draw, Put, choices_of, steps_of
from ppl.runtime.particle import Particle, Status
from ppl.runtime.population import World
from ppl.runtime.replay import Rerun, generate, recording, rerun, way_back
from ppl.runtime.scheduler import Task
from ppl.runtime.source import RandomSource, derive

lm = table_lm(["a", "b", "ab", "."], eos=None, seed=2)
calls: list[int] = []


def doubled(xs: list[int]) -> list[int]:
    calls.extend(xs)
    return [2 * x for x in xs]


@program
def writer() -> Any:
    x = sample(dist.categorical([0.2, 0.3, 0.5]))
    y = call(doubled, x)
    line = sample(lm.context("a").text(stop=".", max_tokens=3), proposal=lm.context("b").text(stop=".", max_tokens=3))
    observe(lm.context("ab").token(), "a" if y else "b")
    barrier()
    z = sample(dist.flip(0.3 if y == 2 else 0.6))
    factor(0.5 * z)
    w = sample(lm.context(line).token())
    return x, y, str(line), z, w


@program
def branching() -> Any:
    many = sample(dist.flip(0.5))
    xs = [sample(dist.categorical([0.5, 0.25, 0.25]), name="x") for _ in range(3 if many else 1)]
    if many:
        extra = sample(dist.flip(0.25))
    condition(sum(xs) < 6)
    return xs


def play(prog: Program, *, values: dict[str, Any], **moves: Any) -> tuple[Particle, Rerun, World]:
    """A run with the given choices, and one that follows it under ``policy``."""

    def task(world: World) -> Task[tuple[Particle, Rerun, World]]:
        world = recording(world)
        old = (yield from generate(world, values, 1)).particle
        calls.clear()
        world.machine.tally.model_calls = world.machine.tally.tokens = 0
        new = yield from rerun(world, old, moves["policy"], 2)
        return old, new, world

    return alone(prog, ((), {}), task, RandomSource())


def test_an_unchanged_run_is_repeated_without_a_model_or_a_call() -> None:
    old, new, world = play(writer, values={"x": 1, "z": True}, policy=lambda at, follow: KEEP)
    assert new.particle.value == old.value and new.particle.log_joint == old.log_joint
    proposed = sum(s.log_p - s.log_q for s in choices_of(old))
    assert proposed != 0.0 and new.particle.log_weight == pytest.approx(proposed + _evidence(old))
    assert (world.machine.tally.model_calls, world.machine.tally.tokens, calls) == (0, 0, [])
    assert (new.log_forward, new.log_backward) == (0.0, 0.0)
    assert [s.address for s in steps_of(new.particle)] == [s.address for s in steps_of(old)]


def _evidence(run: Particle) -> float:
    return run.log_joint - sum(s.log_p for s in choices_of(run))


def test_what_stands_before_the_change_is_repeated_and_the_same_question_is_not_asked_again() -> None:
    values = {"x": 1, "line": "ab.", "z": True, "w": "a"}
    _, new, world = play(writer, values=values, policy=lambda at, f: Put(False) if at == "z" else KEEP)
    assert new.particle.status is Status.DONE and new.particle.value[3] is False
    # After z only w is scored, and its context is the same as before.
    assert (world.machine.tally.model_calls, calls) == (0, [])


def test_what_stands_after_the_change_is_scored_under_what_it_depends_on() -> None:
    values = {"x": 1, "line": "ab.", "z": True, "w": "a"}
    old, new, _ = play(writer, values=values, policy=lambda at, f: Put(0) if at == "x" else KEEP)
    direct, _, _ = play(writer, values={**values, "x": 0}, policy=lambda at, f: KEEP)
    assert calls == []
    assert new.particle.value == direct.value
    assert new.particle.log_joint == pytest.approx(direct.log_joint)
    fresh = [(s.address, s.log_p, s.log_q) for s in steps_of(direct)]
    assert [(s.address, s.log_p, s.log_q) for s in steps_of(new.particle)] == fresh
    assert new.particle.log_joint != pytest.approx(old.log_joint)


def test_densities_of_a_redrawn_site_in_both_directions() -> None:
    old, new, _ = play(writer, values={"x": 2}, policy=lambda at, f: REDRAW if at == "line" else KEEP)
    forward, backward = ({s.address: s for s in choices_of(p)}["line"] for p in (new.particle, old))
    assert new.log_forward == forward.log_q != forward.log_p
    assert new.log_backward == backward.log_q


def test_addresses_that_come_and_go_are_counted() -> None:
    values = {"many": True, "x[0]": 1, "x[1]": 2, "x[2]": 0, "extra": True}
    _, new, _ = play(branching, values=values, policy=lambda at, f: Put(False) if at == "many" else KEEP)
    assert new.particle.value == [1]
    assert [s.address for s in new.follow.stale] == ["x[1]", "x[2]", "extra"]
    assert new.log_backward == pytest.approx(math.log(0.25) + math.log(0.5) + math.log(0.25))
    values = {"many": False, "x[0]": 1}
    _, new, _ = play(branching, values=values, policy=lambda at, f: Put(True) if at == "many" else KEEP)
    assert new.follow.fresh == ["x[1]", "x[2]", "extra"]
    added = [s.log_q for s in choices_of(new.particle) if s.address in new.follow.fresh]
    assert new.log_forward == pytest.approx(sum(added)) and new.log_backward == 0.0


def test_a_kept_value_outside_the_new_support_has_no_mass() -> None:
    @program
    def shrinking() -> int:
        n = sample(dist.categorical([0.5, 0.5]))
        k = sample(dist.categorical([1.0] if n == 0 else [0.5, 0.5]))
        return int(k)

    _, new, _ = play(shrinking, values={"n": 1, "k": 1}, policy=lambda at, f: Put(0) if at == "n" else KEEP)
    assert new.particle.status is Status.DEAD

    @program
    def other_kind() -> Any:
        n = sample(dist.flip(0.5))
        return sample(lm.context("a").token() if n else dist.flip(0.5), name="k")

    _, new, _ = play(other_kind, values={"n": True}, policy=lambda at, f: Put(False) if at == "n" else KEEP)
    assert new.particle.status is Status.DEAD
    _, new, _ = play(other_kind, values={"n": False}, policy=lambda at, f: Put(True) if at == "n" else KEEP)
    assert new.particle.status is Status.DEAD


def test_the_way_back_sees_the_new_run_and_the_old_distributions() -> None:
    seen: list[tuple[Any, Any, Any]] = []

    @program
    def pair() -> Any:
        x = sample(dist.categorical([0.5, 0.5]))
        y = sample(dist.flip(0.2 + 0.5 * x))
        return x, y

    def make(site: Any) -> Any:
        seen.append((site.value, site.variables.get("x"), dict(site.trace)))
        return dist.flip(0.9 if site.value else 0.3)

    def task(world: World) -> Task[tuple[Rerun, float]]:
        world = recording(world)
        old = (yield from generate(world, {"x": 0, "y": False}, 1)).particle

        def policy(at: str, follow: Any) -> Any:
            return Put(1) if at == "x" else Draw(make)

        there = yield from rerun(world, old, policy, 3)
        back = yield from way_back(world, old, there, derive(3, "back"))
        return there, back

    there, back = alone(pair, ((), {}), task, RandomSource())
    drawn = there.particle.value[1]
    assert seen[0] == (False, 1, {"x": 0, "y": False})
    assert seen[1] == (drawn, 0, {"x": 1, "y": drawn})
    assert there.log_forward == pytest.approx(math.log(0.3 if drawn else 0.7))
    assert back == pytest.approx(math.log(0.1 if drawn else 0.7))


def test_a_program_that_is_not_deterministic_is_told() -> None:
    runs: list[int] = []

    @program
    def restless() -> Any:
        runs.append(1)
        if len(runs) % 2:
            a = sample(dist.flip(0.5))
        b = sample(dist.flip(0.5))
        return b

    with pytest.raises(ProgramError, match=r"came to sample 'b' where an earlier run .* to sample 'a'.*deterministic"):
        play(restless, values={}, policy=lambda at, follow: KEEP)
