"""The table of laws: all that users can choose is in it, and no method without a promise can be registered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import ppl.kernels
from ppl import dist, factor, program, sample, validate
from ppl.certificate import CHECKS, LAWS, certificate_of, law_of
from ppl.cli import app
from ppl.compiler.passes import PASSES, DeadSamples, Level
from ppl.law_kernels import KERNELS
from ppl.law_programs import CORPUS, TO_REWRITE, coin, lopsided
from ppl.laws import LIMIT, Row, Section, certify, certify_pass, show_table, to_markdown, variants
from ppl.runtime.kernels import Custom, Kernel, Mixture, Regenerate, Repeat
from ppl.runtime.methods import METHODS, MH, SMC, Entropic, register
from ppl.runtime.methods.base import Method
from ppl.runtime.methods.entropic import SCHEDULES, temperature
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
    assert row.holds and row.programs >= 10, (row.left_out, [str(c) for _, c in row.certificates if not c])


CHAINS = {
    "steps": "the law is that of one step",
    "chains": "they are independent",
    "burn_in": "picks among states of one law",
    "thin": "picks among states of one law",
    "tries": "where to begin: tests/runtime/test_methods_stopped.py",
}
BOUNDS = {
    "max_runs": "what goes past it is an error",
    "max_outcomes": "what goes past it is an error",
}
EXEMPT: dict[str, Mapping[str, str]] = {
    "enumerate": BOUNDS,
    "best-first": BOUNDS
    | {
        "max_open": "with less the answer is incomplete, and says so: tests/runtime/test_methods_exact.py",
        "gap": "with more the answer is incomplete, and says so: tests/runtime/test_methods_exact.py",
        "log_ahead": "moves the bounds on Z alone: tests/runtime/test_methods_exact.py",
    },
    "mh": CHAINS,
    "pgibbs": CHAINS,
    "pmmh": CHAINS,
    "parallel-tempering": CHAINS,
    "revision": {"argument": "no program of the corpus asks what came before: tests/runtime/test_methods_searches.py"},
}
"""Options of which the table needs to try one value only, and why."""
CHOICES = {
    ("smc", "resampling"): 6,
    ("entropic", "schedule"): 3,
    ("published", "schedule"): 3,
    ("published", "weighting"): 4,
    ("beam", "aggregate"): 5,
}
"""Options of which it must try so many values: each is code of its own."""


@pytest.mark.parametrize("name", METHODS)
def test_every_option_takes_two_values_or_says_why_not(name: str) -> None:
    methods, exempt = variants(METHODS[name]), EXEMPT.get(name, {})
    taken = {f.name: _values(f, methods) for f in fields(METHODS[name])}
    missing = [option for option, values in taken.items() if len(values) < CHOICES.get((name, option), 2)]
    assert sorted(missing) == sorted(exempt), "give law_variants these options, or delete the exemption"


def _values(field: Field[Any], among: Iterable[object]) -> set[str]:
    """The values that an option takes, its default included only where something has it."""
    return {repr(getattr(each, field.name)) for each in among}


def test_a_method_with_an_option_that_no_variant_takes_is_seen() -> None:
    @dataclass(frozen=True)
    class Forgetful(SMC):
        name = "forgetful"
        forgotten: bool = False

    methods = variants(Forgetful)
    assert [f.name for f in fields(Forgetful) if len(_values(f, methods)) < 2] == ["forgotten"]


def test_every_schedule_is_certified_where_it_tempers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one or two particles, or where weights are nearly even, none ever is: a variant would be for nothing."""
    taus: list[float] = []

    def told(schedule: str, log_weights: Sequence[float], progress: float) -> float:
        taus.append(temperature(schedule, log_weights, progress))
        return taus[-1]

    monkeypatch.setattr("ppl.runtime.methods.entropic.temperature", told)
    tempered = set()
    for method in variants(Entropic, counts=(3,)):
        if method.move is None:  # type: ignore[attr-defined]
            taus.clear()
            assert certificate_of(lopsided, ((), {}), [method], LIMIT) and max(taus) > 1.5
            tempered.add(method.schedule)  # type: ignore[attr-defined]
    assert tempered == set(SCHEDULES)


# --- kernels and passes -----------------------------------------------------------------------------------------------


def test_every_kernel_has_a_row() -> None:
    exported = {getattr(ppl.kernels, name) for name in ppl.kernels.__all__}
    assert set(KERNELS) == {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Kernel)} - {Kernel}


@pytest.mark.parametrize("kind", KERNELS, ids=lambda kind: kind.__name__)
def test_every_option_of_a_kernel_is_taken(kind: type[Kernel]) -> None:
    used = [inner for kernel in KERNELS[kind] for inner in _inside(kernel) if type(inner) is kind]
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        assert len(_values(field, used)) >= (1 if required and kind is not Repeat else 2), field.name
    assert used


def _inside(kernel: Kernel) -> list[Kernel]:
    """A kernel and those that it is made of."""
    return [kernel, *(inner for each in getattr(kernel, "kernels", ()) for inner in _inside(each))]


@pytest.mark.parametrize("kind", KERNELS, ids=lambda kind: kind.__name__)
def test_every_kernel_has_certificates_that_hold(kind: type[Kernel]) -> None:
    row = certify(kind.__name__, [MH(kernel=kernel) for kernel in KERNELS[kind]], limit=60)
    assert row.holds and row.verdict == "holds", [str(c) for _, c in row.certificates if not c]
    assert row.programs >= 5 and row.error < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("kind", KERNELS, ids=lambda kind: kind.__name__)
def test_every_kernel_at_length(kind: type[Kernel]) -> None:
    row = certify(kind.__name__, [MH(kernel=kernel) for kernel in KERNELS[kind]], limit=5_000)
    assert row.holds and row.programs >= 15, (row.left_out, [str(c) for _, c in row.certificates if not c])


def test_a_kernel_that_breaks_its_law_shows() -> None:
    @ppl.kernels.kernel
    def greedy(trace: ppl.kernels.Trace, rng: ppl.kernels.Random) -> ppl.kernels.Moves:
        move = yield trace.regenerate("*")
        return move.trace if move.log_weight > -1.0 else trace

    row = certify("greedy", [MH(kernel=Mixture((greedy, Regenerate())))], limit=60)
    assert isinstance(greedy, Custom) and row.verdict == "DOES NOT HOLD" and row.error > 0.01


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_keeps_its_level_on_the_corpus(name: str) -> None:
    row = certify_pass(PASSES[name], limit=200)
    assert row.holds and row.guarantee == PASSES[name].level.name.lower()
    assert len(row.certificates) + len(row.left_out) == len(CORPUS | TO_REWRITE)
    # Conjugate pairs have continuous parameters: their laws are in closed form, in test_passes_conjugacy.py.
    assert row.verdict == ("changes none of them" if name == "conjugacy" else "holds")


def test_a_pass_that_claims_too_much_shows() -> None:
    class Overclaims(DeadSamples):
        name = "overclaims"
        level = Level.JOINT

    row = certify_pass(Overclaims(), limit=200)
    assert row.verdict == "DOES NOT HOLD" and row.programs == 1


# --- what each must say -----------------------------------------------------------------------------------------------


def test_every_guarantee_has_a_law_and_a_check() -> None:
    assert set(CHECKS) == set(GUARANTEES) == set(LAWS) - {"prior"}


Cells = dict[str, str]


def tables() -> list[dict[str, Cells]]:
    """The tables that the README has between the marks, as ``ppl laws --markdown FILE`` makes them: name → cells."""
    text = README.read_text().partition("<!-- laws -->")[2].partition("<!-- /laws -->")[0]
    found = []
    for table in text.strip().split("\n\n"):
        head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found.append({row[0].strip("`"): dict(zip(head, row, strict=True)) for row in rows})
    return found


def number(cells: Cells, *headings: str) -> int:
    return sum(int(cells[heading].replace(",", "")) for heading in headings)


def test_the_readme_lists_all_that_is_certified() -> None:
    """A variant or a program that is added since the table was made shows in how many cases there are."""
    methods, kernels, passes = tables()
    assert list(methods) == list(METHODS)
    for name, cells in methods.items():
        checked = variants(METHODS[name])
        assert cells["guarantee"] == METHODS[name].guarantee and cells["law"] == law_of(checked[0])
        assert cells[""] == ("no promise" if cells["guarantee"] == "heuristic" else "holds")
        assert number(cells, "cases", "left out") == len(CORPUS) * len(checked), name
        assert number(cells, "programs") <= min(len(CORPUS), number(cells, "cases"))
    assert list(kernels) == [kind.__name__ for kind in KERNELS]
    for cells, row in zip(kernels.values(), KERNELS.values(), strict=True):
        assert number(cells, "cases", "left out") == len(CORPUS) * len(row) and cells[""] == "holds"
    assert list(passes) == list(PASSES)
    for name, cells in passes.items():
        assert cells["guarantee"] == PASSES[name].level.name.lower()
        assert number(cells, "cases", "left out") == len(CORPUS | TO_REWRITE) and cells[""] in (
            "holds",
            "changes none of them",
        )


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
    monkeypatch.setattr("ppl.laws.KERNELS", {Regenerate: (Regenerate(),)})
    monkeypatch.setattr("ppl.laws.PASSES", {})
    rows = show_table(limit=50, markdown=tmp_path / "laws.md")
    assert [row.holds for row in rows] == [False, True]
    assert rows[0].verdict == "DOES NOT HOLD"
    assert "**does not hold**" in (tmp_path / "laws.md").read_text()
    assert CliRunner().invoke(app, ["laws", "--limit", "50"]).exit_code == 1


def test_a_registered_method_that_can_not_be_checked_shows() -> None:
    row = certify("smc", [SMC(n=3)], limit=1)
    assert not row.holds and row.verdict == "NOT CHECKED" and "**not checked**" in markdown(row)


def markdown(row: Row) -> str:
    return to_markdown([Section("method", ("guarantee", ""), (row,))])


def test_what_was_too_large_is_not_tried_with_more_particles() -> None:
    row = certify("smc", [SMC(n=1), SMC(n=2), SMC(n=3, ess_threshold=1.0), SMC(n=3)], limit=1)
    assert row.programs == 0 and len(row.left_out) == 4 * len(CORPUS)


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
    assert row.verdict == "no promise" and row.cells["largest error"] == f"{row.error:.2f}" and row.error > 0.05


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
