"""Geweke's joint test: does a kernel leave the posterior as it is?

There are two ways to draw parameters and data from a model: the parameters from the prior and then the data (the
marginal-conditional simulator), or, over and over, the data given the parameters and then a step of the kernel given
the data (the successive-conditional simulator). If the kernel leaves the posterior invariant, both give the same
distribution (Geweke, 2004).

Geweke compares means along one long chain, which needs its autocorrelation. Here many short chains start at draws of
the first simulator, and the end of each is ranked among fresh draws. Under the law all of them are independent draws of
one distribution, so that the ranks are uniform exactly, at any length (in the spirit of Gandy and Scott, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from .calibration import placed
from .runtime.source import derive, uniform
from .statistical import StatisticalCertificate, Trial

LAW = "the kernel leaves the posterior invariant"
V = TypeVar("V")
D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)


class Model(Protocol, Generic[V, D_co]):
    """A joint distribution of parameters and data, by the two ways to simulate it."""

    def draw(self, seed: int) -> tuple[V, D_co]:
        """Parameters and data."""
        ...

    def redraw(self, value: V, seed: int) -> D_co:
        """Data, given the parameters."""
        ...


def geweke(
    model: Model[V, D],
    step: Callable[[V, D, int], V],
    functions: Mapping[str, Callable[[V, D], float]] | None = None,
    *,
    runs: int = 200,
    steps: int = 20,
    fresh: int = 19,
    seed: int = 0,
    false_alarm: float = 1e-3,
    sequential: bool = False,
    name: str | None = None,
) -> StatisticalCertificate:
    """Check that a kernel leaves the posterior invariant, for a model and a kernel of any kind.

    Args:
        model: draws parameters and data, and data given parameters; ``ProgramModel`` makes one of a program, and
            ``ProgramModel.step`` makes steps of this package's kernels.
        step: the kernel: ``step(value, data, seed)`` gives the next value. It must not change ``value``.
        functions: name → ``f(value, data)``, a number to compare; the model's own by default, if it has some. One that
            looks at value and data together, such as the log-likelihood, finds kernels that use the wrong data.
        runs: how many chains; at most so many, if sequential.
        steps: how many steps each chain takes; an error adds up over them.
        fresh: how many fresh draws the end of each chain is ranked among.
        seed: what reproduces the check.
        false_alarm: the probability, at most, that a kernel that obeys the law fails.
        sequential: bet on the ranks one by one, and stop as soon as the law is rejected.
        name: what to call the model in the certificate; its ``name`` by default.

    Returns:
        A certificate, true when the law holds; ``.plot()`` shows the ranks.

    Raises:
        ValueError: there is nothing to compare, or an argument makes no sense.
    """
    functions = getattr(model, "functions", None) if functions is None else functions
    if not functions or steps < 1 or fresh < 1:
        raise ValueError("geweke needs one function or more, one step or more, and one fresh draw or more")
    kernel = getattr(step, "__name__", type(step).__name__)
    title = name or str(getattr(model, "name", type(model).__name__))
    trial = Trial(title, kernel, "stationary", LAW, runs, seed, false_alarm, sequential)

    def ranks(functions: Mapping[str, Callable[[V, D], float]]) -> Iterator[dict[str, float]]:
        for run in range(runs):
            key = derive(seed % 2**64, "geweke", run)
            value, data = model.draw(derive(key, "start"))
            for i in range(steps):
                # Not after the last step: new data would hide a kernel that does not look at the old.
                data = data if i == 0 else model.redraw(value, derive(key, "data", i))
                value = step(value, data, derive(key, "step", i))
            others = [model.draw(derive(key, "fresh", i)) for i in range(fresh)]
            yield {
                what: placed(f(value, data), [f(*other) for other in others], uniform(derive(key, "tie"), i))
                for i, (what, f) in enumerate(functions.items())
            }

    return trial.uniforms(ranks(functions))
