"""How far Markov chains have come: R̂ and effective sample sizes, by arviz.

>>> posterior = infer(program, method="mh")  # doctest: +SKIP
>>> print(diagnose(posterior))  # doctest: +SKIP
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from typing import TYPE_CHECKING, Any

from .posterior_values import freeze, show

if TYPE_CHECKING:
    import numpy as np

    from .posterior_record import Record

RHAT_LIMIT = 1.01
ESS_LIMIT = 400.0
_ROUNDING = 1e-12
_PARTS = 32
"""The longest vectors that are looked at part by part."""
_FREQUENT, _LEAST = 3, 0.05
"""How many values that are no numbers to look at, and how large their share of all must be, but for the first's."""
_TAILS = (0.05, 0.95)
"""The quantiles that the effective sample size of the tails is of."""


class NoChains(ValueError):
    """Diagnostics of chains were asked of a posterior that is not made of them."""


@dataclass(frozen=True)
class Diagnosis:
    """One quantity along the chains.

    Attributes:
        name: ``value``, ``log_joint``, an address, ``address[i]`` for a part of a vector, or ``address == x`` for the
            share of a value that is no number.
        mean, sd: over all chains.
        rhat: rank-normalised split R̂ (Vehtari et al., 2021); NaN for a quantity that never changes.
        ess_bulk, ess_tail: effective sample sizes for the centre and the tails.
    """

    name: str
    mean: float
    sd: float
    rhat: float
    ess_bulk: float
    ess_tail: float

    @property
    def settled(self) -> bool:
        """R̂ is at most 1.01 and both effective sample sizes are at least 400, or nothing changes at all."""
        if self.sd == 0.0:
            return True
        return self.rhat <= RHAT_LIMIT and min(self.ess_bulk, self.ess_tail) >= ESS_LIMIT


class Diagnoses(tuple[Diagnosis, ...]):
    """The diagnosis of each quantity; true if all have settled. Prints as a table."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return all(row.settled for row in self)

    def __str__(self) -> str:
        width = max([8, *(len(row.name) for row in self)])
        lines = [f"{'':{width}} {'mean':>10} {'sd':>10} {'R-hat':>7} {'ESS bulk':>9} {'ESS tail':>9}"]
        for row in self:
            flag = "" if row.settled else "  not settled"
            lines.append(
                f"{row.name:{width}} {row.mean:10.4g} {row.sd:10.4g} {row.rhat:7.3f} {row.ess_bulk:9.0f} "
                f"{row.ess_tail:9.0f}{flag}"
            )
        return "\n".join(lines)


def diagnose(posterior: Record) -> Diagnoses:
    """R̂ and effective sample sizes of the value, of log_joint, and of every choice that all runs make.

    Args:
        posterior: of a method that runs Markov chains, such as ``mh`` or ``pgibbs``.

    Raises:
        NoChains: it is of another method, or its chains are too short.
        ImportError: arviz is not installed.
    """
    found = chains_of(posterior)
    az = _arviz()
    rows = []
    for name, draws in found.items():
        sd = float(draws.std()) if _moves(draws) else 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rhat = float(az.rhat(draws)) if sd > 0.0 and len(draws) > 1 else math.nan
            if sd > 0.0 and not any(map(_moves, draws)):
                rhat = math.inf  # each stays where it began, and they began at different places
            bulk = float(az.ess(draws, method="bulk")) if sd > 0.0 else math.nan
            tail = float(az.ess(draws, method="tail", prob=_TAILS)) if sd > 0.0 else math.nan
        rows.append(Diagnosis(name, float(draws.mean()), sd, rhat, bulk, tail))
    return Diagnoses(rows)


def _moves(draws: np.ndarray) -> bool:
    """Whether numbers differ by more than rounding does: sums of the same terms in another order, say."""
    return float(draws.max() - draws.min()) > _ROUNDING * max(1.0, float(abs(draws).max()))


def to_arviz(posterior: Record) -> Any:
    """The chains for arviz's plots and summaries: a variable of shape [chains, draws] for each quantity.

    Returns:
        An ``arviz.InferenceData``; of arviz 1 and newer, a ``DataTree``.

    Raises:
        NoChains, ImportError: as for :func:`diagnose`.
    """
    chains, az = chains_of(posterior), _arviz()
    return az.from_dict({"posterior": chains}) if _major(az) >= 1 else az.from_dict(posterior=chains)


def chains_of(posterior: Record) -> dict[str, np.ndarray]:
    """Name → numbers along the chains, float64 [chains, draws]; see :class:`Diagnosis` for the names.

    Raises:
        NoChains: as for :func:`diagnose`.
    """
    import numpy as np

    lengths, runs = posterior.result.lengths, posterior.result.runs
    if lengths is None:
        raise NoChains(f"{posterior.method} runs no Markov chains: look at posterior.ess and posterior.distinct")
    chains, shortest = len(lengths), min(lengths, default=0)
    if shortest < 4:
        raise NoChains(f"{posterior.method} kept {len(runs)} states of {chains} chains; at least 4 of each are needed")
    # Of chains that were stopped at different lengths, the last states: those are compared.
    runs = [run for end in accumulate(lengths) for run in runs[end - shortest : end]]
    traces = [{choice.address: choice.value for choice in run.trace if not choice.observed} for run in runs]
    columns: dict[str, Sequence[Any]] = {"value": [run.value for run in runs]}
    for address in traces[0]:
        if all(address in trace for trace in traces):
            columns[address] = [trace[address] for trace in traces]
    found = {"log_joint": np.array([run.log_joint for run in runs])}
    for name, values in columns.items():
        for label, numbers in _numbers(name, values):
            found[label] = np.array(numbers, dtype=np.float64)
    return {name: column.reshape(chains, -1) for name, column in found.items()}


def _numbers(name: str, values: Sequence[Any]) -> Iterator[tuple[str, list[float]]]:
    """Values as numbers, by name: vectors of one size part by part; what is no number by the most frequent values."""
    plain = [_number(value) for value in values]
    if all(number is not None for number in plain):
        yield name, [float(number) for number in plain if number is not None]
        return
    parts = [_parts(value) for value in values]
    sizes = {None if part is None else len(part) for part in parts}
    if sizes <= set(range(1, _PARTS + 1)):
        for i in range(len(parts[0] or ())):
            yield from _numbers(f"{name}[{i}]", [part[i] for part in parts if part is not None])
        return
    frozen = [freeze(value) for value in values]
    counts = Counter(frozen)
    for i, (most, count) in enumerate(counts.most_common(min(_FREQUENT, max(1, len(counts) - 1)))):
        if i == 0 or count >= _LEAST * len(values):
            yield f"{name} == {show(values[frozen.index(most)], 24)}", [float(value == most) for value in frozen]


def _parts(value: Any) -> Sequence[Any] | None:
    """The parts of a vector, a matrix or a tuple, one after the other; ``None`` of anything else."""
    if isinstance(value, (tuple, list)):
        return value
    flat = getattr(value, "flatten", None)
    return None if flat is None or not hasattr(value, "tolist") else flat().tolist()


def _number(value: Any) -> float | None:
    item: Callable[[], Any] | None = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", 0) == 0:
        value = item()
    return float(value) if isinstance(value, Real) else None


def _major(package: Any) -> int:
    """The first number of its version."""
    return int(package.__version__.partition(".")[0])


def _arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of a coming reorganisation of arviz
        try:
            import arviz
        except ImportError as error:
            raise ImportError("diagnostics of chains need arviz: pip install 'ppl-lm[diagnostics]'") from error
    return arviz
