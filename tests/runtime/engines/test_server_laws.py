"""Laws computed from a few reported log-probabilities, against the same laws of whole rows of logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppl.runtime.engines.laws import NextTokens
from ppl.runtime.engines.requests import PLAIN, Law
from ppl.runtime.engines.server_kinds import KINDS, VLLM, kind_of
from ppl.runtime.engines.server_laws import Reported, kept, told

WIDTH = 8

laws = st.tuples(st.sampled_from([0.3, 0.7, 1.0, 1.6]), st.sampled_from([0.2, 0.55, 0.9, 1.0]), st.integers(1, 5))
rows = st.lists(st.integers(-60, 60), min_size=WIDTH, max_size=WIDTH, unique=True)


@given(rows, laws)
def test_the_best_tokens_are_enough_for_a_law_that_keeps_no_others(row: list[int], law: Law) -> None:
    logits = torch.tensor([row]).double() / 13
    raw = NextTokens(logits, PLAIN).table()[0]
    whole = NextTokens(logits, law).table()[0]
    assert law[2] is not None
    best = raw.topk(law[2])
    found = kept(dict(zip(best.indices.tolist(), best.values.tolist(), strict=True)), law)
    assert found.keys() == set((whole > -math.inf).nonzero()[:, 0].tolist())
    for token, log_prob in found.items():
        assert log_prob == pytest.approx(float(whole[token]), abs=1e-9)


@given(rows, laws, st.booleans(), st.booleans())
def test_whatever_is_reported_the_law_comes_out(row: list[int], law: Law, tempered: bool, truncated: bool) -> None:
    temperature, top_p, top_k = law
    logits = torch.tensor([row]).double() / 13
    heat = temperature if tempered else 1.0
    shown = (heat, top_p, top_k) if tempered and truncated else (heat, 1.0, None)
    report = NextTokens(logits, shown).table()[0]
    reported = Reported(tempered, tempered and truncated, best=5)
    whole = NextTokens(logits, law).table()[0]
    token = int(whole.argmax())
    needed = reported.needed(law)
    assert needed is not None
    best = report.topk(needed) if needed else None
    known = {} if best is None else dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    assert reported.log_prob(token, float(report[token]), known, law) == pytest.approx(float(whole[token]), abs=1e-9)


@pytest.mark.parametrize(
    ("reported", "law", "needed"),
    [
        (Reported(False, False, 20), PLAIN, 0),
        (Reported(False, False, 20), (0.0, 1.0, None), 0),
        (Reported(False, False, 20), (0.5, 1.0, None), None),
        (Reported(False, False, 20), (1.0, 0.9, None), None),
        (Reported(False, False, 20), (0.5, 0.9, 20), 20),
        (Reported(False, False, 20), (1.0, 1.0, 21), None),
        (Reported(True, False, 20), (0.5, 1.0, None), 0),
        (Reported(True, False, 20), (0.5, 0.9, None), None),
        (Reported(True, True, 1), (0.5, 0.9, 40), 0),
    ],
)
def test_what_must_be_known(reported: Reported, law: Law, needed: int | None) -> None:
    assert reported.needed(law) == needed


def test_every_make_states_the_whole_law() -> None:
    """What a request leaves out, servers take from the model's generation settings."""
    for kind in KINDS.values():
        written = str(kind.sampling((0.7, 0.9, 5), [0]))
        assert "0.7" in written and "0.9" in written and ("5" in written) is kind.cuts
        plain = str(kind.sampling(PLAIN, [0]))
        assert "temperature" in plain and "top_p" in plain and ("top_k" in plain) is kind.cuts
    assert kind_of("vllm", []) is VLLM
    assert kind_of("someone", ["/load_model"]).name == "transformers serve"
    assert kind_of("someone", []).name == "OpenAI-compatible server"
    assert told((0.7, 1.0, 5)) == "temperature=0.7, top_k=5"
