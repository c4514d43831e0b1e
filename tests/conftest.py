"""What holds for every test: one thread a process, and nothing left behind, neither a module of a file that a test
wrote nor a method that it registered.

The tests' models are tiny, and threads would only wait for each other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("PPL_DEBUG", "1")  # the verifier runs after every pass


@pytest.fixture(autouse=True)
def forget_written_modules(request: pytest.FixtureRequest) -> Iterator[None]:
    """Two tests may write files of one name: what was imported from a test's own folder goes with the test."""
    if "tmp_path" not in request.fixturenames:
        yield
        return
    folder: Path = request.getfixturevalue("tmp_path")
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def forget_registered_methods() -> Iterator[None]:
    """Tests and examples may register methods."""
    yield
    methods = sys.modules.get("ppl.runtime.methods")
    if methods is not None:
        for name in set(methods.METHODS) - set(methods.ROWS):
            del methods.METHODS[name]
