"""Several models in one program: each has batches of its own, a device of its own, and its own part of the cost."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any

import pytest
import torch

from ppl import Posterior, barrier, infer, infer_many, load_lm, observe, program, sample
from ppl.bundled import model_path
from ppl.lm import LM
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.table import TableModel
from tests.servers.table_server import TableServer, serving

STEPS = 3
PARTICLES = 8


def named(name: str, seed: int) -> LM:
    table = TableModel.random(seed, ["a", "b", "\n"])
    return LM(table, LocalEngine(table), name)


@program
def judged(policy: LM, reward: LM, judge: LM, draft: LM, prompt: str) -> str:
    """Each step is proposed by a draft, is the policy's by its weight, and is judged twice."""
    context, text = policy.context(prompt), ""
    for _ in range(STEPS):
        proposal = draft.context(prompt + text).token(temperature=2.0)
        step = sample(context.token(), proposal=proposal)
        context, text = context + step, text + step
        observe(reward.context(text).token(), "a")
        observe(judge.context(prompt + text).token(), "b")
        barrier()
    return text


def models() -> list[LM]:
    return [named(name, seed) for seed, name in enumerate(("policy", "reward", "judge", "draft"))]


def forwards(posterior: Posterior) -> dict[str, int]:
    return {name: used.forwards for name, used in posterior.cost.models.items()}


def test_a_step_is_one_batch_of_each_model() -> None:
    found = infer(judged, *models(), "a", method="smc", n=PARTICLES, seed=0)
    assert forwards(found) == dict.fromkeys(("draft", "policy", "reward", "judge"), STEPS)


def test_texts_of_one_model_that_end_apart_are_read_by_the_other_together() -> None:
    draft, reader = named("draft", 0), named("reader", 1)

    @program
    def proposed() -> str:
        return sample(reader.context("a").line(max_tokens=12), proposal=draft.context("a").line(max_tokens=12))

    found = forwards(infer(proposed, method="importance", n=64, seed=0))
    assert found["draft"] > 8 and found["reader"] <= found["draft"] // 2


def test_problems_share_the_batches_of_each_model() -> None:
    prompts = ["a", "b", "ab", "ba"]
    found = infer_many(judged, [(*lms, prompt) for lms in [models()] for prompt in prompts], n=PARTICLES, seed=0)
    assert len({id(posterior) for posterior in found}) == len(prompts)
    for posterior in found:
        assert all(count <= STEPS for count in forwards(posterior).values())
    alone = [infer(judged, *models(), prompt, n=PARTICLES, seed=0) for prompt in prompts]
    assert sum(forwards(posterior)["policy"] for posterior in alone) == len(prompts) * STEPS


def test_the_cost_is_the_sum_over_models() -> None:
    cost = infer(judged, *models(), "a", method="smc", n=PARTICLES, seed=0).cost
    assert cost.positions == sum(used.positions for used in cost.models.values())
    assert cost.forwards == sum(used.forwards for used in cost.models.values())
    assert cost.models["draft"].positions < cost.positions


def test_models_of_one_name_are_told_apart() -> None:
    lms = [named("twin", seed) for seed in range(4)]
    assert set(forwards(infer(judged, *lms, "a", n=2, seed=0))) == {"twin", "twin#2", "twin#3", "twin#4"}


@pytest.mark.filterwarnings("ignore:LlamaForCausalLM does not work:UserWarning")  # "meta" computes nothing
def test_each_model_has_a_device_of_its_own() -> None:
    devices = ["cpu", "cuda" if torch.cuda.is_available() else "meta"]
    on = {device: load_lm(model_path(), device=device) for device in devices}
    assert on["cpu"] is not on[devices[1]]
    for device, lm in on.items():
        assert device in lm.describe()
        assert {p.device.type for p in lm.model.model.parameters()} == {device}  # type: ignore[attr-defined]


class Gated(TableServer):
    """A server that answers nothing until it is let."""

    gate: Event | None = None

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.gate is not None and not self.gate.wait(20):
            raise AssertionError("nobody opened the gate: the other server's answers were not taken")
        return super()._complete(body)


class Opening(TableServer):
    """A server that opens a gate when it is asked for the last of several steps."""

    gate: Event | None = None
    left = STEPS

    def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.gate is not None:
            self.left -= 1
            if self.left == 0:
                self.gate.set()
        return super()._complete(body)


def test_no_problem_waits_for_the_server_of_another() -> None:
    """The first problem's server answers only after the second problem's has been asked for all its steps."""
    table = TableModel.random(0, ["a", "b", "\n"])
    slow, fast = Gated(table), Opening(table)
    with serving(slow) as slow_url, serving(fast) as fast_url:
        lms = [load_lm(url, tokenizer=table, timeout=10, retries=0) for url in (slow_url, fast_url)]

        @program
        def writes(which: int) -> str:
            context = lms[which].context("a")
            for _ in range(STEPS):
                context = context + sample(context.token())
            return str(context)

        slow.gate = fast.gate = Event()
        found = infer_many(writes, [(0,), (1,)], method="importance", n=1, seed=0)
    assert [len(posterior.runs) for posterior in found] == [1, 1]
