"""Next-token distributions against their definition, in float64 numpy: cuts, ties, blocks, constraints, draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.runtime.engines import cuts, measured, numpy_masses
from ppl.runtime.engines.laws import NextTokens
from ppl.runtime.engines.requests import PLAIN, Allowed, Law

LAWS: list[Law] = [
    PLAIN,
    (0.7, 1.0, None),
    (0.0, 1.0, None),
    (1e-300, 1.0, None),
    (1.0, 1.0, 3),
    (1.0, 0.6, None),
    (1.3, 0.8, 4),
    (0.5, 0.3, 2),
]


def expected(row: np.ndarray, law: Law, allowed: set[int] | None = None) -> np.ndarray:
    """The definition: log-probabilities of one row."""
    temperature, top_p, top_k = law
    if temperature == 0.0:
        kept = [int(row.argmax())]
    else:
        least = -math.inf if top_k is None else sorted(row)[-min(top_k, len(row))]
        kept = [i for i in range(len(row)) if row[i] >= least]
    heat = temperature or 1.0
    with np.errstate(over="ignore"):
        weights = np.exp((row - row.max()) / heat)
    if top_p < 1.0 and temperature:
        total, mass, order = weights[kept].sum(), 0.0, sorted(kept, key=lambda i: (-row[i], i))
        kept = []
        for i in order:
            if kept and mass >= (top_p - 1e-9) * total:
                break
            mass += weights[i]
            kept.append(i)
    found = np.full(len(row), -math.inf)
    left = [i for i in kept if row[i] > -math.inf and (allowed is None or i in allowed)]
    if left:
        logs = (row[left] - row[left].max()) / heat
        found[left] = logs - np.log(np.exp(logs).sum())
    return found


def check(rows: torch.Tensor, law: Law, allowed: list[set[int]] | None = None) -> None:
    """That masses are right to the precision of the rows' type, and that nothing is kept or left out wrongly."""
    found = NextTokens(rows, law)
    assert found.faulty() is None
    if allowed is not None:
        found = found.among(range(len(rows)), [Allowed(tuple(sorted(some))) for some in allowed])
    wanted = np.stack(
        [expected(row, law, None if allowed is None else allowed[i]) for i, row in enumerate(rows.double().numpy())]
    )
    precision = 1e-10 if rows.dtype == torch.float64 else 4e-6
    seen, wanted = (np.where(logs < -1e20, -math.inf, logs) for logs in (found.table().numpy(), wanted))
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=precision)
    assert found.alive.tolist() == [bool((row > -math.inf).any()) for row in wanted]
    check_draws(found)


def check_draws(found: NextTokens, points: int = 23) -> None:
    """That the token at a point is the one where the masses before it, in order, reach the point."""
    for place in range(len(found.alive)):
        if not found.alive[place]:
            continue
        at = (np.arange(points) + 0.5) / points
        tokens = found.at([place] * points, at)
        edges = np.exp(found.table([place])[0].numpy()).cumsum()
        after, before = edges[tokens], np.concatenate(([0.0], edges))[tokens]
        assert (before - 1e-6 <= at).all() and (at <= after + 1e-6).all()
        log_probs = found.log_probs([place] * points, tokens)
        assert log_probs.tolist() == found.table([place])[0, tokens].tolist()
        assert (log_probs > -math.inf).all()
        assert found.at([place], np.array([1 - 2.0**-53]))[0] <= max(np.flatnonzero(np.diff(edges, prepend=0.0)))


sizes = st.integers(1, 70)


@st.composite
def tables(draw: st.DrawFn) -> torch.Tensor:
    """Rows with ties and excluded tokens."""
    size, count = draw(sizes), draw(st.integers(1, 3))
    entry = st.integers(-12, 12) | st.just(-math.inf)
    rows = [draw(st.lists(entry, min_size=size, max_size=size)) for _ in range(count)]
    for row in rows:
        row[draw(st.integers(0, size - 1))] = draw(st.integers(-12, 12))
    kind = draw(st.sampled_from([torch.float32, torch.float64]))
    return torch.tensor(rows, dtype=kind) / 3


@settings(max_examples=60)
@given(tables(), st.sampled_from(LAWS))
def test_the_laws_are_those_of_the_definition(rows: torch.Tensor, law: Law) -> None:
    check(rows, law)


@settings(max_examples=60)
@given(tables(), st.sampled_from(LAWS), st.data())
def test_restricted_laws_are_those_of_the_definition(rows: torch.Tensor, law: Law, data: st.DataObject) -> None:
    allowed = [data.draw(st.sets(st.integers(0, rows.shape[1] - 1))) for _ in rows]
    check(rows, law, allowed)


@pytest.mark.parametrize("law", [*LAWS, (1.0, 1.0, 40), (0.8, 0.95, 700)], ids=str)
def test_many_tokens(law: Law) -> None:
    rows = 2 * torch.randn(2, 9001, generator=torch.Generator().manual_seed(1))
    rows[1] = (8 * rows[1]).round() / 8  # ties everywhere
    check(rows, law)
    check(rows, law, [set(range(0, 9001, 3)), set(range(9001)) - {int(rows[1].argmax())}])


def test_allowed_tokens_far_below_the_best_keep_their_law() -> None:
    rows = torch.tensor([[0.0, -2000.0, -2001.0]])
    check(rows, PLAIN, [{1, 2}])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_least_temperature_leaves_the_best(kind: torch.dtype) -> None:
    found = NextTokens(torch.tensor([[0.0, 1.0, 1.0, -math.inf]], dtype=kind), (5e-324, 1.0, None)).table()
    assert found.exp()[0].tolist() == pytest.approx([0.0, 0.5, 0.5, 0.0])


@pytest.mark.parametrize("heat", [1e39, 1e300])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_highest_temperatures_let_all_share(kind: torch.dtype, heat: float) -> None:
    found = NextTokens(torch.tensor([[0.0, 8.0, -math.inf, 1.0]], dtype=kind), (heat, 1.0, None)).table()
    assert found.exp()[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0.0, 1 / 3])


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_row_does_not_depend_on_its_neighbours(law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, at sizes where numbers are left over that a processor does not compute in the same way."""
    points = np.linspace(0.01, 0.99, 13)
    places = range(13)
    for vocabulary in (*range(2, 70), 500, 1000, numpy_masses.LARGEST + 1):
        rows = torch.randn(13, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
        together = NextTokens(rows, law)
        tokens = together.at(places, points)
        alone = [NextTokens(rows, law, [i]) for i in places]
        assert tokens.tolist() == [int(one.at([0], points[i : i + 1])[0]) for i, one in enumerate(alone)]
        found = together.log_probs(places, tokens).tolist()
        assert found == [float(one.log_probs([0], tokens[i : i + 1])[0]) for i, one in enumerate(alone)]
        with monkeypatch.context() as patch:
            patch.setitem(measured._BUFFER, "cpu", 1)
            patch.setattr(numpy_masses, "_ENTRIES", 1)
            assert NextTokens(rows, law).log_probs(places, tokens).tolist() == found


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_tensors_give_what_numpy_gives(law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other devices the same lines run on tensors: here on those of this one."""
    rows = torch.randn(40, 1000, generator=torch.Generator().manual_seed(2))
    points = np.linspace(0.0, 1.0 - 2.0**-53, 40)
    allowed = [Allowed(tuple(range(i % 3, 1000, 3))) for i in range(40)]
    order = list(range(40))[::-1]

    def both() -> list[NextTokens]:
        free = NextTokens(rows, law, order)
        return [free, free.among(order, allowed)]

    here = both()
    monkeypatch.setattr(numpy_masses, "DEVICES", frozenset())
    for mine, other in zip(here, both(), strict=True):
        alive = [place for place in order if mine.alive[place]]
        tokens = other.at(alive, points[: len(alive)])
        assert isinstance(tokens, torch.Tensor)
        assert mine.at(alive, points[: len(alive)]).tolist() == tokens.tolist()
        np.testing.assert_allclose(mine.log_probs(alive, tokens), other.log_probs(alive, tokens).numpy(), rtol=1e-7)
        np.testing.assert_allclose(mine.table().numpy(), other.table().numpy(), rtol=1e-7)
        assert mine.alive.tolist() == other.alive.tolist()
    rows[3, 5] = math.nan
    assert NextTokens(rows, law).faulty() == 3


def test_rows_that_are_no_distribution_are_found() -> None:
    rows = torch.zeros(4, 3)
    assert NextTokens(rows, PLAIN).faulty() is None
    for bad in (math.nan, math.inf):
        rows[2, 1] = bad
        assert NextTokens(rows, PLAIN).faulty() == 2
    rows[2] = -math.inf
    assert NextTokens(rows, PLAIN).faulty() == 2


def test_planted_bugs_in_the_cuts_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.tensor([[0.0, 1.0, 1.0, 0.5, 1.0, -1.0, 0.0, 0.25]])
    kth, nucleus = cuts.kth_largest, cuts.nucleus
    bugs: list[tuple[Law, str, Callable[..., object]]] = [
        ((1.0, 1.0, 4), "kth_largest", lambda values, k, block: kth(values, k - 1, block)),
        ((1.0, 1.0, 5), "kth_largest", lambda values, k, block: kth(values, k + 1, block)),
        ((1.0, 0.3, None), "nucleus", lambda values, heat, p, floor: (nucleus(values, heat, p, floor)[0], None)),
        ((1.0, 0.5, 4), "nucleus", lambda values, heat, p, floor: nucleus(values, heat, p, None)),
        ((3.0, 0.5, None), "nucleus", lambda values, heat, p, floor: nucleus(values, 1.0, p, floor)),
    ]
    for law, name, bug in bugs:
        check(rows, law)
        with monkeypatch.context() as patch:
            patch.setattr(measured, name, bug)
            with pytest.raises(AssertionError):
                check(rows, law)


def test_a_planted_bug_in_the_blocks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(1, 500, generator=torch.Generator().manual_seed(3))
    under = NextTokens._under
    monkeypatch.setattr(NextTokens, "_under", lambda self, edges, target: under(self, edges, target * 0.99))
    with pytest.raises(AssertionError):
        check(rows, PLAIN)


def test_the_kth_largest_is_found_block_by_block() -> None:
    values = torch.randint(0, 50, (5, 4096), generator=torch.Generator().manual_seed(4)).float()
    for k in (1, 2, 7, 20):
        assert cuts.kth_largest(values, k, 64).tolist() == values.sort(1, descending=True).values[:, k - 1].tolist()
