"""Journals keep what was written up to the first damage; plain values come back exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.runtime.journal import Journal
from ppl.runtime.plain import NotPlain, decode, encode

RECORDS: list[Any] = [[1, "é\n\t"], {"x": [0.1, -1e-300]}, [], "third", [None, True], list(range(40))]


def write(path: Path, records: list[Any]) -> bytes:
    journal = Journal(path)
    assert list(journal.read()) == []
    for record in records:
        journal.append(record)
    journal.close()
    return path.read_bytes()


def test_whatever_happens_to_a_byte_what_was_before_it_is_kept_and_nothing_after(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = write(path, RECORDS)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert list(Journal(path).read()) == RECORDS
    for at in range(len(whole)):
        before = sum(end <= at for end in ends)
        path.write_bytes(whole[:at])
        assert list(Journal(path).read()) == RECORDS[:before]
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert list(Journal(path).read()) == RECORDS[:before]


def test_lines_in_another_order_or_twice_or_missing_end_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lines = write(path, RECORDS).splitlines(keepends=True)
    for order in ([0, 2, 1, 3], [0, 1, 1, 2], [0, 2, 3], [1, 2]):
        path.write_bytes(b"".join(lines[i] for i in order))
        good = next((n for n, i in enumerate(order) if n != i), len(order))
        assert list(Journal(path).read()) == RECORDS[:good]


def test_what_is_written_takes_the_place_of_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = write(path, RECORDS)
    path.write_bytes(whole[:-5])
    journal = Journal(path)
    assert list(journal.read()) == RECORDS[:-1]
    journal.append(RECORDS[-1])
    journal.append("more")
    journal.close()
    assert list(Journal(path).read()) == [*RECORDS, "more"]


def test_a_line_is_with_the_system_before_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(1)
    assert list(Journal(tmp_path / "journal").read()) == [1], "not closed, and nothing waits in this process"


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(max_size=3) | st.just("~") | st.integers() | st.tuples(st.integers()), inner, max_size=3
        )
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, in the types and the order of everything in them too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return bool(one == other)


@pytest.mark.parametrize("value", [2**2047, -(2**2048), 7**9000], ids=["largest", "hexadecimal", "long"])
def test_whole_numbers_of_any_size_come_back(value: int) -> None:
    """Python refuses to write decimal digits by the thousand."""
    assert decode(json.loads(json.dumps(encode([value])))) == [value]


@settings(max_examples=200, deadline=None)
@given(values)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    text = json.dumps(encode(value), allow_nan=False)
    assert same(decode(json.loads(text)), value)


@pytest.mark.parametrize(
    "array",
    [
        np.float32(0.1),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.array([True, False]),
        torch.tensor(0.1),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.empty(0, 3),
        torch.tensor(True),
    ],
    ids=repr,
)
def test_arrays_come_back_as_they_were(array: Any) -> None:
    found = decode(json.loads(json.dumps(encode([array]))))[0]
    assert type(found) is type(array)
    assert found.dtype == array.dtype and found.shape == array.shape
    assert (torch.equal if isinstance(array, torch.Tensor) else np.array_equal)(found, array)


class Name(str):
    """More than its content."""


@pytest.mark.parametrize(
    "value",
    [object(), Name("x"), {1, 2}, len, torch.ones(2, requires_grad=True), np.array([None])],
    ids=lambda value: type(value).__name__,
)
def test_what_is_more_than_data_is_refused(value: Any) -> None:
    with pytest.raises(NotPlain):
        encode([value])


def test_nothing_is_made_of_what_the_file_names() -> None:
    for written in ({"~": "os.system", "of": "true"}, {"~": "torch", "dtype": "load", "shape": [0], "of": ""}):
        with pytest.raises(ValueError):
            decode(written)
