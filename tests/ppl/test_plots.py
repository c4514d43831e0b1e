"""Pictures: they come out for every kind of posterior, and leave no global state."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, get_args

import pytest

from ppl import condition, dist, infer, program, sample
from ppl.compiler.errors import Span
from ppl.compiler.requests import Site
from ppl.posterior import EmptyPosterior, PlotKind, Posterior
from ppl.posterior_genealogy import Genealogy
from ppl.runtime.result import Choice, Death, Generation, Result, Run, effective_sample_size, log_sum_exp

matplotlib = pytest.importorskip("matplotlib")

ANSWERS = ("126", "125", "$42$ {", "a long answer that goes on and on and on and on", "_x")


def smc(n: int = 16, steps: int = 5, seed: int = 0, hard: float = 0.15, resample_last: bool = False) -> Posterior:
    """A population that is reweighted, dies and is resampled as in SMC."""
    rng = random.Random(seed)
    log_weights, log_z, history = [0.0] * n, 0.0, []
    answers = rng.choices(ANSWERS, k=n)
    for step in range(steps + 1):
        for i in range(n if step < steps else 0):
            log_weights[i] = -math.inf if rng.random() < hard else log_weights[i] + rng.gauss(0.0, 0.7)
        mean = log_sum_exp(log_weights) - math.log(n)
        ess = effective_sample_size(log_weights)
        ancestors = None
        if 0.0 < ess < 0.6 * n and (step < steps or resample_last):
            ancestors = tuple(sorted(rng.choices(range(n), weights=[math.exp(w - mean) for w in log_weights], k=n)))
        site = "a_rather_long_site_name" if step % 2 else "line"
        history.append(
            Generation(step, "" if step == steps else site, tuple(log_weights), ancestors, ess, log_z + mean)
        )
        if ancestors is not None:
            log_z, log_weights, answers = log_z + mean, [0.0] * n, [answers[a] for a in ancestors]
    runs = [
        Run(answers[i], log_z + w - math.log(n), (Choice("x", i, -1.0),), w)
        for i, w in enumerate(log_weights)
        if w > -math.inf
    ]
    deaths = [Death(Site("condition", "c", 0, "solve", Span("solve.py", 3)), 4)]
    return Posterior(Result(runs, log_z + mean, "proper", f"SMC(n={n})", "solve", n, seed, history, deaths))


def without_history(values: list[Any], weights: list[float]) -> Posterior:
    runs = [Run(v, math.log(w), (), 0.0) for v, w in zip(values, weights, strict=True)]
    return Posterior(Result(runs, None, "exact", "Enumerate()", "p", len(runs), 0))


@pytest.mark.parametrize("kind", get_args(PlotKind))
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plots_are_saved_in_the_format_of_the_suffix(kind: PlotKind, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{suffix}"
    figure = smc(8, 3).plot(path, kind)
    assert type(figure).__mro__[1].__name__ == "Figure"
    assert path.read_bytes()[:4] == {"png": b"\x89PNG", "svg": b"<?xm", "pdf": b"%PDF"}[suffix]


@pytest.mark.parametrize(
    "posterior",
    [
        smc(1, 1),
        smc(8, 1, seed=2),
        smc(64, 12, seed=3),
        smc(24, 40, hard=0.02),
        smc(8, 3, resample_last=True, seed=4),
        smc(16, 3, hard=1.0),
        without_history(["\x1b[31m<$x^{$", "\u202e", "_\n", "数学 🎲"], [1.0, 2.0, 3.0, 4.0]),
        without_history([[i] for i in range(40)], [1.0] * 40),
    ],
    ids=["one", "short", "large", "long", "resampled last", "empty", "hostile", "many"],
)
def test_every_posterior_can_be_drawn(posterior: Posterior, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior.plot(tmp_path / "all.png")
        if posterior.history:
            posterior.plot(tmp_path / "evidence.png", "evidence")


@pytest.mark.parametrize(("outcomes", "shown"), [(200, {"0.5%"}), (4, {"25%"})])
def test_small_shares_are_told_apart_from_none(outcomes: int, shown: set[str]) -> None:
    @program
    def spread() -> str:
        return str(sample(dist.uniform(range(outcomes))))

    axes = infer(spread, method="enumerate").plot(kind="answers").axes[0]
    assert {text.get_text() for text in axes.texts} == shown


def test_notebooks_show_the_figure() -> None:
    assert smc(4, 1).plot()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["beam", "dvts"])
def test_a_search_without_answers(method: str) -> None:
    @program
    def impossible() -> int:
        x = sample(dist.uniform(range(3)))
        condition(x > 5)
        return x

    posterior = infer(impossible, method=method, seed=0)
    assert posterior.empty and posterior.plot(kind="genealogy").axes


def test_what_cannot_be_drawn_is_said() -> None:
    exact = without_history(["a"], [1.0])
    for kind in ("genealogy", "evidence"):
        with pytest.raises(ValueError, match=rf"Enumerate\(\) kept no history of its particles, so there is no {kind}"):
            exact.plot(kind=kind)
    with pytest.raises(ValueError, match="kind='tree': give one of 'answers', 'genealogy'"):
        exact.plot(kind="tree")  # type: ignore[arg-type]
    with pytest.raises(EmptyPosterior):
        smc(4, 2, hard=1.0).plot(kind="answers")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


POSTERIOR = """
import sys
from ppl.posterior import Posterior
from ppl.runtime.result import Generation, Result, Run
history = [Generation(0, "x", (0.0,), None, 1.0, 0.0)]
p = Posterior(Result([Run(1, 0.0, (), 0.0)], 0.0, "proper", "SMC(n=1)", "p", 1, 0, history))
"""


def test_plots_leave_pyplot_alone(tmp_path: Path) -> None:
    assert (
        run(f"{POSTERIOR}\np.plot({str(tmp_path / 'a.png')!r})\nprint('matplotlib.pyplot' in sys.modules)") == "False"
    )


def test_without_matplotlib_the_way_to_install_it_is_told() -> None:
    code = f"""{POSTERIOR}
sys.modules["matplotlib"] = None
try:
    p.plot()
except ImportError as error:
    print(error)
"""
    assert run(code) == "plots need matplotlib: pip install ppl-lm[plot]"


# ---- Genealogy


@pytest.mark.parametrize("seed", range(5))
def test_lineages_do_not_cross(seed: int) -> None:
    posterior = smc(24, 6, seed)
    tree = Genealogy(posterior)
    for t, parents in enumerate(tree.parents):
        order = sorted(range(len(parents)), key=lambda i: tree.rows[t + 1][i])
        above = [tree.rows[t][parents[i]] for i in order]
        assert above == sorted(above)
    assert all(sorted(rows) == list(range(24)) for rows in tree.rows)


def test_lineages_know_what_became_of_them() -> None:
    def generation(step: int, weights: tuple[float, ...], ancestors: tuple[int, ...] | None) -> Generation:
        logs = tuple(math.log(w) if w else -math.inf for w in weights)
        return Generation(step, "x", logs, ancestors, 1.0, 0.0)

    history = [generation(0, (1.0, 2.0, 0.0, 1.0), (0, 0, 1, 3)), generation(1, (1.0, 1.0, 1.0, 0.0), None)]
    runs = [Run(v, 0.0, (), 0.0) for v in ("a", "b", "b")]
    posterior = Posterior(Result(runs, 0.0, "proper", "SMC(n=4)", "p", 4, 0, history))
    tree = Genealogy(posterior)
    assert tree.generations[0] == pytest.approx([0.25, 0.5, 0.0, 0.25])
    assert tree.survives == [[True, True, False, False], [True, True, True, False]]
    assert tree.answer == [[None, "b", None, None], ["a", "b", "b", None]]
    assert [group[2] for group in tree.answer_groups()] in (["a", "b"], ["b", "a", "b"])
    assert tree.dead_before(1, 3) is False and tree.values == {0: "a", 1: "b", 2: "b"}
