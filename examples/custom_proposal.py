"""Custom proposals: the same posterior from far fewer particles.

A wide prior and sharp data: draws from the prior almost never land where the posterior is. A proposal draws elsewhere,
and the weight accounts for the difference. It can stand in the program, `sample(d, proposal=q)`, or come from outside,
`infer(..., proposals={"name": make_q})`, where `make_q(site)` sees the site's own distribution and the program's
variables. The model is conjugate, so that posterior and evidence have a closed form to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.distributions import Normal

from ppl import Posterior, ProposalSite, infer, observe, program, sample

PRIOR_SD, NOISE_SD = 10.0, 0.5
DATA = (6.8, 7.3, 7.1, 6.6, 7.4, 6.9)


@program
def plain(data: Sequence[float]) -> float:
    mean = sample(Normal(0.0, PRIOR_SD))
    for x in data:
        observe(Normal(mean, NOISE_SD), x)
    return mean.item()


@program
def guided(data: Sequence[float]) -> float:
    guess = sum(data) / len(data)
    mean = sample(Normal(0.0, PRIOR_SD), proposal=Normal(guess, 0.3))
    for x in data:
        observe(Normal(mean, NOISE_SD), x)
    return mean.item()


def near_the_data(site: ProposalSite) -> Normal:
    """A proposal for the site `mean`, made from what the program knows there."""
    data = site.variables["data"]
    return Normal(sum(data) / len(data), 0.3)


def closed_form(data: Sequence[float]) -> tuple[float, float, float]:
    """Posterior mean, posterior standard deviation, log evidence."""
    n, a, b = len(data), PRIOR_SD**-2, NOISE_SD**-2
    precision = a + n * b
    mean = b * sum(data) / precision
    squares = b * sum(x * x for x in data) - precision * mean**2
    log_evidence = 0.5 * (math.log(a) + n * math.log(b) - math.log(precision) - n * math.log(2 * math.pi) - squares)
    return mean, precision**-0.5, log_evidence


def run(way: str, n: int = 300, seed: int = 0) -> Posterior:
    prog = guided if way == "in the program" else plain
    proposals = {"mean": near_the_data} if way == "from outside" else None
    return infer(prog, DATA, method="importance", n=n, seed=seed, proposals=proposals)


def moments(posterior: Posterior) -> tuple[float, float]:
    mean = posterior.expectation()
    return mean, posterior.expectation(lambda x: (x - mean) ** 2) ** 0.5


def main() -> None:
    torch.set_default_dtype(torch.float64)
    mean, sd, log_evidence = closed_form(DATA)
    print(f"{'proposal':16} {'mean':>8} {'sd':>8} {'log evidence':>13} {'ESS':>7}")
    print(f"{'(closed form)':16} {mean:8.4f} {sd:8.4f} {log_evidence:13.4f}")
    for way in ("none", "in the program", "from outside"):
        posterior = run(way)
        m, s = moments(posterior)
        print(f"{way:16} {m:8.4f} {s:8.4f} {posterior.log_evidence:13.4f} {posterior.ess:7.1f} of {posterior.n}")
        print(f"{'   error':16} {m - mean:+8.4f} {s - sd:+8.4f} {posterior.log_evidence - log_evidence:+13.4f}")


if __name__ == "__main__":
    main()
