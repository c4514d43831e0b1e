"""The compiled program equals CPython: random programs, random answers, runs copied at random points."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .check import differences
from .programs import Programs

relaxed = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@relaxed
@given(st.data())
def test_compiled_program_equals_cpython(data: st.DataObject) -> None:
    source = Programs(lambda n: data.draw(st.integers(0, n - 1))).source
    assert not differences(source), source


@pytest.mark.parametrize("batch", range(10))
def test_compiled_program_equals_cpython_on_fixed_programs(batch: int) -> None:
    for seed in range(batch * 20, batch * 20 + 20):
        source = Programs(random.Random(seed).randrange).source
        found = differences(source, seed)
        assert not found, "\n".join((source, *found))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(40))
def test_compiled_program_equals_cpython_on_many_programs(batch: int) -> None:
    for seed in range(1000 + batch * 250, 1250 + batch * 250):
        source = Programs(random.Random(seed).randrange).source
        found = differences(source, seed, runs=4)
        assert not found, "\n".join((source, *found))
