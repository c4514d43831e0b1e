"""A* over partial runs."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..budget import Stopped
from ..particle import Status
from ..population import Population, World, advance, spawn
from ..result import Generation, effective_sample_size, log_sum_exp
from ..scheduler import Task
from .base import Method, at_least_one, number, whole
from .beam import Candidate


@dataclass(frozen=True)
class AStar(Method):
    """Always go on from the best partial run of all, in n ways, until a finished one is the best (Hart et al., 1968).

    Guarantee: none. A run's f = g + h is the program's own log-weight so far, g, plus what is still to be expected, h:
    its present hint, which a program says by ``twist(log_v)``, and ``log_ahead``. Of equals the one that is furthest on
    comes first. Children are drawn, not enumerated. A*-decoding of language models (2025) does this under a budget of
    tokens: ``budget={"tokens": ...}``.

    Where h is nowhere under what a run may still gain, it is admissible: the first answer is the best in the tree that
    was drawn. Without hints h is 0, and that holds where no evidence exceeds 1. Evidence that does makes such a search
    greedy: longer runs lead because they are longer. Then say a bound.

    Attributes:
        n: in how many ways a run goes on.
        answers: how many finished runs to wait for.
        max_expansions: go on from so many runs at most.
        log_ahead: an upper bound on the logarithm of all evidence that an unfinished run may still meet, beyond its
            hint; or a function from the number of steps that it has taken to that bound, such as
            ``lambda taken: (8 - taken) * math.log(2)`` for eight steps of evidence up to 2.
    """

    name = "a-star"
    guarantee = "heuristic"
    evidence = False
    law_variants = (
        {"max_expansions": 4},
        {"max_expansions": 4, "answers": 2, "log_ahead": 0.5},
        {"max_expansions": 3, "log_ahead": lambda taken: 1.0 - 0.5 * taken},
    )

    n: int = 4
    answers: int = 1
    max_expansions: int = 256
    log_ahead: float | Callable[[int], float] = 0.0

    def __post_init__(self) -> None:
        at_least_one(self.n)
        whole("answers", self.answers, "how many answers to look for")
        whole("max_expansions", self.max_expansions, "how many runs to go on from")
        if not callable(self.log_ahead) and not number(self.log_ahead):
            raise ValueError(f"log_ahead is a number, or a function of the steps taken; got {self.log_ahead!r}")

    @property
    def remedy(self) -> str:
        return f"more ways to go on from a run (n={4 * self.n})"

    def run(self, world: World) -> Task[Population]:
        population = spawn(world, 1)
        tree, frontier, finished, expanded = Tree(), Frontier(), [], 0
        children = [Candidate(population.particles[0], 0)]
        tree.add(children[0])
        try:
            while True:
                for child in children:
                    frontier.push(child, self._ahead(child))
                children = []
                best = frontier.pop()
                if best is None:
                    break
                if best.particle.status is Status.DONE:
                    finished.append(best)
                    if len(finished) == self.answers:
                        break
                    continue
                if expanded == self.max_expansions:
                    population.incomplete = f"the search went on from {expanded} runs, as max_expansions allows"
                    break
                expanded += 1
                copies = best.copies(world, "child", self.n - 1)
                children = [best, *copies]
                population.particles += [c.particle for c in copies]
                yield from advance(world, population, among=[c.particle for c in children])
                tree.grow(children)
        except Stopped as stop:
            population.incomplete = stop.reason
            tree.grow(children)
        # What is finished is an answer, also where something better might still have come.
        done = [c for c in (*frontier.candidates, *children) if c.particle.status is Status.DONE]
        done.sort(key=lambda c: -c.particle.log_weight)
        answers = [*finished, *done[: self.answers - len(finished)]]
        population.history = tree.history(answers)
        population.begun, population.particles = len(population.particles), [c.particle for c in answers]
        return population

    def _ahead(self, candidate: Candidate) -> float:
        """What is added to a run's weight and hint."""
        if candidate.particle.status is Status.DONE:
            return 0.0
        return self.log_ahead(len(candidate.steps)) if callable(self.log_ahead) else self.log_ahead


class Frontier:
    """Partial and finished runs that were not gone on from, the best first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Candidate]] = []
        self._pushed = 0

    @property
    def candidates(self) -> list[Candidate]:
        """All of them."""
        return [candidate for *_, candidate in self._heap]

    def push(self, candidate: Candidate, log_ahead: float) -> None:
        """Take one in, unless it is dead."""
        particle = candidate.particle
        if particle.status is not Status.DEAD:
            self._pushed += 1
            entry = (-particle.selection_weight - log_ahead, -particle.asked, self._pushed, candidate)
            heapq.heappush(self._heap, entry)

    def pop(self) -> Candidate | None:
        """The best, which leaves; ``None`` if there is none."""
        return heapq.heappop(self._heap)[-1] if self._heap else None


class Tree:
    """Every run that was looked at, with its parent, by the number of its steps.

    A population after each expansion would hold the same frontier again and again. A level of the tree holds each run
    once, so what is noted grows with the search, not with its square.
    """

    def __init__(self) -> None:
        self._parents: list[list[int]] = []
        self._log_weights: list[list[float]] = []
        self._sites: list[Counter[str]] = []

    def grow(self, candidates: Sequence[Candidate]) -> None:
        """Note runs that have taken a step."""
        for candidate in candidates:
            candidate.steps = (*candidate.steps, candidate.particle.selection_weight)
            self.add(candidate)

    def add(self, candidate: Candidate) -> None:
        """Note a run in the level of its steps; its ``place``, its parent's until then, becomes its own there."""
        depth, particle = len(candidate.steps), candidate.particle
        if depth == len(self._parents):
            self._parents.append([])
            self._log_weights.append([])
            self._sites.append(Counter())
        self._parents[depth].append(candidate.place)
        self._log_weights[depth].append(particle.selection_weight)
        if particle.running and particle.ask is not None:
            self._sites[depth][particle.ask.site.name] += 1
        candidate.place = len(self._parents[depth]) - 1

    def history(self, answers: Sequence[Candidate]) -> list[Generation]:
        """A generation for each level, and one of the answers alone.

        Args:
            answers: the finished runs that are handed back; they stay in all levels below their own.
        """
        place: dict[Candidate, int] = {}
        rows: list[tuple[str, list[float], list[int]]] = []
        for depth, sites in enumerate(self._sites):
            staying = [answer for answer in answers if len(answer.steps) < depth]
            parents = self._parents[depth] + [place[answer] for answer in staying]
            log_weights = self._log_weights[depth] + [answer.particle.log_weight for answer in staying]
            place = {answer: len(self._parents[depth]) + i for i, answer in enumerate(staying)}
            place |= {answer: answer.place for answer in answers if len(answer.steps) == depth}
            rows.append((sites.most_common(1)[0][0] if sites else "", log_weights, parents))
        rows.append(("", [answer.particle.log_weight for answer in answers], [place[answer] for answer in answers]))
        children = [tuple(parents) for _, _, parents in rows[1:]]
        return [
            Generation(
                step, site, tuple(log_weights), below, effective_sample_size(log_weights), log_sum_exp(log_weights)
            )
            for step, ((site, log_weights, _), below) in enumerate(zip(rows, [*children, None], strict=True))
        ]
