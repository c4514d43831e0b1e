"""R̂ and effective sample sizes of chains: what is told, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td
from torch.distributions import Normal

from ppl import dist, factor, infer, observe, program, sample
from ppl.diagnostics import Diagnosis, NoChains, diagnose, to_arviz
from ppl.kernels import MoveSite, SingleSite
from ppl.runtime.methods import MH


@program
def mean_of(data: list[float]) -> Any:
    mu = sample(Normal(0.0, 3.0))
    for x in data:
        observe(Normal(mu, 1.0), x)
    word = sample(dist.categorical({"yes": 0.7, "no": 0.3}))
    return word


def near(site: MoveSite) -> Normal:
    return Normal(site.value, 1.0)


DATA = [1.0, 1.5, 0.5]
GOOD = MH(steps=800, kernel=SingleSite(proposals={"mu": near}))


def test_chains_that_have_settled() -> None:
    rows = {row.name: row for row in diagnose(infer(mean_of, DATA, method=GOOD, seed=1))}
    assert set(rows) == {"log_joint", "value == 'yes'", "mu", "word == 'yes'"}
    mean, sd = 3.0 / (3 + 1 / 9), (3 + 1 / 9) ** -0.5
    assert rows["mu"].mean == pytest.approx(mean, abs=0.1) and rows["mu"].sd == pytest.approx(sd, abs=0.1)
    assert rows["mu"].rhat < 1.05 and 100 < rows["mu"].ess_bulk < 1600
    assert rows["value == 'yes'"].mean == pytest.approx(0.7, abs=0.1)


def test_chains_that_have_not() -> None:
    stuck = MH(steps=40, kernel=SingleSite(proposals={"mu": lambda site: Normal(site.value, 0.01)}))
    found = diagnose(infer(mean_of, DATA, method=stuck, seed=2))
    assert not found and "not settled" in str(found)
    assert {row.name: row for row in found}["mu"].rhat > 1.2


def test_what_never_changes_has_settled() -> None:
    assert Diagnosis("x", 1.0, 0.0, float("nan"), float("nan"), float("nan")).settled


def test_what_differs_by_rounding_alone_has_not_changed() -> None:
    """The same terms of log_joint in another order: its R̂ would be no number, and hide that of the others."""

    @program
    def coins() -> bool:
        return sample(dist.flip(0.5)) + sample(dist.flip(0.5)) + sample(dist.uniform(range(3))) > 2

    posterior = infer(coins, method="mh", steps=4000, seed=0)
    rows = {row.name: row for row in diagnose(posterior)}
    assert rows["log_joint"].sd == 0.0 and rows["log_joint"].settled
    assert 0.9 < posterior.rhat < 1.01


def test_chains_that_stay_where_they_began_disagree() -> None:
    @program
    def stuck() -> bool:
        x = sample(dist.flip(0.5))
        observe(dist.flip(0.5), x)
        return x

    never = MH(steps=40, kernel=SingleSite(proposals={"x": lambda site: dist.categorical({site.value: 1.0})}))
    posterior = infer(stuck, method=never, seed=1)
    assert posterior.rhat == float("inf") and not diagnose(posterior)


def test_arviz_gets_the_chains_in_their_order() -> None:
    posterior = infer(mean_of, DATA, method=GOOD, seed=1)
    data = to_arviz(posterior)["posterior"]
    assert data.sizes == {"chain": 4, "draw": 400}
    mu = np.array([next(c.value.item() for c in run.trace if c.address == "mu") for run in posterior.runs])
    assert np.array_equal(data["mu"].values.reshape(-1), mu)


def test_what_has_no_chains() -> None:
    with pytest.raises(NoChains, match=r"SMC\(n=4\) runs no Markov chains: look at posterior.ess"):
        diagnose(infer(mean_of, DATA, n=4, seed=0))
    with pytest.raises(NoChains, match="kept 8 states of 4 chains; at least 4 of each"):
        diagnose(infer(mean_of, DATA, method="mh", steps=4, seed=0))


def test_the_effective_sample_size_of_a_posterior_of_chains_is_that_of_the_chains() -> None:
    import arviz

    posterior = infer(mean_of, DATA, method=GOOD, seed=1)
    data = to_arviz(posterior)
    bulk, rhat = arviz.ess(data, method="bulk"), arviz.rhat(data)
    assert posterior.ess == pytest.approx(min(float(bulk[name]) for name in bulk))
    assert posterior.rhat == pytest.approx(max(float(rhat[name]) for name in rhat))
    assert posterior.ess < 0.7 * posterior.n, "states are alike, though their weights are equal"
    shown = posterior.summary()
    assert f"bulk ESS {posterior.ess:.0f} of 1,600 states of 4 chains, R-hat {posterior.rhat:.2f}" in shown
    assert f"ess={posterior.ess:.1f}/1600" in repr(posterior)


def test_a_summary_warns_of_chains_that_have_not_settled() -> None:
    stuck = MH(steps=200, kernel=SingleSite(proposals={"mu": lambda site: Normal(site.value, 0.01)}))
    posterior = infer(mean_of, DATA, method=stuck, seed=2)
    assert posterior.rhat > 1.1 and "have not settled" in posterior.summary()


def test_what_can_not_be_told_of_chains() -> None:
    short = infer(mean_of, DATA, method="mh", steps=4, seed=0)
    assert np.isnan(short.ess) and "8 states of 4 chains, too few for an ESS" in short.summary()
    with pytest.raises(NoChains, match="at least 4 of each"):
        _ = short.rhat

    @program
    def fixed() -> int:
        return sample(dist.delta(3))

    alike = infer(fixed, method="mh", steps=40, seed=0)
    assert np.isnan(alike.ess) and "80 states of 4 chains, all alike" in alike.summary()
    assert "ess" not in repr(alike) and alike.to_dict()["ess"] == "nan"
    particles = infer(mean_of, DATA, n=8, seed=0)
    assert 0.0 < particles.ess <= 8.0
    with pytest.raises(NoChains, match="runs no Markov chains"):
        _ = particles.rhat


@pytest.mark.parametrize("kind", ["tensor", "tuple"])
def test_vectors_are_looked_at_part_by_part(kind: str) -> None:
    """Chains that never leave the mode they began in: no state comes twice, but each part tells."""

    @program
    def two_modes() -> Any:
        w = sample(td.Independent(td.Normal(torch.zeros(2), 3.0), 1))
        ahead, behind = ((w - 5.0) ** 2).sum(), ((w + 5.0) ** 2).sum()
        factor(float(torch.logaddexp(-10.0 * ahead, -10.0 * behind)))
        return w if kind == "tensor" else (float(w[0]), {"second": float(w[1])}["second"])

    def near(site: Any) -> Any:
        return td.Independent(td.Normal(site.value, 0.3), 1)

    kernel = SingleSite(proposals={"w": near})
    found = diagnose(infer(two_modes, method=MH(steps=300, chains=4, burn_in=100, kernel=kernel), seed=4))
    rows = {row.name: row for row in found}
    assert rows.keys() == {"log_joint", "value[0]", "value[1]", "w[0]", "w[1]"}
    assert not found and all(rows[name].rhat > 1.2 for name in rows.keys() - {"log_joint"})
