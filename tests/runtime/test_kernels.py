"""Kernels that users write: what they are given, what comes out, and what they are told when it is wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ppl import ProgramError, WeightError, condition, dist, factor, infer, program, sample, table_lm, validate
from ppl.certificate_chains import support
from ppl.dist import Finite
from ppl.kernels import Mixture, Move, Moves, Propose, Random, Regenerate, SingleSite, Trace, kernel, transitions
from ppl.law_programs import ends_early, hidden_markov
from ppl.runtime.kernels.addresses import matches
from ppl.runtime.methods import MH

TOLERANCE = 1e-11


@program
def branching() -> Any:
    many = sample(dist.flip(0.4))
    xs = [sample(dist.categorical([0.5, 0.2, 0.3]), name="x") for _ in range(2 if many else 1)]
    factor(0.3 * sum(xs))
    return tuple(xs)


@program
def switch(trace: Any) -> None:
    """Changes the number of choices; what it adds it draws itself, from what is there."""
    many = sample(dist.flip(0.7 if trace["many"] else 0.4))
    for _ in range(2 if many else 1):
        x = sample(dist.categorical([0.6, 0.2, 0.2] if trace["x[0]"] else [0.1, 0.4, 0.5]))


@program
def switch_some(trace: Any) -> None:
    """Leaves what it adds to the program."""
    many = sample(dist.flip(0.7 if trace["many"] else 0.4))


@program
def sometimes(trace: Any) -> None:
    """Proposes one or the other, so that not every move has a way back."""
    if trace["many"]:
        many = sample(dist.flip(0.5))
    else:
        for _ in range(1):
            x = sample(dist.categorical([0.2, 0.3, 0.5]))


@pytest.mark.parametrize("proposal", [switch, switch_some, sometimes], ids=lambda p: p.name)
def test_proposals_that_are_programs(proposal: Any) -> None:
    found = transitions(branching, kernel=Propose(proposal))
    assert found.stationarity < TOLERANCE and found.balance < TOLERANCE, str(found)
    assert (abs(found.matrix - 1.0).max() > 0.1) and found.outside == 0.0


def test_a_proposal_that_a_model_writes() -> None:
    lm = table_lm(["a", "b"], eos=None, seed=4)

    @program
    def written() -> str:
        text = sample(lm.context("a").text(max_tokens=2))
        factor(0.7 * text.count("b"))
        return str(text)

    @program
    def rewrite(trace: Any) -> None:
        text = sample(lm.context("b" + trace["text"]).text(max_tokens=2))

    assert transitions(written, kernel=Propose(rewrite)).error < TOLERANCE


def test_what_proposals_may_not_do() -> None:
    @program
    def judging(trace: Any) -> None:
        many = sample(dist.flip(0.5))
        condition(many)

    with pytest.raises(ValueError, match=r"only draws, but .*judging.* has condition\(\) at .*test_kernels.py"):
        Propose(judging)

    @program
    def misspelt(trace: Any) -> None:
        mayn = sample(dist.flip(0.5))

    with pytest.raises(ValueError, match=r"misspelt.* gives 'mayn', which the new run does not draw; it draws many"):
        transitions(branching, kernel=Propose(misspelt))


@kernel(reversible=True)
def redraw_xs(trace: Trace, rng: Random) -> Moves:
    move = yield trace.regenerate("x" if rng.flip(0.3) else "many")
    return move.trace if rng.accept(move.log_weight) else trace


@kernel
def walk(trace: Trace, rng: Random) -> Moves:
    """A random walk on one choice, with its ratio written by hand; the number of choices never changes."""
    step = rng.choose([1.0, 1.0])
    value = (int(trace["x[0]"]) + (1 if step else -1)) % 3
    move: Move = yield trace.update({"x[0]": value})
    return move.trace if rng.accept(move.log_weight) else trace


@kernel(reversible=True)
def birth_and_death(trace: Trace, rng: Random) -> Moves:
    """Changes the dimension by ``update``: what is dropped must be drawn on the way back."""
    move = yield trace.update({"many": not trace["many"]})
    return move.trace if rng.accept(move.log_weight + move.log_dropped) else trace


def test_kernels_of_ones_own() -> None:
    assert transitions(branching, kernel=redraw_xs).error < TOLERANCE
    for mine in (walk, birth_and_death):
        found = transitions(branching, kernel=mine)
        assert found.stationarity < TOLERANCE and found.balance < TOLERANCE and not found.irreducible
    whole = Mixture((walk, birth_and_death, SingleSite()))
    assert validate(branching, method=MH(kernel=whole)) and "walk, birth_and_death" in repr(whole)
    posterior = infer(branching, method=MH(kernel=whole, steps=50), seed=1)
    assert len(posterior.runs) == 4 * 25


def test_a_wrong_kernel_of_ones_own_gets_no_certificate() -> None:
    @kernel
    def forgets_what_it_drops(trace: Trace, rng: Random) -> Moves:
        move = yield trace.update({"many": not trace["many"]})
        return move.trace if rng.accept(move.log_weight) else trace

    @kernel
    def accepts_all(trace: Trace, rng: Random) -> Moves:
        move = yield trace.regenerate("x")
        return move.trace

    for mine in (forgets_what_it_drops, accepts_all):
        assert transitions(branching, kernel=mine).stationarity > 0.01


def test_weights_of_update_and_regenerate_are_gens() -> None:
    runs = {dict(Trace(run)).__repr__(): run for run in support(branching, ((), {}))}
    old = next(run for run in runs.values() if Trace(run)["many"] and run.value == (1, 2))
    seen: list[Move] = []

    @kernel
    def look(trace: Trace, rng: Random) -> Moves:
        assert trace.value == (1, 2) and list(trace) == ["many", "x[0]", "x[1]"] and trace.log_joint == old.log_joint
        assert trace.log_prob("x[1]") == pytest.approx(math.log(0.3)) and "x[2]" not in trace
        seen.append((yield trace.update({"x[1]": 0})))
        seen.append((yield trace.update({"many": False})))
        seen.append((yield trace.regenerate("x[1]")))
        return trace

    _step(look, old)
    changed, shorter, drawn = seen
    assert changed.trace.value == (1, 0) and changed.discard == {"x[1]": 2}
    assert changed.log_weight == pytest.approx(math.log(0.5 / 0.3) - 0.6)
    assert shorter.trace.value == (1,) and shorter.discard == {"many": True, "x[1]": 2}
    assert shorter.log_weight == pytest.approx(math.log(0.6 / 0.4) - math.log(0.3) - 0.6)
    assert shorter.log_dropped == pytest.approx(math.log(0.3))
    new = int(drawn.trace["x[1]"])
    assert drawn.log_weight == pytest.approx(0.3 * (new - 2))  # drawn from the prior: only the evidence counts


def _step(mine: Any, run: Any) -> Any:
    from ppl.certificate_parts import alone
    from ppl.kernels import Setting
    from ppl.runtime.replay import recording
    from ppl.runtime.source import RandomSource

    return alone(branching, ((), {}), lambda world: mine.step(Setting(recording(world)), run, 5), RandomSource())


def test_what_kernels_are_told() -> None:
    run = support(branching, ((), {}))[0]

    @kernel
    def misspelt(trace: Trace, rng: Random) -> Moves:
        yield trace.update({"y": 1})
        return trace

    with pytest.raises(ValueError, match=r"no choice at 'y'; it has many, x\[0\]"):
        _step(misspelt, run)

    @kernel
    def asks_for_nothing(trace: Trace, rng: Random) -> Moves:
        yield 3  # type: ignore[misc]
        return trace

    with pytest.raises(TypeError, match=r"asks_for_nothing may yield trace.update\(...\) or .*, not 3"):
        _step(asks_for_nothing, run)

    @kernel
    def forgets(trace: Trace, rng: Random) -> Any:
        """Returns nothing."""

    with pytest.raises(TypeError, match="forgets must return a trace: the old one, or a move's; got None"):
        _step(forgets, run)

    @kernel
    def looks_elsewhere(trace: Trace, rng: Random) -> Trace:
        print(trace["z"])
        return trace

    with pytest.raises(KeyError, match=r"no choice at 'z'; it has many, x\[0\]"):
        _step(looks_elsewhere, run)
    with pytest.raises(ValueError, match="kernel is a kernel such as"):
        MH(kernel="site")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unit is one of site, line, token"):
        Regenerate("word")


def test_what_chains_are_told() -> None:
    with pytest.raises(ValueError, match="n is the number of particles, the present run and at least one more; got 1"):
        infer(ends_early, method="pgibbs", n=1)
    with pytest.raises(ValueError, match="burn_in is a number of steps, from 0 to steps - 1 = 9; got 10"):
        infer(ends_early, method="mh", steps=10, burn_in=10)
    with pytest.raises(ValueError, match="inner is a method that estimates the evidence"):
        infer(ends_early, method="pmmh", inner=MH())

    @program
    def late() -> Any:
        x = sample(dist.flip(0.5))
        theta = sample(dist.flip(0.5))
        return x, theta

    with pytest.raises(ProgramError, match="parameter 'theta' is drawn after 'x', which is none; draw the parameters"):
        infer(late, method="pmmh", parameters="theta", steps=2)


def test_a_density_that_is_not_known_is_told() -> None:
    class Silent(Finite):
        def log_prob(self, value: Any) -> float:
            return math.nan

        def draw(self, source: Any, key: int) -> tuple[Any, float]:
            return super().draw(source, key)[0], math.nan

        def support(self) -> None:  # type: ignore[override]
            return None

    @program
    def silent() -> Any:
        x = sample(Silent([0, 1], [math.log(0.5)] * 2))
        y = sample(dist.flip(0.5))
        return x, y

    with pytest.raises(WeightError, match="can't be accepted or rejected: the density of 'x' is not known"):
        infer(silent, method="mh", steps=5, seed=1)


def test_burn_in_and_thinning() -> None:
    kept = {
        (b, t): len(infer(hidden_markov, [True], method="mh", steps=20, burn_in=b, thin=t, chains=2, seed=1).runs)
        for b, t in ((None, 1), (0, 1), (10, 3), (19, 5))
    }
    assert kept == {(None, 1): 20, (0, 1): 40, (10, 3): 8, (19, 5): 2}


@pytest.mark.parametrize(
    ("pattern", "address", "meant"),
    [
        ("x", "x", True),
        ("x", "x[3]", True),
        ("x", "x[3][0]", True),
        ("x[3]", "x[3]", True),
        ("x[3]", "x[13]", False),
        ("x[*]", "x[13]", True),
        ("x[*]", "x", False),
        ("x", "xx", False),
        ("x", "child/x", False),
        ("child/x", "child[2]/x[1]", True),
        ("*/x", "a/b/x[0]", True),
        ("*", "a\nb", True),
        ("x.", "xy", False),
    ],
)
def test_patterns(pattern: str, address: str, meant: bool) -> None:
    assert matches(pattern, address) is meant
