"""The law of kernels: their exact transition matrix leaves the measure invariant. ``test_table.py`` checks each on
every program; here are other targets, proposals, more particles, and what must not get a certificate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from ppl import SMC, Enumerate, dist, factor, infer, observe, program, sample, table_lm, validate
from ppl.certificate_chains import support, transitions
from ppl.certificate_parts import alone, key_of
from ppl.expectation import TooLarge
from ppl.law_programs import CORPUS, hidden_markov, judges, nested, soft_and_hard
from ppl.runtime.exact import explore
from ppl.runtime.follow import MoveSite
from ppl.runtime.kernels import (
    Block,
    Kernel,
    ParticleGibbs,
    Power,
    Regenerate,
    Repeat,
    SingleSite,
    conditional_smc,
    joint,
)
from ppl.runtime.methods import MH, PMMH, PGibbs
from ppl.runtime.population import World
from ppl.runtime.replay import recording
from ppl.runtime.result import log_sum_exp
from ppl.runtime.scheduler import Task

TOLERANCE = 1e-11


def tilted(site: MoveSite) -> Any:
    """A proposal that looks at the present value and at another site."""
    up = 0.3 + 0.4 * bool(site.value) + 0.2 * (len(site.trace) > 2)
    return dist.flip(up)


@pytest.mark.parametrize("ancestor_sampling", [False, True])
def test_particle_gibbs_with_three_particles(ancestor_sampling: bool) -> None:
    """Two would hide the classic bugs of conditional SMC: see ``planted_kernels.py``."""
    kernel = ParticleGibbs(3, 0.7, ancestor_sampling)
    check_on_corpus(kernel, ("ends_early", "nested", "proposed"), least=3, limit=900)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [ParticleGibbs(3, 1.0), ParticleGibbs(3, 1.0, ancestor_sampling=True)], ids=repr)
def test_particle_gibbs_with_three_particles_at_length(kernel: Kernel) -> None:
    check_on_corpus(kernel, CORPUS, least=8, limit=100_000)


def check_on_corpus(kernel: Kernel, names: Iterable[str], least: int, limit: int) -> None:
    checked = 0
    for prog, args in map(CORPUS.__getitem__, names):
        try:
            found = transitions(prog, *args, kernel=kernel, limit=limit)
        except TooLarge:
            continue
        checked += 1
        assert max(found.stationarity, found.row_sums, found.outside) < TOLERANCE, f"{prog.name}: {found}"
        assert not kernel.reversible or found.balance < TOLERANCE, f"{prog.name}: {found}"
        assert found.irreducible, f"{prog.name}: {found}"
    assert checked >= least


@pytest.mark.parametrize("kernel", [SingleSite(), Block(), Regenerate(), Regenerate("token")], ids=repr)
def test_other_targets(kernel: Kernel) -> None:
    for prog, args in (CORPUS["hidden_markov"], CORPUS["judges"], CORPUS["ends_early"], CORPUS["proposed"]):
        plain, found = (transitions(prog, *args, kernel=kernel, target=target) for target in (joint, Power(4.0)))
        assert found.error < TOLERANCE and abs(found.target - plain.target).max() > 0.01


def test_proposals_that_look_at_the_present_run() -> None:
    for kernel in (SingleSite(proposals={"*": tilted}), Block(proposals={"*": tilted})):
        for prog, args in (CORPUS["hidden_markov"], CORPUS["twisted"], CORPUS["ends_early"], CORPUS["nested"]):
            found = transitions(prog, *args, kernel=kernel)
            assert found.error < TOLERANCE, f"{prog.name}: {found}"
            assert abs(found.matrix - transitions(prog, *args, kernel=type(kernel)()).matrix).max() > 0.01


def test_a_proposal_written_by_a_model() -> None:
    """A text is drawn by another temperature after what the present text says."""
    lm = table_lm(["a", "b"], eos=None, seed=4)

    @program
    def written() -> str:
        text = sample(lm.context("a").text(max_tokens=2))
        observe(lm.context(text).token(), "a")
        return str(text)

    def rewrite(site: MoveSite) -> Any:
        return lm.context(site.value).text(max_tokens=2, temperature=0.6)

    assert transitions(written, kernel=SingleSite(proposals={"text": rewrite})).error < TOLERANCE


def test_texts_are_regenerated_from_a_token_or_a_line_also_where_a_stop_string_straddles_the_cut() -> None:
    lm = table_lm(["b", "\n"], eos=None, seed=3)

    @program
    def written() -> str:
        whole = lm.context("b").text(stop="b\n", max_tokens=3)
        text = sample(whole, proposal=lm.context("b").text(stop="b\n", max_tokens=3, temperature=0.7))
        factor(0.5 * len(text))
        return str(text)

    for unit in ("line", "token"):
        found = transitions(written, kernel=Regenerate(unit))
        assert found.error < TOLERANCE and len(found.states) == 7
        assert transitions(written, kernel=Regenerate(unit), target=Power(2.0)).error < TOLERANCE


def test_texts_are_regenerated_also_where_a_mixture_proposes_them() -> None:
    """It can't go on from the middle of a text."""
    whole = table_lm(["a", "b", "."], eos=None, seed=3).context("a").text(stop=".", max_tokens=2)

    @program
    def written() -> str:
        text = sample(whole, proposal=dist.tempered(whole, [0.6, 1.5]))
        factor(0.5 * len(text))
        return str(text)

    for unit in ("line", "token"):
        assert transitions(written, kernel=Regenerate(unit)).error < TOLERANCE


def test_a_chain_that_can_not_reach_every_run_gets_no_certificate() -> None:
    @program
    def tied() -> tuple[bool, bool]:
        x = sample(dist.flip(0.5))
        y = sample(dist.flip(0.3))
        observe(dist.flip(1.0 if x == y else 0.0), True)
        return x, y

    found = transitions(tied, kernel=SingleSite())
    assert found.stationarity < TOLERANCE and not found.irreducible and not found
    assert found.error == math.inf and "NOT irreducible" in str(found)
    assert not validate(tied, method="mh") and validate(tied, method=MH(kernel=Block()))


def test_methods_are_validated_by_name() -> None:
    assert validate(nested, 1, method="mh", power=2.0)
    certificate = validate(soft_and_hard, method=PGibbs(ess_threshold=1.0), n=2)
    assert certificate and certificate.guarantee == "stationary" and "pi K = pi" in certificate.law
    assert validate(judges, method=PMMH(inner=SMC(n=1), parameters="text"))
    with pytest.raises(TooLarge, match="more than 50 steps are needed to write down its transition matrix"):
        validate(hidden_markov, [True, True], method="pgibbs", limit=50)


def test_a_repeated_kernel_is_its_power() -> None:
    one, three = (transitions(soft_and_hard, kernel=k).matrix for k in (SingleSite(), Repeat(SingleSite(), 3)))
    assert abs(one @ one @ one - three).max() < TOLERANCE


@pytest.mark.parametrize("ancestor_sampling", [False, True])
@pytest.mark.parametrize("name", ["hidden_markov", "ends_early", "twisted", "uses_tools"])
def test_the_inverse_of_the_evidence(name: str, ancestor_sampling: bool) -> None:
    """Under conditional SMC from a posterior run, E[1/Ẑ] is 1/Z, times P(Ẑ > 0) where SMC can lose all particles."""
    prog, args = CORPUS[name]
    args = ([True],) if name == "hidden_markov" else args
    runs = support(prog, (args, {}))
    log_z = log_sum_exp([run.log_joint for run in runs])
    total = 0.0
    for run in runs:

        def inverse(world: World, run: Any = run) -> Task[float]:
            found = yield from conditional_smc(recording(world), run, 2, 7, 1.0, ancestor_sampling)
            return math.exp(log_z - found.log_evidence)

        for log_p, value in explore(lambda source, f=inverse: alone(prog, (args, {}), f, source)):  # type: ignore[misc]
            total += math.exp(run.log_joint - log_z + log_p) * value
    recipe = SMC(n=2, resampling="multinomial", ess_threshold=1.0)
    alive = sum(
        math.exp(log_p)
        for log_p, found in explore(lambda source: alone(prog, (args, {}), recipe.run, source))
        if found.log_evidence > -math.inf
    )
    assert total == pytest.approx(alive, abs=TOLERANCE)
    assert (alive < 1.0 - 1e-6) == (name == "uses_tools")


def test_chains_come_near_the_posterior_and_repeat_with_their_seed() -> None:
    exact = infer(hidden_markov, [True, False], method=Enumerate())
    for method in (MH(steps=600), PGibbs(steps=100, n=4), PMMH(steps=150, inner=SMC(n=4), parameters="start")):
        found = infer(hidden_markov, [True, False], method=method, seed=3)
        assert found.distribution()[(True, False)] == pytest.approx(exact.distribution()[(True, False)], abs=0.08)
        again = infer(hidden_markov, [True, False], method=method, seed=3)
        assert [run.value for run in again.runs] == [run.value for run in found.runs]
        assert found.guarantee == "stationary" and found.result.chains == 4


def test_a_program_without_mass_gives_an_empty_posterior_that_says_where() -> None:
    prog, args = CORPUS["impossible"]
    found = infer(prog, *args, method="mh", steps=4, seed=0)
    assert found.empty and found.deaths[0].site.kind == "condition"


def test_keys_tell_texts_by_their_tokens() -> None:
    prog, args = CORPUS["writes"]
    runs = support(prog, (args, {}))
    assert len({key_of(run) for run in runs}) == len(runs)
    assert all(joint(run) == run.log_joint for run in runs)


def test_chains_share_batches_and_keep_what_they_have_when_a_budget_ends() -> None:
    lm = table_lm(["a", "b"], eos=None, seed=4)

    @program
    def written() -> str:
        text = sample(lm.context("a").text(max_tokens=3))
        factor(0.5 * text.count("b"))
        return str(text)

    one, many = (infer(written, method="mh", steps=20, chains=c, seed=1).cost for c in (1, 16))
    assert many.model_calls > 12 * one.model_calls and many.forwards < 2 * one.forwards
    cut = infer(written, method="mh", steps=400, burn_in=0, chains=3, seed=1, budget={"tokens": 100})
    assert cut.result.incomplete and cut.cost.tokens <= 100
    assert cut.result.lengths is not None and min(cut.result.lengths) > 0
    assert sum(cut.result.lengths) == len(cut.runs) < 1200
    late = infer(soft_and_hard, method="mh", steps=10**6, burn_in=0, seed=1, budget={"seconds": 0.2})
    assert late.result.incomplete and late.runs and late.cost.seconds < 5


def test_what_a_chain_only_proposes_is_not_lost() -> None:
    found = infer(soft_and_hard, method="mh", steps=200, seed=1)
    assert sum(death.count for death in found.deaths) < 20
