"""A model that is too large says so, with the numbers, before anything else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ppl
from ppl import load_lm, unload_lms
from ppl.runtime.engines import memory
from ppl.runtime.engines.memory import fitting, free_bytes, size_of, weight_bytes

BUNDLED = Path(ppl.__file__).parent / "bundled" / "model"


def test_weights_are_measured_without_loading_them() -> None:
    unload_lms()
    network: Any = load_lm(BUNDLED, dtype="float32").model
    true = size_of(network.model)
    measured = weight_bytes(BUNDLED, torch.float32)
    assert measured is not None and measured == pytest.approx(true, rel=0.02)
    halved = weight_bytes(BUNDLED, torch.bfloat16)
    assert halved == measured // 2
    assert weight_bytes(BUNDLED, "auto") is not None
    assert weight_bytes(BUNDLED.parent, torch.float32) is None


def test_a_model_too_large_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    unload_lms()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 3 << 20)
    monkeypatch.setattr(memory, "_GIB", 1 << 20)  # so that a small model's numbers can be read
    message = r"5\.\d\d GiB in float32, and cpu has 3\.00 GiB free.*dtype='bfloat16' \(2\.\d\d GiB\).*vLLM"
    with pytest.raises(MemoryError, match=message):
        load_lm(BUNDLED, dtype="float32")
    assert load_lm(BUNDLED, dtype="bfloat16").model is not None  # as it said


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError()])
def test_running_out_on_the_way_is_told_with_numbers(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 7 << 30)
    message = r"a/b take 6\.00 GiB in bfloat16, and cuda:1 has 7\.00 GiB free"
    with pytest.raises(MemoryError, match=message) as found, fitting("a/b", 6 << 30, torch.bfloat16, "cuda:1"):
        raise error
    assert found.value.__cause__ is error


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="no such layer"), fitting("a/b", None, "auto", "cpu"):
        raise RuntimeError("no such layer")


def test_free_memory_is_a_plausible_number() -> None:
    free = free_bytes("cpu")
    assert free is None or 1 << 20 < free < 1 << 50
    assert free_bytes("mps") is None
