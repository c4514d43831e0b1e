"""What importing costs: nothing heavy comes along."""

from __future__ import annotations

import subprocess
import sys


def test_importing_is_light() -> None:
    # The packages' own __init__ files are left out: they import what others need.
    code = """
import sys, types, importlib.util
for name in ("ppl", "ppl.compiler", "ppl.runtime"):
    module = types.ModuleType(name)
    module.__path__ = importlib.util.find_spec("ppl").submodule_search_locations if name == "ppl" else [
        sys.modules["ppl"].__path__[0] + "/" + name.split(".")[1]]
    sys.modules[name] = module
import ppl.posterior
print([m for m in ("torch", "numpy", "matplotlib", "IPython", "rich") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
