"""How large a check is, where it is too large: an estimate without bias, and the sites that branch."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from types import SimpleNamespace

import pytest
import torch

from ppl import (
    SMC,
    Importance,
    TooLarge,
    condition,
    dist,
    factor,
    program,
    sample,
    table_lm,
    validate,
    validate_statistically,
)
from ppl.certificate import expected
from ppl.runtime import exact_size
from ppl.runtime.exact import Look, TooMany, explore, explore_merged
from ppl.runtime.exact_ahead import Ahead
from ppl.runtime.exact_size import METHODS_OWN, estimate_size
from ppl.runtime.methods.enumerate import Enumerate, TooManyRuns
from ppl.runtime.source import Source
from ppl.watching import listening

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
def test_a_program_of_too_many_runs_says_so_whatever_is_to_be_checked(
    how: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stands = SimpleNamespace(perf_counter=lambda: 0.0, thread_time=lambda: 0.0)  # a busy machine makes few probes
    monkeypatch.setattr(exact_size, "time", stands)
    with pytest.raises(TooLarge, match=r"has more than 10,000 runs.*branches most.*else use (calib|geweke)") as raised:
        validate(uneven, 5, limit=50, **how)  # type: ignore[arg-type]
    assert raised.value.size is not None and raised.value.size.leaves > 10_000


@pytest.mark.parametrize("how", [{"method": "smc"}, {"method": "mh"}, {"method": "enumerate"}, {"pipeline": "all"}])
def test_a_program_that_is_not_finite_is_told_what_to_do(how: dict[str, str]) -> None:
    @program
    def continuous() -> float:
        x = sample(torch.distributions.Normal(0.0, 1.0))
        return float(x)

    with pytest.raises(
        TooLarge,
        match=r"at 'x', but Normal can't be listed\n.*test_size.py.*\n.*in its place; else use (calib|geweke)",
    ):
        validate(continuous, **how)  # type: ignore[arg-type]


def test_a_bound_of_the_method_itself_is_not_the_limit() -> None:
    with pytest.raises(TooManyRuns, match="more than 2 runs"):
        validate(uneven, 1, method=Enumerate(max_runs=2))


# --- telling early ---


def grid(source: Source, steps: int, outcomes: int = 30) -> int:
    return sum(source.choose([0.0] * outcomes, step) for step in range(steps))


def runs_until_refused(computation: Callable[[Source], int], limit: int, look: Look | None = None) -> int:
    """How many runs it took until an exploration was refused; -1 if it went through."""
    runs = 0

    def counted(source: Source) -> int:
        nonlocal runs
        runs += 1
        return computation(source)

    try:
        for _ in explore_merged(counted, look, limit, ahead=Ahead(computation, look, limit)):
            pass
    except TooMany:
        return runs
    return -1


def test_what_is_far_too_large_is_refused_at_once() -> None:
    assert runs_until_refused(lambda source: grid(source, 4), 10_000) == 0
    assert runs_until_refused(lambda source: grid(source, 2), 1_000) == -1
    assert runs_until_refused(lambda source: grid(source, 2), 700) == 700  # not far: it goes on to the limit


def test_merging_is_refused_only_by_what_is_left_to_be_done() -> None:
    """Where populations merge the product over steps says nothing; what waits to be gone on from does."""

    def stops(source: Source, keeps: int) -> int:
        total = 0
        for step in range(6):
            total = (41 * total + source.choose([0.0] * 40, step)) % keeps
            source.boundary("advance", total)
        return total

    def look(operation: str, state: int) -> tuple[Hashable, float]:
        return state, 0.0

    assert runs_until_refused(lambda source: stops(source, 5), 2_000, look) == -1
    assert 0 < runs_until_refused(lambda source: stops(source, 10**12), 20_000, look) < 5_000


def test_remedies_are_those_that_apply() -> None:
    """Never validate_statistically for a program that can't be enumerated, nor fewer particles than there are."""

    @program
    def continuous() -> float:
        x = sample(torch.distributions.Normal(0.0, 1.0))
        return float(x)

    for method, remedy in (("smc", "calibrate, .*or validate_evidence"), ("mh", "geweke")):
        with pytest.raises(TooLarge, match=f"else use {remedy}") as raised:
            validate(continuous, method=method)
        assert "validate_statistically" not in str(raised.value)
    with pytest.raises(TooLarge) as raised:
        validate(continuous, method="beam")
    assert "else use" not in str(raised.value)
    for check in (validate_statistically, validate):
        with pytest.raises(TooLarge, match=r"else use calibrate, .*or validate_evidence"):
            check(continuous)
    for n, said in ((3, "(n=(1, 2))"), (2, "(n=1)")):
        with pytest.raises(TooLarge) as raised:
            validate(uneven, 3, method=SMC(ess_threshold=1.0), n=n, limit=30)
        assert said in str(raised.value) and "validate_statistically" in str(raised.value)
    with pytest.raises(TooLarge) as raised:
        validate(uneven, 3, n=1, limit=30)
    assert "fewer particles" not in str(raised.value)
    with pytest.raises(ValueError, match="limit is the most runs at one n, 1 or more; got 0"):
        validate(uneven, 1, limit=0)


def test_a_check_tells_how_far_it_is() -> None:
    told: list[tuple[str, int]] = []
    with listening(lambda what, runs: told.append((what, runs))):
        validate(uneven, 1, n=2)
    assert told and told[0] == ("uneven by Enumerate(max_runs=100000)", 1)
    validate(uneven, 1, n=1)
    assert len(told) < 50 and all("uneven by" in what for what, _ in told)
