"""The package agrees with an oracle of its own on what programs mean, and bugs in the machine show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppl import Program, law_programs
from ppl.compiler.requests import Twist
from ppl.law_programs import CORPUS
from ppl.runtime.machine import Machine

from .denotation import Denoted, Meaning
from .denotation_check import difference, random_rows
from .random_programs import compiled, random_source

TOLERANCE = 1e-9


def denoted(source: str, evidence: bool = True) -> Denoted:
    """What ``main(1)`` of a module denotes."""
    meaning = Meaning(source, evidence=evidence)
    return meaning.denotation(meaning.module["main"], 1)


def caught() -> bool:
    """Whether the package is far from the oracle on one of the first random programs."""
    return any(error(random_source(seed)) > 0.01 for seed in range(60))


def error(source: str) -> float:
    """How far it is; infinitely where addresses are not unique."""
    try:
        return difference(compiled(source), ((1,), {}), denoted(source), denoted(source, evidence=False))
    except AssertionError:
        return float("inf")


@pytest.fixture(scope="module")
def corpus() -> dict[str, tuple[Program, tuple[Any, ...], Denoted]]:
    meaning = Meaning(Path(law_programs.__file__).read_text(encoding="utf-8"), random_rows)
    assert set(meaning.module["CORPUS"]) == set(CORPUS)
    return {
        title: (*CORPUS[title], meaning.denotation(program, *args))
        for title, (program, args) in meaning.module["CORPUS"].items()
    }


@pytest.mark.parametrize("title", CORPUS)
def test_the_corpus(title: str, corpus: dict[str, tuple[Program, tuple[Any, ...], Denoted]]) -> None:
    program, args, right = corpus[title]
    assert difference(program, (args, {}), right) < TOLERANCE
    assert right.paths > 1 and right.most > 0


# --- bugs in the machine, which enumeration shares with every method: where each is compared with it, nothing shows ---


def test_evidence_counted_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Machine._observed

    def doubled(self: Machine, particle: Any, ask: Any, address: str, answer: Any, log_p: float) -> Any:
        return right(self, particle, ask, address, answer, 2.0 * log_p)

    monkeypatch.setattr(Machine, "_observed", doubled)
    assert caught()


def test_a_twist_that_stays_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def stays(self: Machine, particle: Any, ask: Twist) -> None:
        self._evidence(particle, ask, float(ask.log_value))

    monkeypatch.setattr(Machine, "_twist", stays)
    assert caught()


def test_addresses_without_loop_counters_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Machine._record

    def shortened(self: Machine, particle: Any, ask: Any, address: str, *rest: Any) -> None:
        right(self, particle, ask, address.replace("[1]", "[0]"), *rest)

    monkeypatch.setattr(Machine, "_record", shortened)
    assert caught()


def test_a_proposal_that_is_not_corrected_for_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Machine._drawn

    def uncorrected(self: Machine, particle: Any, ask: Any, address: str, value: Any, log_p: float, _: float) -> Any:
        return right(self, particle, ask, address, value, log_p, log_p)

    monkeypatch.setattr(Machine, "_drawn", uncorrected)
    assert caught()


def test_a_program_called_in_the_scope_of_its_caller_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Machine._invoke

    def flat(self: Machine, particle: Any, *rest: Any) -> Any:
        scope = particle.scope
        found = right(self, particle, *rest)
        particle.scope = type(scope)(scope.prefix, particle.scope.fixed)
        return found

    monkeypatch.setattr(Machine, "_invoke", flat)
    assert caught()


@pytest.mark.slow
def test_without_a_bug_nothing_is_caught() -> None:
    """``test_random_programs.py`` looks at others, of other sizes too."""
    assert not caught()
