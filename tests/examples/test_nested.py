"""The example of nested inference: the same evidence by both callers, and less spread where the judges are nested."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest

from ppl import infer

from .running import load


def test_nested_judges_estimate_the_same_evidence() -> None:
    example = load("nested")
    found = [example["run"](True, seed) for seed in range(8)]
    ours = [math.exp(each.log_evidence) for each in found]
    # SMC over the whole caller, judges inline, is the estimate that the two can be held against.
    inline = [
        infer(example["compare_inline"], example["QUESTION"], method="smc", n=96, seed=seed, ess_threshold=1.0)
        for seed in range(6)
    ]
    theirs = [math.exp(each.log_evidence) for each in inline]
    error = math.sqrt(stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs))
    assert fmean(ours) == pytest.approx(fmean(theirs), abs=4.0 * error)
    assert error < 0.6 * fmean(theirs)
    # A rule that calls both claims alike would be wrong half of the time.
    right = [each.mode() == example["RIGHT"] for each in found if not each.empty]
    assert sum(right) >= 6


def test_inner_choices_keep_their_addresses() -> None:
    example = load("nested")
    run = example["run"](True, n=8).runs[0]
    assert run.trace[0].address == "claim"
    assert {c.address.split("/")[0] for c in run.trace[1:]} == {"reasoning_judge[0]", "reasoning_judge[1]"}
