"""The live display."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from ppl import (
    MH,
    SMC,
    Enumerate,
    Forward,
    Method,
    PGibbs,
    condition,
    dist,
    infer,
    infer_many,
    program,
    sample,
    table_lm,
)
from ppl.progress import LiveProgress, _shares
from ppl.runtime.population import Population


@program
def walk(steps):  # type: ignore[no-untyped-def]
    total = 0
    for _ in range(steps):
        x = sample(dist.flip(0.5))
        total = total + x
        condition(total < 4)
    return total


def recorded(width: int = 80, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, record=True, legacy_windows=False)


def shown(live: LiveProgress, console: Console) -> str:
    """What the display shows now, without colours."""
    quiet = Console(file=io.StringIO(), width=console.width)
    with quiet.capture() as capture:
        quiet.print(live.render())
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_lines_of_the_problems_under_way(width: int) -> None:
    console = recorded(width)
    pictures = []
    with LiveProgress(3, SMC(n=16), console) as live:

        def report(number: int, population: Population) -> None:
            live.report(number, population)
            pictures.append(shown(live, console))

        infer_many(walk, [4, 8, 12], n=16, seed=1, progress=report)
    assert all(len(line) <= width for p in pictures for line in p.splitlines())
    assert any("#3" in p and "running" in p and "ESS" in p and "log Z" in p for p in pictures)
    assert any("━" in p and "■" in p for p in pictures) == (width >= 80)
    assert "SMC(n=16)" in pictures[-1] and "3 of 3 problems done" in pictures[-1]


def test_bounded_number_of_lines() -> None:
    console = recorded()
    with LiveProgress(40, SMC(n=4), console) as live:

        def report(number: int, population: Population) -> None:
            for other in range(40 if population.running else 0):
                live.report(other, population)
                lines = shown(live, console).splitlines()
                assert len(lines) <= 10 and all(len(line) <= 80 for line in lines)
            if population.running:
                assert "… and 32 more under way" in lines[-1]

        infer(walk, 3, n=4, seed=1, progress=report)


def test_counts_every_drawn_token_once() -> None:
    lm = table_lm(["a", "b", "."], seed=1)

    @program
    def talk():  # type: ignore[no-untyped-def]
        text = lm.context()
        for _ in range(5):
            token = sample(text.token())
            text = text + token
            condition(token != ".")
        return str(token)

    live = LiveProgress(1, SMC(n=32), recorded())
    posterior = infer(talk, n=32, seed=0, progress=live.report)
    assert posterior.ancestry  # particles were copied, yet counted once
    assert live._tokens == posterior.cost.tokens


def test_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    infer(walk, 5, n=8, progress=True)
    assert capfd.readouterr() == ("", "")


def test_methods_without_steps_or_evidence() -> None:
    console = recorded()
    with LiveProgress(1, Forward(n=4), console) as live:
        assert "Forward(n=4)" in shown(live, console)
        infer(walk, 3, method="forward", n=4, progress=live.report)
        assert "log Z" not in shown(live, console)


@pytest.mark.parametrize("method", [MH(steps=20), PGibbs(steps=10, n=3), Enumerate()], ids=repr)
def test_all_problems_are_done_at_the_end(method: Method) -> None:
    console = recorded()
    with LiveProgress(3, method, console) as live:
        infer_many(walk, [2, 3, 4], method=method, seed=1, progress=live.report)
        assert "3 of 3 problems done" in shown(live, console)


def test_what_was_done_before_counts() -> None:
    console = recorded()
    with LiveProgress(5, SMC(n=4), console, finished=2) as live:
        assert "2 of 5 problems done" in shown(live, console)
        infer_many(walk, [2, 3, 4], method=SMC(n=4), seed=1, progress=live.report)
        assert "5 of 5 problems done" in shown(live, console)


def test_an_exception_leaves_the_terminal_usable() -> None:
    console = recorded()
    with pytest.raises(KeyError), LiveProgress(1, SMC(), console):
        raise KeyError
    assert "\x1b[?25h" in console.file.getvalue()  # type: ignore[attr-defined]  # the cursor is back


def test_refreshes_are_limited() -> None:
    console = recorded()
    population = Population([], 0.0)
    with LiveProgress(1, SMC(), console) as live:
        started = time.perf_counter()
        while time.perf_counter() - started < 0.5:
            live.report(0, population)
    frames = console.file.getvalue().count("SMC(n=32)")  # type: ignore[attr-defined]
    assert frames <= 8


def test_shares_fill_the_bar() -> None:
    assert _shares([1, 1, 1], 8) == [3, 2, 3]
    assert _shares([0, 5, 0], 8) == [0, 8, 0]
    assert _shares([0, 0, 0], 8) == [0, 0, 0]
