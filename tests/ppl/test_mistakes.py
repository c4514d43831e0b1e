"""What is written wrong is refused, or told, with what it is, where it stands and what to write."""

from __future__ import annotations

import functools
import inspect
import math
import random
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch.distributions import Beta, Exponential, Gamma, Normal, Uniform

import ppl
from ppl import (
    MH,
    PMMH,
    SMC,
    SMC2,
    AStar,
    Beam,
    BestFirst,
    Budget,
    Entropic,
    LookAhead,
    Method,
    ProgramError,
    Published,
    Revision,
    Steering,
    WeightError,
    call,
    dist,
    factor,
    infer,
    infer_many,
    observe,
    program,
    sample,
    table_lm,
    twist,
    validate,
)
from ppl.kernels import Block, Cycle, Repeat, SingleSite
from ppl.runtime.methods import METHODS
from ppl.stopping import settled

from .small_programs import chain, flip, hinted, net, outer

letters = table_lm(["a", "b", "c", "\n"], seed=1).context("a")
whole = letters.text("b", max_tokens=3)


def ANY(value: Any) -> Any:
    """A value whose type the checker is to forget: these are the mistakes that it would find."""
    return value


@pytest.mark.parametrize(
    ("address", "told"),
    [("snow", "rain, wet"), ("rain[0]", "no loop"), ("a/rain", "has no sample site")],
)
def test_unknown_names_list_the_known_ones(address: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        net.given({address: True})


def test_a_looped_name_without_its_index_says_how_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"x\[0\]"):
        chain.do(x=True)


def test_duplicate_computed_names_are_refused_with_the_known_ones() -> None:
    @program
    def twice() -> None:
        for _ in range(2):
            sample(flip(), name="x" + "y")

    with pytest.raises(ProgramError, match=r"'xy' was used before"):
        infer(twice, n=1)


def test_a_weight_that_is_no_number_names_site_value_and_line() -> None:
    @program
    def broken() -> None:
        factor(math.nan, name="bad")

    with pytest.raises(WeightError, match=r"(?s)'bad' is nan.*test_mistakes.py:\d+:  factor\(math.nan"):
        infer(broken)

    @program
    def infinite() -> None:
        factor(float("inf"))

    with pytest.raises(WeightError, match="inf"):
        infer(infinite)

    @program
    def hopeless() -> None:
        twist(-math.inf)

    with pytest.raises(WeightError, match=r"condition\(False\)"):
        infer(hopeless)


@pytest.mark.parametrize(("thing", "told"), [("abc", "needs a distribution, got str 'abc'"), (None, "NoneType")])
def test_what_is_no_distribution(thing: Any, told: str) -> None:
    @program
    def wrong() -> None:
        sample(thing)

    with pytest.raises(ProgramError, match=told):
        infer(wrong)


def test_a_program_called_where_it_can_not_be_cut_says_so() -> None:
    programs = [net]

    @program
    def hidden() -> Any:
        return max(programs, key=lambda p: p())

    with pytest.raises(ppl.effects.EffectOutsideProgram, match="Give it a name of its own"):
        infer(hidden)


# --- arguments of infer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call_", "told"),
    [
        (lambda: infer(net, method="smcc"), "no method 'smcc'; there are 'smc'"),
        (lambda: infer(net, method="SMC"), "or give a method object; did you mean 'smc'"),
        (lambda: infer(net, m=3), "has no option 'm'; it has n"),
        (lambda: infer(net, num_particles=3), "has no option 'num_particles'; it has n.*; did you mean 'n'"),
        (lambda: infer(net, n=10.0), "a whole number of 1 or more; got 10.0"),
        (lambda: infer(net, n=0), "1 or more"),
        (lambda: infer(net, resampling="fair"), "one of multinomial"),
        (lambda: infer(net, ess_threshold=2), "fraction of n"),
        (lambda: infer(net, method=SMC(), n=3), r"method=SMC\(n=3\)"),
        (
            lambda: infer(net, method="mh", steps=9, burn_in=1.5),
            r"burn_in is a number of steps.* = 8; got 1.5",
        ),
        (lambda: infer(net, method="mh", steps=9, burn_in="5"), "burn_in is a number of steps.*got '5'"),
        (lambda: infer(net, method="mh", steps=True), "steps is a number of 1 or more; got True"),
        (lambda: infer(net, method="pgibbs", ess_threshold=5), "ess_threshold is a fraction of n, from 0 to 1; got 5"),
        (lambda: infer(net, method="tempered", betas=0.5), "betas rise from over 0 to 1.0.*got 0.5"),
        (lambda: infer(net, method="tempered", cess="a"), "cess is a share of n.*got 'a'"),
        (lambda: infer(net, method="tempered", max_steps=1.5), "max_steps is the most degrees.*got 1.5"),
        (lambda: infer(net, method="parallel-tempering", betas=1.0), "betas are two or more degrees.*got 1.0"),
        (lambda: infer(net, method="entropic", steps=0), "steps is how many steps a run takes.*got 0"),
        (lambda: infer(net, method="best-of-n", wave=2.5), "wave is how many run side by side.*got 2.5"),
        (lambda: infer(net, on_error="ignore"), "'raise' or 'kill'"),
        (lambda: infer_many(net, [(), ()], seed=[1]), "1 seeds for 2 inputs"),
    ],
)
def test_bad_arguments_say_what_to_write(call_: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call_()


@pytest.mark.parametrize(
    ("call_", "told"),
    [
        (lambda: infer(net, method=ANY(SMC)), r"write SMC\(\.\.\.\)"),
        (lambda: infer(net, name="x"), "has no option 'name'; it has n, resampling"),
        (lambda: infer(chain, n=3), "missing 1 required"),
        (lambda: infer(hinted, q=0.5), r"goes into kwargs=\{'q'"),
        (lambda: infer(net, seed=ANY("a")), "seed is an integer, got 'a'"),
        (lambda: infer_many(net, [(), ()], seed=ANY(1.5)), "seed is an integer for all inputs, or .* each; got 1.5"),
        (lambda: infer_many(net, [(), ()], seed=ANY("ab")), "seed is an integer for all inputs, or .* each; got 'ab'"),
        (lambda: infer(net()), "not infer"),
        (lambda: infer(net, proposals=ANY({"rain": flip()})), "give a function of a ProposalSite"),
        (lambda: infer(net, proposals=ANY([1])), "maps site names"),
        (lambda: infer(net, proposals={"rain": lambda site: 0.5}), "proposal for 'rain' returned float 0.5"),
        (lambda: infer(net, kwargs=ANY([1])), "kwargs maps the program's parameters"),
        (lambda: infer(net, stop=ANY(3)), "stop is called with the population"),
        (lambda: infer(net, budget={"tokns": 1}), "no 'tokns'; it has tokens, calls"),
        (lambda: infer(net, budget=ANY({"tokens": "3"})), "number over 0, or None for no bound; got '3'"),
        (lambda: infer_many(net, "one question"), r"write \['one question'\]"),
        (lambda: infer_many(net, ANY(3)), "one entry a problem; got 3"),
        (lambda: letters + ANY(letters.line()), r"write context \+ sample"),
        (lambda: letters.lm.context(ANY(b"a")), "not a bytes"),
        (lambda: letters.lm.context("\ud800"), "half a character"),
        (lambda: infer(hinted, 0.5, resample_at="nosuch"), "matches no site.*seen"),
        (lambda: net.given(ANY("rain")), r"given\(x=value\)"),
        (lambda: flip(ANY("a")), "probability from 0 to 1, got 'a'"),
    ],
)
def test_mistakes_and_what_they_are_told(call_: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError, ProgramError), match=told):
        call_()


def test_arguments_the_wrong_way_round() -> None:
    @program
    def named_first() -> None:
        sample("x", flip())

    with pytest.raises(ProgramError, match=r"sample\(distribution, name='x'\)"):
        infer(named_first)

    @program
    def value_first() -> None:
        observe(True, flip())

    with pytest.raises(ProgramError, match=r"observe\(distribution, value\)"):
        infer(value_first)


def test_a_proposal_that_can_not_produce_everything_is_refused() -> None:
    @program
    def narrow() -> bool:
        return sample(flip(0.5), proposal=dist.delta(True))

    with pytest.raises(ProgramError, match="never gives False"):
        infer(narrow)


@pytest.mark.parametrize(
    ("target", "proposal", "missed"),
    [
        (whole, letters.text("b", max_tokens=3, top_k=2), "keeps top_k=2 tokens, the distribution all"),
        (letters.token(top_k=3), letters.token(top_k=2), "keeps top_k=2 tokens, the distribution 3"),
        (whole, letters.text("b", max_tokens=3, top_p=0.9), "top_p=0.9"),
        (letters.token(top_p=0.8), letters.token(top_p=0.5), "those of top_p=0.8"),
        (whole, letters.text("b", max_tokens=3, temperature=0), "temperature=0"),
        (whole, letters.text("b", max_tokens=2), "max_tokens=2, the distribution after max_tokens=3"),
        (whole, letters.text("c", max_tokens=3), r"stop=\['c'\], the distribution at stop=\['b'\]"),
        (letters.choice(["a", "b"]), letters.choice(["a", "c"]), "never gives 'b'"),
        (letters.choice(["a", "b"]), dist.delta("a"), "never gives 'b'"),
        (letters.choice(["a", "b"]), letters.choice(["a", "b"], temperature=0), "temperature=0"),
        (Uniform(0.0, 1.0), Uniform(0.0, 0.5), r"lies in \[0, 0.5\], the distribution in \[0, 1\]"),
        (Normal(0.0, 1.0), Exponential(1.0), r"lies in \[0, inf\]"),
        (Normal(torch.zeros(2), 1.0), Uniform(torch.zeros(2), torch.ones(2)), r"\[\[0.0, 0.0\], \[1.0, 1.0\]\]"),
        (whole, dist.tempered(whole, [0.0]), "temperature=0"),
        (whole, dist.mixture([letters.text("b", max_tokens=n) for n in (1, 2)]), "max_tokens=1"),
        (
            letters.choice(["a", "b", "c"]),
            dist.mixture([letters.choice(["a", "b"]), letters.choice(["a"])]),
            "gives 'c'",
        ),
        (letters.choice(["a", "b"]), dist.tempered(letters.choice(["a", "b"]), [0.0]), "temperature=0"),
        (Normal(0.0, 1.0), dist.mixture([Uniform(-1.0, 0.0), Uniform(0.0, 1.0)]), r"lies in \[-1, 1\]"),
    ],
)
def test_a_proposal_that_leaves_out_what_can_not_be_listed_is_refused(target: Any, proposal: Any, missed: str) -> None:
    @program
    def narrow() -> str:
        return sample(target, proposal=proposal)

    with pytest.raises(ProgramError, match=missed):
        infer(narrow)


@pytest.mark.parametrize(
    ("target", "proposal"),
    [
        (whole, letters.text("b", max_tokens=3, temperature=2.0, top_k=4)),
        (letters.token(top_k=2), letters.token(top_k=3)),
        (letters.token(top_p=0.5), letters.token(top_p=0.8)),
        (whole, dist.defensive(letters.text("b", max_tokens=3, top_k=1), whole)),
        (letters.choice(["a", "b"]), dist.uniform(["a", "b", "c"])),
        (letters.choice(["a", "b"]), dist.mixture([letters.choice(["a"]), letters.choice(["b"])])),
        (letters.choice(["a", "b"]), dist.tempered(letters.choice(["a", "b"]), [0.0, 2.0])),
    ],
)
def test_a_proposal_of_text_that_leaves_nothing_out_keeps_the_law(target: Any, proposal: Any) -> None:
    @program
    def wide() -> str:
        return sample(target, proposal=proposal)

    assert validate(wide, method="importance", n=2)


def test_an_error_in_a_batched_function_names_the_call() -> None:
    @program
    def fails() -> int:
        return call(lambda xs: xs + 1, 2)

    with pytest.raises(ProgramError, match=r"(?s)TypeError.*one list an argument.*return call\("):
        infer(fails)


@pytest.mark.parametrize(
    ("target", "proposal"),
    [
        (Exponential(1.0), Gamma(2.0, 1.0)),
        (Uniform(0.2, 0.8), Beta(1.0, 1.0)),
        (Uniform(0.0, 1.0), dist.mixture([Uniform(0.0, 0.5), Uniform(0.4, 1.0)])),
    ],
)
def test_a_wide_proposal_of_numbers_is_taken(target: Any, proposal: Any) -> None:
    @program
    def wide() -> float:
        return float(sample(target, proposal=proposal))

    posterior = infer(wide, n=4000, seed=0)
    assert abs(posterior.log_evidence) < 0.2 and abs(posterior.expectation() - float(target.mean)) < 0.1


def test_a_survived_exception_is_blamed_on_its_line() -> None:
    @program
    def splits() -> int:
        x = sample(flip(0.5))
        return int("no number" if x else "3")

    death = infer(splits, n=20, seed=0, on_error="kill").deaths[0]
    assert death.site.span.text == 'return int("no number" if x else "3")'


def test_what_no_run_reached_is_told() -> None:
    with pytest.warns(UserWarning, match=r"no run of chain reached 'x\[7\]'"):
        infer(chain.given({"x[7]": True}), 2, n=2)
    with pytest.warns(UserWarning, match="'second/snow'"):
        infer(outer.do({"second/snow": True}), n=2)


def test_global_randomness_is_told() -> None:
    @program
    def unseeded() -> float:
        return random.random()

    with pytest.warns(UserWarning, match="global random generator"):
        infer(unseeded, n=2)


def test_an_option_missed_by_white_space_is_told() -> None:
    lm = table_lm(["a", "b", "\n"], seed=2)

    @program
    def verdict() -> None:
        observe(lm.context("a").choice(["a\n", "b\n"]), "a")

    with pytest.raises(ProgramError, match="did you mean"):
        infer(verdict)


def test_infer_takes_programs_only() -> None:
    with pytest.raises(TypeError, match="put @program above"):
        infer(len, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'n'"):
        infer(chain)


class Coins:
    def toss(self) -> bool:
        return True


@pytest.mark.parametrize(
    "asks",
    [
        ppl.calibrate,
        ppl.goodness_of_fit,
        ppl.to_ir,
        ppl.validate,
        ppl.validate_statistically,
        ppl.ProgramModel,
        functools.partial(ppl.validate_evidence, log_evidence=0.0),
        infer,
    ],
)
def test_who_takes_a_program_takes_nothing_else(asks: Any) -> None:
    name = getattr(asks, "func", asks).__name__
    with pytest.raises(TypeError, match=f"{name} takes a @program, got function: put @program above it"):
        asks(lambda: 1)
    with pytest.raises(TypeError, match=rf"write {name}\(program, x\), not {name}\(program\(x\)\)"):
        asks(3)
    with pytest.raises(TypeError, match="a method can't be a program: make it a function that takes the object"):
        asks(Coins().toss)


def test_a_name_in_place_of_a_proposal_is_told() -> None:
    @program
    def named() -> bool:
        return sample(dist.flip(0.5), "heads")

    told = r"(?s)second argument of sample\(\) is a proposal.*sample\(distribution, name='heads'\).*test_mistakes.py"
    with pytest.raises(ProgramError, match=told):
        infer(named, n=2)


def test_every_option_of_a_method_is_explained() -> None:
    for name, method in METHODS.items():
        said = inspect.cleandoc(method.__doc__ or "").partition("Attributes:")[2]
        unsaid = [f.name for f in fields(method) if not re.search(rf"^    (\w+, )*{f.name}(, \w+)*:", said, re.M)]
        assert not unsaid, f"{name}: {unsaid}"


def test_effects_outside_programs_refuse() -> None:
    with pytest.raises(
        ppl.effects.EffectOutsideProgram, match=r"outside a @program \(.*test_mistakes.py:\d+, in test_"
    ):
        sample(flip())


@pytest.mark.parametrize(
    "method",
    [
        MH(steps=20, chains=1, kernel=SingleSite("cion")),
        MH(steps=20, chains=1, kernel=Cycle((SingleSite("coin"), Block(("cion",))))),
        MH(steps=20, chains=1, kernel=SingleSite(proposals={"cion": lambda site: flip(0.3)})),
        SMC(n=4, move=SingleSite("cion")),
        PMMH(steps=10, chains=1, inner=SMC(n=2), parameters="cion"),
        SMC2(n=2, inner=2, parameters=("coin", "cion")),
        SMC2(n=2, inner=2, parameters="coin", parameter_proposals={"cion": lambda site: flip(0.3)}),
    ],
)
def test_a_pattern_that_no_address_matches_is_told(method: Method) -> None:
    @program
    def tossed() -> bool:
        coin = sample(flip(0.5))
        observe(flip(0.8 if coin else 0.3), True)
        return coin

    with pytest.warns(UserWarning, match=r"'cion' in .* matches no address of tossed, .*; there are coin"):
        infer(tossed, method=method, seed=0)


def test_a_maker_of_rules_is_no_rule() -> None:
    with pytest.raises(TypeError, match=r"write stop=ppl.stopping.settled\(\)"):
        infer(hinted, stop=ANY(settled))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Beam(m=ANY(2.5)), "m is how many runs go on from one, a whole number of 1 or more; got 2.5"),
        (lambda: Steering(factor=ANY(1.5)), "factor is in how many ways"),
        (lambda: AStar(log_ahead=ANY("x")), "log_ahead is a number, or a function"),
        (lambda: SMC2(inner=ANY(SMC())), "inner is the number of particles of each filter, not a method"),
        (lambda: Entropic(ess_threshold=2), "ess_threshold is a fraction of n, from 0 to 1; got 2"),
        (lambda: LookAhead(ess_threshold=-1), "ess_threshold is a fraction of n"),
        (lambda: SMC(n=True), "n is the number of particles, a whole number of 1 or more; got True"),
        (lambda: MH(power=-1), "power is the exponent"),
        (
            lambda: Published(weighting="entropic", steps=0),
            "steps is how many steps a run takes, about, 1 or more; got 0",
        ),
        (lambda: Published(weighting="entropic", steps=ANY("x")), "steps is how many steps a run takes"),
        (lambda: Published(temperature=ANY("x")), "temperature is a number over 0; got 'x'"),
        (lambda: Published(temperature=math.inf), "temperature is a number over 0; got inf"),
        (lambda: SMC2(parameters=ANY(3)), "parameters is a name or pattern of addresses, or several; got 3"),
        (lambda: SMC2(parameter_proposals=ANY({"x": 3})), "parameter_proposals maps patterns of addresses"),
        (lambda: PMMH(parameters=ANY([1])), "parameters is a name or pattern of addresses, or several; got [1]"),
        (lambda: PMMH(parameter_proposals=ANY(near)), "parameter_proposals maps patterns of addresses"),
        (lambda: BestFirst(log_ahead=ANY("x")), "log_ahead is a number, the most evidence still to come; got 'x'"),
        (lambda: BestFirst(log_ahead=math.nan), "log_ahead is a number"),
        (lambda: AStar(log_ahead=math.nan), "log_ahead is a number, or a function of the steps taken; got nan"),
        (lambda: LookAhead(defensive=ANY("x")), "defensive is a share over 0 and up to 1; got 'x'"),
        (lambda: Revision(argument=ANY([1])), "argument is the name of a parameter of the program, or None; got [1]"),
        (lambda: SMC(resampling=ANY([1])), "resampling is one of multinomial"),
        (lambda: SMC2(resampling=ANY({})), "resampling is one of multinomial"),
        (lambda: Budget(particles=ANY(2.5)), "a budget of particles is a whole number over 0, or None"),
        (lambda: Budget(seconds=True), "a budget of seconds is a number over 0"),
        (lambda: Repeat(ANY("x"), -1), "Repeat takes a tuple of kernels"),
        (lambda: Cycle(ANY(SingleSite())), "Cycle takes a tuple of kernels"),
    ],
)
def test_options_say_what_they_are(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        make()


def test_the_mean_of_what_is_no_number_says_what_to_ask_for() -> None:
    @program
    def answers() -> str:
        return sample(dist.uniform(["yes", "no"]))

    with pytest.raises(TypeError, match=r"answers returned '(yes|no)', which is no number.*posterior.expectation\(len"):
        infer(answers, n=4, seed=0).expectation()


def near(site: Any) -> Any:
    """Most often the other value."""
    return flip(0.2 if site.value else 0.8)


def test_a_present_value_is_for_moves() -> None:
    with pytest.raises(AttributeError, match=r"draws 'rain' for the first time.*parameter_proposals= of pmmh and smc2"):
        infer(net, method="pmmh", parameters="rain", proposals={"rain": near}, steps=2, seed=0)


@pytest.mark.parametrize("name", METHODS)
def test_an_option_of_a_method_is_no_argument_of_infer(name: str) -> None:
    """It could not be given where the method is named."""
    assert not {field.name for field in fields(METHODS[name])} & set(inspect.signature(infer_many).parameters)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pmmh", {"steps": 40, "chains": 1, "inner": SMC(n=2)}),
        ("smc2", {"n": 4, "inner": 2}),
    ],
)
def test_a_method_moves_the_same_by_name_and_as_an_object(name: str, options: dict[str, Any]) -> None:
    options |= {"parameters": "rain", "parameter_proposals": {"rain": near}}
    by_name = infer(net, method=name, seed=0, **options)
    assert [run.value for run in by_name.runs] == [
        run.value for run in infer(net, method=METHODS[name](**options), seed=0).runs
    ]


def test_proposals_that_are_one_function_say_what_to_write() -> None:
    with pytest.raises(TypeError, match="proposals maps site names to functions of a ProposalSite"):
        infer(net, proposals=ANY(lambda site: flip()))


@pytest.mark.parametrize("method", [PMMH(steps=2, parameters="wet"), SMC2(n=2, inner=2, parameters="wet")])
def test_parameters_that_are_drawn_too_late_are_told(method: Method) -> None:
    """SMC² had no parameters then, and said nothing."""
    with pytest.raises(ProgramError, match="the parameter 'wet' is drawn after 'rain', which is none"):
        infer(net, method=method, seed=0)


# --- first guesses ---------------------------------------------------------------------------------------------------


@program
def tossed(p: float) -> bool:
    return sample(dist.flip(p))


FIRST_GUESSES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a distribution of torch": (lambda: ANY(dist).Normal(0.0, 1.0), AttributeError, r"torch\.distributions\.Normal"),
    "bounds": (lambda: dist.uniform(ANY(0), 1), TypeError, r"torch\.distributions\.Uniform\(low, high\)"),
    "no list": (lambda: dist.uniform(ANY(3)), TypeError, "one list of outcomes"),
    "outcomes alone": (lambda: dist.categorical(ANY(["a", "b"])), TypeError, "a dict, outcome → weight"),
    "brackets": (lambda: program(), TypeError, "without brackets"),
    "partial": (lambda: infer(ANY(functools.partial(tossed, 0.3))), TypeError, r"infer\(tossed, x\)"),
    "wrapped": (lambda: infer(ANY(functools.cache(tossed)), 0.3), TypeError, "has wrapped tossed: take it off"),
    "mean": (lambda: ANY(infer(tossed, 0.5, n=2)).mean, AttributeError, r"write posterior\.expectation\(\)"),
    "bounds of Z": (lambda: ANY(infer(tossed, 0.5, n=2)).bounds, AttributeError, "log_evidence_bounds"),
}


@pytest.mark.parametrize("name", FIRST_GUESSES)
def test_a_first_guess_leads_on(name: str) -> None:
    guess, error, says = FIRST_GUESSES[name]
    with pytest.raises(error, match=says):
        guess()


def test_data_that_can_t_be() -> None:
    @program
    def seen(y: float) -> float:
        p = sample(torch.distributions.Beta(1.0, 1.0))
        observe(torch.distributions.Bernoulli(p), y)
        return float(p)

    with pytest.raises(ProgramError, match=r"the value is nan(.|\n)*test_mistakes\.py"):
        infer(seen, math.nan, n=4, seed=0)
    assert "a value that its distribution can give?" in infer(seen, 2.0, n=4, seed=0).summary()


@pytest.mark.skipif(not hasattr(BaseException, "add_note"), reason="errors have no notes before Python 3.11")
def test_which_of_many_problems_failed_is_told() -> None:
    @program
    def parted(parts: int) -> float:
        sample(dist.flip(0.5))
        return 1 / parts

    with pytest.raises(ZeroDivisionError) as caught:
        ppl.infer_many(parted, [2, 1, 0, 3], n=2, seed=0)
    assert caught.value.__notes__ == ["in problem 2 of 4 (counted from 0): parted(0)"]
    with pytest.raises(ZeroDivisionError) as caught:
        infer(parted, 0, n=2, seed=0)
    assert not hasattr(caught.value, "__notes__")


def test_weights_at_the_ends_of_what_a_number_can_hold() -> None:
    assert dist.categorical([1e308, 1e308]).log_prob(1) == pytest.approx(math.log(0.5))
    assert dist.uniform(torch.tensor([1, 1, 2])).log_prob(1) == pytest.approx(math.log(2 / 3))
    with pytest.raises(ValueError, match="finite weights"):
        dist.categorical([10**400, 1])
    with pytest.raises(TypeError, match="takes weights: a dict"):
        dist.categorical(5)  # type: ignore[arg-type]
