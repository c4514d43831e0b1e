"""Places in one tensor: none overlap, what was there is still there, and no more room is taken than is needed."""

from __future__ import annotations

import random

import pytest

from ppl.runtime.engines.kv_ranges import Ranges


@pytest.mark.parametrize("seed", range(20))
def test_contents_stay(seed: int) -> None:
    rng = random.Random(seed)
    ranges, data = Ranges(), [-1] * 0
    lengths: dict[int, int] = {}
    most = 0
    for name in range(60):
        if lengths and rng.random() < 0.4:
            gone = rng.choice(list(lengths))
            ranges.drop(gone)
            del lengths[gone]
        length = rng.randint(1, 90)
        expected = ranges.positions_with(length)
        moves = ranges.add(name, length)
        lengths[name] = length
        if moves is not None:
            new = [-1] * ranges.positions
            for there, here in moves:
                new[here] = data[there]
            data = new
        data[ranges.at[name]] = [name] * length
        assert ranges.positions == expected == len(data)
        for other, size in lengths.items():
            assert data[ranges.at[other]] == [other] * size
        most = max(most, sum(lengths.values()))
    assert ranges.positions <= most + 64
