"""The table model: exact probabilities behind the interface of a real model."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
import torch

from ppl.runtime.engines.prefix import Prefix
from ppl.runtime.engines.table import TableModel

F = Fraction


def test_the_longest_suffix_wins() -> None:
    model = TableModel(
        ["a", "b"],
        {
            (): {"a": F(1, 3), "b": F(2, 3)},
            ("a",): {"b": 1},
            ("b", "a"): {"a": 1, "b": 3},
        },
        eos="!",
    )
    assert model.vocab_size == 3 and model.eos_tokens == {2}
    assert model.probability((), 0) == F(1, 3)
    assert model.probability((1,), 1) == F(2, 3)
    assert model.probability((0, 0), 1) == 1
    assert model.probability((0, 1, 0), 1) == F(3, 4)
    assert model.probability((0, 1, 0), 2) == 0


def test_logits_are_the_log_probabilities() -> None:
    model = TableModel.random(3, ["a", "b", "c"], eos="c", sparsity=0.3)
    contexts = [c for n in range(4) for c in product(range(3), repeat=n)]
    nodes = [model.root.extend(c) for c in contexts]
    logits = model.logits(nodes)
    assert logits.dtype == torch.float64 and logits.shape == (len(nodes), 3)
    exact = [[float(model.probability(c, t)) for t in range(3)] for c in contexts]
    assert logits.exp().tolist() == [pytest.approx(row, abs=1e-14) for row in exact]
    zero = torch.tensor(exact) == 0
    assert zero.any() and bool((logits[zero] == -math.inf).all()) and bool(logits[~zero].isfinite().all())


def test_usage_counts_each_node_once() -> None:
    model = TableModel.random(3, ["a", "b"])
    a, b = model.root.child(0), model.root.child(1)
    model.logits([a, b])
    model.logits([b, model.root])
    assert (model.usage.positions, model.usage.forwards) == (3, 2)
    with pytest.raises(ValueError, match="twice"):
        model.logits([a, a])
    with pytest.raises(ValueError, match="ancestor"):
        model.logits([Prefix()])


def test_random_rows_are_distributions_and_depend_on_everything() -> None:
    model = TableModel.random(11, list("abcd"), eos="$")
    contexts = [c for n in range(4) for c in product(range(5), repeat=n)]
    rows = [tuple(model.probability(c, t) for t in range(5)) for c in contexts]
    assert all(sum(row) == 1 and min(row) > 0 for row in rows)
    assert len(set(rows)) > 0.99 * len(rows)
    assert rows != [
        tuple(TableModel.random(12, list("abcd"), "$").probability(c, t) for t in range(5)) for c in contexts
    ]
    assert rows == [
        tuple(TableModel.random(11, list("abcd"), "$").probability(c, t) for t in range(5)) for c in contexts
    ]


def test_order_forgets_what_is_further_back() -> None:
    model = TableModel.random(11, ["a", "b"], order=1)
    assert model.probability((0, 0, 1), 0) == model.probability((1,), 0) != model.probability((0,), 0)
    constant = TableModel.random(11, ["a", "b"], order=0)
    assert constant.probability((0, 1), 0) == constant.probability((), 0)


def test_sparsity_leaves_at_least_one() -> None:
    model = TableModel.random(0, ["a", "b", "c"], sparsity=0.9)
    rows = [[model.probability(c, t) for t in range(3)] for c in product(range(3), repeat=4)]
    assert all(sum(row) == 1 for row in rows)
    share = sum(p == 0 for row in rows for p in row) / (3 * len(rows))
    assert 0.5 < share < 0.67  # 0.9 of the entries, but for the one that is always left


def test_encoding_is_greedy_and_decodes_to_itself() -> None:
    model = TableModel(["a", "ab", "abc", "é\n"], {(): {"a": 1}}, eos="<e>")
    tokens = model.encode("aababcé\n")
    assert tokens == (0, 1, 2, 3)
    assert b"".join(map(model.decode_bytes, tokens)).decode() == "aababcé\n"
    assert model.decode_bytes(4) == b""
    assert model.encode("") == ()
    with pytest.raises(ValueError, match="'x', character 2"):
        model.encode("abx")
    with pytest.raises(ValueError, match="'<'"):
        model.encode("<e>")
    assert model.describe() == "table model of 5 tokens"
    with pytest.raises(ValueError, match="no chat template"):
        model.encode_chat([])


@pytest.mark.parametrize(
    "vocabulary, rows, words",
    [
        (["a"], {("a",): {"a": 1}}, r"no key \(\)"),
        (["a"], {(): {"b": 1}}, "'b', which is not in the vocabulary"),
        (["a"], {(): {"a": 1}, ("b",): {"a": 1}}, "holds 'b'"),
        (["a"], {(): {"a": 1}, "a": {"a": 1}}, r"write \('a',\)"),
        (["a"], {(): {"a": -1}}, "weight -1"),
        (["a"], {(): {"a": math.nan}}, "weight nan"),
        (["a"], {(): {"a": 0}}, "no positive weight"),
        (["a", "b"], {(): {"a": F(1, 3), "b": F(1, 3)}}, "sums to 2/3"),
        (["a", "b"], {(): {"a": 0.5, "b": 0.4}}, "not 1"),
        (["a", "a"], {(): {"a": 1}}, "distinct"),
        (["a", ""], {(): {"a": 1}}, "none empty"),
        ([], {(): {}}, "empty"),
    ],
)
def test_what_is_refused(vocabulary: list[str], rows: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TableModel(vocabulary, rows)


def test_floats_may_be_rounded_and_ints_are_weights() -> None:
    model = TableModel(["a", "b", "c"], {(): {"a": 0.1, "b": 0.2, "c": 0.7}, ("a",): {"a": 2, "b": 4}})
    assert sum(model.probability((), t) for t in range(3)) == 1
    assert model.probability((0,), 1) == F(2, 3)
    mixed = TableModel(["a", "b"], {(): {"a": F(1), "b": 0}})
    assert mixed.probability((), 0) == 1


@pytest.mark.parametrize("options", [{"order": -1}, {"sparsity": 1.0}])
def test_random_checks_its_arguments(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TableModel.random(0, ["a"], **options)
