"""Certificates: true when the law holds, false when it does not, and clear where it can't be checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.distributions as td

from ppl import (
    MH,
    SMC,
    Importance,
    Program,
    ProgramError,
    call,
    condition,
    dist,
    factor,
    infer,
    load_lm,
    observe,
    program,
    sample,
    table_lm,
)
from ppl.certificate import TooLarge, validate
from ppl.certificate_statistical import validate_statistically
from ppl.compiler import ir, rewrite
from ppl.compiler.passes import Info, Level, Pass, Remark
from ppl.expectation import trace_key
from ppl.kernels import Block, Regenerate
from ppl.law_programs import ends_early, hidden_markov, soft_and_hard, twisted
from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.table import TableModel
from ppl.runtime.population import Population, World
from ppl.runtime.scheduler import Task
from ppl.runtime.source import derive


def test_a_certificate_of_a_proper_method() -> None:
    certificate = validate(soft_and_hard, method="smc", ess_threshold=1.0)
    assert certificate and certificate.exact and certificate.error < 1e-12
    assert certificate.guarantee == "proper" and certificate.leaves > 100
    assert "holds; checked exactly" in str(certificate)
    assert json.loads(certificate.to_json())["holds"] is True


def test_exact_methods_and_nested_options() -> None:
    assert validate(twisted, method="enumerate")
    assert validate(hidden_markov, [True], method=Importance(), n=2)


class Wrong(SMC):
    """Adds a little evidence of its own."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale += 0.01
        return population


def test_a_refutation_says_where() -> None:
    """Which of the methods, what is wrong with the evidence, and the trace that is off most."""
    said = str(validate(soft_and_hard, method=Wrong(), n=(1, 2)))
    assert "by Wrong(n=1) E[Z] is 1.01005 times Z; the run of " in said and " of Z, not " in said

    class Forgets(Pass):
        name = "forgets"
        level = Level.JOINT

        def run(self, program: ir.Program, info: Info) -> tuple[ir.Program, list[Remark]]:
            def kept(node: ir.Node) -> list[ir.Node]:
                return [] if isinstance(node, ir.Effect) and node.site.kind == "factor" else [node]

            return rewrite.with_body(program, rewrite.map_nodes(program.body, kept)), []

    @program
    def weighs() -> tuple[str, list[int]]:
        x = sample(dist.flip(0.25))
        factor(math.log(3.0) if x else 0.0)
        return "yes" if x else "no", [1, 2]

    said = str(validate(weighs, pipeline=[Forgets()]))
    assert "the run of x=True, which returns ('yes', [1, 2]), has 0.166667 of Z, not 0.5" in said, said


def test_a_wrong_method_gets_no_certificate() -> None:
    certificate = validate(soft_and_hard, method=Wrong(), n=2)
    assert not certificate and certificate.error > 1e-3
    assert "DOES NOT HOLD" in str(certificate)
    certificate = validate_statistically(soft_and_hard, method=Wrong(n=1), n=4, runs=100)
    assert certificate.tolerance > 4


def test_statistically() -> None:
    certificate = validate_statistically(hidden_markov, [True, False, True], method="smc", n=4, runs=1500)
    assert certificate and not certificate.exact and certificate.error < certificate.tolerance


class VeryWrong(SMC):
    """Counts evidence twice."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale += 0.2
        return population


def test_statistics_catch_what_is_large_enough() -> None:
    assert not validate_statistically(hidden_markov, [True, False], method=VeryWrong(), n=4, runs=1500)


def test_too_large_says_what_to_shrink() -> None:
    with pytest.raises(
        TooLarge,
        match=r"more than limit=50 runs.*about.*sequences.*branches most at.*n=\(1, 2\).*validate_statistically",
    ):
        validate(soft_and_hard, method="smc", limit=50)

    @program
    def continuous() -> None:
        sample(td.Normal(0.0, 1.0))
        factor(0.0)

    with pytest.raises(Exception, match="Normal"):
        validate(continuous)


def test_values_that_can_not_be_hashed() -> None:
    @program
    def listed() -> list[bool]:
        return [sample(dist.flip(0.5))]

    assert validate(listed)


@pytest.mark.parametrize("log_scale", [-1000.0, -40.0, 900.0])
def test_errors_count_by_their_share_of_the_evidence(log_scale: float) -> None:
    """However unlikely the evidence: with absolute errors any method would pass."""

    @program
    def unlikely() -> bool:
        x = sample(dist.flip(0.5))
        factor(log_scale + 1.0 if x else log_scale)
        return x

    assert validate(unlikely, n=(1, 2), ess_threshold=1.0)
    assert not validate(unlikely, method=Wrong(), n=2)
    assert validate_statistically(unlikely, method="smc", n=4, runs=400)
    assert not validate_statistically(unlikely, method=VeryWrong(), n=4, runs=1500)


def test_what_has_no_law_of_means_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MH\(.*is a Markov chain.*Use validate.*or geweke"):
        validate_statistically(soft_and_hard, method="mh")
    with pytest.raises(ValueError, match=r"Beam\(.*is a search and promises nothing.*validate"):
        validate_statistically(soft_and_hard, method="beam")
    for runs in (0, 1):
        with pytest.raises(ValueError, match="fewer than 20 runs"):
            validate_statistically(soft_and_hard, runs=runs)
    with pytest.raises(ValueError, match="false_alarm is a probability"):
        validate_statistically(soft_and_hard, false_alarm=2.0)


def test_forward_sampling_is_checked_against_the_prior_also_statistically() -> None:
    assert validate_statistically(hidden_markov, [True, False], method="forward", n=4, runs=400)


def test_torchs_finite_distributions_sum_to_one() -> None:
    """In float32 they do not quite."""

    @program
    def die() -> int:
        x = sample(td.Categorical(torch.tensor([0.1, 0.2, 0.7])))
        y = sample(td.Bernoulli(0.3), proposal=td.Bernoulli(0.6))
        factor(0.3 * float(x + y))
        return int(x + y)

    assert validate(die, n=(1, 2))


def test_what_can_not_be_checked_is_said() -> None:
    with pytest.raises(TypeError, match="validate takes a @program, got builtin_function_or_method: put @program"):
        validate(len)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n= is empty"):
        validate(soft_and_hard, n=())
    with pytest.raises(TypeError, match="checked without a method, so resampling would mean nothing"):
        validate(soft_and_hard, pipeline="all", resampling="ssp")
    with pytest.raises(TypeError, match="checked without a method, so method, n would mean nothing"):
        validate(soft_and_hard, pipeline="all", method="mh", n=7)
    for n in (2.5, (1, 2.5)):
        with pytest.raises(TypeError, match=r"n is a number of particles or several of them.*got 2\.5"):
            validate(soft_and_hard, n=n)  # type: ignore[arg-type]


class FarTooHeavy(SMC):
    """Its masses are too large for a float."""

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        population.log_scale += 1000.0
        return population


def test_a_mass_that_overflows_fails_the_law() -> None:
    certificate = validate(soft_and_hard, method=FarTooHeavy(), n=1)
    assert not certificate and "a weight or the evidence is no finite number" in str(certificate)
    assert json.loads(certificate.to_json(), parse_constant=pytest.fail)["error"] == "inf"


def test_a_chain_that_reaches_not_every_run_says_which() -> None:
    @program
    def tied() -> bool:
        x = sample(dist.flip(0.5))
        y = sample(dist.flip(0.3))
        condition(x == y)
        return x

    certificate = validate(tied, method="mh")
    assert certificate.reason is not None
    assert "from the run x=True, y=True the chain never comes to the run x=False, y=False" in certificate.reason
    assert certificate.reason in str(certificate) and "inf" not in str(certificate)
    right = validate(tied, method=MH(kernel=Block()))
    assert right and right.reason is None


def test_draws_that_share_their_keys_fail_every_law_and_are_named() -> None:
    from .planted_draws import OneKeyPerStep, ResamplesWithoutSeed

    one = validate(soft_and_hard, method=MH(kernel=OneKeyPerStep()))
    assert not one and one.reason is not None and "two draws of one run have the same key" in one.reason
    assert "site.py" in one.reason and one.error == math.inf

    class Heuristic(ResamplesWithoutSeed):
        guarantee = "heuristic"  # type: ignore[assignment]

    for kind in (ResamplesWithoutSeed, Heuristic):
        certificate = validate(ends_early, method=kind(ess_threshold=1.0), n=2)
        assert not certificate and certificate.reason is not None
        assert "the same key whatever the seed" in certificate.reason and "systematic (resampling.py" in str(
            certificate
        )


def test_the_law_names_a_target_that_an_option_asks_for() -> None:
    plain, sharp = (validate(soft_and_hard, method="mh", power=power) for power in (1.0, 3.0))
    assert plain and sharp and "pi = p(choices)^3 * evidence" in sharp.law and "pi =" not in plain.law
    assert validate(soft_and_hard, method=MH(kernel=Regenerate(), power=0.5))


class WithoutSteps(MH):
    """Returns its starts."""

    def run(self, world: World) -> Task[Population]:
        starts = []
        for i in range(self.chains):
            starts.append((yield from self.start(world, derive(world.key, i))))
        return Population(starts, 0.0, chains=(1,) * self.chains)


def test_a_chain_goes_by_its_steps_and_estimates_no_evidence() -> None:
    with pytest.raises(TypeError, match=r"WithoutSteps.run\(\) must go by start\(\) and step\(\).*not call step"):
        validate(soft_and_hard, method=WithoutSteps())

    class Claims(MH):
        evidence = True

    with pytest.raises(TypeError, match="estimates no evidence: write evidence = False"):
        validate(soft_and_hard, method=Claims())


def test_texts_that_read_the_same_are_told_apart_by_their_tokens() -> None:
    lm = table_lm(["a", "b", "ab"], eos=None, seed=1)

    @program
    def spelt() -> str:
        text = sample(lm.context("a").text(max_tokens=3))
        return str(text)

    runs = infer(spelt, method="enumerate").runs
    assert len({run.value for run in runs}) < len(runs) == len({trace_key(run) for run in runs}) == 27
    assert validate(spelt, method="importance", n=1) and validate(spelt, pipeline="all", keep=("text",))


class Float32(TableModel):
    """As models of weights are: their logits are float32, whose sums are right to seven digits."""

    def logits(self, nodes: Sequence[Prefix]) -> torch.Tensor:
        return super().logits(nodes).float()


@pytest.mark.parametrize("method", ["importance", "smc", "mh", "best-first"])
def test_programs_over_float32_models_are_certified(method: str) -> None:
    rounded = load_lm(Float32.random(3, ["a", "b", "c"]))

    @program
    def writes() -> str:
        context = rounded.context("a")
        first = sample(context.token(temperature=0.7), proposal=context.token())
        observe((context + first).text(max_tokens=2), "ab")
        last = sample((context + first).choice(["a", "bb"]))
        factor(0.3 * (last == "a"))
        return first + last

    certificate = validate(writes, method=method)
    assert certificate and certificate.error < 1e-12, certificate
    assert validate(writes, pipeline="default")


def test_programs_over_the_bundled_model_are_certified() -> None:
    lm = load_lm()

    @program
    def adds() -> str:
        context = lm.context("Q: Start with 17. Add 25.\n")
        first = sample(context.token(top_k=3))
        factor(0.3 * (first == "1"))
        second = sample((context + first).token(top_k=2))
        observe((context + first + second).token(), "2")
        return first + second

    for method in ("smc", "mh"):
        assert validate(adds, method=method)


@pytest.mark.parametrize("method", ["mh", "smc", "enumerate"])
def test_a_function_whose_rows_depend_on_each_other_gets_no_certificate(method: str) -> None:
    """Chains are explored step by step, each a batch of one row: there nothing would be seen of it."""

    def centred(xs: list[int]) -> list[float]:
        return [x - sum(xs) / len(xs) for x in xs]

    def paired(xs: list[int], labels: list[str]) -> list[tuple[float, str]]:
        return [(math.sqrt(x), label) for x, label in zip(xs, labels, strict=True)]

    def weighs(function: Callable[..., Any]) -> Program:
        @program
        def weighed() -> int:
            x = sample(dist.categorical([0.2, 0.3, 0.5]))
            score = call(function, x) if function is centred else call(function, x, "a")[0]
            factor(score)
            return x

        return weighed

    assert validate(weighs(paired), method=method)
    with pytest.raises(ProgramError, match=r"call\(centred, \.\.\.\): the result for a row depends on the rows beside"):
        validate(weighs(centred), method=method)


def test_functions_that_take_rows_of_one_step_or_give_arrays_are_certified() -> None:
    def score(prefixes: list[list[float]]) -> list[float]:
        return torch.tensor(prefixes).sum(1).tolist()

    weights = torch.randn(512, 1, generator=torch.Generator().manual_seed(0))

    def rewards(xs: list[int]) -> torch.Tensor:
        features = [torch.randn(512, generator=torch.Generator().manual_seed(x)) for x in xs]
        return torch.sigmoid((torch.stack(features) @ weights)[:, 0])

    forms: list[Callable[[list[int]], list[Any]]] = [
        lambda xs: list(rewards(xs)),
        lambda xs: list(rewards(xs).numpy()),
        lambda xs: [{"score": value} for value in rewards(xs).tolist()],
        lambda xs: [object() for _ in xs],
    ]

    @program
    def steps() -> tuple[float, ...]:
        xs: list[float] = []
        for _ in range(2):
            xs = [*xs, sample(dist.flip(0.5)) + 1.0]
            factor(-call(score, xs))
        return tuple(xs)

    @program
    def rewarded(form: int) -> int:
        x = sample(dist.uniform([1, 2, 3]))
        found = call(forms[form], x)
        return x

    for method in ("importance", "mh"):
        assert validate(steps, method=method)
        for form in range(len(forms)):
            assert validate(rewarded, form, method=method)
