"""Copies of functions: what they capture, their defaults, their attributes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from ppl import Program, ProgramError, dist, infer, program, sample
from ppl.runtime.fork import copies
from ppl.runtime.fork_functions import assigned_by

flip = dist.flip


def measure(program: Program) -> dict[Any, float]:
    """What a program returns, and with which weight."""
    found = infer(program, method="enumerate", passes=[]).distribution()
    return {value: round(p, 6) for value, p in found.items()}


def make_tally() -> tuple[Callable[..., Any], Callable[..., Any]]:
    total = 0

    def add(v: int) -> None:
        nonlocal total
        total += v

    def get() -> int:
        return total

    return add, get


@pytest.mark.parametrize("place", [0, 1])
def test_two_closures_of_which_one_assigns_what_they_share(place: int) -> None:
    @program
    def tallies() -> int:
        pair = make_tally()
        first, second = pair[place], pair[1 - place]
        for _ in range(3):
            x = sample(flip(0.5))
            (second if place else first)(int(x))
        return first() if place else second()

    assert measure(tallies) == {0: 0.125, 1: 0.375, 2: 0.375, 3: 0.125}


def test_a_closure_that_was_met_before_the_one_that_assigns_its_variable() -> None:
    def make() -> tuple[Callable[[], int], Callable[[], int], Callable[[], int]]:
        n = 0

        def get() -> int:
            return n

        def also() -> int:
            return get() + n

        def count() -> int:
            def one_more() -> None:
                nonlocal n
                n += 1

            one_more()
            return n

        return get, also, count

    get, also, count = make()
    for _ in range(2):
        new_get, new_also, new_count = copies((get, also, count))
        before = get()
        assert new_count() == before + 1 == new_get() and new_also() == 2 * new_get() and get() == before
        count()
        assert new_get() == before + 1 and copies((get,))[0] is not get


def test_a_variable_that_is_deleted_or_not_bound_yet() -> None:
    def make() -> tuple[Callable[[], None], Callable[[], int]]:
        n = 1

        def drop() -> None:
            nonlocal n
            del n

        def get() -> int:
            return n

        return drop, get

    drop, get = copies(make())
    unbound = copies((drop, get))
    drop()
    with pytest.raises(NameError):
        get()
    assert unbound[1]() == 1
    with pytest.raises(NameError):
        copies((drop, get))[1]()


def test_what_only_reads_is_shared() -> None:
    def make() -> tuple[Callable[[int], int], Callable[[], Any]]:
        step = 1

        def down(n: int) -> int:
            return 0 if n == 0 else step + down(n - step)

        def hold() -> Any:
            return down

        return down, hold

    down, hold = make()
    assert copies((down, hold)) == (down, hold) and assigned_by(down.__code__) == frozenset()


def test_attributes_of_a_function_are_each_run_s_own() -> None:
    @program
    def counts() -> int:
        def h() -> int:
            return 1

        h.n = 0  # type: ignore[attr-defined]
        for _ in range(2):
            x = sample(flip(0.5))
            h.n += x  # type: ignore[attr-defined]
        return h.n  # type: ignore[attr-defined]

    assert measure(counts) == {0: 0.25, 1: 0.5, 2: 0.25}


def counted(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        inner.calls += 1  # type: ignore[attr-defined]
        return function(*args)

    inner.calls = 0  # type: ignore[attr-defined]
    return inner


def test_a_decorator_that_counts() -> None:
    @program
    def counts() -> int:
        @counted
        def h(v: bool) -> bool:
            return v

        for _ in range(2):
            x = sample(flip(0.5))
            if x:
                h(x)
        return h.calls

    assert measure(counts) == {0: 0.25, 1: 0.5, 2: 0.25}


def test_a_copy_has_all_that_a_function_tells_about_itself() -> None:
    seen: list[int] = []

    def note(x: int, *, more: int = 1) -> None:
        """Keep it."""
        seen.append(x)

    note.tag = ["t"]  # type: ignore[attr-defined]
    (new,) = copies((note,))
    assert new is not note and new.tag == ["t"] and new.tag is not note.tag  # type: ignore[attr-defined]
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__kwdefaults__"):
        assert getattr(new, name) == getattr(note, name)


def test_what_wraps_leaves_behind_makes_no_copy() -> None:
    @functools.wraps(make_tally)
    def plain() -> int:
        return 1

    assert copies((plain,))[0] is plain


def test_what_a_nested_program_captures_is_each_run_s_own() -> None:
    """Methods of builtin objects, and helpers with defaults or attributes of their own."""

    @program
    def method_of_a_list() -> tuple[bool, ...]:
        seen: list[bool] = []
        note = seen.append

        @program
        def step() -> None:
            note(sample(flip(0.5)))

        step()
        step()
        return tuple(seen)

    @program
    def default() -> tuple[bool, ...]:
        def noted(v: bool, seen: list[bool] = []) -> list[bool]:  # noqa: B006
            seen.append(v)
            return seen

        @program
        def step() -> tuple[bool, ...]:
            return tuple(noted(sample(flip(0.5))))

        step()
        return step()

    @program
    def named_default() -> tuple[bool, ...]:
        def noted(v: bool, *, seen: dict[int, bool] = {}) -> Any:  # noqa: B006
            seen[len(seen)] = v
            return seen.values()

        @program
        def step() -> tuple[bool, ...]:
            return tuple(noted(sample(flip(0.5))))

        step()
        return step()

    @program
    def attribute() -> tuple[bool, ...]:
        def box() -> None: ...

        box.seen = ()  # type: ignore[attr-defined]

        @program
        def step() -> None:
            box.seen += (sample(flip(0.5)),)  # type: ignore[attr-defined]

        step()
        step()
        return box.seen  # type: ignore[attr-defined]

    want = {(a, b): 0.25 for a in (False, True) for b in (False, True)}
    for prog in (method_of_a_list, default, named_default, attribute):
        assert measure(prog) == want, prog.name


def test_defaults_of_a_program_that_a_run_defines_are_that_run_s_own() -> None:
    @program
    def grows() -> tuple[Any, ...]:
        base = [0]

        @program
        def grown(v: int, known: list[int] = base) -> tuple[int, bool]:
            known.append(v)
            return len(base), known is base

        first = grown(1)
        x = sample(flip(0.5))
        return first, grown(2 + x), tuple(base)

    assert measure(grows) == {((2, True), (3, True), (0, 1, 2 + x)): 0.5 for x in (False, True)}


def factory(base: list[int]) -> Any:
    @program
    def grown(v: int, known: list[int] = base) -> int:
        known.append(v)
        sample(flip(0.5))
        return len(base)

    return grown


def test_a_program_made_by_a_helper_while_a_run_goes_on() -> None:
    @program
    def grows() -> tuple[Any, ...]:
        base = [0]
        grown = factory(base)
        return grown(1), grown(2), tuple(base)

    assert measure(grows) == {(2, 3, (0, 1, 2)): 1.0}


def test_a_program_that_a_program_returned_has_runs_of_its_own() -> None:
    @program
    def by_default() -> Any:
        @program
        def inner(seen: list[bool] = []) -> int:  # noqa: B006
            seen.append(sample(flip(0.5)))
            return len(seen)

        return inner

    @program
    def by_capture() -> Any:
        seen: list[bool] = []

        @program
        def inner() -> int:
            seen.append(sample(flip(0.5)))
            return len(seen)

        return inner

    for made in (by_default(), by_capture()):
        for _ in range(2):
            assert measure(made) == {1: 1.0}
            assert infer(made, method="importance", n=4, seed=0).probability(1) == 1.0


def test_programs_may_be_deeper_than_functions_but_not_without_end() -> None:
    for options in ({"method": "enumerate"}, {"method": "smc", "n": 2, "seed": 0}):
        assert infer(counts, 1500, **options).probability(lambda v: v in (1500, 1501)) == 1.0
    with pytest.raises(ProgramError, match=r"5,000 deep here(.|\n)*test_fork_functions.py"):
        infer(endless, 0, n=1, seed=0)


@program
def counts(n: int) -> int:
    return 1 + counts(n - 1) if n > 0 else int(sample(flip(0.5)))


@program
def endless(n: int) -> int:
    return endless(n + 1)
