"""Simulation-based calibration: what is right passes, what is wrong is found, and nothing can be misread."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ppl import SMC, SMC2, Enumerate, Importance, calibrate, condition, dist, factor, observe, program, sample, table_lm
from ppl.calibration import placed
from ppl.cli import app
from ppl.joint import Joint
from ppl.runtime.distributions import Distribution
from ppl.runtime.errors import ProgramError
from ppl.runtime.machine import Machine
from ppl.runtime.methods import Forward
from ppl.runtime.population import Population, World
from ppl.runtime.scheduler import Task
from ppl.runtime.source import Key, Source

from .normals import Normal

ALARM = 1e-3
XS = (-1.0, 0.0, 2.0)
NONE = (0.0, 0.0, 0.0)


@program
def line(xs: Any, ys: Any) -> float:
    slope = sample(Normal(0.0, 1.0))
    offset = sample(Normal(0.0, 1.0))
    for x, y in zip(xs, ys, strict=True):
        observe(Normal(slope * x + offset, 1.0), y, name="y")
    return slope


@program
def line_with_sites(xs: Any) -> float:
    slope = sample(Normal(0.0, 1.0))
    for x in xs:
        y = sample(Normal(slope * x, 1.0))
    return slope


@program
def coin(flips: Any) -> str:
    bias = sample(dist.categorical([0.2, 0.5, 0.3]))
    for flip in flips:
        observe(dist.flip(0.2 + 0.3 * bias), flip)
    return "low" if bias == 0 else "high"


@program
def torch_line(ys: Any) -> float:
    level = sample(torch.distributions.Normal(torch.zeros(2), 1.0))
    for y in ys:
        observe(torch.distributions.Normal(level.sum(), 1.0), y)
    return level[0].item()


def test_right_methods_pass() -> None:
    for method in (Importance(n=150), SMC(n=150, ess_threshold=0.8)):
        certificate = calibrate(line, XS, NONE, method=method, runs=100)
        assert certificate and certificate.p_value > ALARM
        assert [c.name for c in certificate.comparisons] == ["slope", "offset", "joint density"]
        assert not certificate.exact and certificate.leaves == 100


def test_data_may_be_sample_sites_or_given() -> None:
    assert calibrate(line_with_sites, XS, data="y", method="importance", n=100, runs=60)
    fixed = line_with_sites.given({f"y[{i}]": 0.0 for i in range(3)})
    assert calibrate(fixed, XS, method="importance", n=100, runs=60)
    only_first = calibrate(line_with_sites, XS, data="y[0]", method="importance", n=100, runs=60)
    assert only_first and "y[1]" in {c.name for c in only_first.comparisons}


def test_discrete_programs_and_exact_methods() -> None:
    """Ties are broken at random: equal traces tie in the density too."""
    for method in (Enumerate(), Importance(n=60), SMC(n=60)):
        assert calibrate(coin, (True, True, False), method=method, runs=200)


@program
def hidden_level(seen: bool) -> int:
    level = sample(dist.uniform(range(100)))
    heeded = sample(dist.flip(0.5))
    observe(dist.flip(0.2 + 0.006 * level if heeded else 0.5), seen)
    return level


def test_runs_that_share_parameters_count_as_one() -> None:
    """Four filters have four levels between them, however many runs each has."""
    method = SMC2(n=4, inner=16, parameters="level", move_every=None)
    assert calibrate(hidden_level, True, method=method, runs=80)


def test_tensors_are_ranked_element_by_element() -> None:
    certificate = calibrate(torch_line, (0.0, 0.0), method="importance", n=60, runs=30)
    assert certificate
    assert [c.name for c in certificate.comparisons] == ["level.0", "level.1", "joint density"]


# --- planted bugs ---


@dataclass(frozen=True)
class Unweighted(Importance):
    """Reads the particles without their weights."""

    name = "unweighted"

    def run(self, world: World) -> Task[Population]:
        population = yield from super().run(world)
        for particle in population.particles:
            particle.log_weight = 0.0
        return population


@dataclass(frozen=True)
class PriorAsPosterior(Forward):
    """Ignores the data altogether: ranks of parameters alone are uniform."""

    name = "prior as posterior"
    evidence = True


class Forgetful(Machine):
    """Forgets the last of three observations."""

    def _observe(self, particle: Any, ask: Any, distribution: Any, value: Any) -> Any:
        if ask.index == (2,):
            self.resume(particle, None)
            return None
        return super()._observe(particle, ask, distribution, value)


@dataclass(frozen=True)
class ForgetsEvidence(SMC):
    """SMC on a machine that forgets an evidence factor."""

    name = "forgets evidence"

    def run(self, world: World) -> Task[Population]:
        world.machine = Forgetful(world.machine.source, used=world.machine.used)
        return (yield from super().run(world))


class WrongDensity(Normal):
    """A proposal whose draws are half as wide again as its density says."""

    def draw(self, source: Source, key: Key) -> tuple[float, float]:
        value, _ = Normal(self.mean, 1.5 * self.sd).draw(source, key)
        return value, self.log_prob(value)


@program
def wrong_proposal(xs: Any, ys: Any) -> float:
    slope = sample(Normal(0.0, 1.0), proposal=WrongDensity(0.0, 1.0))
    for x, y in zip(xs, ys, strict=True):
        observe(Normal(slope * x, 1.0), y, name="y")
    return slope


@pytest.mark.parametrize(
    "method", [Unweighted(n=60), PriorAsPosterior(n=60), ForgetsEvidence(n=100)], ids=lambda m: m.name
)
@pytest.mark.parametrize("sequential", [False, True])
def test_planted_bugs_are_caught(method: Any, sequential: bool) -> None:
    certificate = calibrate(line, XS, NONE, method=method, runs=200, sequential=sequential)
    assert not certificate and certificate.p_value <= ALARM
    assert certificate.error >= certificate.tolerance
    if sequential:
        assert certificate.leaves < 150  # it stopped early


def test_a_wrong_proposal_density_is_caught() -> None:
    assert calibrate(line, XS, NONE, method="importance", n=100, runs=200)
    certificate = calibrate(wrong_proposal, (0.3, -0.3), (0.0, 0.0), method="importance", n=100, runs=200)
    assert not certificate


def test_ranks_of_parameters_alone_miss_a_posterior_that_ignores_the_data() -> None:
    """The reason why the joint density is ranked too (Modrák et al., 2023)."""
    parameters = {"slope": lambda draw: draw["slope"]}
    assert calibrate(line, XS, NONE, method=PriorAsPosterior(n=60), runs=200, quantities=parameters)
    product = {"slope and data": lambda draw: draw["slope"] * draw["y[2]"]}
    assert not calibrate(line, XS, NONE, method=PriorAsPosterior(n=60), runs=200, quantities=product)
    assert calibrate(line, XS, NONE, method="importance", n=100, runs=100, quantities=product)


@pytest.mark.slow
def test_false_alarms_come_at_the_level() -> None:
    """Of 400 checks of a calibrated method, fixed and sequential, at most 5 % and noise fail at 5 %."""
    for sequential in (False, True):
        failed = sum(
            not calibrate(
                coin, (True, False), method="enumerate", runs=60, seed=s, false_alarm=0.05, sequential=sequential
            )
            for s in range(400)
        )
        assert failed <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


# --- drawing data ---


def test_the_joint_draws_what_the_program_means() -> None:
    joint = Joint(line, (XS, NONE))
    draw = joint.draw(3)
    assert set(draw.latent) == {"slope", "offset"} and set(draw.data) == {"y[0]", "y[1]", "y[2]"}
    slope, offset = draw["slope"], draw["offset"]
    density = Normal(0.0, 1.0).log_prob(slope) + Normal(0.0, 1.0).log_prob(offset)
    density += sum(Normal(slope * x + offset, 1.0).log_prob(draw[f"y[{i}]"]) for i, x in enumerate(XS))
    assert draw.log_joint == pytest.approx(density, abs=1e-9)
    assert joint.draw(3) == draw != joint.draw(4)
    again = joint.redraw(draw.latent, 5)
    assert again.latent == draw.latent and again.data != draw.data and again.value == draw.value
    with pytest.raises(KeyError, match=r"no 'x'; there are slope, offset, y\[0\]"):
        draw["x"]


def test_the_given_program_weighs_by_the_given_data() -> None:
    from ppl import infer

    given = Joint(line, (XS, NONE)).given({"y[0]": 9.0, "y[1]": 9.0, "y[2]": 9.0})
    other = infer(line, XS, (9.0, 9.0, 9.0), method="importance", n=50, seed=0)
    assert infer(given, XS, NONE, method="importance", n=50, seed=0).log_evidence == other.log_evidence


def test_interventions_are_neither_latent_nor_data() -> None:
    draw = Joint(line.do(slope=2.0), (XS, NONE)).draw(0)
    assert set(draw.latent) == {"offset"} and draw.value == 2.0


@program
def positive(ys: Any) -> float:
    level = sample(Normal(0.0, 1.0))
    condition(level > 0)
    for y in ys:
        observe(Normal(level, 1.0), y)
    return level


def test_conditions_hold_in_simulations() -> None:
    assert all(Joint(positive, ((0.0,),)).draw(seed)["level"] > 0 for seed in range(20))
    assert calibrate(positive, (0.0, 0.0), method="importance", n=100, runs=60)


@program
def scored(ys: Any) -> float:
    level = sample(Normal(0.0, 1.0))
    factor(-(level**2))
    return level


@program
def ragged() -> int:
    count = sample(dist.uniform(range(1, 4)))
    for _ in range(count):
        observe(dist.flip(0.5), True)
    return count


@program
def impossible() -> int:
    x = sample(dist.uniform(range(3)))
    condition(x > 5)
    return x


def test_what_can_not_be_calibrated_is_refused() -> None:
    with pytest.raises(
        ProgramError, match=r"(?s)data can't be drawn from a program with factor\(\).*test_calibration.py"
    ):
        calibrate(scored, (), runs=20)
    with pytest.raises(ValueError, match="differs from run to run: observe"):
        calibrate(ragged, method="enumerate", runs=20)
    with pytest.raises(ValueError, match="held in none of 1,000 simulations"):
        calibrate(impossible, method="enumerate", runs=20)
    with pytest.raises(ValueError, match="'z': a run of line has no such sample site; it has slope, offset"):
        calibrate(line, XS, NONE, data="z", runs=20)
    with pytest.raises(ValueError, match="line_with_sites has no data"):
        calibrate(line_with_sites, XS, runs=20)
    with pytest.raises(ValueError, match="no posterior to calibrate"):
        calibrate(line, XS, NONE, method="forward", runs=20)
    with pytest.raises(ValueError, match="among one draw or more"):
        calibrate(line, XS, NONE, draws=0, runs=20)


def test_a_place_among_others() -> None:
    assert placed(2.0, [1.0, 3.0, 2.0], 0.5) == pytest.approx((1 + 0.5 * 2) / 4)
    assert placed(0.0, [1.0], 0.0) == 0.0
    assert placed(2.0, [1.0], 0.999) < 1.0


# --- showing ---


def test_certificates_are_printed_saved_and_drawn(tmp_path: Path) -> None:
    certificate = calibrate(line, XS, NONE, method=Unweighted(n=30), runs=40, seed=7)
    assert "DOES NOT HOLD" in str(certificate) and "false alarm 0.001" in str(certificate)
    assert "the furthest off: " in str(certificate)
    plain = json.loads(certificate.to_json(tmp_path / "certificate.json"))
    assert plain["seed"] == 7 and plain["false_alarm"] == ALARM and not plain["holds"]
    assert len(plain["comparisons"][0]["uniforms"]) == 40
    figure = certificate.plot(tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 10_000 and len(figure.axes) == 6
    same = calibrate(line, XS, NONE, method=Unweighted(n=30), runs=40, seed=7)
    assert same.comparisons == certificate.comparisons


def test_from_the_shell(tmp_path: Path) -> None:
    file = tmp_path / "coins.py"
    file.write_text(
        "from ppl import dist, observe, program, sample\n\n@program\ndef coins(flips):\n"
        "    p = sample(dist.uniform([0.2, 0.8]))\n    for flip in flips:\n        observe(dist.flip(p), flip)\n"
        "    return p\n"
    )
    command = ["calibrate", f"{file}:coins", "--arg", "flips=[true, false]", "--method", "enumerate", "--runs", "40"]
    picture = tmp_path / "out" / "ranks.png"
    result = CliRunner().invoke(app, [*command, "--plot", str(picture)])
    assert result.exit_code == 0 and "coins by Enumerate" in result.output and picture.exists()
    result = CliRunner().invoke(app, [*command, "--json", "--sequential"])
    assert json.loads(result.output)["sequential"]


def test_local_distributions_of_the_tests_are_normal() -> None:
    assert isinstance(Normal(0.0, 1.0), Distribution)
    ours, torchs = Normal(1.0, 2.0), torch.distributions.Normal(1.0, 2.0)
    assert ours.log_prob(0.3) == pytest.approx(float(torchs.log_prob(torch.tensor(0.3))), abs=1e-6)


LM = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)


@program
def model_judge(verdict: str) -> str:
    first = sample(LM.context("").choice(["a", "b"]))
    observe(LM.context(first).choice(["a", "b"]), verdict, name="verdict")
    return str(first)


def test_model_programs_draw_what_models_say() -> None:
    verdicts = {str(Joint(model_judge, ("a",)).draw(seed)["verdict"]) for seed in range(20)}
    assert verdicts == {"a", "b"}
    assert calibrate(model_judge, "a", method="importance", n=40, runs=60)
