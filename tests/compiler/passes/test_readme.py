"""The worked example in the compiler's README runs as it stands."""

from __future__ import annotations

import linecache
import re
import sys
import types
from pathlib import Path

from ppl.compiler.passes import PASSES

README = Path(__file__).resolve().parents[3] / "compiler" / "README.md"


def test_the_worked_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    before = dict(PASSES)
    module = sys.modules["readme_example"] = types.ModuleType("readme_example")
    try:
        for number, block in enumerate(blocks):
            file = f"<README {number}>"
            linecache.cache[file] = (len(block), None, block.splitlines(keepends=True), file)
            exec(compile(block, file, "exec", dont_inherit=True), vars(module))
        assert list(PASSES).index("settled") < list(PASSES).index("hoist")
    finally:
        del sys.modules["readme_example"]
        PASSES.clear()
        PASSES.update(before)


def test_every_file_that_it_names_is_there() -> None:
    folder = README.parent
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:passes/)?\w+\.py)`", text):
        if name not in ("passes/settled.py",):
            found = [
                *folder.rglob(name),
                *(folder.parent / "tests").rglob(name),
                *(folder.parent / "benchmarks").rglob(name),
            ]
            assert found, name
