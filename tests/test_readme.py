"""The README's first example prints what it says, and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ppl.cli import app
from ppl.runtime.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def masked(text: str) -> list[str]:
    """The lines but for numbers that depend on the machine: its speed, and the rounding of its matrix products."""
    return [re.sub(r"(?<![=':])\b\d[\d,.]*( ms| s)?\b", "#", line.strip()) for line in text.strip().splitlines()]


def test_the_first_example_prints_what_it_says(tmp_path: Path) -> None:
    program, output = re.findall(r"```(?:python)?\n(.*?)```", README, re.DOTALL)[:2]
    file = tmp_path / "solve.py"
    file.write_text(program, encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "solve.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert masked(done.stdout) == masked(output)


def test_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert named and named <= targets, named - targets
    commands = {str(each.name or each.callback.__name__) for each in app.registered_commands if each.callback}
    named = set(re.findall(r"(?:^|`)ppl ([a-z]+)", README, re.MULTILINE))
    assert named and named <= commands, named - commands


def test_every_method_is_in_the_list_of_methods() -> None:
    section = README.partition("## Inference\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(re.findall(r'`"([a-z0-9-]+)"`', "".join(rows))) == set(METHODS)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    if link.startswith("#"):
        heads = [re.sub(r"[^a-z0-9 -]", "", head.lower()) for head in re.findall(r"^#+ (.+)$", README, re.MULTILINE)]
        assert link[1:] in [head.replace(" ", "-") for head in heads]
    else:
        assert link.startswith("http") or (ROOT / link).exists()
