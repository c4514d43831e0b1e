"""Posteriors: probabilities against weights worked out by hand, and what people are shown."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl.compiler.errors import Span
from ppl.compiler.requests import Site
from ppl.posterior import EmptyPosterior, NoEvidence, Posterior
from ppl.posterior_report import probability, seconds
from ppl.posterior_values import labels, shorten, show, visible
from ppl.runtime.result import Choice, Cost, Death, Generation, Result, Run
from ppl.text import Text

from .posteriors import HOSTILE, make


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "solver.py"
    path.write_text("x = 1\ncondition(arithmetic_holds(line))\ny = int(line)\n")
    return str(path)


def empty(source: str) -> Posterior:
    condition = Site("condition", "condition", 1, "solve", Span(source, 2))
    sample = Site("sample", "y", 1, "solve", Span(source, 3))
    deaths = [Death(sample, 2, "ValueError: invalid literal: '\x1b[2J'"), Death(condition, 30)]
    return make([], log_evidence=-math.inf, particles=32, deaths=deaths)


def render(item: Any, width: int = 80) -> str:
    from rich.console import Console

    out = StringIO()
    Console(file=out, width=width, color_system=None).print(item)
    return out.getvalue()


# ---- Probabilities


def test_probabilities_are_shares_of_the_weight() -> None:
    posterior = make(["a", "b", "a", "c"], [1.0, 3.0, 1.0, 5.0])
    found = posterior.distribution()
    assert list(found) == ["c", "b", "a"]
    assert [found[v] for v in "abc"] == pytest.approx([0.2, 0.3, 0.5])
    assert found["absent"] == 0.0 and "absent" not in found and "a" in found
    assert list(posterior) == list(found.items())
    assert posterior.mode() == "c" and posterior.probability("a") == pytest.approx(0.2)
    assert posterior.probability(lambda v: v != "c") == pytest.approx(0.5)
    assert posterior.expectation(lambda v: {"a": 1, "b": 2, "c": 3}[v]) == pytest.approx(2.3)
    assert posterior.runs.weights == pytest.approx((0.1, 0.3, 0.1, 0.5))
    assert found.counts["a"] == 2 and math.fsum(found.values()) == pytest.approx(1.0)


def test_standard_errors_are_those_of_self_normalised_importance_sampling() -> None:
    weights = [1.0, 3.0, 1.0, 5.0]
    found = make(["a", "b", "a", "c"], weights).distribution()
    for value in "abc":
        terms = [
            (w / 10) ** 2 * ((v == value) - found[value]) ** 2
            for w, v in zip(weights, ["a", "b", "a", "c"], strict=True)
        ]
        assert found.standard_errors[value] == pytest.approx(math.sqrt(sum(terms)))
    equal = make([1] * 3 + [0] * 5).distribution()  # equal weights: the binomial's
    assert equal.standard_errors[1] == pytest.approx(math.sqrt(3 / 8 * 5 / 8 / 8))
    exact = make(["a", "b"], [1.0, 3.0], guarantee="exact").distribution()
    assert exact.exact and list(exact.standard_errors.values()) == [0.0, 0.0]
    assert make(["a", "a"]).distribution().standard_errors["a"] == 0.0


@pytest.mark.parametrize("shift", [-1e5, -700.0, 0.0, 700.0, 1e5])
def test_weights_live_in_log_space(shift: float) -> None:
    logs = [shift, shift + math.log(1e-300), -math.inf, shift + math.log(2.0), shift - 5000.0]
    runs = [Run(i, w, (), 0.0) for i, w in enumerate(logs)]
    posterior = Posterior(Result(runs, shift, "proper", "IS", "p", 5, 0))
    found = posterior.distribution()
    assert (found[0], found[3]) == pytest.approx((1 / 3, 2 / 3))
    assert found[1] == pytest.approx(1e-300 / 3, rel=1e-6, abs=0.0)
    assert found[4] == 0.0 and 4 in found and 2 not in found  # too small for a float is not ruled out
    assert posterior.ess == pytest.approx(9 / 5) and len(posterior.runs) == 4
    assert set(posterior.sample(200, seed=1)) == {0, 3}


def test_a_sure_value_has_probability_one_exactly() -> None:
    assert make(["a"] * 10, [0.1 * k + 0.037 for k in range(10)]).distribution()["a"] == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="log-weight"):
        Posterior(Result([Run(0, bad, (), 0.0)], 0.0, "proper", "IS", "p", 1, 0))


def test_ties_stand_in_order_of_appearance() -> None:
    assert list(make(["b", "a", "c"]).distribution()) == ["b", "a", "c"]
    # 0.1 + 0.2 and 0.3 differ in the last bit only
    assert list(make(["x", "y", "y"], [0.3, 0.1, 0.2]).distribution()) == ["x", "y"]
    assert list(make(["y", "x", "y"], [0.1, 0.3, 0.2]).distribution()) == ["y", "x"]


def test_a_key_groups_values() -> None:
    posterior = make(["Yes", "yes", "no"], [1.0, 1.0, 3.0])
    assert dict(posterior.distribution(str.lower)) == pytest.approx({"no": 0.6, "yes": 0.4})


# ---- Draws, choices, runs


def test_draws_follow_the_weights_and_the_seed() -> None:
    posterior = make(["a", "b"], [1.0, 3.0])
    draws = posterior.sample(4000, seed=3)
    assert draws == posterior.sample(4000, seed=3) != posterior.sample(4000, seed=4)
    assert abs(draws.count("b") / 4000 - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 4000)
    assert posterior.sample(seed=3) == draws[0] and posterior.sample(0) == [] and posterior.sample(seed=-1) in "ab"
    assert posterior.sample(4000, seed=np.int64(3)) == draws  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 or more"):
        posterior.sample(-1)


def test_a_marginal_is_over_runs_that_make_the_choice() -> None:
    x = [(Choice("x", 0, -1.0),), (Choice("x", 1, -1.0), Choice("y", 5, -1.0)), (Choice("y", 6, -1.0),)]
    posterior = make(["a", "b", "c"], [1.0, 1.0, 2.0], x)
    assert posterior.addresses() == ["x", "y"]
    found = posterior.marginal("y")
    assert dict(found) == pytest.approx({6: 2 / 3, 5: 1 / 3}) and found.mass == pytest.approx(0.75)
    assert "probability 0.750" in repr(found) and "0.750" in found._repr_html_() and "0.750" in render(found)
    with pytest.raises(LookupError, match=r"'yy'; did you mean 'y'\? The addresses are: x, y"):
        posterior.marginal("yy")


def test_runs_carry_their_weights() -> None:
    posterior = make(["a", "b", "b"], [1.0, 3.0, 0.0])
    assert [run.value for run in posterior.runs] == ["a", "b"] and posterior.runs[1].log_weight == math.log(3.0)
    assert posterior.runs[1:].weights == pytest.approx((0.75,)) and "weight  0.750" in repr(posterior.runs)
    assert posterior.best_run().value == "a"
    for name in ("samples", "values"):
        with pytest.raises(AttributeError, match=r"(?s)weights.*posterior\.distribution\(\).*posterior\.sample"):
            getattr(posterior, name)
    with pytest.raises(AttributeError, match="no attribute 'moed'"):
        posterior.moed  # type: ignore[attr-defined]  # noqa: B018


def test_distinct_runs_differ_in_a_choice_or_the_value() -> None:
    a, b = (Choice("x", [1], 0.0),), (Choice("x", [2], 0.0),)
    posterior = make(["v", "v", "v", "w"], traces=[a, a, b, b])
    assert posterior.distinct == 3 and len(posterior) == len(list(posterior)) == 2 and posterior


def test_ancestor_lines_lead_from_the_end_to_the_beginning() -> None:
    def generation(step: int, ancestors: tuple[int, ...] | None, n: int = 3) -> Generation:
        return Generation(step, "x", (0.0,) * n, ancestors, 3.0, 0.0)

    history = [generation(0, (0, 0, 2)), generation(1, None), generation(2, (1, 2, 2)), generation(3, None)]
    posterior = make([1, 2, 3], history=history)
    assert posterior.ancestry == [(0, 0, 2), (1, 2, 2)]
    assert posterior.ancestor_lines() == [(0, 1, 1, 0), (2, 2, 2, 1), (2, 2, 2, 2)]
    assert make([1], history=history[:1]).ancestor_lines() == [(0,), (0,), (2,)]
    assert make([1]).ancestor_lines() == []


def test_evidence_that_a_method_does_not_estimate() -> None:
    assert make([1]).log_evidence == -3.214
    with pytest.raises(NoEvidence, match=r"SMC\(n=1\) has no estimate of the evidence: it is a search"):
        _ = make([1], guarantee="heuristic", log_evidence=None).log_evidence
    with pytest.raises(NoEvidence, match="Markov chain"):
        _ = make([1], guarantee="stationary", log_evidence=None).log_evidence


# ---- Nothing left


def test_an_empty_posterior_is_an_outcome_that_explains_itself(source: str) -> None:
    posterior = empty(source)
    assert posterior.empty and not posterior and posterior.log_evidence == -math.inf and posterior.ess == 0.0
    assert repr(posterior) == "Posterior(empty: all 32 particles were ruled out)"
    first = f"condition at {source}:2 `condition(arithmetic_holds(line))` ruled out 30 of 32"
    second = f"sample at {source}:3 `y = int(line)` failed for 2 of 32: ValueError: invalid literal: '\\x1b[2J'"
    for text in (posterior.summary(), posterior._repr_html_(), render(posterior, 400)):
        assert "all 32 particles were ruled out" in text and "\x1b" not in text
    assert posterior.summary().index(first) < posterior.summary().index(second)
    assert json.loads(posterior.to_json())["empty"] is True


@pytest.mark.parametrize(
    "question",
    [
        lambda p: p.mode(),
        lambda p: p.sample(),
        lambda p: p.sample(0),
        lambda p: p.distribution(),
        lambda p: p.distribution(str),
        lambda p: p.probability(1),
        lambda p: p.probability(callable),
        lambda p: p.expectation(float),
        lambda p: p.marginal("x"),
        lambda p: p.best_run(),
        lambda p: list(p),
        lambda p: p.plot(kind="answers"),
    ],
)
def test_questions_to_an_empty_posterior_raise_its_report(question: Any, source: str) -> None:
    with pytest.raises(EmptyPosterior) as caught:
        question(empty(source))
    text = str(caught.value)
    assert "ruled out 30 of 32" in text and isinstance(caught.value, ValueError)
    for advice in ("more particles (n=128)", "factor(", "proposal="):
        assert advice in text


def test_runs_whose_weights_are_all_zero_are_no_posterior() -> None:
    posterior = make(["a", "b"], [0.0, 0.0], log_evidence=-math.inf)
    assert posterior.empty and repr(posterior) == "Posterior(empty: all 2 particles were ruled out)"
    exact = make([], guarantee="exact", log_evidence=-math.inf)
    assert "all runs were ruled out" in exact.summary() and "more particles" not in exact.summary()


# ---- Written down


def test_json_round_trip(source: str, tmp_path: Path) -> None:
    odd = {"t": Text("é", (1,)), 2: (1, {3}), "z": torch.tensor([[1.5, math.inf]]), "f": len, "n": math.nan}
    history = [Generation(0, "x", (0.0, -math.inf), (0, 0), 1.0, -0.7)]
    deaths = [Death(Site("condition", "c", 0, "solve", Span(source, 2)), 1)]
    posterior = make([odd, "b"], [3.0, 1.0], history=history, deaths=deaths, cost=Cost(tokens=5, seconds=0.5))
    path = tmp_path / "posterior.json"
    text = posterior.to_json(path)
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert document == posterior.to_dict() == json.loads(path.read_text())
    value = {"t": "é", "2": [1, [3]], "z": [[1.5, "inf"]], "f": repr(len), "n": "nan"}
    best = document["distribution"][0]
    assert best["value"] == value and best["probability"] == pytest.approx(0.75) and best["runs"] == 1
    run = document["runs"][0]
    assert run["value"] == run["trace"][0]["value"] == value and run["weight"] == pytest.approx(0.75)
    assert document["history"][0]["log_weights"] == [0.0, "-inf"] and document["history"][0]["ancestors"] == [0, 0]
    death = document["deaths"][0]
    assert death["at"] == f"{source}:2" and death["source"] == "condition(arithmetic_holds(line))"
    assert document["cost"]["tokens"] == 5 and document["seed"] == 7 and document["method"] == "SMC(n=2)"
    assert json.loads(make([HOSTILE]).to_json())["runs"][0]["value"] == HOSTILE


# ---- Shown


def test_the_one_liner() -> None:
    assert repr(make(["42"] * 9 + ["7"])) == "Posterior(mode='42', P=0.90, log_evidence=-3.21, ess=10.0/10)"
    assert repr(make(["a"], guarantee="exact")) == "Posterior(mode='a', P=1, log_evidence=-3.21, exact)"
    beam = make(["a"], guarantee="heuristic", log_evidence=None)
    assert repr(beam) == "Posterior(mode='a', P=1, ess=1.0/1, heuristic)" and "no posterior" in beam.summary()


def test_the_summary() -> None:
    history = [Generation(0, "x", (0.0,), (0,), 1.0, 0.0)]
    posterior = make(["42", "42", "7"], [1.0, 1.0, 2.0], cost=Cost(tokens=41213, seconds=3.21), history=history)
    assert posterior.summary() == (
        "solve · SMC(n=3) · proper\n"
        "  '42'  0.500  ± 0.306  ████████          2 runs\n"
        "  '7'   0.500  ± 0.306  ████████          1 run\n"
        "log evidence -3.21 · ESS 2.7 of 3 · 2 distinct of 3 runs · 41,213 tokens · 3.2 s\n"
        "± leaves out that particles share ancestors: a lower bound."
    )


def test_many_answers_are_summed_up() -> None:
    posterior = make(list(range(20)))
    assert "… 12 other values  0.600" in posterior.summary() and "… 12 other values" in render(posterior)
    assert "other" not in make(list(range(9))).summary()  # one line for one value is no saving


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_hostile_text_does_no_harm(width: int) -> None:
    choice = (Choice(HOSTILE, HOSTILE, 0.0),)
    posterior = make([HOSTILE, HOSTILE + "2"], traces=[choice, choice])
    found = posterior.distribution()
    shown = [repr(posterior), posterior.summary(), repr(found), repr(posterior.runs), repr(found.counts)]
    shown += [render(posterior, width), render(found, width), posterior._repr_html_(), found._repr_html_()]
    for text in shown:
        text.encode()  # no lone surrogates
        assert not any(c in text for c in "\x1b\x07\r\u202e")
    for text in shown[-2:]:
        assert "<script" not in text and "&lt;script&gt;" in text and "&quot;" in text
    assert "'[b]x[/'" in render(make(["[b]x[/"]), width)  # not read as markup
    lines = render(posterior, width).splitlines()
    assert all(len(line) <= width for line in lines)


def test_hostile_names_do_no_harm() -> None:
    result = Result([Run(1, 0.0, (), 0.0)], 0.0, "proper", "<b>" + HOSTILE, "[red]" + HOSTILE, 1, 0)
    for text in (Posterior(result).summary(), Posterior(result)._repr_html_(), render(Posterior(result), 200)):
        assert not any(c in text for c in "\x1b\x07\r\u202e")
    assert "<script" not in Posterior(result)._repr_html_()


def test_numbers_keep_their_room_in_a_narrow_terminal() -> None:
    text = render(make(["x" * 500, "y"], [3.0, 1.0]), 44)
    assert "0.750" in text and "0.250" in text and "± 0.265" in text and "…" in text


def test_answers_that_differ_at_their_ends_are_told_apart_at_any_width() -> None:
    values = [f"The answer to the question is the number {i}." for i in (1, 2)]
    alike = [f"First we add 17 and 25, which is {i}, and then we are done with it." for i in (42, 43)]
    for width in (44, 60, 80, 120):
        for some in (values, alike):
            posterior = make(some, [2.0, 1.0])
            for shown in (posterior, posterior.distribution()):
                labels = [line.split("0.")[0].strip(" │") for line in render(shown, width).splitlines() if "0." in line]
                assert len({label for label in labels if label.startswith("'")}) == 2, labels


def test_a_number_never_makes_two_labels_one() -> None:
    values = ["aaaaaaabbbbbbaabbbbbbb", "aaaaaaabbaaabbbbbbbbbb", "aaaaaaabbbbbbaacbbbbbb", "aaaaaaabbaaacbbbbbbbbb"]
    for width in range(8, 30):
        found = labels(values, width)
        assert len(set(found)) == len(values) and all(len(label) <= max(width, 10) for label in found), (width, found)


def test_small_words() -> None:
    assert [probability(p) for p in (0.0, 1e-9, 0.0004, 0.5, 0.9996, 1.0)] == [
        "0",
        "<0.001",
        "<0.001",
        "0.500",
        ">0.999",
        "1",
    ]
    assert [seconds(t) for t in (0.084, 3.21, 59.96, 125.0)] == ["84 ms", "3.2 s", "1 min 00 s", "2 min 05 s"]
    assert visible("a\tb\u200b") == "a\\tb\\u200b" and show(torch.tensor(3)) == "3"
    assert [shorten("abcdefghij", k) for k in (10, 7, 3, 1)] == ["abcdefghij", "abcd…ij", "ab…", "…"]
