"""Where a text ends: at a stop string, an end token or its length, as naive rescanning finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.runtime.engines.requests import Ending, TextSpec


class Pieces:
    """A vocabulary of given byte strings; the last id ends a text."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [*pieces, b""]
        self.eos_tokens = frozenset({len(pieces)})

    def decode_bytes(self, token: int) -> bytes:
        return self.pieces[token]


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple),
    st.lists(st.text("ab", max_size=3).map(str.encode), min_size=1, max_size=4),
    st.lists(st.integers(0, 10), max_size=12),
    st.none() | st.integers(1, 8),
)
def test_endings_are_those_of_naive_rescanning(
    stop: tuple[str, ...], pieces: list[bytes], picks: list[int], most: int | None
) -> None:
    vocabulary = Pieces(pieces)
    tokens = [pick % len(vocabulary.pieces) for pick in picks]
    expected: tuple[int, str | None] = (len(tokens), None)
    for n in range(1, len(tokens) + 1):
        text = b"".join(map(vocabulary.decode_bytes, tokens[:n]))
        finish = (
            "eos"
            if tokens[n - 1] in vocabulary.eos_tokens
            else "stop"
            if any(s.encode() in text for s in stop)
            else "length"
            if n == most
            else None
        )
        if finish is not None:
            expected = (n, finish)
            break
    assert Ending(TextSpec(stop, most), vocabulary).of(tokens) == expected


def test_stops_of_many_bytes_across_tokens() -> None:
    euro = "€".encode()
    vocabulary = Pieces([euro[:1], euro[1:2], euro[2:], b"x"])
    ending = Ending(TextSpec(("€",), 10), vocabulary)
    assert ending.of((3, 0, 1, 2, 3)) == (4, "stop")
    tail = b""
    for count in range(1, 9):
        tail, _ = ending.after(tail, 3, count)
        assert len(tail) <= len(euro) - 1
    assert not ending.completes((0, 1)) and not ending.completes(()) and ending.completes((3, 4))


@pytest.mark.parametrize(
    "field",
    [{"stop": ("",)}, {"max_tokens": 0}, {"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_k": 0}],
)
def test_specs_are_checked(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        TextSpec(**field)  # type: ignore[arg-type]
