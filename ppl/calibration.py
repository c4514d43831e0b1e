"""Simulation-based calibration: is the truth, on average, an ordinary draw from the posterior?

Draw parameters and data from the model, infer the parameters from the data, and note the rank of the true value among
draws from the posterior. If inference is right, the ranks are uniform (Cook, Gelman and Rubin, 2006; Talts,
Betancourt, Simpson, Vehtari and Gelman, 2018). A method that ignores part of the data can still pass with ranks of
parameters alone; quantities that depend on the data too, the joint density above all, find it out (Modrák, Moon, Kim,
Bürkner, Huurre, Faltejsková, Gelman and Vehtari, 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .infer import run_problems
from .joint import Draw, Joint
from .posterior import Posterior
from .posterior_draws import draw as draw_indices
from .program import Program, needs_program
from .runtime.methods import Method, make_method
from .runtime.result import effective_sample_size, log_sum_exp
from .runtime.source import derive, uniform
from .statistical import StatisticalCertificate, Trial

MOST_DRAWS = 99
LAW = "ranks of the truth among posterior draws are uniform"
Quantity = Callable[[Draw], Any]


def calibrate(
    program: Program,
    *args: Any,
    data: str | Sequence[str] = (),
    method: str | Method = "smc",
    runs: int = 200,
    draws: int | None = None,
    quantities: Mapping[str, Quantity] | None = None,
    seed: int = 0,
    false_alarm: float = 1e-3,
    sequential: bool = False,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> StatisticalCertificate:
    """Check by simulation that a method's posteriors are calibrated, on a program of any kind.

    The data are the values of every ``observe`` and of the sample sites named in ``data=``. The values that the
    arguments give for an ``observe`` do not matter: they are drawn anew in each run, as are sites that were ``given``::

        calibrate(regression, xs, ys, method="smc", n=500)       # observe(Normal(slope * x, 1.0), y)
        calibrate(regression, xs, data="y", method="smc", n=500)  # y = sample(Normal(slope * x, 1.0))

    A proper method with few particles is right about the evidence, not about each posterior: particles that repeat each
    other push the truth to extreme ranks, in truth and not by a false alarm. So the posterior is thinned to a fifth of
    its effective sample size, in which particles of one ancestor count as one. That does not know how slowly a chain
    moves: thin the draws of an MCMC method with ``draws=``.

    Args:
        program: a program whose only evidence is ``observe`` and ``condition``, with the same data in every run.
        args, kwargs: its arguments.
        data: names of sample sites that are data: ``"y"`` stands for ``y``, ``y[0]``, ``y[1]`` …
        method: a name or a method object, as for ``infer``; it must give a posterior.
        runs: how many simulated data sets; at most so many, if sequential.
        draws: how many draws from each posterior, by weight, the truth is ranked among; by default a fifth of the
            posterior's effective sample size and at most 99.
        quantities: name → function of a :class:`Draw` to a number, to be ranked. By default: every latent number (each
            element, for tensors), the return value if it is a number, and the joint density.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that calibrated inference fails.
        sequential: bet on the ranks one by one, and stop as soon as the law is rejected.
        options: the method's own, such as ``n=500``.

    Returns:
        A certificate, true when the ranks are uniform; ``.plot()`` shows them.

    Raises:
        ValueError: which data there are differs from run to run, or an argument makes no sense.
        ProgramError: data can't be drawn from the program: it has a ``factor``.
        EmptyPosterior: the method lost all its particles on some data set.
    """
    needs_program(program, "calibrate")
    recipe = make_method(method, options)
    recipe.check(program.sites)
    if not recipe.evidence and recipe.guarantee == "proper":
        raise ValueError(f"{recipe.describe()} ignores the evidence, so it has no posterior to calibrate")
    if draws is not None and draws < 1:
        raise ValueError(f"draws={draws}: the truth is ranked among one draw or more")
    trial = Trial(program.name, recipe.describe(), recipe.guarantee, LAW, runs, seed, false_alarm, sequential)
    call = (tuple(args), dict(kwargs or {}))
    return trial.uniforms(_ranks(Joint(program, *call, data), call, recipe, runs, draws, quantities, seed))


def _ranks(
    joint: Joint,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    method: Method,
    runs: int,
    draws: int | None,
    quantities: Mapping[str, Quantity] | None,
    seed: int,
) -> Iterator[dict[str, float]]:
    """For each simulated data set, where the truth stands among draws from the posterior."""
    addresses: set[str] | None = None
    for i in range(runs):
        key = derive(seed % 2**64, "calibrate", i)
        truth = joint.draw(key)
        if addresses is None:
            addresses = set(truth.data)
            if not addresses:
                raise ValueError(f"{joint.program.name} has no data: no observe, and no site named in data=")
            quantities = default_quantities(truth) if quantities is None else quantities
        if set(truth.data) != addresses:
            odd = sorted(addresses ^ set(truth.data))
            raise ValueError(
                f"which data there are differs from run to run: {', '.join(odd[:3])} is in some runs only; calibration "
                "needs a program in which the latents decide the values of the data, not how many there are"
            )
        posterior = run_problems(joint.given(truth.data), [call], method, [derive(key, "infer")])[0]
        if posterior.empty:
            posterior.mode()  # raises: it tells where the particles were lost
        chosen = draw_indices(posterior.runs.weights, draws or _enough(posterior), derive(key, "draws"))
        others = {j: joint.reread(posterior.runs[j], truth.data) for j in set(chosen)}
        found = {}
        for number, (name, quantity) in enumerate((quantities or {}).items()):
            by_run = {j: float(quantity(other)) for j, other in others.items()}
            tie_breaker = uniform(derive(key, "tie"), number)
            found[name] = placed(float(quantity(truth)), [by_run[j] for j in chosen], tie_breaker)
        yield found


def _enough(posterior: Posterior) -> int:
    """How many draws are about as good as independent ones."""
    if posterior.guarantee == "exact":
        return MOST_DRAWS
    return max(1, min(MOST_DRAWS, int(_families(posterior) / 5)))


def _families(posterior: Posterior) -> float:
    """The effective number of families: particles that descend from one at the start count as one."""
    lines, history = posterior.ancestor_lines(), posterior.history
    if not lines or history[-1].ancestors is not None:
        return effective_sample_size([run.log_weight for run in posterior.runs])
    families: dict[int, list[float]] = {}
    for line, log_weight in zip(lines, history[-1].log_weights, strict=True):
        families.setdefault(line[0], []).append(log_weight)
    return effective_sample_size([log_sum_exp(weights) for weights in families.values()])


def placed(truth: float, others: Sequence[float], tie_breaker: float) -> float:
    """Where a number stands among others, in [0, 1]: exactly uniform if all are draws of the same distribution.

    Args:
        truth: the number.
        others: the others.
        tie_breaker: uniform in [0, 1): where it stands among those that equal it, and within its rank.
    """
    below = sum(other < truth for other in others)
    ties = sum(other == truth for other in others)
    return (below + tie_breaker * (ties + 1)) / (len(others) + 1)


def default_quantities(draw: Draw) -> dict[str, Quantity]:
    """What to rank when nothing is said: every latent number, the return value, the joint density.

    A latent that a run lacks counts as −∞. The density is rounded, so that runs with the same choices tie.
    """
    found: dict[str, Quantity] = {}
    numbers: list[float] = []
    for address, value in draw.latent.items():
        elements = _numbers(value)
        for i, number in enumerate(elements):
            numbers.append(number)
            found[address if len(elements) == 1 else f"{address}.{i}"] = _element(address, i)
    returned = _numbers(draw.value)
    if len(returned) == 1 and returned[0] not in numbers:
        found["return value"] = lambda draw: draw.value
    found["joint density"] = lambda draw: round(draw.log_joint, 9)
    return found


def _element(address: str, index: int) -> Quantity:
    def quantity(draw: Draw) -> float:
        elements = _numbers(draw.latent[address]) if address in draw.latent else []
        return elements[index] if index < len(elements) else float("-inf")

    return quantity


def _numbers(value: Any) -> list[float]:
    """A number, or the elements of a tensor or an array; nothing for what holds no numbers."""
    if isinstance(value, int | float):
        return [float(value)]
    if hasattr(value, "reshape") and hasattr(value, "tolist"):
        return [float(x) for x in value.reshape(-1).tolist()]
    return []
