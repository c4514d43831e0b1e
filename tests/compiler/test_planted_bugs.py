"""The differential tests are seen to fail: with a bug planted in the compiler they find a difference."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ppl.compiler import codegen_loops, ir, link, support
from ppl.compiler.blocks import Blocks
from ppl.compiler.builder import Builder
from ppl.compiler.expressions import Expressions
from ppl.compiler.liveness import Liveness
from ppl.compiler.sites import Effects

from .check import differences
from .programs import Programs


def _forget_a_live_variable(patch: pytest.MonkeyPatch) -> None:
    whole = Liveness.sorted

    def sorted_but_last(self: Liveness, values: Any) -> list[ir.Value]:
        found = whole(self, values)
        return found[:-1] if len(found) > 5 else found

    patch.setattr(Liveness, "sorted", sorted_but_last)


def _skip_spills(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Expressions, "_stable", lambda self, node, rebound: True)


def _continue_with_the_old_values(patch: pytest.MonkeyPatch) -> None:
    def stuck(self: Blocks, name: str, params: Sequence[ir.Value], mapped: Any, counter: ir.Value) -> Any:
        return self.call_edge(name, params, mapped)  # the counter is not increased

    patch.setattr(Blocks, "back_edge", stuck)


def _share_the_iterator(patch: pytest.MonkeyPatch) -> None:
    from ppl.compiler.support import Cursor

    patch.setattr(Cursor, "__deepcopy__", lambda self, memo: self, raising=False)
    patch.setattr("ppl.compiler.support._SEQUENCES", ())


def _think_that_nothing_is_unbound(patch: pytest.MonkeyPatch) -> None:
    original = Builder.define
    patch.setattr(Builder, "define", lambda self, name, maybe_unbound=False: original(self, name, False))


def _evaluate_arguments_before_the_function(patch: pytest.MonkeyPatch) -> None:
    original = Effects._arguments

    def reversed_arguments(self: Effects, node: ast.Call, spec: Any) -> dict[str, ast.expr]:
        return dict(reversed(original(self, node, spec).items()))

    patch.setattr(Effects, "_arguments", reversed_arguments)


def _start_loops_over(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(link.HELPERS, "·following", lambda sequence, index: support.following(sequence, 0))


def _count_no_native_iterations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(codegen_loops, "increment", codegen_loops.load)


BUGS: list[Callable[[pytest.MonkeyPatch], None]] = [
    _forget_a_live_variable,
    _skip_spills,
    _continue_with_the_old_values,
    _share_the_iterator,
    _start_loops_over,
    _count_no_native_iterations,
    _think_that_nothing_is_unbound,
    _evaluate_arguments_before_the_function,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(200):
        source = Programs(random.Random(seed).randrange).source
        try:
            if differences(source, seed):
                return
        except Exception:
            return  # the broken compiler did not even compile it
    pytest.fail("the bug went unnoticed")
