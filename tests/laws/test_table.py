"""The table of laws: every registered method is in it, and no method without a promise can be registered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ppl import dist, factor, program, sample, validate
from ppl.certificate import CHECKS, LAWS, law_of
from ppl.cli import app
from ppl.law_programs import coin
from ppl.laws import certify, show_table, to_markdown, variants
from ppl.runtime.methods import METHODS, SMC, register
from ppl.runtime.methods.base import Method
from ppl.runtime.population import Population, World
from ppl.runtime.result import GUARANTEES
from ppl.runtime.scheduler import Task

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_has_certificates_that_hold(name: str) -> None:
    kind = METHODS[name]
    methods = variants(kind, counts=(2,))[-3:] + variants(kind, counts=(kind.least,))[-2:]
    row = certify(name, methods, limit=120)
    assert row.holds, [str(c) for _, c in row.certificates if not c]
    assert row.programs >= 4
    if kind.guarantee == "heuristic":
        assert row.verdict == "no promise" and 0.0 <= row.error <= 1.0
    else:
        assert row.verdict == "holds" and row.error < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_at_length(name: str) -> None:
    row = certify(name, variants(METHODS[name]), limit=5_000)
    assert row.holds and row.programs >= 10, (row.too_large, [str(c) for _, c in row.certificates if not c])


def test_every_guarantee_has_a_law_and_a_check() -> None:
    assert set(CHECKS) == set(GUARANTEES) == set(LAWS) - {"prior"}


def test_the_readme_lists_every_method() -> None:
    """``ppl laws --markdown FILE`` makes the table between the marks."""
    table = README.read_text().partition("<!-- laws -->")[2].partition("<!-- /laws -->")[0]
    lines = table.strip().splitlines()
    assert lines[:2] == to_markdown([]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0].strip("`") for row in rows] == list(METHODS)
    for name, guarantee, law, *_, verdict in rows:
        kind = METHODS[name.strip("`")]
        assert guarantee == kind.guarantee and law == law_of(variants(kind)[0])
        assert verdict == ("no promise" if guarantee == "heuristic" else "holds")


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
    assert rows[0].verdict == "DOES NOT HOLD"
    assert "**does not hold**" in (tmp_path / "laws.md").read_text() == to_markdown(rows) + "\n"
    assert CliRunner().invoke(app, ["laws", "--limit", "50"]).exit_code == 1


def test_a_registered_method_that_can_not_be_checked_shows() -> None:
    row = certify("smc", [SMC(n=3)], limit=1)
    assert not row.holds and row.verdict == "NOT CHECKED" and "**not checked**" in to_markdown([row])


@dataclass(frozen=True)
class Greedy(Method):
    """Keeps the heaviest particle only."""

    name = "greedy"
    guarantee = "heuristic"
    evidence = False

    n: int = 2

    def run(self, world: World) -> Task[Population]:
        population = yield from SMC(n=self.n).run(world)
        best = max(population.particles, key=lambda p: p.log_weight)
        population.particles = [best]
        return population


def test_a_heuristic_gets_its_distance_as_a_figure() -> None:
    """Of n draws from (0.5, 0.3, 0.2), weighed 1 : e : 1, the heaviest is kept: by hand for two."""

    @program
    def three() -> int:
        x = sample(dist.categorical([0.5, 0.3, 0.2]))
        factor(1.0 if x == 1 else 0.0)
        return x

    certificate = validate(three, method=Greedy(), n=2)
    found = [0.5 * 0.7, 1 - 0.7**2, 0.2 * 0.7]  # among equals, the first
    z = 0.7 + 0.3 * math.e
    posterior = [0.5 / z, 0.3 * math.e / z, 0.2 / z]
    distance = sum(abs(p - q) for p, q in zip(found, posterior, strict=True)) / 2
    assert certificate.error == pytest.approx(distance) and distance > 0.01
    assert certificate.guarantee == "heuristic" and "total variation" in certificate.law
    row = certify("greedy", [Greedy(n=2)], limit=100)
    assert row.verdict == "no promise" and row.cells[-1] == f"{row.error:.2f}" and row.error > 0.05


def test_a_heuristic_that_finds_nothing_is_far_off() -> None:
    class Nothing(Greedy):
        name = "nothing"

        def run(self, world: World) -> Task[Population]:
            population = yield from super().run(world)
            population.particles = []
            return population

    assert validate(coin, 0.5, method=Nothing(), n=1).error == 1.0


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
