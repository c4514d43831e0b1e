"""The exact check of chains explores parts of a step once; that changes no matrix, and wrong steps are still caught."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from ppl import SMC
from ppl.certificate_chains import Transitions, method_transitions
from ppl.certificate_parts import _Remembering
from ppl.expectation import TooLarge
from ppl.kernels import Kernel
from ppl.law_programs import CORPUS
from ppl.runtime.kernels import Setting
from ppl.runtime.methods import PMMH, ParallelTempering
from ppl.runtime.methods.chains import Chains
from ppl.runtime.methods.tempered import Partly
from ppl.runtime.methods.tempering import Replicas
from ppl.runtime.particle import Particle
from ppl.runtime.scheduler import Task
from ppl.runtime.source import Key, derive

TEMPERING = ParallelTempering(betas=(0.4, 1.0))
MARGINAL = PMMH(inner=SMC(n=2, ess_threshold=1.0), parameters=("x", "a"))


def matrix(method: Chains, title: str, limit: int = 100_000) -> Transitions:
    program, args = CORPUS[title]
    return method_transitions(program, (args, {}), method, limit)


@pytest.mark.parametrize("method", [TEMPERING, MARGINAL], ids=lambda method: method.name)
@pytest.mark.parametrize("title", ["soft_and_hard", "twisted"])
def test_parts_change_no_matrix(method: Chains, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parted = matrix(method, title)
    monkeypatch.setattr(_Remembering, "part", Setting.part)
    whole = matrix(method, title)
    assert parted.leaves < whole.leaves / 3
    order = [parted.states.index(state) for state in whole.states]
    assert len(order) == len(parted.states) > 3
    assert np.allclose(parted.target[order], whole.target, rtol=0, atol=1e-12)
    assert np.allclose(parted.matrix[np.ix_(order, order)], whole.matrix, rtol=0, atol=1e-12)


class SwapsAlways(ParallelTempering):
    """Neighbours change places whatever they weigh."""

    def step(self, setting: Setting, state: Replicas, key: Key) -> Task[Replicas]:
        low, high = yield from super().step(setting, state, key)
        return high, low


class MovesAlike(ParallelTempering):
    """Every replica is moved under the program's own measure."""

    def _move(self, setting: Setting, beta: float, run: Particle, key: Key) -> Task[Particle]:
        return self.kernel.step(setting, run, key)


@dataclass(frozen=True, repr=False)
class Lopsided(Kernel):
    """A kernel that is wrong at the lower degree alone."""

    inner: Kernel = TEMPERING.kernel

    def step(self, setting: Setting, run: Particle, key: Key) -> Task[Particle]:
        if setting.target == Partly(0.4):
            setting = replace(setting, target=Partly(0.5))
        return self.inner.step(setting, run, key)


WRONG: list[Any] = [
    SwapsAlways(betas=(0.4, 1.0)),
    MovesAlike(betas=(0.4, 1.0)),
    ParallelTempering(betas=(0.4, 1.0), kernel=Lopsided()),
]


@pytest.mark.parametrize("method", WRONG, ids=["swaps always", "moves alike", "one kernel wrong"])
def test_wrong_tempering_is_caught(method: Chains) -> None:
    assert matrix(TEMPERING, "twisted").error < 1e-12
    assert matrix(method, "twisted").error > 1e-3


class EstimatesTwice(PMMH):
    """What was estimated is not what is compared: the estimate of a rejected proposal is kept in part."""

    def step(self, setting: Setting, state: Any, key: Key) -> Task[Any]:
        found = yield from super().step(setting, state, key)
        again = yield from setting.part(self._estimated, derive(key, "again"), self._parameters(found.run))
        return found if again is None else replace(found, log_mass=again.log_mass)


def test_wrong_estimates_are_caught() -> None:
    right = PMMH(inner=SMC(n=1), parameters="start")
    assert matrix(right, "hidden_markov").error < 1e-12
    assert matrix(EstimatesTwice(inner=SMC(n=1), parameters="start"), "hidden_markov").error > 1e-3


def test_the_limit_counts_runs_of_the_program_and_a_share_of_what_is_put_together() -> None:
    leaves = matrix(TEMPERING, "twisted").leaves
    with pytest.raises(TooLarge, match="raise limit="):
        matrix(TEMPERING, "twisted", limit=leaves)
    assert matrix(TEMPERING, "twisted", limit=10 * leaves).leaves == leaves
