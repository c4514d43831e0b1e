"""``prog.explain()``: what each pass bought, as golden texts; the README's example is one of them."""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Beta

from ppl import Program, condition, dist, factor, observe, program, sample, table_lm

lm = table_lm(["a", "b", "\n", "<eos>"], eos="<eos>", seed=1)
README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")


def from_text(source: str, file: str, name: str) -> Program:
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space: dict[str, Any] = {"program": program, "sample": sample, "condition": condition, "lm": lm}
    exec(compile(source, file, "exec"), space)
    found = space[name]
    assert isinstance(found, Program)
    return found


def test_the_readme_shows_what_is_said() -> None:
    section = README.partition("## Passes\n")[2].partition("\n## ")[0]
    source, told = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)[:2]
    said = from_text(source, "reviewed.py", "reviewed").explain().partition("\n\nprogram")[0]
    assert said == told.strip()


@program
def everything(n: int) -> object:
    rate = sample(Beta(torch.tensor(1.0), torch.tensor(1.0)))
    observe(Bernoulli(rate), torch.tensor(1.0))
    unused = sample(lm.context("a").token())
    part = sample(dist.flip(0.3))
    observe(dist.flip(0.9 if part else 0.1), True)
    first = sample(lm.context("a").text(max_tokens=3))
    second = sample(lm.context("b").choice(["a", "b"]))
    third = [sample(lm.context("a" * i).token()) for i in range(1, n)]
    condition(first.startswith("a"))
    factor(0.1 * len(first))
    return first, second, third


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("dead", "draws 5 and 1 a round → 4 and 1 a round; round trips 3 and 1 a round → 2 and 1 a round"),
        (
            "conjugacy",
            "1 weight known sooner, by 1 draw or call; 1 observation weighed with 1 parameter integrated out",
        ),
        ("marginalise", "draws 5 and 1 a round → 4 and 1 a round"),
        ("push", "1 draw from what is asked for, instead of runs that die of it"),
        ("split", "1 text after each line of which runs can be resampled"),
        ("hoist", "2 weights known sooner, by 4 draws or calls in all"),
        ("loops", "round trips 3 and 1 a round → 4"),
        ("batch", "round trips 3 and 1 a round → 2 and 1 a round"),
    ],
)
def test_what_each_pass_bought(name: str, gain: str) -> None:
    lines = everything.explain([name]).split("\n")
    assert lines[1].startswith(f"1. {name} (keeps ") and lines[2] == f"   bought: {gain}"


def test_what_changed_nothing_bought_nothing() -> None:
    @program
    def plain() -> bool:
        x = sample(dist.flip(0.5))
        return x

    assert "bought" not in plain.explain("all")
