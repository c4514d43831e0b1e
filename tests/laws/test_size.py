"""How large a check is, where it is too large: an estimate without bias, and the sites that branch."""

from __future__ import annotations

import math

import pytest
import torch

from ppl import SMC, Importance, TooLarge, condition, dist, factor, program, sample, table_lm, validate
from ppl.certificate import expected
from ppl.runtime.exact import TooMany, explore
from ppl.runtime.exact_size import METHODS_OWN, estimate_size
from ppl.runtime.methods.enumerate import Enumerate, TooManyRuns
from ppl.runtime.source import Source

lm = table_lm(["a", "b", "."], seed=3)


@program
def uneven(steps: int) -> int:
    """Few branches on most paths, many on some."""
    total = 0
    for _ in range(steps):
        x = sample(dist.uniform(range(3)))
        total += x
        if x == 2:
            colour = sample(dist.uniform(["red", "green", "blue", "white", "black"]))
        factor(0.1 * x)
    return total


def ragged(source: Source, depth: int = 0) -> int:
    """A tree with deep and shallow branches."""
    if depth == 7:
        return 1
    return ragged(source, depth + 1) if source.choose([0.0] * (1 + depth % 3 + 1), depth) else 1


def test_the_estimate_is_the_number_of_leaves() -> None:
    leaves = sum(1 for _ in explore(ragged))
    size = estimate_size(ragged, probes=4000, seconds=60.0)
    assert size.probes == 4000 and abs(size.leaves - leaves) < 5 * size.error < 0.5 * leaves


def test_it_is_the_size_of_what_validate_explores() -> None:
    found = expected(uneven, ((2,), {}), Importance(n=2), 10_000)
    with pytest.raises(TooLarge) as raised:
        validate(uneven, 2, method=Importance(), n=2, limit=100)
    size = raised.value.size
    assert size is not None and abs(size.leaves - found.leaves) < 5 * size.error
    assert found.leaves == 49**2


def test_the_sites_that_branch_most_come_first() -> None:
    with pytest.raises(TooLarge) as raised:
        validate(uneven, 3, method=SMC(ess_threshold=1.0, resampling="multinomial"), n=3, limit=100)
    size = raised.value.size
    assert size is not None
    sites = {b.site: b for b in size.branching}
    assert set(sites) == {"x[·]", "colour[·]", METHODS_OWN}
    assert sites["x[·]"].outcomes == pytest.approx(3.0) and sites["x[·]"].draws == pytest.approx(9.0)
    assert sites["colour[·]"].outcomes == pytest.approx(5.0) and 1.0 < sites["colour[·]"].draws < 6.0
    shares = [b.draws * math.log(b.outcomes) for b in size.branching]
    assert shares == sorted(shares, reverse=True)
    message = str(raised.value)
    assert "also where equal populations are merged" in message and "x[·] (3 outcomes, 9 draws a run)" in message
    assert "n=(1, 2)" in message and "validate_statistically" in message


def test_texts_count_by_their_tokens() -> None:
    @program
    def writes() -> str:
        text = sample(lm.context("a").text(stop=".", max_tokens=3))
        condition(text != "bb.")
        return str(text)

    with pytest.raises(TooLarge) as raised:
        validate(writes, n=3, limit=20)
    assert raised.value.size is not None and raised.value.size.branching[0].site == "text"


def test_too_many_is_told_from_infinite() -> None:
    with pytest.raises(TooMany, match="more than 3 runs"):
        list(explore(ragged, limit=3))


@pytest.mark.parametrize("how", [{"method": "smc"}, {"method": "mh"}, {"pipeline": "all"}])
def test_a_program_of_too_many_runs_says_so_whatever_is_to_be_checked(how: dict[str, str]) -> None:
    with pytest.raises(TooLarge, match=r"has more than 10,000 runs.*branches most.*validate_stat") as raised:
        validate(uneven, 5, limit=50, **how)  # type: ignore[arg-type]
    assert raised.value.size is not None and raised.value.size.leaves > 10_000


@pytest.mark.parametrize("how", [{"method": "smc"}, {"method": "mh"}, {"method": "enumerate"}, {"pipeline": "all"}])
def test_a_program_that_is_not_finite_is_told_what_to_do(how: dict[str, str]) -> None:
    @program
    def continuous() -> float:
        x = sample(torch.distributions.Normal(0.0, 1.0))
        return float(x)

    with pytest.raises(TooLarge, match=r"at 'x', but Normal can't be listed\n.*test_size.py.*\n.*validate_stat"):
        validate(continuous, **how)  # type: ignore[arg-type]


def test_a_bound_of_the_method_itself_is_not_the_limit() -> None:
    with pytest.raises(TooManyRuns, match="more than 2 runs"):
        validate(uneven, 1, method=Enumerate(max_runs=2))
