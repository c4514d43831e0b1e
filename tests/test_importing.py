"""What importing costs: nothing heavy comes along, and no method before it is asked for."""

from __future__ import annotations

import inspect
import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import ppl
from ppl.runtime import methods
from ppl.runtime.methods import METHODS, ROWS, Method

HEAVY = {
    *("torch", "numpy", "scipy", "transformers", "tokenizers", "arviz", "matplotlib", "networkx", "lark", "sympy"),
    *("typer", "rich", "IPython", "ray", "pyro", "http.client"),
}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python has after running some code."""
    command = [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_is_light() -> None:
    assert not loaded_by("import ppl").intersection(HEAVY)
    # Seen to find what it looks for.
    assert loaded_by("import ppl, torch").intersection(HEAVY) >= {"torch"}


def test_methods_come_when_they_are_asked_for() -> None:
    package = "ppl.runtime.methods."
    before = {name for name in loaded_by("import ppl") if name.startswith(package)}
    assert before == {f"{package}base"}
    after = {name for name in loaded_by("import ppl; ppl.runtime.methods.METHODS['dvts']") if name.startswith(package)}
    assert f"{package}beam" in after and f"{package}pmmh" not in after


def test_every_method_of_the_package_has_its_row() -> None:
    modules = [import_module(f"{methods.__name__}.{each.name}") for each in pkgutil.iter_modules(methods.__path__)]
    kinds = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    concrete = {kind for kind in kinds if issubclass(kind, Method) and not inspect.isabstract(kind)}
    assert {kind.name: (kind.__module__.rpartition(".")[2], kind.__name__) for kind in concrete} == ROWS
    assert all(getattr(methods, kind.__name__) is METHODS[kind.name] is kind for kind in concrete)
    assert all(getattr(ppl, kind.__name__) is kind and kind.__name__ in ppl.__all__ for kind in concrete)


def test_no_other_name_is_found() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SMCC'"):
        methods.SMCC  # noqa: B018
    with pytest.raises(KeyError):
        METHODS["smcc"]
