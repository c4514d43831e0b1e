"""The table of laws: every registered method is in it, and no method without a promise can be registered."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ppl.cli import app
from ppl.laws import certify, show_table, to_markdown, variants
from ppl.runtime.methods import METHODS, SMC, register
from ppl.runtime.methods.base import Method
from ppl.runtime.population import Population, World
from ppl.runtime.scheduler import Task


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_has_certificates_that_hold(name: str) -> None:
    row = certify(name, variants(METHODS[name])[:6], limit=300)
    assert row.holds, [str(c) for c in row.certificates if not c]
    assert row.programs >= 6 and row.error < 1e-9


def test_a_method_without_a_guarantee_is_none() -> None:
    with pytest.raises(TypeError, match="guarantee = one of 'proper', 'stationary'"):

        class Nameless(Method):
            name = "nameless"

            def run(self, world: World) -> Task[Population]:
                raise NotImplementedError


def test_a_name_is_taken_once() -> None:
    class Other(SMC):
        name = "smc"

    with pytest.raises(ValueError, match="already: SMC"):
        register(Other)


def test_a_registered_method_that_breaks_its_law_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Generous(SMC):
        name = "generous"
        law_variants = ({},)

        def run(self, world: World) -> Task[Population]:
            population = yield from super().run(world)
            population.log_scale += 0.1
            return population

    monkeypatch.setattr("ppl.laws.METHODS", {"generous": Generous})
    rows = show_table(limit=50, markdown=tmp_path / "laws.md")
    assert not rows[0].holds
    assert "**does not hold**" in (tmp_path / "laws.md").read_text() == to_markdown(rows) + "\n"
    assert CliRunner().invoke(app, ["laws", "--limit", "50"]).exit_code == 1


def test_validate_from_the_shell(tmp_path: Path) -> None:
    file = tmp_path / "coins.py"
    file.write_text(
        "from ppl import dist, factor, program, sample\n\n@program\ndef coins(p):\n"
        "    x = sample(dist.flip(p))\n    factor(0.5 if x else 0.0)\n    return x\n"
    )
    command = ["validate", f"{file}:coins", "--arg", "p=0.3", "--option", "ess_threshold=1.0"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0 and "holds; checked exactly" in result.output
    result = CliRunner().invoke(app, [*command, "--limit", "2"])
    assert result.exit_code == 1 and "raise limit=" in result.output
