"""Best-first enumeration: exact at its end, and bounded before it."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch.distributions import Normal

from ppl import condition, dist, factor, infer, observe, program, sample, table_lm, twist, validate
from ppl.law_programs import CORPUS
from ppl.posterior_tail import HeavyTail
from ppl.runtime.methods import BestFirst

lm = table_lm(["a", "b", "c", "."], eos=None, seed=3)


@program
def writes() -> str:
    context, text = lm.context(""), ""
    for _ in range(4):
        token = sample(context.token())
        context = context + token
        text += token
        condition(token != "b")
    return text


@pytest.mark.parametrize("name", CORPUS)
def test_exact_when_it_ends(name: str) -> None:
    prog, args = CORPUS[name]
    assert validate(prog, *args, method=BestFirst(batch=2), n=1)
    found, exact = (infer(prog, *args, method=m) for m in (BestFirst(), "enumerate"))
    assert found.guarantee == "exact" and found.incomplete is None
    low, high = found.log_evidence_bounds
    assert low == high == pytest.approx(exact.log_evidence)


def test_bounds_hold_and_close_in() -> None:
    truth = infer(writes, method="enumerate").log_evidence
    last = math.inf
    for max_open in (1, 3, 10, 30, 60):
        posterior = infer(writes, method="best-first", max_open=max_open, batch=1)
        low, high = posterior.log_evidence_bounds
        assert low <= truth + 1e-12 <= high + 2e-12
        assert high - low <= last
        last = high - low
        if posterior.incomplete:
            assert posterior.guarantee == "heuristic" and "between" in posterior.incomplete
            # Nothing was drawn: there is no error of chance, and no effective size.
            assert "±" not in posterior.summary() and "ESS" not in posterior.summary() and "ess" not in repr(posterior)
    early = infer(writes, method="best-first", gap=0.5, batch=1)
    low, high = early.log_evidence_bounds
    assert early.incomplete and high - low <= 0.5


def test_bounds_that_leave_out_open_branches_would_be_caught() -> None:
    posterior = infer(writes, method="best-first", max_open=3, batch=1)
    assert posterior.log_evidence_bounds[0] < infer(writes, method="enumerate").log_evidence - 1e-6


def test_evidence_over_one_makes_the_upper_bound_infinite_unless_it_was_told() -> None:
    @program
    def rises() -> int:
        x = sample(dist.flip(0.5))
        factor(1.0)
        y = sample(dist.flip(0.5))
        factor(0.5)
        return int(x) + int(y)

    assert infer(rises, method="best-first", max_open=2, batch=1).log_evidence_bounds[1] == math.inf
    low, high = infer(rises, method="best-first", max_open=2, batch=1, log_ahead=1.5).log_evidence_bounds
    assert low <= 1.5 <= high < math.inf


def test_hints_say_what_to_open_first() -> None:
    @program
    def lopsided(hint: float) -> tuple[bool, ...]:
        first = sample(dist.flip(0.1))
        twist(hint if first else 0.0)
        rest = [sample(dist.flip(0.5), name="rest") for _ in range(5)]
        condition(first)
        return (first, *rest)

    # Without passes: they would put the condition where it decides at once.
    method = BestFirst(max_open=20, batch=1)
    blind, hinted = (infer(lopsided, h, method=method, passes=[]) for h in (0.0, 20.0))
    assert blind.empty and len(hinted.runs) > 5


def test_other_methods_know_no_bounds() -> None:
    with pytest.raises(ValueError, match="best-first"):
        _ = infer(writes, n=4, seed=0).log_evidence_bounds


# --- the tail of weights --------------------------------------------------------------------------------------------


@program
def centred(shift: float, width: float) -> float:
    x = sample(Normal(0.0, 1.0), proposal=Normal(shift, width))
    return float(x)


def test_pareto_k() -> None:
    torch.manual_seed(0)
    good = infer(centred, 0.0, 1.2, method="importance", n=2000, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert good.pareto_k < 0.5
        assert math.isnan(infer(centred, 0.0, 1.2, method="importance", n=10, seed=0).pareto_k)
        assert infer(centred, 0.0, 1.0, method="forward", n=100, seed=0).pareto_k == 0.0
    bad = infer(centred, 0.0, 0.3, method="importance", n=2000, seed=0)
    with pytest.warns(HeavyTail, match=r"Pareto k = .*over 0\.7"):
        assert bad.pareto_k > 0.7


def test_a_tail_of_equal_weights_is_flat() -> None:
    """There is no shape to fit, and nothing heavier to be missed; it came out as infinite."""

    @program
    def likely() -> bool:
        x = sample(dist.flip(0.7))
        factor(0.5 if x else 0.0)
        return x

    posterior = infer(likely, method="importance", n=50, seed=1)
    assert posterior.pareto_k == 0.0 and "few runs decide" not in posterior.summary()

    @program
    def rare() -> bool:
        x = sample(dist.flip(0.05))
        factor(9.0 if x else 0.0)
        return x

    assert "few runs decide" in infer(rare, method="importance", n=50, seed=1).summary()


def test_the_ruled_out_count_as_draws() -> None:
    @program
    def mostly_dead() -> float:
        x = sample(Normal(0.0, 1.0))
        condition(bool(abs(x) < 0.3))
        observe(Normal(x, 0.2), torch.tensor(0.0))
        return float(x)

    posterior = infer(mostly_dead, method="importance", n=400, seed=0)
    assert posterior.pareto_k < 0.7
