"""What gets installed is what is here."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import ppl

ROOT = Path(__file__).resolve().parents[1]

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages_here() -> set[str]:
    """Every folder with modules, by the name under which it is installed."""
    found = set()
    for top, name in (("ppl", "ppl"), ("compiler", "ppl.compiler"), ("runtime", "ppl.runtime")):
        for file in (ROOT / top).rglob("*.py"):  # does not follow the links ppl/compiler and ppl/runtime
            parts = file.parent.relative_to(ROOT / top).parts
            if top != "ppl" or parts[:1] not in (("compiler",), ("runtime",)):
                found.add(".".join((name, *parts)))
    return found


def test_every_package_is_listed() -> None:
    assert set(project()["tool"]["setuptools"]["packages"]) == packages_here()


def test_every_package_has_an_init() -> None:
    folders = {"ppl.compiler": ROOT / "compiler", "ppl.runtime": ROOT / "runtime", "ppl": ROOT / "ppl"}
    for name in packages_here():
        base = next(b for b in folders if name == b or name.startswith(b + "."))
        folder = folders[base].joinpath(*name[len(base) :].strip(".").split("."))
        assert (folder / "__init__.py").is_file(), name


def test_the_version_is_one() -> None:
    assert project()["project"]["version"] == ppl.__version__


def declared() -> set[str]:
    """The distributions that pyproject.toml asks for, extras included."""
    table = project()["project"]
    wanted = [*table["dependencies"], *(d for extra in table["optional-dependencies"].values() for d in extra)]
    return {re.split(r"[\[<>=!~; ]", d)[0].lower() for d in wanted} - {"ppl-lm"}


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        re.split("[=;]", line)[0].strip().lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert declared() <= pinned, f"constraints.txt lacks {sorted(declared() - pinned)}"


def imported(file: Path) -> Iterator[str]:
    """The top-level modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def test_every_import_is_declared() -> None:
    """What happens to be installed here need not be on a fresh machine."""
    installed = packages_distributions()
    comes_along = {"tokenizers", "click", "tomli"}  # with transformers, typer and pytest
    for folder in ("ppl", "compiler", "runtime", "tests", "examples", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in set(imported(file)) - sys.stdlib_module_names - comes_along - {"ppl"}:
                owners = {owner.lower() for owner in installed.get(name, [])}
                assert not owners or owners & declared(), f"{file} imports {name}: say so in pyproject.toml"


def test_public_names_can_be_had() -> None:
    assert set(ppl._LATER) < set(ppl.__all__) <= set(dir(ppl))
    for module in ("answers", "cluster", "kernels", "stopping"):
        assert getattr(ppl, module) is import_module(f"ppl.{module}") and module in dir(ppl)
    for name in ppl.__all__:
        assert getattr(ppl, name) is getattr(ppl, name) is not None
    with pytest.raises(AttributeError, match="valdiate"):
        ppl.valdiate  # noqa: B018


def test_the_import_leaves_out_what_is_slow() -> None:
    slow = "arviz lark matplotlib networkx numpy pyro rich scipy statistics sympy torch transformers typer"
    code = "import sys, ppl; print(*sorted(sys.modules.keys() & set(sys.argv[1:])))"
    result = subprocess.run([sys.executable, "-c", code, *slow.split()], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_typed_and_bundled() -> None:
    folder = Path(ppl.__file__).parent
    assert (folder / "py.typed").is_file()
    assert (folder / "bundled" / "model" / "model.safetensors").is_file()


CHECK = """
import importlib, pathlib, sys, ppl
for name in sys.argv[1:]:
    importlib.import_module(name)
folder = pathlib.Path(ppl.__file__).parent
assert "site-packages" in folder.parts, folder
assert (folder / "py.typed").is_file() and (folder / "compiler" / "ir.py").is_file()
print(ppl.infer(ppl.demo.solve, "Start with 17. Add 25.", n=8, seed=0).mode())
"""


@pytest.mark.slow
def test_a_wheel_works_by_itself(tmp_path: Path) -> None:
    """A fresh environment, the wheel alone in it; what it depends on comes from where the tests run."""
    source = tmp_path / "source"  # a build leaves things behind, and what it finds there goes into the next
    for folder in ("ppl", "compiler", "runtime"):
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=skip)
    for file in ROOT.glob("*.*"):
        if file.suffix in (".toml", ".md"):
            shutil.copy(file, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source)], check=True
    )
    (wheel,) = tmp_path.glob("ppl_lm-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    here = next(p for p in sys.path if p.endswith("site-packages"))
    code = f"import sys; sys.path.append({here!r})\n" + CHECK
    names = sorted(packages_here())
    result = subprocess.run(
        [str(python), "-c", code, *names, "ppl.demo", "ppl.cli"], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "42\n"
    assert any(python.parent.glob("ppl*"))
