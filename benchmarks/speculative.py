"""A draft as a proposal against the model alone: SMC on held-out problems, with drafts of fewer and fewer layers.

    python benchmarks/speculative.py [--no-write]

All runs have the same law: weights correct for the draft. What it costs is time in drafts and variance in weights; what
it saves is calls of the model, which reads a line of all particles in one. Once with all problems in shared batches,
and once with one problem at a time. Configurations take turns in one process; times are CPU seconds of the fastest
round. Writes a section of ``benchmarks/RESULTS.md``. Takes three minutes.
"""

from __future__ import annotations

import runpy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from results import command, machine, once, table

from ppl import Posterior, infer_many, load_lm
from ppl.bundled.problems import Problem, problems
from ppl.lm import LM
from ppl.runtime.engines.model import Usage

EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[1] / "examples" / "speculative.py"), run_name="example")
PROBLEMS, STEPS, PARTICLES, ROUNDS = 40, (4, 6), 32, 5
LAYERS = (5, 4, 3)


@dataclass
class Contender:
    """One configuration and what came of it.

    Attributes:
        draft: the draft model, or ``None``.
        together: how many problems share batches.
        seconds: CPU time of each round.
        rounds: the posteriors of each round.
        used: what the model itself computed in the last round.
    """

    draft: LM | None
    together: int
    seconds: list[float] = field(default_factory=list)
    rounds: list[Sequence[Posterior]] = field(default_factory=list)
    used: Usage = field(default_factory=Usage)

    def run(self, asked: Sequence[Problem], seed: int) -> None:
        """Answer all problems once, with nothing cached."""
        models = [load_lm(), *([] if self.draft is None else [self.draft])]
        for lm in models:
            lm.model.clear_cache()  # type: ignore[attr-defined]
        before = models[0].model.usage.snapshot()
        program = EXAMPLE["solve" if self.draft is None else "drafted"]
        inputs = [(*models, problem.question) for problem in asked]
        found: list[Posterior] = []

        def answer() -> None:
            found[:] = infer_many(program, inputs, method="smc", n=PARTICLES, seed=seed, concurrency=self.together)

        self.seconds.append(once(answer))
        self.rounds.append(found)
        self.used = models[0].model.usage.since(before)

    @property
    def written(self) -> float:
        """Tokens of the last round; with a draft, each was counted when drawn and when scored."""
        return sum(p.cost.tokens for p in self.rounds[-1]) / (1 if self.draft is None else 2)

    @property
    def effective(self) -> float:
        """The mean effective sample size at the end, 0 where all particles were ruled out."""
        return statistics.mean(0.0 if p.empty else p.ess for posteriors in self.rounds for p in posteriors)

    def right(self, asked: Sequence[Problem]) -> float:
        """The share of problems whose posterior mode is the answer."""
        pairs = [pair for posteriors in self.rounds for pair in zip(posteriors, asked, strict=True)]
        return statistics.mean(not p.empty and p.mode() == q.answer for p, q in pairs)


def row(name: str, found: Contender, alone: Contender, asked: Sequence[Problem]) -> list[str]:
    """What the table says about one configuration."""
    seconds, calls = min(found.seconds), found.used.forwards
    saved = alone.used.forwards - calls
    alive = found.effective > 1.0
    even = f"{1000 * (seconds - min(alone.seconds)) / saved:.1f} ms" if saved > 0 and alive else "–"
    return [
        name,
        f"{seconds:.2f}",
        f"{seconds / min(alone.seconds):.2f}",
        f"{calls:,}",
        f"{found.used.positions / found.written:.3f}",
        f"{found.effective:.1f}",
        f"{found.right(asked):.1%}",
        even,
    ]


def measure(together: int, drafts: dict[int, LM], asked: Sequence[Problem]) -> str:
    """A table of all configurations, so many problems at a time."""
    contenders = {"none": Contender(None, together)}
    contenders |= {f"{layers} of 6 layers": Contender(draft, together) for layers, draft in drafts.items()}
    for found in contenders.values():
        found.run(asked[:4], 0)
        found.seconds.clear()
        found.rounds.clear()
    for seed in range(ROUNDS):
        for found in contenders.values():
            found.run(asked, seed)
    heads = ("draft", "seconds", "ratio", "calls", "positions a token", "ESS", "right", "worth it from")
    return table(heads, [row(name, found, contenders["none"], asked) for name, found in contenders.items()])


def report() -> str:
    """Measure, and say what came out."""
    torch.set_num_threads(1)
    asked = problems(PROBLEMS, STEPS, seed=7)
    drafts = {layers: EXAMPLE["cut"](layers) for layers in LAYERS}
    return "\n\n".join(
        (
            "## A draft that proposes",
            f"`python benchmarks/speculative.py`: {machine()}. SMC with {PARTICLES} particles on {PROBLEMS} problems "
            f"of {STEPS[0]} to {STEPS[1]} steps, {ROUNDS} rounds; every row has the same law. The draft has the "
            "model's own first layers and reads all prompts itself. *calls* and *positions* are the model's, not the "
            "draft's; ESS is the mean at the end; *worth it from*: by how much a call of the model would have to cost "
            "more than here, however much it reads, for the draft to save time.",
            "All problems in shared batches:",
            measure(PROBLEMS, drafts, asked),
            "One problem at a time:",
            measure(1, drafts, asked),
            "On this CPU a call costs about what it computes (2 ms here), and a draft that is good enough is nearly as "
            "large as the model: it does not pay. A draft that is too weak for the weights leaves no particles alive.",
        )
    )


if __name__ == "__main__":
    command(__doc__, "speculative", report, None)
