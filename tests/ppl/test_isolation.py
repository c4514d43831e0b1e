"""Runs share nothing that changes; inferences do not disturb each other; what goes wrong is told with its line."""

from __future__ import annotations

import dataclasses
import math
import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributions as td

from ppl import (
    ProgramError,
    barrier,
    call,
    condition,
    dist,
    factor,
    infer,
    infer_many,
    program,
    sample,
    table_lm,
    validate,
)
from ppl.runtime.fork import CannotFork
from ppl.text import Text

flip = dist.flip
lm = table_lm(["a", "b", "."], seed=1)
ended = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=1)


@program
def story(n: int) -> int:
    context = lm.context("a")
    for _ in range(n):
        text = sample(context.text(stop=".", max_tokens=5))
        context = context + text
        factor(0.1 * len(text))
    return len(context)


# --- values ---------------------------------------------------------------------------------------------------------


def test_a_mutable_outcome_is_each_runs_own() -> None:
    @program
    def appends() -> tuple[bool, ...]:
        xs = sample(dist.uniform([[], [True]]))
        xs.append(sample(flip()))
        return tuple(xs)

    assert infer(appends, n=50, seed=0).probability(lambda v: len(v) <= 2) == 1.0
    for fixed in (appends.do(xs=[]), appends.given(xs=[])):
        assert infer(fixed, n=8, seed=0).probability(lambda v: len(v) == 1) == 1.0
    assert {r.value for r in infer(appends, method="enumerate").runs} == {
        *((False,), (True,), (True, False), (True, True)),
    }


def test_a_mutable_result_of_a_call_is_each_runs_own() -> None:
    shared: list[bool] = []

    @program
    def appends() -> int:
        xs = call(lambda rows: [shared] * len(rows), 0)
        xs.append(sample(flip()))
        return len(xs)

    assert infer(appends, n=8, seed=0).probability(1) == 1.0


def test_changing_a_value_leaves_the_trace_as_it_was() -> None:
    @program
    def shifts() -> float:
        x = sample(td.Normal(0.0, 1.0))
        x += 100.0
        return float(x)

    run = infer(shifts, n=1, seed=0).runs[0]
    assert float(run.trace[0].value) == pytest.approx(run.value - 100.0, abs=1e-4)


def test_outcomes_with_an_identity_keep_it() -> None:
    class Player:
        pass

    players = [Player(), Player()]

    @program
    def picks() -> bool:
        x = sample(dist.uniform(players))
        return x is players[0] or x is players[1]

    assert infer(picks, n=4).probability(True) == 1.0


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["importance", "enumerate"])
def test_a_computed_name_may_not_meet_another_sites(method: str) -> None:
    """They would draw the same value: the draw is a function of the address."""

    @program
    def computed_last() -> bool:
        x = sample(flip())
        y = sample(flip(), name="x" + "")
        return x == y

    @program
    def computed_first() -> bool:
        y = sample(flip(), name="x" + "")
        x = sample(flip())
        return x == y

    @program
    def twice() -> None:
        for _ in range(2):
            sample(flip(), name="x" + "y")

    for prog in (computed_last, computed_first, twice):
        with pytest.raises(ProgramError, match=r"(?s)was used before.*test_isolation.py"):
            infer(prog, method=method)


def test_a_name_that_is_no_string() -> None:
    @program
    def numbered() -> bool:
        name: Any = 3
        return sample(flip(), name=name)

    with pytest.raises(ProgramError, match="name= must be a string, not 3"):
        infer(numbered, n=1)


# --- texts from outside ---------------------------------------------------------------------------------------------


@program
def reads() -> tuple[Any, ...]:
    x = sample(ended.context("a").text(max_tokens=5))
    return isinstance(x, Text), (ended.context("a") + x).tokens


def test_a_string_given_for_a_text_is_read_on_with_the_tokens_it_was_scored_by() -> None:
    as_drawn = infer(reads.given(x=Text("ab", (0, 1, 2), "eos", ended)), n=1).runs[0]
    for fixed in (reads.given(x="ab"), reads.do(x="ab")):
        assert infer(fixed, n=1).runs[0].value == as_drawn.value == (True, (0, 0, 1, 2))
    run = infer(reads, n=1, proposals={"x": lambda site: dist.delta("ab")}).runs[0]
    assert run.value == as_drawn.value and run.log_weight == as_drawn.log_weight


def test_a_string_given_for_a_choice_is_a_text() -> None:
    @program
    def chooses() -> bool:
        x = sample(ended.context("a").choice(["a", "b"]))
        return isinstance(x, Text)

    assert infer(chooses.given(x="a"), n=1).mode() is True


# --- inferences beside each other -----------------------------------------------------------------------------------


def test_inference_inside_a_program() -> None:
    @program
    def outer() -> tuple[str, int, str]:
        x = sample(lm.context("a").text(stop=".", max_tokens=5))
        inner = infer(story, 2, n=2, seed=0).mode()
        y = sample(lm.context("b").text(stop=".", max_tokens=5))
        return x, inner, y

    posterior = infer(outer, n=8, seed=0)
    assert len(posterior.runs) == 8
    assert posterior.probability(lambda v: v[1] == infer(story, 2, n=2, seed=0).mode()) == 1.0


def test_inference_in_several_threads() -> None:
    alone = [[r.value for r in infer(story, 4, n=8, seed=s).runs] for s in range(8)]
    found: list[Any] = [None] * 8

    def work(seed: int) -> None:
        found[seed] = [r.value for r in infer(story, 4, n=8, seed=seed).runs]

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_an_interrupted_inference_leaves_the_model_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [r.value for r in infer(story, 4, n=8, seed=0).runs]

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lm.model, "logits", interrupt)
        with pytest.raises(KeyboardInterrupt):
            infer(story, 4, n=8, seed=0)
    assert [r.value for r in infer(story, 4, n=8, seed=0).runs] == expected


# --- errors ---------------------------------------------------------------------------------------------------------


def test_exceptions_of_one_line_are_counted_together_and_blamed_on_it() -> None:
    @program
    def child(x: bool) -> int:
        if x:
            raise RuntimeError("mine")
        return int(sample(flip()))

    @program
    def parent() -> int:
        x = sample(flip())
        y = child(x)
        return y

    (death,) = infer(parent, n=20, seed=0, on_error="kill").deaths
    assert death.count > 1 and death.site.span.text == 'raise RuntimeError("mine")'


def test_what_an_engine_can_not_answer_names_the_site_and_line() -> None:
    only_a = table_lm(["a", "b", "."], {(): {"a": 1}})

    @program
    def impossible() -> str:
        word = sample(only_a.context("a").choice(["b", "."]))
        return word

    with pytest.raises(ProgramError, match=r"(?s)sample 'word': none of the 2 options.*test_isolation.py"):
        infer(impossible, n=2)
    with pytest.raises(ProgramError, match=r"(?s)sample 'text\[0\]'.*max_outcomes.*test_isolation.py"):
        infer(story, 1, method="enumerate", max_outcomes=3)


@pytest.mark.parametrize("method", ["enumerate", "best-first"])
def test_more_outcomes_than_allowed_are_told_with_both_numbers(method: str) -> None:
    @program
    def wide() -> int:
        return sample(dist.uniform(range(2000)))

    says = rf"method='{method}' needs at most 1,999 outcomes at '.*', but there are 2,000; raise max_outcomes"
    with pytest.raises(ProgramError, match=says):
        infer(wide, method=method, max_outcomes=1999)
    assert len(infer(wide, method=method, max_outcomes=2000).runs) == 2000


def test_what_can_not_be_copied_names_the_line() -> None:
    @program
    def holds() -> int:
        numbers = (i for i in [1, 2])
        x = sample(flip())
        condition(x)
        barrier()
        return next(numbers)

    with pytest.raises(CannotFork, match=r"(?s)generator.*test_isolation.py"):
        infer(holds, n=16, seed=0, ess_threshold=1.0)


@pytest.mark.parametrize("weight", [10**400, torch.zeros(3)])
def test_a_weight_that_is_no_float_names_the_line(weight: Any) -> None:
    @program
    def heavy() -> None:
        factor(weight)

    with pytest.raises(ProgramError, match=r"(?s)factor\(\) needs a number.*test_isolation.py"):
        infer(heavy, n=1)


@pytest.mark.filterwarnings("error")
def test_a_proposal_is_no_mistake_under_enumeration() -> None:
    @program
    def coin() -> bool:
        x = sample(flip(0.3))
        return x

    assert infer(coin, method="enumerate", proposals={"x": lambda site: flip(0.9)}).probability(True) == pytest.approx(
        0.3
    )


def test_numbers_of_numpy() -> None:
    numbers: Any = np.array([3, 4])
    posterior = infer(story, 2, n=numbers[1], seed=numbers[0])
    assert posterior.n == 4 and type(posterior.seed) is int
    assert posterior.log_evidence == infer(story, 2, n=4, seed=3).log_evidence
    assert infer_many(story, [1, 2], n=4, seed=numbers[:1].repeat(2))[1].log_evidence == posterior.log_evidence
    assert infer_many(story, [1, 2], n=4, seed=numbers[0])[1].log_evidence == posterior.log_evidence


def test_a_batched_function_that_can_not_be_hashed() -> None:
    @dataclasses.dataclass
    class Reward:
        scale: float
        sizes: list[int]

        def __call__(self, xs: list[bool]) -> list[float]:
            self.sizes.append(len(xs))
            return [self.scale * x for x in xs]

    reward = Reward(2.0, [])

    @program
    def scored() -> float:
        x = sample(flip())
        y = call(reward, x)
        return y

    assert set(infer(scored, n=16, seed=0).distribution()) == {0.0, 2.0}
    assert reward.sizes == [16]


def test_weights_that_vanish_beside_others() -> None:
    assert dist.categorical([5e-324, 1e10]).log_probs == (-math.inf, 0.0)


def test_a_lambda_in_a_program_is_one_batched_function_unless_it_holds_something_of_the_run() -> None:
    sizes: list[int] = []

    def doubled(xs: list[int]) -> list[int]:
        sizes.append(len(xs))
        return [2 * x for x in xs]

    @program
    def plain() -> int:
        x = sample(dist.uniform([1, 2]))
        y = call(lambda xs: doubled(xs), x)
        return y - 2 * x

    @program
    def holding() -> int:
        x = sample(dist.uniform([1, 2]))
        z = [x]
        y = call(lambda xs: [v + z[0] for v in doubled(xs)], x)
        return y - 3 * x

    assert infer(plain, n=16, seed=0).probability(0) == 1.0
    assert sizes == [16]
    assert infer(holding, n=16, seed=0).probability(0) == 1.0


def test_mutable_defaults_are_each_call_s_own() -> None:
    @program
    def grows(seen: list[bool] = [], *, named: dict[str, int] = {}) -> tuple[int, int]:  # noqa: B006
        seen.append(sample(dist.flip(0.5)))
        named[str(len(named))] = 1
        return len(seen), len(named)

    @program
    def twice() -> tuple[tuple[int, int], tuple[int, int]]:
        first = grows()
        second = grows()
        return first, second

    for _ in range(2):
        assert {run.value for run in infer(grows, n=3, seed=0).runs} == {(1, 1)}
        assert {run.value for run in infer(twice, n=3, seed=0).runs} == {((1, 1), (1, 1))}


def test_an_iterator_stays_the_one_that_a_loop_uses() -> None:
    @program
    def uses_up() -> tuple[int, int]:
        items = iter([0.1, 0.6, 0.8])
        drawn = [sample(dist.flip(p)) for p in items]
        return len(drawn), len(list(items))

    assert {run.value for run in infer(uses_up, method="enumerate").runs} == {(3, 0)}
    assert validate(uses_up, pipeline="default")
