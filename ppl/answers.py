"""From a posterior to an answer: votes, choices by reward, and expected utility.

Each takes a posterior and ``same``, which says when two answers count as one (see ``ppl.equality``). What is returned
as an answer is the first of its group that appeared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .equality import Same, exact, numeric
from .posterior import EmptyPosterior, Posterior
from .posterior_values import freeze
from .runtime.result import Run, log_sum_exp
from .weibull import low_component

Reward = Callable[[Run], float]


@dataclass(frozen=True)
class Answer:
    """A group of runs whose values count as one.

    Attributes:
        value: that of the first.
        share: of the posterior, in [0, 1].
        runs: all of them.
    """

    value: Any
    share: float
    runs: list[Run] = field(repr=False)


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        action: the best one; ``None`` when abstaining is better.
        utility: its expected utility.
        abstained: whether no action was worth it.
    """

    action: Any
    utility: float
    abstained: bool


def evidence(run: Run) -> float:
    """The logarithm of all evidence that a run met: the default reward."""
    return run.log_joint - math.fsum(choice.log_prob for choice in run.trace if not choice.observed)


def confidence(run: Run) -> float:
    """The log-probability of all that a run drew, under the program's own distributions."""
    return math.fsum(choice.log_prob for choice in run.trace if not choice.observed)


def answers(posterior: Posterior, same: Same = exact) -> list[Answer]:
    """The distinct answers with their posterior shares, the largest first.

    Raises:
        EmptyPosterior: there is no mass.
        TypeError: ``posterior`` is none, or ``same`` is no function of two answers.
    """
    _check(posterior)
    if not callable(same) or same is numeric:
        shown = "numeric, which makes one" if same is numeric else repr(same)
        raise TypeError(
            f"same is a function of two answers, such as ppl.equality.numeric() or ppl.equality.symbolic; got {shown}"
        )
    groups: list[tuple[Any, list[Run], list[float]]] = []
    known: dict[Any, int] = {}  # values that are equal need no comparison
    for run, weight in zip(posterior.runs, posterior.runs.weights, strict=True):
        frozen = freeze(run.value)
        if frozen not in known:
            found = next((i for i, group in enumerate(groups) if same(group[0], run.value)), len(groups))
            known[frozen] = found
            if found == len(groups):
                groups.append((run.value, [], []))
        groups[known[frozen]][1].append(run)
        groups[known[frozen]][2].append(weight)
    listed = [Answer(value, math.fsum(weights), runs) for value, runs, weights in groups]
    return sorted(listed, key=lambda answer: -round(answer.share, 12))


def majority(posterior: Posterior, same: Same = exact) -> Any:
    """The answer of the most runs, whatever they weigh (self-consistency: Wang et al., 2023)."""
    return max(answers(posterior, same), key=lambda answer: len(answer.runs)).value


def weighted_majority(posterior: Posterior, same: Same = exact) -> Any:
    """The answer with the largest posterior share; with exact equality that is ``posterior.mode()``."""
    return answers(posterior, same)[0].value


def best(posterior: Posterior, reward: Reward = evidence) -> Any:
    """The value of the run with the highest reward (best-of-n).

    Args:
        posterior: whose runs to choose from.
        reward: of a run, by default the evidence that it met.
    """
    _check(posterior)
    return max(posterior.runs, key=reward).value


def _check(posterior: Posterior) -> None:
    """Raises:
    EmptyPosterior, TypeError: there is nothing to answer from.
    """
    if not isinstance(posterior, Posterior):
        raise TypeError(f"answers are made from a Posterior, which infer() returns; got {type(posterior).__name__}")
    if posterior.empty:
        posterior.distribution()  # raises, and says why


def best_of_majority(
    posterior: Posterior, alpha: float = 0.005, k: int = 1, reward: Reward = evidence, same: Same = exact
) -> list[Any]:
    """The k answers of highest reward among those that are frequent enough (best-of-majority, 2025).

    Unlike best-of-n it does not get worse with more runs, which find ever rarer ways to please the reward.

    Args:
        posterior: whose runs to choose from; a run counts once, as where all were drawn alike.
        alpha: the least share of runs that an answer needs, in [0, 1].
        k: how many answers.
        reward: of a run; an answer has that of its best run.
        same: when two answers count as one.

    Returns:
        At most k answers, the best first. If none is frequent enough, the most frequent alone.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is the least share of runs that an answer needs, from 0 to 1; got {alpha!r}")
    if k < 1:
        raise ValueError(f"k is how many answers to give, 1 or more; got {k!r}")
    found = answers(posterior, same)
    frequent = [a for a in found if len(a.runs) >= alpha * len(posterior.runs)]
    frequent = frequent or [max(found, key=lambda a: len(a.runs))]
    return [a.value for a in sorted(frequent, key=lambda a: -max(map(reward, a.runs)))[:k]]


def rpc(posterior: Posterior, same: Same = exact, prune: bool = True) -> Any:
    """Perplexity consistency with reasoning pruning (RPC, 2025): sum the model's own probability over *distinct* runs.

    A run is pruned if its probability is below the mean, and it more likely belongs to the low one of two Weibull
    distributions that are fitted to all.

    Args:
        posterior: of a program whose draws are the model's; a run's weight plays no part.
        same: when two answers count as one.
        prune: whether to prune.
    """
    distinct: dict[Any, Run] = {}
    groups = answers(posterior, same)
    for answer in groups:
        for run in answer.runs:
            distinct.setdefault(tuple((c.address, *_spelt(c.value)) for c in run.trace), run)
    runs = list(distinct.values())
    logs = [confidence(run) for run in runs]
    relative = [math.exp(c - max(logs)) for c in logs]
    mean = math.fsum(relative) / len(relative)
    low = low_component(relative) if prune else [0.0] * len(runs)
    kept = {id(run) for run, p, c in zip(runs, low, relative, strict=True) if not (p > 0.5 and c < mean)}
    totals = [log_sum_exp([confidence(run) for run in a.runs if id(run) in kept]) for a in groups]
    return groups[totals.index(max(totals))].value


def _spelt(value: Any) -> tuple[Any, Any]:
    """What makes a draw differ from others: texts that read alike in other tokens have probabilities of their own."""
    return freeze(value), getattr(value, "tokens", None)


def multi_temperature(posteriors: Sequence[Posterior], same: Same = exact) -> Any:
    """The vote over runs at several temperatures, each posterior with the same say.

    For an estimate instead of a vote, propose from ``dist.tempered(...)``: that divides by the mixture's density.

    Args:
        posteriors: one for each temperature; those without mass have no say.
        same: when two answers count as one.

    Raises:
        EmptyPosterior: none has mass.
        TypeError: they are no posteriors.
    """
    wrong = (
        posteriors
        if isinstance(posteriors, Posterior)
        else next((each for each in posteriors if not isinstance(each, Posterior)), None)
    )
    if wrong is not None:
        raise TypeError(f"multi_temperature() takes a list of posteriors, as infer_many() returns; got {wrong!r}")
    votes: list[list[Any]] = []
    for posterior in posteriors:
        for answer in [] if posterior.empty else answers(posterior, same):
            vote = next((v for v in votes if same(v[0], answer.value)), None)
            if vote is None:
                votes.append([answer.value, answer.share])
            else:
                vote[1] += answer.share
    if not votes:
        raise EmptyPosterior("none of the posteriors has a run that was not ruled out")
    return max(votes, key=lambda vote: vote[1])[0]


def decide(
    posterior: Posterior,
    utility: Callable[[Any, Any], float] | None = None,
    actions: Sequence[Any] | None = None,
    abstain: float | None = None,
    same: Same = exact,
) -> Decision:
    """The action of the highest expected utility under the posterior, or none.

    Args:
        posterior: over what is true.
        utility: of an action, given what is true; by default 1 where they count as one, else 0.
        actions: what can be done; by default to name one of the answers.
        abstain: the utility of doing nothing; ``None``: that is no choice.
        same: when two answers count as one.
    """
    groups = answers(posterior, same)
    worth = utility or (lambda action, truth: float(same(action, truth)))
    listed = [group.value for group in groups] if actions is None else list(actions)
    if not listed and abstain is None:
        raise ValueError("decide() needs an action to choose, or abstain= for doing nothing")
    expected = [math.fsum(group.share * worth(action, group.value) for group in groups) for action in listed]
    top = max(expected, default=-math.inf)
    if abstain is not None and top < abstain:
        return Decision(None, abstain, True)
    return Decision(listed[expected.index(top)], top, False)
