"""The short way through models of the Llama kind: which models take it, and that nobody's weights change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from ppl.runtime.engines import kv_decoder, kv_weights
from ppl.runtime.engines.kv_decoder import Decoder, why_not
from ppl.runtime.engines.transformers import TransformersModel

from .test_transformers import NAMES, Checked, path, walk
from .tiny_models import make, plain_logits

torch.set_num_threads(1)

DECODED = ["llama", "qwen2", "qwen2-sliding", "qwen3", "mistral"]


@pytest.mark.parametrize("name", NAMES)
def test_which_models_are_decoded(name: str) -> None:
    lm = TransformersModel(make(name))
    assert isinstance(lm._pass, Decoder) == (name in DECODED)
    assert ("computed by its own modules" in lm.describe()) == (name not in DECODED)


def check_weights(lm: TransformersModel, model: Any) -> None:
    tokens = path(0, 9)
    row = lm.logits([lm.root.extend(tokens)])[0]
    torch.testing.assert_close(row, plain_logits(model, tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("in_place", [False, True])
def test_the_model_stays_what_it_was(name: str, in_place: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, twin = make(name), make(name)
    if in_place:
        monkeypatch.setattr(kv_decoder, "COPIED_BYTES", 1000)
    lm = TransformersModel(model, own=in_place)
    assert isinstance(lm._pass, Decoder)
    for (key, mine), theirs in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), key
    tokens = path(1, 12)
    torch.testing.assert_close(plain_logits(model, tokens), plain_logits(twin, tokens), atol=1e-4, rtol=0)
    check_weights(lm, twin)
    assert model.config._attn_implementation == "sdpa"


def test_a_large_model_is_held_once_and_can_be_saved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_decoder, "COPIED_BYTES", 1000)
    model = make("llama")
    lm = TransformersModel(model, own=True)
    assert isinstance(lm._pass, Decoder)
    joined = lm._pass._layers[0].qkv[0]
    assert model.model.layers[0].self_attn.k_proj.weight.untyped_storage().data_ptr() == joined.data_ptr()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    tokens = path(1, 12)
    torch.testing.assert_close(plain_logits(again, tokens), plain_logits(model, tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("in_place", [False, True])
def test_changed_weights_count_from_the_next_clearing_on(in_place: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_place:
        monkeypatch.setattr(kv_decoder, "COPIED_BYTES", 1000)
    model = make("llama")
    lm = TransformersModel(model, own=in_place)
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight.mul_(-2.0)
        model.model.layers[0].mlp.up_proj.weight.copy_(torch.ones(()))
    lm.clear_cache()
    check_weights(lm, model)
    model.load_state_dict(make("llama", seed=5).state_dict())
    lm.clear_cache()
    check_weights(lm, make("llama", seed=5))


def test_what_is_not_plain_is_left_to_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = make("llama")
    hooked.model.layers[0].mlp.register_forward_hook(lambda module, args, out: out * 0.5)
    assert "hook" in why_not(hooked, own=True)
    check_weights(TransformersModel(hooked), hooked)

    class Low(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 0.5

    other = make("llama")
    linear = other.model.layers[1].self_attn.q_proj
    replaced = Low(linear.in_features, linear.out_features, bias=False)
    replaced.weight = linear.weight
    other.model.layers[1].self_attn.q_proj = replaced
    assert why_not(other, own=True) == "it has a Low"
    check_weights(TransformersModel(other), other)
    mixed = make("llama")
    mixed.model.layers[0].double()
    assert "several types" in why_not(mixed, own=True)
    monkeypatch.setattr(kv_decoder, "COPIED_BYTES", 1000)
    assert "GiB" in why_not(make("llama"), own=False) and not why_not(make("llama"), own=True)
    lm = TransformersModel(make("llama"))
    assert "a copy of its weights" in lm.describe()


@pytest.mark.parametrize("bug", ["order", "turn", "norm"])
def test_a_wrong_pass_is_seen(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both by the trial when a model is loaded, which then leaves it to the modules, and by the tests."""
    if bug == "order":
        right = kv_weights.joined
        monkeypatch.setattr(kv_weights, "joined", lambda linears, in_place: right(linears[::-1], in_place))
    elif bug == "turn":
        monkeypatch.setattr(
            kv_decoder, "_turn", lambda cos, sin: (cos.flatten(0, 1)[:, None], sin.flatten(0, 1)[:, None])
        )
    else:
        norm = kv_decoder._norm
        monkeypatch.setattr(kv_decoder, "_norm", lambda x, weight, eps: norm(x, weight, 0.1))
    lm = TransformersModel(make("llama"))
    assert not isinstance(lm._pass, Decoder) and "its logits change by" in lm.describe()
    monkeypatch.setattr("ppl.runtime.engines.transformers.why_wrong", lambda *args: "")
    check = Checked("llama")
    assert isinstance(check.lm._pass, Decoder)
    with pytest.raises(AssertionError):
        walk(check, seed=1, steps=10)


def test_a_copied_model_is_another() -> None:
    model = make("llama")
    lm = TransformersModel(model, own=True)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.model.layers[0].self_attn.q_proj.weight.zero_()
    lm.clear_cache()
    check_weights(lm, make("llama"))
