"""What methods hand back when they are stopped, and whom they show their population on the way."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ppl import condition, dist, factor, infer, observe, program, sample, table_lm
from ppl.diagnostics import NoChains, chains_of
from ppl.kernels import SingleSite
from ppl.nested import nested
from ppl.runtime.errors import ProgramError
from ppl.runtime.methods import (
    METHODS,
    MH,
    PMMH,
    SMC,
    SMC2,
    AStar,
    BestFirst,
    BestOfN,
    Enumerate,
    Importance,
    Method,
    ParallelTempering,
    PGibbs,
    Revision,
    SelfConsistency,
    Tempered,
)
from ppl.runtime.methods.chains import Chains
from ppl.runtime.methods.enumerate import TooManyRuns
from ppl.runtime.population import Population

SEEN = [True, True, False]


@program
def hidden(seen: list[bool]) -> int:
    state, count = sample(dist.flip(0.5), name="start"), 0
    for what in seen:
        state = sample(dist.flip(0.8 if state else 0.3))
        observe(dist.flip(0.9 if state else 0.2), what)
        count += state
    return count


@program
def flips(n: int) -> int:
    return sum([sample(dist.flip(0.5)) for _ in range(n)])


# --- Markov chains ----------------------------------------------------------------------------------------------------


CHAINS = ["mh", "pgibbs", "pmmh", "parallel-tempering"]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("particles", [30, 100])
def test_chains_that_are_stopped_in_their_burn_in_keep_their_latter_half(name: str, particles: int) -> None:
    posterior = infer(hidden, SEEN, method=name, seed=0, budget={"particles": particles})
    assert "particles is used up" in str(posterior.incomplete) and posterior.runs
    lengths = posterior.result.lengths
    assert lengths is not None and sum(lengths) == len(posterior.runs)


def test_burn_in_goes_by_the_steps_that_were_taken() -> None:
    """Each step of this chain begins one run, so a budget in them says how many it takes."""

    def kept(particles: int, **options: Any) -> int:
        method = MH(chains=1, **options)
        return len(infer(hidden, SEEN, method=method, seed=0, budget={"particles": particles}).runs)

    start = next(n for n in range(1, 20) if kept(n, steps=1000))
    assert [kept(start + taken, steps=1000) for taken in (0, 1, 2, 3, 10, 11)] == [1, 1, 1, 2, 5, 6]
    assert [kept(start + taken, steps=1000, burn_in=3) for taken in (4, 6, 10)] == [2, 3, 7]
    assert [kept(start + taken, steps=10) for taken in (9, 10)] == [5, 5]
    assert kept(start + 9, steps=10, burn_in=9) == 5 and kept(start + 10, steps=10, burn_in=9) == 1
    assert kept(start + 10, steps=1000, thin=100) == 1


def test_a_chain_that_is_behind_does_not_cut_the_others() -> None:
    class Uneven(MH):
        """Its first chain stands still."""

        name = "uneven"

        def step(self, setting: Any, state: Any, key: int) -> Any:
            self.__dict__.setdefault("first", key)
            while key == self.first:  # type: ignore[attr-defined]
                yield []
            return (yield from super().step(setting, state, key))

    posterior = infer(hidden, SEEN, method=Uneven(steps=1000, chains=3), seed=0, budget={"particles": 60})
    lengths = posterior.result.lengths
    assert lengths is not None and lengths[0] == 1 and min(lengths[1:]) > 5
    with pytest.raises(NoChains, match="at least 4 of each"):
        chains_of(posterior)


def test_chains_of_different_lengths_are_compared_by_their_last_states() -> None:
    for particles in range(60, 80):
        posterior = infer(hidden, SEEN, method="mh", chains=3, seed=0, budget={"particles": particles})
        lengths = posterior.result.lengths
        if len(set(lengths or ())) > 1:
            break
    assert lengths is not None and len(set(lengths)) > 1
    found = chains_of(posterior)["log_joint"]
    ends = [sum(lengths[: i + 1]) for i in range(3)]
    expected = [[run.log_joint for run in posterior.runs[end - min(lengths) : end]] for end in ends]
    assert found.tolist() == expected


def test_impossible_evidence_is_given_up_after_so_many_tries() -> None:
    @program
    def impossible() -> None:
        sample(dist.flip(0.5))
        condition(False)

    for chains in (1, 4):
        posterior = infer(impossible, method="mh", chains=chains, tries=64, seed=0)
        assert posterior.empty and 64 <= sum(death.count for death in posterior.deaths) < 128
        with pytest.raises(ValueError, match=r"tries=256"):
            posterior.mode()


# --- exact methods ----------------------------------------------------------------------------------------------------


def test_enumeration_holds_one_path_and_finds_the_only_run() -> None:
    @program
    def needle(n: int) -> int:
        total = sum([sample(dist.flip(0.5)) for _ in range(n)])
        condition(total == 0)
        return total

    posterior = infer(needle, 10, method=Enumerate(max_runs=10 * Enumerate.SIDE), passes=[])
    assert posterior.log_evidence == pytest.approx(-10 * math.log(2)) and len(posterior.runs) == 1


@pytest.mark.parametrize("budget", [{"particles": 1000}, {"seconds": 0.2}], ids=str)
def test_enumeration_that_is_stopped_has_finished_some_runs(budget: dict[str, float]) -> None:
    posterior = infer(flips, 16, method="enumerate", passes=[], budget=budget)
    assert posterior.incomplete and len(posterior.runs) > 20


def test_enumeration_of_model_choices_shares_batches_and_keeps_what_is_finished() -> None:
    lm = table_lm(["a", "b", "c"], eos=None, seed=4)

    @program
    def writes() -> str:
        context = lm.context("")
        for _ in range(5):
            context = context + sample(context.choice(["a", "b", "c"]))
        return str(context)

    whole = infer(writes, method="enumerate")
    assert len(whole.runs) == 3**5 and whole.cost.forwards < 25
    cut = infer(writes, method="enumerate", budget={"tokens": 60})
    assert cut.incomplete and cut.runs and cut.cost.tokens <= 60


def test_too_many_runs_are_told_of_where_they_branch() -> None:
    with pytest.raises(ProgramError, match=r"(?s)more than 50 runs, at the site.*test_methods_stopped.py") as caught:
        infer(flips, 10, method="enumerate", max_runs=50, passes=[])
    assert isinstance(caught.value, TooManyRuns)


def test_best_first_opens_text_token_by_token() -> None:
    """Lines of up to 4 of 40 tokens: too many to list, but most of the mass is on few."""
    lm = table_lm([*"abcdefghijklmnopqrstuvwxyz0123456789 .,", "\n"], eos=None, seed=1)
    line = lm.context("a").line(max_tokens=4, temperature=0.04)

    @program
    def checked() -> str:
        text = sample(line)
        condition("\n" not in text)
        return str(text)

    with pytest.raises(ProgramError, match="more than 10000 outcomes"):
        infer(checked, method="enumerate")
    posterior = infer(checked, method=BestFirst(max_open=150))
    low, high = posterior.log_evidence_bounds
    estimate = infer(checked, method=Importance(n=400), seed=0).log_evidence
    assert -1.0 < low < high < 0.0 and low < estimate < high + 0.05
    weights = [run.log_weight for run in posterior.runs]
    assert len(weights) > 5 and weights == sorted(weights, reverse=True)
    for run in posterior.runs[:5]:
        assert run.log_joint == pytest.approx(line.log_prob(run.value))


def test_best_first_is_exact_on_texts_and_its_bounds_hold_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = table_lm(["a", "b", "\n", "bb\n"], seed=5)

    @program
    def writes() -> str:
        text = sample(lm.context("a").line(max_tokens=4))
        condition("b" in text)
        more = sample(lm.context(text).text(stop="a", max_tokens=2, top_k=3))
        factor(-0.3 * more.count("b"))
        return str(text + more)

    exact = infer(writes, method="enumerate")
    for few in (BestFirst.FEW, 0):  # all of a token's outcomes at once, or one by one
        monkeypatch.setattr(BestFirst, "FEW", few)
        found = infer(writes, method=BestFirst(batch=3))
        assert found.guarantee == "exact" and found.log_evidence == pytest.approx(exact.log_evidence, abs=1e-12)
        assert dict(found.distribution().items()) == pytest.approx(dict(exact.distribution().items()))
        assert len(found.runs) == len(exact.runs)
        for budget in ({"tokens": 7}, {"particles": 9}, {"particles": 30}):
            low, high = infer(writes, method=BestFirst(batch=3), budget=budget).log_evidence_bounds
            assert low <= exact.log_evidence <= high + 1e-12, budget
        last = math.inf
        for max_open in (1, 4, 15, 40, 80):
            posterior = infer(writes, method=BestFirst(batch=1, max_open=max_open))
            low, high = posterior.log_evidence_bounds
            assert low <= exact.log_evidence <= high + 1e-12 and high - low <= last
            last = high - low


# --- other methods ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [8, 9, 12, 16, 20, 30])
def test_a_pilot_is_handed_back_where_the_run_it_was_for_came_less_far(particles: int) -> None:
    method = Tempered(n=8, move=SingleSite())
    posterior = infer(hidden, SEEN, method=method, seed=0, budget={"particles": particles})
    assert posterior.incomplete and len(posterior.runs) == 8


@pytest.mark.parametrize(
    "method", [Importance(n=100), SelfConsistency(n=100), SelfConsistency(n=100, wave=10)], ids=repr
)
def test_independent_runs_are_begun_as_far_as_they_fit(method: Method) -> None:
    posterior = infer(hidden, SEEN, method=method, seed=0, budget={"particles": 55})
    assert "55 particles" in str(posterior.incomplete) and len(posterior.runs) == 55
    assert len(infer(hidden, SEEN, method=BestOfN(n=100, wave=10), seed=0, budget={"particles": 55}).runs) == 1
    whole = infer(hidden, SEEN, method=method, seed=0, budget={"particles": 100})
    assert whole.incomplete is None and len(whole.runs) == 100


def test_an_estimate_that_was_cut_off_is_none() -> None:
    """Inside another run, what is finished of n must not pass for all of them."""
    for method in (Importance(n=4), Tempered(n=4)):
        inner = nested(hidden, method)

        @program
        def outer() -> int:
            return int(inner(SEEN))  # noqa: B023 - it is run within this turn

        posterior = infer(outer, method=Importance(n=1), seed=0, budget={"particles": 4})
        assert posterior.empty and "4 particles" in str(posterior.incomplete)
    assert len(infer(outer, method=Importance(n=1), seed=0, budget={"particles": 30}).runs) == 1


def test_a_search_that_ran_out_of_expansions_is_incomplete() -> None:
    @program
    def walk() -> bool:
        for _ in range(8):
            x = sample(dist.flip(0.5))
            factor(-0.1)
        return x

    cut = infer(walk, method=AStar(n=2, max_expansions=3), seed=0)
    assert cut.empty and "max_expansions" in str(cut.incomplete)
    assert infer(walk, method=AStar(n=2, max_expansions=300), seed=0).incomplete is None


@pytest.mark.parametrize(
    ("method", "advice"),
    [("smc", "more particles (n=128)"), ("beam", "more particles (n=64)"), ("mh", "tries=4096"), ("a-star", "(n=16)")],
)
def test_advice_for_an_empty_posterior_has_the_methods_own_options(method: str, advice: str) -> None:
    @program
    def impossible() -> None:
        condition(False)

    with pytest.raises(ValueError) as caught:
        infer(impossible, method=method, seed=0).mode()
    assert advice in str(caught.value)


# --- who is shown what ------------------------------------------------------------------------------------------------


SETTINGS: dict[str, Method] = {
    "revision": Revision(argument=None),
    "tempered": Tempered(n=4, betas=(0.3, 0.6, 1.0), move=SingleSite()),
    "forward": METHODS["forward"](n=20),  # type: ignore[call-arg]
    "smc2": SMC2(n=3, inner=2, parameters="start"),
    "mh": MH(steps=40),
    "parallel-tempering": ParallelTempering(betas=(0.5, 1.0), steps=20),
    "pgibbs": PGibbs(n=3, steps=40),
    "pmmh": PMMH(inner=SMC(n=2), steps=40),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_watched_and_stopped(name: str) -> None:
    method = SETTINGS.get(name) or METHODS[name]()
    shown: list[bool] = []
    asked: list[int] = []

    def watch(number: int, population: Population) -> None:
        shown.append(population.ended)

    def never(population: Population) -> bool:
        asked.append(len(population.particles))
        return False

    whole = infer(hidden, SEEN, method=method, seed=0, progress=watch, stop=never)
    assert shown == [*[False] * (len(shown) - 1), True] and len(shown) > 2
    assert asked and whole.incomplete is None
    assert [r.value for r in infer(hidden, SEEN, method=method, seed=0).runs] == [r.value for r in whole.runs]
    cut = infer(hidden, SEEN, method=method, seed=0, stop=lambda population: True)
    assert "the rule stop=<lambda> holds" in str(cut.incomplete)
    if issubclass(METHODS[name], Chains):
        assert len(cut.runs) == METHODS[name]().chains  # type: ignore[attr-defined]


# --- how methods are written ------------------------------------------------------------------------------------------


def test_a_method_shows_what_differs_from_its_defaults() -> None:
    assert PMMH(parameters="x").describe() == "PMMH(steps=200, parameters='x')"
    assert repr(PMMH(inner=SMC(n=2), steps=5)) == "PMMH(steps=5, inner=SMC(n=2))"
    assert repr(SMC(n=4, move=MH())) == "SMC(n=4, move=MH(steps=1000))"
