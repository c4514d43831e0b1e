"""The ``ppl`` command: what it does, and what it says when it is called wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import ppl
from ppl.cli import RULED_OUT, app
from ppl.cli_errors import FAILED, MISUSED
from ppl.runtime.methods import METHODS

Run = Callable[..., Result]

COINS = """
from ppl import condition, dist, program, sample


@program
def coins(p=0.5, wanted=2, label: str = "x"):
    print("looking")
    a = sample(dist.flip(p))
    b = sample(dist.flip(p))
    condition(a + b >= wanted)
    return f"{a + b}{label}"


@program
def impossible():
    a = sample(dist.flip(0.5))
    condition(a > 2)
    return a


@program
def needs(question, *, depth):
    return f"{question!r} {depth!r} {sample(dist.flip(1.0))}"


def plain():
    return 1
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder with ``coins.py``; other files by keyword."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "coins.py").write_text(COINS)

    def call(*args: str, **files: str) -> Result:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        for name in ("coins", *files):
            sys.modules.pop(name, None)
        return CliRunner().invoke(app, args)

    return call


def test_run_shows_the_posterior(run: Run) -> None:
    result = run("run", "coins.py:coins", "--n", "64", "--seed", "3")
    assert result.exit_code == 0, result.stderr
    assert "SMC(n=64" in result.stdout and "'2x'" in result.stdout


def test_json_alone_on_stdout(run: Run) -> None:
    result = run("run", "coins.py:coins", "--json", "--arg", "wanted=1", "--method", "importance", "--n", "50")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["particles"] == 50 and {a["value"] for a in found["distribution"]} == {"1x", "2x"}
    assert "looking" in result.stderr


def test_arguments_by_name_as_json_or_text(run: Run) -> None:
    args = ["--method", "forward", "--json"]
    result = run("run", "coins.py:needs", *args, "--arg", "question=Start with 17.", "--arg", 'depth=[1, {"a": true}]')
    assert json.loads(result.stdout)["distribution"][0]["value"].startswith("'Start with 17.' [1, {'a': True}]")
    # A parameter that says it is a string gets one.
    result = run("run", "coins.py:coins", *args, "--arg", "label=7")
    assert json.loads(result.stdout)["distribution"][0]["value"].endswith("7")


def test_options_of_the_method(run: Run) -> None:
    result = run("run", "coins.py:coins", "--option", "ess_threshold=1.0", "--option", "resampling=multinomial")
    assert result.exit_code == 0, result.stderr
    result = run("run", "coins.py:coins", "--method", "enumerate", "--json")
    assert json.loads(result.stdout)["guarantee"] == "exact"


def test_plot(run: Run) -> None:
    pytest.importorskip("matplotlib")
    result = run("run", "coins.py:coins", "--plot", "made/p.png")
    assert result.exit_code == 0, result.stderr
    assert Path("made/p.png").stat().st_size > 1000 and "made/p.png" in result.stderr


def test_the_same_seed_gives_the_same(run: Run) -> None:
    outputs = [json.loads(run("run", "coins.py:coins", "--json", "--seed", "5").stdout) for _ in range(2)]
    for output in outputs:
        del output["cost"]
    assert outputs[0] == outputs[1]


def test_model_is_what_load_lm_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_MODEL", "before")
    text = (
        "import os\nfrom ppl import dist, program, sample\n\n"
        "@program\ndef p():\n    sample(dist.flip(0.5))\n    return os.environ['PPL_MODEL']\n"
    )
    result = run("run", "told.py", "--json", "--model", "some/folder", told=text)
    assert json.loads(result.stdout)["distribution"][0]["value"] == "some/folder"


def test_ir(run: Run) -> None:
    result = run("ir", "coins.py:coins")
    assert result.exit_code == 0, result.stderr
    assert "coins" in result.stdout and "sample" in result.stdout and "condition" in result.stdout


def test_version_and_help(run: Run) -> None:
    assert run("--version").stdout == f"ppl {ppl.__version__}\n"
    out = run("--help").stdout
    assert all(word in out for word in ("demo", "run", "ir"))


def test_ruled_out_reports_where(run: Run) -> None:
    result = run("run", "coins.py:impossible")
    assert result.exit_code == RULED_OUT
    assert "ruled out" in result.stdout and "condition(a > 2)" in result.stdout
    result = run("run", "coins.py:impossible", "--json")
    assert result.exit_code == RULED_OUT and json.loads(result.stdout)["empty"] is True


# ---- Mistakes: one clear message each


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "coin.py:coins"], ["no file coin.py", "Did you mean coins.py?"]),
        (["run", "coins.py:coin"], ["no program 'coin'", "it has coins, impossible, needs", "Did you mean coins?"]),
        (["run", "coins.py"], ["say which program", "coins, impossible, needs"]),
        (["run", "coins.py:plain"], ["plain in coins.py is a function", "it has coins, impossible, needs"]),
        (["run", "coins.py:needs"], ["needs(question, depth) needs --arg question=… --arg depth=…"]),
        (["run", "coins.py:coins", "--arg", "wnated=1"], ["no parameter 'wnated'", "p, wanted, label", "mean wanted?"]),
        (["run", "coins.py:coins", "--arg", "wanted"], ["--arg wanted: write --arg NAME=VALUE"]),
        (["run", "coins.py:coins", "--method", "smd"], ["no method 'smd'", "there are smc, ", "Did you mean smc?"]),
        (["run", "coins.py:coins", "--option", "ess=1"], ["method smc has no option 'ess'", "ess_threshold"]),
        (["run", "coins.py:coins", "--option", "ess_threshold=2"], ["from 0 to 1; got 2"]),
        (["run", "coins.py:coins", "--n", "0"], ["1 or more; got 0"]),
        (["run", "coins.py:coins", "--method", "enumerate", "--n", "9"], ["enumerate takes no --n"]),
        (["run", "coins.py:coins", "--bogus"], ["No such option"]),
    ],
)
def test_misuse(run: Run, args: list[str], says: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == MISUSED
    assert result.stdout == "" and "Traceback" not in result.stderr
    for words in says:
        assert words in result.stderr
    assert len(result.stderr.splitlines()) <= 8


BROKEN = {
    "uncompilable": (
        "from ppl import program, sample, dist\n\n@program\ndef p():\n    x = lambda: sample(3)\n    return x\n",
        ["can't be compiled", "wrong.py", "line 5", "^", "\nsample() can't stand in a lambda", "put @program above"],
    ),
    "raises": (
        "from ppl import program, sample, dist\n\ndef helper(d):\n    return d['b']\n\n"
        "@program\ndef p():\n    x = sample(dist.flip(0.5))\n    return helper({'a': x})\n",
        ["KeyError: 'b'", "wrong.py:9", "return helper({'a': x})", "wrong.py:4", "return d['b']", "--debug"],
    ),
    "no distribution": (
        "from ppl import program, sample\n\n@program\ndef p():\n    x = sample(3)\n    return x\n",
        ["needs a distribution, got int 3", "wrong.py:5"],
    ),
    "weight": (
        "from ppl import program, factor\n\n@program\ndef p():\n    factor(float('nan'))\n    return 1\n",
        ["is nan", "wrong.py:5"],
    ),
    "import": ("import nothing_of_this_name\n", ["nothing_of_this_name", "wrong.py:1"]),
    "syntax": ("def p(:\n", ["no Python", "wrong.py", "^"]),
    "no program": ("x = 1\n", ["put @program above a function"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_fit_one_screen(run: Run, case: str) -> None:
    text, says = BROKEN[case]
    result = run("run", "wrong.py:p", wrong=text)
    assert result.exit_code in (FAILED, MISUSED)
    assert result.stdout == "" and "Traceback" not in result.stderr
    for words in says:
        assert words in result.stderr
    for internal in ("machine.py", "scheduler.py", "infer.py", "cli.py"):
        assert internal not in result.stderr
    assert len(result.stderr.splitlines()) <= 12


def test_debug_shows_all(run: Run) -> None:
    result = run("run", "wrong.py:p", "--debug", wrong=BROKEN["raises"][0])
    assert isinstance(result.exception, KeyError)


def test_a_file_does_not_shadow_a_module_in_use(run: Run) -> None:
    result = run("run", "typer_.py:p", typer_=BROKEN["import"][0])
    assert result.exit_code == FAILED
    Path("rich.py").write_text(COINS)
    result = CliRunner().invoke(app, ["run", "rich.py:coins"])
    assert result.exit_code == MISUSED and "rename the file" in result.stderr


OWN_METHOD = """
from dataclasses import dataclass

from ppl import Importance, dist, observe, program, register, sample


@register
@dataclass(frozen=True)
class OwnOfAFile(Importance):
    name = "own-of-a-file"


@program
def coin():
    a = sample(dist.flip(0.5))
    observe(dist.flip(0.9 if a else 0.2), True)
    return a
"""


@pytest.mark.parametrize("command", [["run", "--n", "3"], ["validate"], ["calibrate", "--runs", "20", "--n", "9"]])
def test_a_method_that_the_file_makes_known(run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(METHODS, "own-of-a-file", raising=False)
    result = run(command[0], "own.py:coin", *command[1:], "--method", "own-of-a-file", own=OWN_METHOD)
    assert result.exit_code == 0, result.stderr
    monkeypatch.delitem(METHODS, "own-of-a-file")


# ---- As a user has it


def test_as_a_command(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("P = 1.0\n")
    (tmp_path / "mine.py").write_text(
        "from helper import P\nfrom ppl import dist, program, sample\n\n"
        "@program\ndef p(k):\n    return sample(dist.flip(P)) + k\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ppl.__file__).parents[1])}
    command = [sys.executable, "-m", "ppl", "run", str(tmp_path / "mine.py:p"), "--arg", "k=2", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["distribution"][0]["value"] == 3
    assert result.stderr == ""


def test_importing_it_is_fast() -> None:
    code = "import sys, ppl.cli; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(ppl.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.stdout == "[]\n", result.stderr


def test_demo(run: Run) -> None:
    result = run("demo", "--problems", "2", "--n", "4")
    assert result.exit_code == 0, result.stderr
    out = result.stdout
    for words in ("def solve(question):", "truth", "majority of 4", "SMC, n=4", "of 2", "✓"):
        assert words in out
    assert Path("out/demo-posterior.png").exists() or "No picture" in out or "ruled out" in out


# ---- Certificates


def test_validate_exactly_and_by_samples(run: Run) -> None:
    result = run("validate", "coins.py:coins", "--n", "2")
    assert result.exit_code == 0 and "holds; checked exactly" in result.stdout, result.stderr
    result = run("validate", "coins.py:coins", "--statistical", "--runs", "30", "--seed", "3", "--n", "2", "--json")
    found = json.loads(result.stdout)
    assert found["leaves"] == 30 and found["seed"] == 3 and found["false_alarm"] == 1e-6 and not found["exact"]
    result = run("validate", "coins.py:coins", "--sequential", "--runs", "30", "--false-alarm", "0.01")
    assert "checked statistically, run by run" in result.stdout and "(false alarm 0.01)" in result.stdout


def test_validate_passes(run: Run) -> None:
    result = run("validate", "coins.py:coins", "--pipeline", "dead", "--pipeline", "marginalise", "--keep", "a")
    assert result.exit_code == 0 and "coins by dead, marginalise" in result.stdout, result.stderr
    assert run("validate", "coins.py:coins", "--pipeline", "all").exit_code == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--runs", "50"], "--runs is for checks by samples: add --statistical"),
        (["--keep", "a"], "add --pipeline PASS"),
        (["--pipeline", "all", "--method", "smc", "--statistical"], "leave out --method, --statistical"),
        (["--statistical", "--limit", "50"], "--limit is for exact checks; by samples say --runs"),
        (["--statistical", "--n", "2", "--n", "3"], "takes one --n"),
        (["--method", "enumerate", "--n", "3"], "method enumerate takes no --n"),
    ],
)
def test_options_of_different_checks(run: Run, args: list[str], says: str) -> None:
    result = run("validate", "coins.py:coins", *args)
    assert result.exit_code == MISUSED and says in result.stderr


def test_a_check_by_samples_says_what_it_is_not_for(run: Run) -> None:
    result = run("validate", "coins.py:coins", "--statistical", "--method", "mh")
    assert result.exit_code == MISUSED and "is a Markov chain" in result.stderr and "geweke" in result.stderr


NEEDED = ["--arg", "question=1", "--arg", "depth=1"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["validate", "coins.py:coins", "--pipeline", "nope"], "no pass 'nope'"),
        (["validate", "coins.py:coins", "--statistical", "--false-alarm", "2"], "a probability between 0 and 1"),
        (["calibrate", "coins.py:needs", *NEEDED], "needs has no data"),
        (["calibrate", "coins.py:needs", *NEEDED, "--data", "c"], "has no such sample site"),
        (
            ["run", "coins.py:slow", "--plot", "p.xyz"],
            "--plot writes .png, .svg, .pdf, by the end of the file's name: p.png",
        ),
        (["run", "coins.py:slow", "--plot", "."], "--plot . is a folder: name a file in it, such as plot.png"),
        (["run", "coins.py:slow", "--plot", "coins.py/p.png"], "coins.py is a file, and no folder to write in"),
        (["calibrate", "coins.py:slow", "--plot", "p"], "by the end of the file's name: p.png"),
    ],
)
def test_arguments_that_are_refused_are_no_failed_check(run: Run, args: list[str], says: str) -> None:
    """A picture that can't be drawn is refused before there is a program, to say nothing of inference."""
    result = run(*args)
    assert result.exit_code == MISUSED and says in result.stderr
    assert result.stdout == "" and [path.name for path in Path().iterdir()] == ["coins.py"]


@pytest.mark.parametrize("error", ["ValueError", "TypeError"])
def test_a_program_that_fails_was_not_called_wrongly(run: Run, error: str) -> None:
    text = (
        "from ppl import dist, observe, program, sample\n\n@program\ndef p():\n    x = sample(dist.flip(0.5))\n"
        f"    observe(dist.flip(0.5), x)\n    raise {error}('mine')\n"
    )
    for command in ("validate", "calibrate"):
        result = run(command, "wrong.py:p", wrong=text)
        assert result.exit_code == FAILED and "mine" in result.stderr and "wrong.py:7" in result.stderr
    result = run("calibrate", "coins.py:impossible")
    assert result.exit_code == FAILED and "held in none of 1,000 simulations" in result.stderr
