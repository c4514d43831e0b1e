"""The laws, on random programs: every method of the registry, SMC with each resampling scheme.

What a program means is told by an oracle that knows only its text (``denotation.py``). Enumeration and running every
path are compared with that, and what methods promise with enumeration.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

import pytest

from ppl import SMC, Enumerate, Method, infer
from ppl.certificate import CHECKS, Call, TooLarge, expected, without_evidence
from ppl.certificate_chains import method_transitions
from ppl.expectation import Expected
from ppl.runtime.methods import METHODS, PMMH, PGibbs, smc
from ppl.runtime.methods.chains import Chains
from ppl.runtime.resampling import SCHEMES

from .denotation import Denoted, Meaning
from .denotation_check import difference, key
from .planted_bugs import ForgetsEvidence
from .random_programs import FIRST, HEADER, compiled, random_source, shrunk
from .test_proper import KeepsTwist

TOLERANCE = 1e-9
CALL: Call = ((1,), {})


class Case:
    """A random program, with what it means."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.program = compiled(source)
        self.right = self.denoted(True)
        self.prior = self.denoted(False)
        self.scale = math.log(self.right.evidence) if self.right.evidence > 0.0 else 0.0

    def denoted(self, evidence: bool) -> Denoted:
        meaning = Meaning(self.source, evidence=evidence)
        return meaning.denotation(meaning.module["main"], *CALL[0])

    @property
    def error(self) -> float:
        """How far the package's enumeration of it is from the oracle."""
        return difference(self.program, CALL, self.right, self.prior) / math.exp(min(self.scale, 0.0))

    @cached_property
    def enumerated(self) -> dict[bool, Expected]:
        """What the package gives by enumeration, without its evidence and with."""
        return {ignored: self._in_units(Enumerate(ignore_evidence=ignored), ignored) for ignored in (False, True)}

    def expected(self, method: Method, limit: int) -> Expected:
        return self._in_units(method, without_evidence(method), limit)

    def _in_units(self, method: Method, ignored: bool, limit: int = 10_000) -> Expected:
        """The expectation of a method, in units of the evidence."""
        return expected(self.program, CALL, method, limit, 0.0 if ignored else self.scale)

    @cached_property
    def features(self) -> set[str]:
        """What there is in it that a law may break on."""
        body = self.source[len(HEADER) :]
        runs = [dict(trace) for _, trace in self.prior.measure]
        addresses = {address for run in runs for address in run}
        found = {
            "a choice in a loop": any("[" in address for address in addresses),
            "a choice in a program that is called": any("/" in address for address in addresses),
            "recursion": any(address.count("/") > 1 for address in addresses),
            "a parameter": all(FIRST in run for run in runs),
            "three choices in a run": self.right.most > 2,
            "runs of other addresses": len({frozenset(run) for run in runs}) > 1,
            "no mass": not self.right.measure,
            "runs ruled out": self.right.paths < self.prior.paths or len(self.right.measure) < len(self.prior.measure),
            "a comprehension": "for i in range(2)]" in body,
            "a changed list": ".append(" in body or "+= [" in body,
            "a model step": any(f".{kind}(" in body for kind in ("token", "text", "line", "choice")),
        }
        words = {"text": ".text(", "token": ".token(", "line": ".line(", "choice": ".choice(", "hint": "twist("}
        words |= {"break": "break", "continue": "continue", "branch": "    if ", "proposal": "proposal="}
        words |= {"text that goes on": '(lm.context("a") + t', "observed text": "observe(lm", "tool": "call(plus_one"}
        return {name for name, holds in found.items() if holds} | {n for n, word in words.items() if word in body}


SHARES = {
    "a choice in a loop": 0.25,
    "a choice in a program that is called": 0.08,
    "recursion": 0.01,
    "a parameter": 0.5,
    "three choices in a run": 0.06,
    "runs of other addresses": 0.2,
    "no mass": 0.03,
    "runs ruled out": 0.12,
    "a comprehension": 0.05,
    "a changed list": 0.4,
    "a model step": 0.04,
    "hint": 0.2,
    "break": 0.4,
    "continue": 0.15,
    "branch": 0.6,
    "proposal": 0.02,
    "tool": 0.2,
}
"""Of the programs that a method is checked on, the least share that must have what makes them worth it."""
MODEL_SHARES = {
    "text": 0.025,
    "token": 0.03,
    "line": 0.005,
    "choice": 0.03,
    "text that goes on": 0.01,
    "observed text": 0.02,
}
"""The same of all programs together, for what few have."""
EVERY = "every program"


def proper_methods(n: int) -> list[Method]:
    """Every proper method of the registry, and SMC with every resampling scheme."""
    found: list[Method] = []
    for kind in METHODS.values():
        if kind.guarantee != "proper":
            continue
        # The last of its variants that can be merged, else the first, the plainest: programs are small enough for it
        # most often.
        variant = next((v for v in reversed(kind.law_variants) if kind(**v).memoryless), kind.law_variants[0])
        schemes = [{"resampling": scheme} for scheme in SCHEMES] if kind is SMC else [{}]
        found += [kind(**options(kind, {**variant, **scheme}, n)) for scheme in schemes]
    return found


def options(kind: type[Method], variant: Any, n: int) -> dict[str, Any]:
    """A method's options, with ``n`` particles, and parameters that random programs have."""
    names = {f.name for f in fields(kind)}
    found = {**variant, **({"n": n} if "n" in names else {})}
    if found.get("parameters"):
        found["parameters"] = (FIRST,)
    if kind.name == "steering":
        found["n"] = n - 1  # with two, each of whom goes on in two ways, there are too many outcomes
    return found


def verify(holds: Callable[[str], bool], source: str, law: str) -> None:
    """Assert what must hold of a program; of one of which it does not, a part that shows it."""
    if not holds(source):
        small = shrunk(source, lambda other: not holds(other))
        raise AssertionError(f"{law} on\n{small}\nwhich is a part of\n{source}")


def obeys(method: Method, limit: int) -> Callable[[str], bool]:
    """Whether a method's expected measure is that of a program's enumeration."""

    def holds(source: str) -> bool:
        case = Case(source)
        right = case.enumerated[without_evidence(method)]
        return case.expected(method, limit).distance(right) < TOLERANCE

    return holds


class Tally:
    """On how many programs methods were checked, and what was in these.

    Attributes:
        checked: by method.
        features: by method: in how many of its programs there was what.
    """

    def __init__(self) -> None:
        self.checked: Counter[str] = Counter()
        self.features: dict[str, Counter[str]] = defaultdict(Counter)

    def note(self, name: str, features: Iterable[str]) -> None:
        """A method, by name, was checked on a program with these features."""
        self.checked[name] += 1
        self.features[name].update(features)

    def assert_full(self, methods: Iterable[Method], wanted: int, part: float = 1.0) -> None:
        """Each method saw enough programs, and not only plain ones; of the shares that are asked for, this part."""
        for name in (method.describe() for method in methods):
            assert self.checked[name] >= wanted, (name, self.checked[name])
            self.assert_shares(name, SHARES, part)
        if self.checked[EVERY] >= 100:  # of fewer, some kind of step may be missing
            self.assert_shares(EVERY, MODEL_SHARES, part)

    def assert_shares(self, name: str, shares: Mapping[str, float], part: float) -> None:
        found = {feature: self.features[name][feature] / self.checked[name] for feature in shares}
        assert all(found[feature] >= part * share for feature, share in shares.items()), (name, found)


def check(source: str, methods: Iterable[Method], limit: int, tally: Tally) -> None:
    """The package means by a program what the oracle does, and each method gives that in expectation."""
    case = Case(source)
    if case.error > TOLERANCE:
        verify(lambda other: Case(other).error <= TOLERANCE, source, "enumeration is wrong")
    tally.note(EVERY, case.features)
    for method in methods:
        try:
            found = case.expected(method, limit)
        except TooLarge:
            continue
        if not found.distance(case.enumerated[without_evidence(method)]) < TOLERANCE:
            verify(obeys(method, limit), source, f"{method.describe()} breaks its law")
        tally.note(method.describe(), case.features)


def sized(seed: int) -> tuple[str, int]:
    """A program, and how many paths it may have; every fifth takes steps of the model."""
    model = seed % 5 == 4
    most = 8 if seed % 40 == 0 else 6 if seed % 8 == 1 and not model else 4
    return random_source(seed, most, model), most


@pytest.mark.parametrize("half", [0, 1])
def test_every_proper_method_with_every_scheme(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large programs only by methods that go on once from equal populations, those with a model by every third one."""
    resampled: list[str] = []
    right = smc.resample

    def noted(*args: Any) -> Any:
        resampled.append(args[2])
        return right(*args)

    monkeypatch.setattr(smc, "resample", noted)
    methods, tally = proper_methods(2), Tally()
    for seed in range(half * 136, (half + 1) * 136):
        before = len(resampled)
        source, most = sized(seed)
        chosen = methods[seed // 5 % 3 :: 3] if seed % 5 == 4 else methods
        check(source, [method for method in chosen if method.memoryless or most <= 6], 200, tally)
        tally.checked["programs on which SMC resamples"] += len(resampled) > before
    tally.assert_full(methods, 100)
    assert tally.checked["programs on which SMC resamples"] >= 60


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_many_random_programs(n: int) -> None:
    methods, tally = proper_methods(n), Tally()
    for seed in range(1_000, 2_000):
        check(random_source(seed, (4, 6, 8, 12)[seed % 4]), methods, 1_500, tally)
    tally.assert_full(methods, 1_000 // n, 0.5)


# --- methods with other promises --------------------------------------------------------------------------------------


def variants(guarantee: str, n: int = 2) -> list[Method]:
    """Every method of a guarantee, with each of the options with which it has to be checked."""
    kinds = [kind for kind in METHODS.values() if kind.guarantee == guarantee]
    return [kind(**options(kind, variant, max(n, kind.least))) for kind in kinds for variant in kind.law_variants]


def reaches_all(method: Method) -> bool:
    """Whether each of its steps may lead to any run; others need not get everywhere on every program."""
    return isinstance(method, PGibbs | PMMH)


def stationary(case: Case, method: Method, limit: int) -> bool:
    """Whether a chain leaves the program's measure invariant, and is reversible where it says so."""
    assert isinstance(method, Chains)
    if reaches_all(method):
        return CHECKS["stationary"](case.program, CALL, [method], limit)[0].error < TOLERANCE
    found = method_transitions(case.program, CALL, method, limit)
    errors = [found.stationarity, found.row_sums, found.outside, found.margin]
    return max([*errors, *([found.balance] if method.reversible else [])]) < TOLERANCE


def check_chains(seeds: Iterable[int], methods: list[Method], limit: int) -> Tally:
    tally = Tally()
    for seed in seeds:
        source, _ = sized(seed)
        case = Case(source)
        tally.note(EVERY, case.features)
        for method in methods:
            try:
                holds = stationary(case, method, limit)
            except TooLarge:
                continue
            if not holds:
                law = f"{method.describe()} is not stationary"
                verify(lambda other, m=method: stationary(Case(other), m, limit), source, law)  # type: ignore[misc]
            tally.note(method.describe(), case.features)
    return tally


def test_chains() -> None:
    methods = variants("stationary")
    check_chains(range(300, 346), methods, 250).assert_full(methods, 40, 0.4)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_chains_on_many_programs(n: int) -> None:
    methods = variants("stationary", n)
    check_chains(range(3_000, 3_400), methods, 3_000).assert_full(methods, 300, 0.5)


def test_exact_methods() -> None:
    methods = variants("exact")
    assert {"enumerate", "best-first"} <= {method.name for method in methods}
    for seed in range(400, 440):
        case = Case(random_source(seed, 12))
        for method in methods:
            (found,) = CHECKS["exact"](case.program, CALL, [method], 1_000)
            assert found.error < TOLERANCE, f"{method.describe()} is wrong on\n{case.source}"


def test_searches_return_runs_that_exist() -> None:
    """They promise no more."""
    methods = variants("heuristic")
    found: Counter[str] = Counter()
    for seed in range(500, 540):
        case = Case(random_source(seed, 12))
        for method in methods:
            runs = infer(case.program, *CALL[0], method=method, seed=seed).runs
            unknown = [run for run in runs if key(run) not in case.prior.measure]
            assert not unknown, f"{method.describe()} gives {unknown} on\n{case.source}"
            found[method.name] += bool(runs)
    assert min(found[method.name] for method in methods) >= 20, found


# --- planted bugs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", [ForgetsEvidence, KeepsTwist])
def test_a_planted_bug_shrinks_to_a_small_program(bug: type[SMC]) -> None:
    holds = obeys(bug(n=2, ess_threshold=1.0, resampling="multinomial"), 250)
    with pytest.raises(AssertionError, match="breaks its law") as caught:
        for seed in range(60):
            verify(holds, random_source(seed, 4), "it breaks its law")
    example = str(caught.value).split("which is a part of")[0]
    print(example)  # a runnable counterexample, as small as it gets: pytest -s shows it
    body = example[example.index("@program") :]
    evidence = ("factor", "observe", "condition")
    assert ("twist" in body) if bug is KeepsTwist else any(word in body for word in evidence)
    assert len(body.splitlines()) <= 9
