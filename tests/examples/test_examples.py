"""Every example runs as it stands, and its numbers are right.

The oracles are computed here, in another way than in the examples: by listing every outcome, by matrices, or by the
model itself without this package. What is exact must agree to rounding. What is random has a fixed seed, and a
tolerance of so many standard errors, estimated from independent repetitions, that a right program with another seed
would fail a check about once in 6,000 (Student's t with 15 degrees of freedom, |t| < 5) or 16,000 (|z| < 4), and any of
the two dozen checks about once in 250; with the seeds as they are it never does.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ppl import load_lm
from ppl.bundled import model_path
from ppl.runtime.engines.model import LogitModel
from tests.servers.table_server import TableServer, serving

from .running import EXAMPLES, load

MODEL_FREE = {"bayes_net", "constrained_writing", "custom_kernel", "custom_proposal", "guide", "hmm", "own_method"}
MODEL_FREE |= {"methods_in_methods", "recursion", "state_space"}
WITH_MODEL = {"answers", "arithmetic", "judge", "nested", "speculative", "tools"}
ON_A_SERVER = {"server"}


def test_every_example_is_covered() -> None:
    files = {path.stem for path in EXAMPLES.glob("*.py")}
    assert files == MODEL_FREE | WITH_MODEL | ON_A_SERVER
    here = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in files:
        assert f'load("{name}")' in here, f"no test looks at the numbers of {name}.py"


@pytest.mark.parametrize("name", sorted(MODEL_FREE | WITH_MODEL))
def test_runs_as_it_stands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) >= 5
    assert not re.search(r"\bnan\b|Traceback|object at 0x", printed)
    assert max(map(len, printed.splitlines())) <= 120


def test_runs_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "bayes_net.py")],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(EXAMPLES.parent), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert "0.006211   1/161" in done.stdout  # 0.2 * 0.01 / (0.2 * 0.01 + 0.8 * 0.4)


@pytest.mark.parametrize("name", sorted(MODEL_FREE | WITH_MODEL | ON_A_SERVER))
def test_reads_well(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 110


def test_server(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_lm().model
    assert isinstance(model, LogitModel)
    with serving(TableServer(model, name=str(model_path()))) as url:
        load("server")["main"](url)
    printed = capsys.readouterr().out
    assert "scores texts (prompt_logprobs)" in printed and "the posterior's mode is 126" in printed
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.slow
def test_server_starts_one_of_its_own() -> None:
    command = [sys.executable, str(EXAMPLES / "server.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "transformers serve" in done.stdout and "the posterior's mode is 126" in done.stdout
