"""Texts that a model goes on with by itself are those that it would have written token by token."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from ppl import Program, factor, infer, load_lm, program, sample
from ppl.runtime.engines import ahead, kv_steps
from ppl.runtime.engines.ahead import Halts
from ppl.runtime.engines.local import LocalEngine
from ppl.runtime.engines.model import LogitModel
from ppl.runtime.engines.requests import Ending, Generate, TextSpec
from ppl.runtime.engines.transformers import TransformersModel
from ppl.runtime.errors import ProgramError
from ppl.runtime.source import RandomSource, derive

from .tiny_models import MAX_LENGTH, MODELS, VOCAB, make

torch.set_num_threads(1)

PROMPT = "Q: Start with 3. Add 4. Double it.\n"


class Lettered(TransformersModel):
    """A tiny model with a tokenizer of letters."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(ord(letter) - 32 for letter in text)

    def decode_bytes(self, token: int) -> bytes:
        return b"" if token < 3 else chr(29 + token).encode() * (1 + token % 2)


def bundled(ahead: int) -> Any:
    return load_lm(ahead=ahead)


def drawn(model: LogitModel, specs: list[TextSpec], count: int) -> list[Any]:
    """What an engine writes after ragged contexts, some equal, some forks of each other."""
    engine = LocalEngine(model)
    rng = random.Random(3)
    stems = [model.root.extend(rng.choices(range(3, VOCAB), k=length)) for length in (3, 3, 9, 14)]
    contexts = [*stems, stems[2].parent or stems[2], stems[0]]
    asked = [Generate(contexts[i % len(contexts)], specs[i % len(specs)], derive(5, i)) for i in range(count)]
    return answers(engine, asked)


def answers(engine: LocalEngine, asked: list[Generate]) -> list[Any]:
    """The completions of requests, in their order."""
    for request in asked:
        engine.submit(request, RandomSource())
    done = {}
    while engine.pending:
        done.update({id(completion.request): completion for completion in engine.step()})
    return [done[id(request)] for request in asked]


SPECS = [
    TextSpec(max_tokens=20),
    TextSpec(max_tokens=13, stop=("AA", "~b")),
    TextSpec(max_tokens=17, stop=("k",), before=b"x"),
    TextSpec(max_tokens=9, pause="line"),
    TextSpec(max_tokens=3),
    TextSpec(max_tokens=5, pause="token"),
    TextSpec(stop=("Z",), max_tokens=30),
]


@pytest.mark.parametrize("steps", [2, 8])
@pytest.mark.parametrize("law", [{}, {"temperature": 0.5}, {"top_p": 0.8}, {"top_k": 4}, {"temperature": 0.0}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_texts_are_those_of_one_token_at_a_time(name: str, law: dict[str, Any], steps: int) -> None:
    specs = [
        TextSpec(**{**{f: getattr(s, f) for f in ("stop", "max_tokens", "before", "pause")}, **law}) for s in SPECS
    ]
    one, many = (Lettered(make(name), bos=1, ahead=count) for count in (1, steps))
    assert (one.ahead, many.ahead) == (1, steps)
    alone, together = (drawn(model, specs, 40) for model in (one, many))
    assert [c.value for c in alone] == [c.value for c in together]
    assert [c.log_prob for c in together] == pytest.approx([c.log_prob for c in alone], abs=2e-3)
    assert many.usage.positions == one.usage.positions


def test_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[ahead.Stretch] = []
    write = TransformersModel.write

    def counted(self: TransformersModel, stretch: ahead.Stretch) -> Any:
        counts.append(stretch)
        return write(self, stretch)

    monkeypatch.setattr(TransformersModel, "write", counted)
    drawn(Lettered(make("llama"), bos=1, ahead=8), SPECS, 40)
    assert sum(len(stretch.nodes) for stretch in counts) > 40
    assert {len(stretch.points) for stretch in counts} >= {8}


@pytest.mark.parametrize("planted", ["halts", "points", "positions"])
def test_planted_bugs_are_seen(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted == "halts":
        monkeypatch.setattr(Halts, "of", lambda self, spec: np.zeros(VOCAB, dtype=bool))
    elif planted == "points":
        monkeypatch.setattr(ahead, "uniforms", lambda keys, counters: np.full(len(keys), 0.5))
    else:
        draw = kv_steps.Steps._draw

        def stays(self: Any, law: Any, lanes: Any, out: Any) -> None:
            draw(self, law, lanes, out)
            lanes.positions -= lanes.going.long()

        monkeypatch.setattr(kv_steps.Steps, "_draw", stays)
    one, many = (drawn(Lettered(make("llama"), bos=1, ahead=count), SPECS, 40) for count in (1, 8))
    assert [c.value for c in one] != [c.value for c in many]


def test_no_token_but_those_that_halt_ends_a_text() -> None:
    model = Lettered(make("llama"), bos=1)
    halts, rng = Halts(model), random.Random(1)
    ended = 0
    for _ in range(300):
        stop = tuple("".join(rng.choices("AB~k", k=rng.randint(1, 3))) for _ in range(rng.randint(0, 2)))
        spec = TextSpec(stop=stop, pause=rng.choice([None, "line", "token"]), before=rng.choice([b"", b"A"]))
        ending, mask = Ending(spec, model), halts.of(spec)
        assert mask is halts.of(spec)
        state = ending.start
        for count in range(1, 30):
            token = rng.choice([rng.randrange(VOCAB), *model.encode("ABk~\n")])
            token = max(token, 0)
            after, finish = ending.after(state, token, count)
            if finish is not None:
                assert mask[token]
                ended += 1
                break
            assert ending.through(state, [token]) == after
            state = after
    assert ended > 100


def test_texts_up_to_the_last_position() -> None:
    for name in ("llama", "gpt2"):
        results = []
        for count in (1, 8):
            model = Lettered(make(name), bos=1, ahead=count)
            engine = LocalEngine(model)
            node = model.root.extend([5] * (MAX_LENGTH - 12))
            asked = [Generate(node, TextSpec(max_tokens=11), derive(1, i)) for i in range(3)]
            results.append([completion.value for completion in answers(engine, asked)])
        assert results[0] == results[1]


def lines(lm: Any) -> Program:
    @program
    def write() -> str:
        context, found = lm.context(PROMPT), []
        for _ in range(3):
            found.append(sample(context.line(max_tokens=12)))
            context = context + found[-1]
            factor(-0.2 * len(found[-1]))
        return "".join(found)

    return write


def test_posteriors_are_the_same() -> None:
    a, b = (infer(lines(load_lm(ahead=count)), method="smc", n=32, seed=1) for count in (1, 8))
    assert [run.value for run in a.runs] == [run.value for run in b.runs]
    assert b.log_evidence == pytest.approx(a.log_evidence, abs=1e-4)


def test_memory_that_runs_out() -> None:
    """Batches are made smaller, and texts go on."""
    model = Lettered(make("llama"), bos=1, ahead=8)
    forward, sizes = model._pass, []

    class Small:
        def __call__(self, batch: Any) -> torch.Tensor:
            sizes.append(len(batch.tokens))
            if len(batch.tokens) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            assert forward is not None
            return forward(batch)

    assert model._steps is not None
    model._pass = model._steps._forward = Small()
    found = drawn(model, SPECS, 12)
    right = drawn(Lettered(make("llama"), bos=1), SPECS, 12)
    assert [c.value for c in found] == [c.value for c in right] and max(sizes) > 3 >= model.max_batch


def test_more_texts_than_fit_a_batch() -> None:
    """They all go on, batch by batch."""
    specs = [TextSpec(max_tokens=16)]
    one, many = Lettered(make("llama"), bos=1, max_batch=5), Lettered(make("llama"), bos=1, max_batch=5, ahead=8)
    right, found = drawn(one, specs, 30), drawn(many, specs, 30)
    assert [c.value for c in found] == [c.value for c in right]
    assert many.usage.positions == one.usage.positions
    engine, steps = LocalEngine(many), 0
    for i in range(30):
        engine.submit(Generate(many.root.extend([9, 3 + i]), specs[0], derive(6, i)), RandomSource())
    while engine.pending:
        engine.step()
        steps += 1
    assert steps <= 1 + 16 // 8 + 1  # the first token by itself


def test_a_small_cache_changes_nothing() -> None:
    size = Lettered(make("llama"), bos=1)
    right = drawn(size, SPECS, 30)
    position = size._slots.cache.position_bytes
    for slots in (1, 3, 7):
        model = Lettered(make("llama"), bos=1, ahead=8, cache_bytes=position * 64 * slots)
        assert [c.value for c in drawn(model, SPECS, 30)] == [c.value for c in right]


def test_logits_that_are_no_numbers_are_told_at_the_line() -> None:
    lm = load_lm(ahead=8, cache_bytes=1 << 26)
    model = lm.model
    forward = model._steps._forward  # type: ignore[attr-defined]
    calls = []

    def damaged(batch: Any) -> torch.Tensor:
        calls.append(batch)
        out = forward(batch)
        return out * float("nan") if len(calls) > 3 else out

    model._steps._forward = model._pass = damaged  # type: ignore[attr-defined]
    try:
        with pytest.raises(ProgramError, match=r"gave NaN logits after a context of(.|\n)*test_ahead.py:\d+"):
            infer(lines(lm), method="smc", n=8, seed=1)
    finally:
        model._steps._forward = model._pass = forward  # type: ignore[attr-defined]
        model.clear_cache()  # type: ignore[attr-defined]
