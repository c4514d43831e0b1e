"""What each statement means, through the public interface."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro.distributions as pd
import pytest
import torch
import torch.distributions as td

from ppl import (
    Posterior,
    ProgramError,
    barrier,
    call,
    condition,
    dist,
    factor,
    infer,
    infer_many,
    observe,
    program,
    sample,
    table_lm,
)

from .small_programs import chain, exact, flip, net, outer


def test_a_direct_call_runs_forward_and_ignores_evidence() -> None:
    @program
    def never(k: int, *, plus: int = 0) -> int:
        condition(False)
        return k + plus

    assert never(1, plus=2) == 3
    assert never.__name__ == "never"


def test_given_observes_and_do_intervenes() -> None:
    joint = 0.2 * 0.9
    given = exact(net.given(wet=True))
    assert given.log_evidence == pytest.approx(math.log(joint + 0.8 * 0.1))
    assert given.probability(lambda v: v[0]) == pytest.approx(joint / (joint + 0.08))
    intervened = exact(net.do(wet=True))
    assert intervened.log_evidence == pytest.approx(0.0)
    assert intervened.probability(lambda v: v[0]) == pytest.approx(0.2)


def test_given_and_do_reach_into_loops_and_nested_programs() -> None:
    assert exact(chain.given({"x[1]": True}), 2).log_evidence == pytest.approx(math.log(0.5))
    assert exact(outer.given({"second/rain": True})).log_evidence == pytest.approx(math.log(0.2))
    assert exact(outer.do({"second/rain": True})).probability(True) == pytest.approx(0.2)


def test_addresses() -> None:
    @program
    def names() -> None:
        a = sample(flip())
        b, c = sample(flip()), sample(flip())
        sample(flip())
        sample(flip())
        a = sample(flip())
        sample(flip(), name="mine")
        for i in range(2):
            for j in range(1):
                d = sample(flip())
                sample(flip(), name=f"at{i}{j}")
        if a:
            e = sample(flip())
        else:
            e = sample(flip())
        xs = [sample(flip()) for _ in range(2)]
        net()
        chain(1)
        return None

    trace = infer(names, method="forward", n=1, seed=0).runs[0].trace
    found = [c.address for c in trace]
    assert found == [
        *("a", "b", "c", "sample", "sample#2", "a#2", "mine", "d[0][0]", "at00", "d[1][0]", "at10", "e"),
        *("xs[0]", "xs[1]", "net/rain", "net/wet", "chain/x[0]"),
    ]


def test_torch_and_pyro_distributions_as_they_are() -> None:
    @program
    def gaussian(y: float) -> torch.Tensor:
        x = sample(td.Normal(0.0, 1.0))
        v = sample(pd.Normal(torch.zeros(3), torch.ones(3)).to_event(1))
        observe(td.Normal(x, 1.0), torch.tensor(y))
        return x + 0 * v.sum()

    posterior = infer(gaussian, 1.0, method="importance", n=2000, seed=0)
    assert float(posterior.expectation(lambda x: float(x))) == pytest.approx(0.5, abs=0.1)
    assert posterior.log_evidence == pytest.approx(float(td.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0))), abs=0.1)


def test_torch_finite_distributions_enumerate_and_outside_the_support_is_zero() -> None:
    @program
    def discrete() -> torch.Tensor:
        x = sample(td.Categorical(torch.tensor([0.25, 0.75])))
        observe(td.Bernoulli(0.5 + 0.25 * x), torch.tensor(1.0))
        return x

    assert math.exp(exact(discrete).log_evidence) == pytest.approx(0.25 * 0.5 + 0.75 * 0.75)

    @program
    def outside() -> None:
        observe(td.Uniform(0.0, 1.0), torch.tensor(2.0))

    assert infer(outside, n=2).empty


def test_all_zero_weight_is_an_outcome_that_counts_its_deaths() -> None:
    @program
    def doomed() -> int:
        x = sample(flip(0.5))
        condition(x)
        condition(not x)
        return 1

    posterior = infer(doomed, n=20, seed=0)
    assert posterior.empty and posterior.log_evidence == -math.inf
    assert sum(d.count for d in posterior.deaths) >= 20
    assert "condition(not x)" in posterior.summary()


def test_an_exception_points_at_the_users_line_and_can_be_survived() -> None:
    @program
    def fragile() -> int:
        x = sample(flip(0.5))
        if x:
            raise RuntimeError("mine")
        return 7

    with pytest.raises(RuntimeError, match="mine") as caught:
        infer(fragile, n=20, seed=0)
    assert Path(caught.traceback[-1].path).name == "test_language.py"
    assert caught.traceback[-1].name == "fragile"
    posterior = infer(fragile, n=20, seed=0, on_error="kill")
    assert posterior.mode() == 7
    assert posterior.deaths[0].error == "RuntimeError: mine"


def test_call_runs_once_for_all_particles() -> None:
    batches = []

    def double(xs: list[int]) -> list[int]:
        batches.append(len(xs))
        return [2 * x for x in xs]

    @program
    def tool() -> int:
        x = sample(dist.uniform([1, 2, 3]))
        y = call(double, x)
        barrier()
        return y

    assert exact(tool).distribution().keys() >= {2, 4, 6}
    batches.clear()
    infer(tool, n=16)
    infer_many(tool, [(), (), ()], n=4)
    assert batches == [16, 12]

    @program
    def wrong() -> int:
        return call(len, [1, 2])  # type: ignore[arg-type]

    with pytest.raises(ProgramError, match="must return a list of 1"):
        infer(wrong, n=1)


def test_proposals_by_name_see_the_prior_and_the_variables() -> None:
    seen = []

    def informed(site: Any) -> Any:
        seen.append((site.address, dict(site.variables)))
        return flip(0.95)

    @program
    def rare(tag: str) -> bool:
        x = sample(flip(0.01))
        observe(flip(0.9 if x else 0.01), True)
        return bool(x) and tag == "t"

    truth = exact(rare, "t")
    plain = infer(rare, "t", method="importance", n=500, seed=0)
    better = infer(rare, "t", method="importance", n=500, seed=0, proposals={"x": informed})
    assert better.log_evidence == pytest.approx(truth.log_evidence, abs=0.2)
    assert better.ess > 3 * plain.ess
    assert seen[0] == ("x", {"tag": "t"})
    with pytest.raises(ValueError, match="no sample site 'nope'"):
        infer(rare, "t", proposals={"nope": informed})


def test_programs_as_values() -> None:
    @program
    def twice(prog: Any) -> tuple[Any, Any]:
        a = prog()
        b = prog()
        return a, b

    assert len(exact(twice, net).runs) == 16
    assert twice(lambda: 3) == (3, 3)


# --- reproducibility ------------------------------------------------------------------------------------------------

lm = table_lm(["a", "b", "ab", "\n"], eos=None, seed=2)


@program
def story(start: str, lines: int) -> tuple[str, ...]:
    context = lm.context(start)
    written = []
    for _ in range(lines):
        line = sample(context.line(max_tokens=6))
        context = context + line
        factor(0.3 * line.count("a"))
        written.append(str(line))
    return tuple(written)


def weights(posterior: Posterior) -> list[tuple[Any, float]]:
    return [(run.value, run.log_weight) for run in posterior.runs]


def test_the_same_seed_gives_the_same_posterior_whatever_ran_beside_it() -> None:
    alone = weights(infer(story, "a", 3, n=8, seed=5))
    inputs = [("b", 2), ("a", 3), ("ab", 1), ("a", 3)]
    for concurrency in (1, 2, 64):
        together = infer_many(story, inputs, n=8, seed=5, concurrency=concurrency)
        assert weights(together[1]) == alone == weights(together[3])
    assert weights(infer(story, "a", 3, n=8, seed=6)) != alone
    assert weights(infer_many(story, inputs, n=8, seed=[1, 2, 3, 5])[3]) == alone


def test_a_fresh_seed_is_told_and_reproduces() -> None:
    first = infer(story, "a", 2, n=4)
    assert weights(infer(story, "a", 2, n=4, seed=first.seed)) == weights(first)


def test_resample_at() -> None:
    @program
    def marked() -> int:
        total = 0
        for i in range(4):
            x = sample(flip())
            factor(0.5 if x else -0.5)
            total += x
            if i % 2:
                barrier(name="here")
        return total

    posterior = infer(marked, n=8, seed=0, ess_threshold=1.0, resample_at="here")
    assert [g.site for g in posterior.history] == ["here", "here", ""]
    assert exact(marked).log_evidence == pytest.approx(infer(marked, n=3000, seed=0).log_evidence, abs=0.1)


def test_fixing_sites_leaves_a_program_of_a_module_as_it_is() -> None:
    from ppl.law_programs import coin
    from ppl.runtime.particle import Fixed

    # copy.copy gives such a program itself: pickle finds it by its name.
    fixed = coin.with_fixed({"x": Fixed(True, True)})
    assert fixed is not coin and coin.fixed is None and fixed.fixed == {"x": Fixed(True, True)}


def test_a_nested_program_whose_code_stands_in_two_blocks() -> None:
    """To CPython its two pieces of code are one, whatever the numbers of the blocks: here 9 and 10."""

    @program
    def waits() -> bool:
        for _ in [1, 2]:
            sample(dist.flip(0.5))
        for _ in [1, 2]:
            sample(dist.flip(0.5))
        k = 0
        while k < 2 and sample(dist.flip(0.9)):
            k += 1
        else:

            @program
            def last() -> bool:
                return bool(sample(dist.flip(0.3)))

            return last()

    assert infer(waits, method="enumerate").probability(True) == pytest.approx(0.3)
