"""Arrays that share memory share it in every copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ppl import dist, infer, program, sample
from ppl.runtime.fork import CannotFork, copies


def test_rows_of_a_table_on_every_branch() -> None:
    @program
    def counts() -> tuple[int, int]:
        grid = np.zeros((3, 3), int)
        rows, flat = [grid[i] for i in range(3)], grid.ravel()
        for i in range(2):
            x = sample(dist.uniform([0, 1, 2]))
            rows[x][i] += 1
        return int(grid.sum()), int(flat.sum())

    assert {run.value for run in infer(counts, method="enumerate", passes=[]).runs} == {(2, 2)}


def _views(table: Any) -> dict[str, Callable[[], Any]]:
    """Views of a table of 4 by 3."""
    return {
        "row": lambda: table[1],
        "back": lambda: table[::-1, ::2],
        "turned": lambda: table.T,
        "flat": lambda: table.ravel(),
        "bytes": lambda: table.view("u1"),
        "wide": lambda: np.broadcast_to(table, (2, 4, 3)),
        "windows": lambda: np.lib.stride_tricks.sliding_window_view(table, 2, axis=0),
        "tensor": lambda: torch.from_numpy(table),
    }


@pytest.mark.parametrize("name", list(_views(None)))
@pytest.mark.parametrize("order", [1, -1])
def test_views_of_an_array(name: str, order: int) -> None:
    old = np.arange(12.0).reshape(4, 3).copy()
    view = _views(old)[name]()
    for _ in range(2):  # a copy is copied just so
        new, copied = copies((old, view)[::order])[::order]
        assert np.array_equal(np.asarray(copied), np.asarray(view)) and np.array_equal(new, old)
        assert np.shares_memory(new, copied) and not np.shares_memory(new, old)
        new += 1.0
        assert np.array_equal(np.asarray(copied), np.asarray(_views(new)[name]()))
        assert type(copied) is type(view) and old[0, 0] == new[0, 0] - 1.0
        assert isinstance(view, torch.Tensor) or copied.flags.writeable == view.flags.writeable
        old, view = new, copied


@pytest.mark.parametrize("order", [1, -1])
def test_an_array_that_shows_a_tensor(order: int) -> None:
    old = torch.zeros(3, 2)
    new, shown, row = copies((old, old[1:].numpy(), old.numpy()[1])[::order])[::order]
    new += 1.0
    assert shown.tolist() == [[1.0, 1.0]] * 2 and row.tolist() == [1.0, 1.0] and old.sum() == 0.0
    row[0] = 5.0
    assert float(new[1, 0]) == shown[0, 0] == 5.0


def test_arrays_of_objects() -> None:
    box = [1]
    table = np.array([[box, None], ["a", box]], dtype=object)
    for order in (1, -1):
        new, column, again = copies((table, table[:, 1], box)[::order])[::order]
        new, column, again = copies((new, column, again))
        assert new[0, 0] is new[1, 1] is column[1] is again is not box
        column[0] = 3
        assert new[0, 1] == 3 and table[0, 1] is None


def test_a_part_of_objects_says_so() -> None:
    part = np.zeros(2, dtype=[("a", object), ("n", int)])["a"]
    with pytest.raises(CannotFork, match="Keep the whole array"):
        copies((part,))


def test_arrays_of_their_own() -> None:
    whole, empty, fixed = np.asfortranarray(np.ones((2, 3))), np.zeros((0, 3)), np.frombuffer(b"abcd", "u1")[1:]
    new = copies((whole, empty, fixed))
    assert new[0].flags.f_contiguous and new[0].flags.owndata and new[1].shape == (0, 3)
    assert new[2].tolist() == [98, 99, 100] and not new[2].flags.writeable
    strided = np.asarray(memoryview(bytes(range(8)))[::2])
    assert copies((strided,))[0].tolist() == [0, 2, 4, 6]
