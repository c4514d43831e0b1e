"""Inference inside inference: an inner program run by a method of its own means what it means inline."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from ppl import (
    SMC,
    BestFirst,
    Enumerate,
    Forward,
    Importance,
    Method,
    Program,
    ProposalSite,
    condition,
    factor,
    infer,
    observe,
    program,
    sample,
    table_lm,
    validate,
)
from ppl.dist import flip
from ppl.kernels import SingleSite
from ppl.law_programs import coin
from ppl.nested import nested, posterior_of
from ppl.runtime import nested as runtime_nested
from ppl.runtime.errors import ProgramError
from ppl.runtime.methods.smc2 import SMC2
from ppl.runtime.population import Population

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


@program
def judge(strict: bool) -> bool:
    first = sample(flip(0.3 if strict else 0.6))
    factor(0.7 if first else -0.4)
    second = sample(flip(0.5)) if strict else True
    condition(first or second)
    return first


def caller(inner: Program) -> Program:
    """Draws, asks a judge, and goes on by what the judge said."""

    @program
    def plan() -> tuple[bool, bool]:
        strict = sample(flip(0.4))
        verdict = inner(strict)
        observe(flip(0.8 if strict == verdict else 0.3), True)
        return strict, verdict

    return plan


def weigher(inner: Program) -> Program:
    """Uses a judge's evidence alone."""

    @program
    def weigh() -> bool:
        strict = sample(flip(0.4))
        inner(strict)
        return strict

    return weigh


def weigher_of(inner: Program) -> Program:
    """Uses the evidence of a program without arguments."""

    @program
    def weigh() -> bool:
        return inner()

    return weigh


INNER: list[Method] = [SMC(n=1), SMC(n=2, ess_threshold=1.0), Importance(n=2), Enumerate()]
OUTER: list[Method] = [Importance(n=1), SMC(n=2, ess_threshold=1.0, resampling="multinomial")]


@pytest.mark.parametrize("make", [caller, weigher])
@pytest.mark.parametrize("inner", INNER, ids=repr)
def test_means_what_it_means_inline(make: Any, inner: Method) -> None:
    """E[Ẑ] = Z and E[Ẑ f] = μ(f) for every trace, inner choices included, with the outer method at n = 1."""
    certificate = validate(make(nested(judge, inner)), method=Importance(n=1), n=1)
    assert certificate, str(certificate)


@pytest.mark.parametrize("inner", [SMC(n=1), Enumerate()], ids=repr)
def test_inside_a_population_that_resamples(inner: Method) -> None:
    certificate = validate(caller(nested(judge, inner)), method=SMC(ess_threshold=1.0), n=2)
    assert certificate, str(certificate)


@pytest.mark.slow
@pytest.mark.parametrize("inner", INNER, ids=repr)
def test_two_outer_particles(inner: Method) -> None:
    for outer in ("importance", "smc"):
        certificate = validate(caller(nested(judge, inner)), method=outer, n=2)
        assert certificate, str(certificate)


@program
def by_parameter() -> bool:
    a = sample(flip(0.3))
    b = sample(flip(0.8 if a else 0.4))
    factor(0.5 if b else -0.3)
    return b


@pytest.mark.parametrize(
    "inner",
    [SMC2(n=1, inner=1, parameters=("*/a",)), SMC(n=1, move=SingleSite(), ess_threshold=0.9)],
    ids=repr,
)
def test_methods_that_fix_sites_or_move(inner: Method) -> None:
    """Inside another program sites have longer addresses, by which these methods must find and fix them."""
    certificate = validate(weigher_of(nested(by_parameter, inner)), method=Importance(n=1), n=1)
    assert certificate, str(certificate)


def test_the_exact_measure_is_that_of_the_program_inline() -> None:
    """The reference of the certificates is not the nested program's own idea of itself."""
    inline, quick = (infer(caller(p), method="enumerate") for p in (judge, nested(judge, SMC(n=2))))
    assert quick.log_evidence == pytest.approx(inline.log_evidence, abs=1e-12)
    assert {r.trace: r.log_joint for r in quick.runs} == pytest.approx({r.trace: r.log_joint for r in inline.runs})


class Normalises(runtime_nested._Inside):
    """Forgets the inner evidence, as if the value came from a normalised posterior."""

    def ended(self, population: Population) -> None:
        population.log_scale -= population.log_evidence
        super().ended(population)


class PicksAny(runtime_nested._Inside):
    """Goes on from any inner run, whatever it weighs."""

    def ended(self, population: Population) -> None:
        log_evidence = population.log_evidence
        for p in population.particles:
            p.log_weight = min(p.log_weight, 0.0) if p.log_weight == -math.inf else 0.0
        population.log_scale = log_evidence - math.log(sum(p.log_weight == 0.0 for p in population.particles) or 1)
        super().ended(population)


class Averages(runtime_nested._Inside):
    """Weighs by the mean log-weight: an unbiased estimate of the wrong thing."""

    def ended(self, population: Population) -> None:
        alive = [p.log_weight for p in population.particles if p.log_weight > -math.inf]
        if alive:
            population.log_scale += math.fsum(alive) / len(alive) + math.log(len(alive))
            population.log_scale -= population.log_evidence - population.log_scale + math.log(len(population.particles))
        super().ended(population)


@pytest.mark.parametrize("wrong", [Normalises, PicksAny, Averages])
def test_planted_bugs_are_caught(wrong: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_nested, "_Inside", wrong)
    certificate = validate(caller(nested(judge, Importance(n=2))), method=Importance(n=1), n=1)
    assert not certificate
    assert certificate.error > 1e-3


def test_chains_run_it_inline() -> None:
    certificate = validate(weigher(nested(judge, SMC(n=2))), method="mh")
    assert certificate, str(certificate)


def test_given_and_proposals_reach_the_inner_program() -> None:
    plan = caller(nested(judge, SMC(n=4)))
    exact = infer(plan.given({"verdict/first": True}), method="enumerate")
    found = infer(plan.given({"verdict/first": True}), method="importance", n=1000, seed=1)
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=0.1)
    assert all(c.observed for run in found.runs for c in run.trace if c.address == "verdict/first")
    seen: list[str] = []

    def propose(site: ProposalSite) -> Any:
        seen.append(site.address)
        return flip(0.9)

    exact = infer(plan, method="enumerate")
    found = infer(plan, method="importance", n=1000, seed=1, proposals={"first": propose})
    assert set(seen) == {"verdict/first"}
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=0.1)


@program
def reads(prompt: str) -> str:
    text = sample(lm.context(prompt).text(max_tokens=3))
    observe(lm.context(text).choice(["a", "b"]), "a")
    return str(text)


@program
def asks() -> str:
    letter = sample(lm.context("").choice(["a", "b"]))
    text = quick(str(letter))
    condition("b" in text)
    return text


quick = nested(reads, SMC(n=4, ess_threshold=1.0))


def test_calls_of_all_inner_populations_share_batches() -> None:
    one, many = (infer(asks, method="importance", n=n, seed=0).cost for n in (1, 16))
    assert many.model_calls > 10 * one.model_calls
    assert many.forwards <= one.forwards + 2  # some texts are longer than those of the first


def test_inner_calls_of_a_model_are_weighed() -> None:
    exact = infer(asks, method="enumerate")
    found = infer(asks, method="smc", n=500, seed=2)
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=0.12)
    for text, probability in exact.distribution().items():
        assert found.probability(text) == pytest.approx(probability, abs=0.08)


def test_a_budget_bounds_what_inner_runs_use() -> None:
    found = infer(asks, method="importance", n=64, seed=0, budget={"tokens": 300})
    assert found.incomplete
    assert 0 < found.cost.tokens <= 300


def test_a_budget_that_ends_an_inner_population_ends_the_run() -> None:
    """What is unfinished is no estimate for the caller to go on with: with it the evidence came out as a half."""
    weigh = weigher(nested(judge, SMC2(n=4, inner=2)))
    whole = infer(weigh, n=2, seed=0)
    for particles in range(3, 40, 4):
        found = infer(weigh, n=2, seed=0, budget={"particles": particles})
        assert found.incomplete is not None or found.log_evidence == whole.log_evidence


def test_what_an_inner_method_left_out_by_itself_is_no_estimate() -> None:
    few = BestFirst(max_open=1, batch=1)

    @program
    def samples() -> bool:
        return sample(posterior_of(judge, True, method=few))

    for wrong in (weigher(nested(judge, few)), samples):
        with pytest.raises(ProgramError, match=r"(?s)1 branch was opened.*no estimate to go on with.*\.py:\d+"):
            infer(wrong, n=8, seed=0)
    for found_on_the_spot in (
        lambda: infer(samples, method="mh", steps=2),
        lambda: posterior_of(judge, True, method=few).log_evidence,
    ):
        with pytest.raises(ValueError, match=r"posterior_of\(judge\).*no estimate to go on with"):
            found_on_the_spot()


def test_the_same_seed_gives_the_same_runs_by_itself_and_beside_others() -> None:
    alone = infer(asks, method="smc", n=8, seed=5)
    again = infer(asks, method="smc", n=8, seed=5)
    assert [(r.value, r.log_weight, r.trace) for r in alone.runs] == [
        (r.value, r.log_weight, r.trace) for r in again.runs
    ]


def test_nested_in_nested_and_at_the_top() -> None:
    exact = infer(asks, method="enumerate").log_evidence
    found = infer(nested(nested(asks, SMC(n=8)), Importance(n=2)), method="importance", n=100, seed=3)
    assert found.log_evidence == pytest.approx(exact, abs=0.15)
    middle = weigher(nested(judge, Importance(n=1)))
    certificate = validate(weigher_of(nested(middle, Importance(n=2))), method=Importance(n=1), n=1)
    assert certificate, str(certificate)


def test_run_forward_it_is_the_plain_program() -> None:
    plan = caller(nested(judge, SMC(n=4)))
    assert (
        infer(plan, method=Forward(n=1), seed=0).runs[0].value
        == infer(caller(judge), method=Forward(n=1), seed=0).runs[0].value
    )
    assert nested(judge, SMC(n=4))(True) in (True, False)


def test_it_can_be_sent_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(nested(coin, SMC(n=4))))
    assert repr(again) == "nested(<program coin>, SMC(n=4))"
    assert again.inner is coin


def test_dead_inner_populations_end_their_caller() -> None:
    @program
    def never() -> None:
        condition(False)

    dead = nested(never, SMC(n=2))

    @program
    def hopeless() -> None:
        dead()

    assert infer(hopeless, n=3, seed=0).empty


@pytest.mark.parametrize("method", ["beam", "mh", "self-consistency", Forward(n=2)])
def test_methods_without_evidence_are_refused(method: Any) -> None:
    with pytest.raises(ValueError, match="estimates the evidence without bias"):
        nested(judge, method)


def test_posterior_of_is_normalised_and_can_be_observed() -> None:
    """A listener who reasons about a speaker (Frank and Goodman, 2012), beside the same by hand."""
    words = {"glasses": (0, 1), "hat": (1,)}

    @program
    def literal(word: str) -> int:
        face = sample(flip(0.5))
        condition(int(face) in words[word])
        return int(face)

    @program
    def listener(word: str) -> int:
        face = int(sample(flip(0.5)))
        said = "hat" if sample(flip(0.5)) else "glasses"
        observe(posterior_of(literal, said), face)
        condition(said == word)
        return face

    assert posterior_of(literal, "glasses").log_evidence == pytest.approx(0.0)
    assert posterior_of(literal, "hat").log_evidence == pytest.approx(math.log(0.5))
    found = infer(listener, "glasses", method="enumerate")
    assert found.probability(0) == pytest.approx(0.5)
    assert infer(listener, "hat", method="enumerate").probability(1) == pytest.approx(1.0)
    assert found.log_evidence == pytest.approx(math.log(0.5 * 0.5 * 0.5 + 0.5 * 0.5 * 0.5))
    assert validate(listener, "glasses", method="importance", n=2)


def test_posterior_of_says_what_to_write_instead_of_an_estimate() -> None:
    with pytest.raises(ValueError, match=r"judge = nested\(judge, SMC\(n=4\)\)"):
        posterior_of(judge, True, method=SMC(n=4))

    @program
    def never() -> None:
        condition(False)

    with pytest.raises(ValueError, match="rules out all its runs"):
        posterior_of(never).log_evidence  # noqa: B018
    with pytest.raises(TypeError, match="takes a @program and its arguments, got str"):
        posterior_of("never")  # type: ignore[arg-type]

    @program
    def asks_in_vain() -> None:
        observe(posterior_of(never), None)

    with pytest.raises(ProgramError, match=r"observe 'observe': never rules out all its runs"):
        infer(asks_in_vain)
    assert infer(asks_in_vain, on_error="kill").empty


def spoken(listens: bool) -> Program:
    """A program that asks a judge's posterior, observed or sampled, after a line of its own."""

    @program
    def verdict(text: str) -> str:
        word = sample(lm.context(text).choice(["a", "b"]))
        observe(lm.context(text + word).choice(["a", "ba"]), "a")
        return str(word)

    @program
    def speaks() -> tuple[str, str]:
        text = sample(lm.context("").text(max_tokens=1))
        if listens:
            word = str(sample(posterior_of(verdict, str(text))))
        else:
            word = "a"
            observe(posterior_of(verdict, str(text)), word)
        condition(text != "b")
        return str(text), word

    return speaks


@pytest.mark.parametrize("listens", [False, True])
def test_posteriors_inside_keep_every_law(listens: bool) -> None:
    speaks = spoken(listens)
    assert validate(speaks, method="importance", n=2)
    assert validate(speaks, method="smc", n=2, ess_threshold=1.0)
    assert validate(speaks, method="mh")


def test_posteriors_inside_share_batches_and_count() -> None:
    """All particles ask at once, and no pass of the model is for one of them alone."""
    speaks = spoken(True)
    few, many = (infer(speaks, method="importance", n=n, seed=0) for n in (2, 64))
    assert many.cost.tokens > 20 * few.cost.tokens / 2
    assert many.cost.forwards <= few.cost.forwards + 3
    assert infer(speaks, n=8, seed=0, budget={"tokens": 10}).incomplete is not None
    exact = infer(speaks, method="enumerate")
    # Normalised, so that only what the caller itself rules out is missing.
    assert exact.log_evidence == pytest.approx(math.log1p(-math.exp(lm.context("").token().log_prob("b"))))


def test_what_an_inner_program_changes_is_each_inner_particle_s_own() -> None:
    """Its arguments, what it captured and what it has by default; the caller's stay as they were, by every method."""

    @program
    def captured() -> tuple[int, int]:
        seen: list[bool] = []

        @program
        def inner() -> int:
            seen.append(sample(flip(0.5)))
            factor(0.5 * len(seen))
            return len(seen)

        return nested(inner, SMC(n=2))(), len(seen)

    @program
    def default() -> tuple[int, int]:
        @program
        def inner(seen: list[bool] = []) -> int:  # noqa: B006
            seen.append(sample(flip(0.5)))
            factor(0.5 * len(seen))
            return len(seen)

        return nested(inner, SMC(n=2))(), 0

    @program
    def appends(seen: list[bool]) -> int:
        seen.append(sample(flip(0.5)))
        factor(0.5 * len(seen))
        return len(seen)

    @program
    def argument() -> tuple[int, int]:
        seen: list[bool] = []
        return nested(appends, SMC(n=2))(seen), len(seen)

    for prog in (captured, default, argument):
        assert validate(prog, method="importance", n=1), prog.name
        for method in ("enumerate", "importance", "forward", "mh"):
            options: dict[str, Any] = {} if method == "enumerate" else {"seed": 0}
            found = infer(prog, method=method, **options)
            assert found.probability((1, 0)) == 1.0, (prog.name, method)
            assert method != "enumerate" or found.log_evidence == pytest.approx(0.5)


def test_a_posterior_leaves_what_its_program_captured() -> None:
    @program
    def asks() -> tuple[int, int, int]:
        seen: list[bool] = []

        @program
        def inner() -> int:
            seen.append(sample(flip(0.5)))
            return len(seen)

        first = sample(posterior_of(inner))
        second = sample(posterior_of(inner))
        return first, second, len(seen)

    for options in ({"method": "enumerate"}, {"method": "smc", "n": 3, "seed": 0}, {"method": "mh", "seed": 0}):
        assert infer(asks, **options).probability((1, 1, 0)) == 1.0, options
