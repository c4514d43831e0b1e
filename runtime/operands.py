"""What effects are given: reading it, checking it, and saying what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

from ..compiler.errors import Span
from ..compiler.requests import Ask, Observe, Sample, Site
from .distributions import Distribution, Restricted, as_distribution, is_distribution
from .engines.base import ModelDistribution, Request
from .errors import ProgramError, short
from .particle import Particle
from .undrawn import forgotten
from .waiting import Entry


@dataclass(frozen=True, slots=True)
class ProposalSite:
    """What a proposal may look at: the argument of the functions in ``infer(..., proposals={name: function})``.

    Attributes:
        address: the site's address.
        distribution: the site's own distribution.
        variables: the program's variables that are needed after this site, by name.
    """

    address: str
    distribution: Any
    variables: Mapping[str, Any]

    def __getattr__(self, name: str) -> NoReturn:
        """Say of a present value, which a ``MoveSite`` has, where proposals that look at it go."""
        if name != "value":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise AttributeError(
            f"a proposal of infer(proposals=...) draws {self.address!r} for the first time: there is no present value. "
            "What looks at one is for moves: SingleSite(proposals=...), or parameter_proposals= of pmmh and smc2"
        )


Proposal = Callable[[ProposalSite], Any]


def where(error: Exception) -> Site:
    """The line of the program that an exception came through: the block right below the machine."""
    place = error.__traceback__
    if place is None:
        return Site("exception", "", 0, "", Span("", 0))
    ours = (place.tb_frame.f_code.co_filename, Entry.__call__.__code__.co_filename)
    while place.tb_next is not None and place.tb_frame.f_code.co_filename in ours:
        place = place.tb_next
    code = place.tb_frame.f_code
    return Site("exception", type(error).__name__, 0, code.co_name, Span(code.co_filename, place.tb_lineno))


class Variables(dict[str, Any]):
    """The variables of a suspended program; an unknown name lists those there are."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"no variable {name!r} is needed after this site; there are {', '.join(self) or 'none'}")


def at_once(ask: Ask) -> bool:
    """Whether a request surely needs no engine, unless a proposal from outside does."""
    if type(ask) is Sample and ask.proposal is not None:
        return False
    return as_distribution(getattr(ask, "distribution", None)) is not None


def variables(particle: Particle) -> Mapping[str, Any]:
    """The program's variables that a suspended particle holds, by name."""
    code = particle.block.__code__
    names = code.co_varnames[: code.co_argcount][-len(particle.live) :] if particle.live else ()
    return Variables((n, v) for n, v in zip(names, particle.live, strict=True) if not n.startswith("·"))


def proposed(make: Proposal, site: ProposalSite, ask: Ask) -> Any:
    """What a function given as a proposal returns.

    Raises:
        ProgramError: it is no distribution.
    """
    found = make(site)
    if isinstance(found, ModelDistribution) or as_distribution(found) is not None:
        return found
    raise ProgramError(
        f"the proposal for {site.address!r} returned {type(found).__name__} {short(found)}; it returns a distribution, "
        f"as in proposals={{{ask.site.name!r}: lambda site: ppl.dist.flip(0.5)}}",
        ask.site.span,
    )


@runtime_checkable
class Covers(Protocol):
    """A distribution that tells what a mixture of proposals for it leaves out."""

    def missed_by(self, proposals: Sequence[Any]) -> str | None: ...


def uncovered(ask: Ask, address: str, prior: Distribution | ModelDistribution, proposal: Any) -> str | None:
    """What a proposal surely can't produce though the site can, in words; ``None``: nothing that is known.

    The evidence would come out too small, unless the program rules that out.
    """
    if isinstance(proposal, Restricted):  # what it leaves out, the program rules out
        return None
    if isinstance(prior, Covers) and (missed := prior.missed_by(_components(proposal))) is not None:
        return (
            f"the proposal at {address!r} {missed}: weights can't make up for what is never drawn. Let it give all "
            "that the distribution gives, or mix both: dist.defensive(proposal, distribution)"
        )
    if not isinstance(prior, Distribution):
        return None
    outcomes = prior.support()
    if outcomes is None or not isinstance(proposal, Distribution) or proposal.support() is None:
        return None
    for value, log_prob in outcomes:
        if density(proposal, value, ask) == -math.inf:
            return (
                f"the proposal at {address!r} never gives {short(value)}, which the distribution gives with "
                f"probability {math.exp(log_prob):.3g}; give every outcome of the distribution some probability"
            )
    return None


def _components(proposal: Any) -> list[Any]:
    """What a proposal is a mixture of; itself, if it is none."""
    parts = getattr(proposal, "components", None)
    return [proposal] if parts is None else [component for part in parts for component in _components(part)]


def given_distribution(ask: Ask, value: Any) -> Distribution:
    """``value`` as a distribution of this process.

    Raises:
        ProgramError: it is none, with what to write instead.
    """
    found = as_distribution(value)
    if found is not None:
        return found
    if isinstance(ask, Sample) and value is ask.proposal and value is not ask.distribution:
        named = f"; a name is given by sample(distribution, name={value!r})" if isinstance(value, str) else ""
        raise ProgramError(
            f"the second argument of sample() is a proposal, a distribution to draw from: {type(value).__name__} "
            f"{short(value)} is none{named}",
            ask.site.span,
        )
    remedy = "write for example ctx.line(), ppl.dist.flip(0.5) or torch.distributions.Normal(0., 1.)"
    other = getattr(ask, "proposal", getattr(ask, "value", None))
    if isinstance(other, ModelDistribution) or as_distribution(other) is not None:
        remedy = "the distribution comes first: " + (
            f"sample(distribution, name={value!r})" if type(ask) is Sample else "observe(distribution, value)"
        )
    raise ProgramError(
        f"{ask.site.kind}() needs a distribution, got {type(value).__name__} {short(value)}; {remedy}", ask.site.span
    )


def scoring(distribution: ModelDistribution, value: Any, ask: Ask) -> Request:
    try:
        return distribution.score(value)
    except (TypeError, ValueError) as error:
        raise ProgramError(f"{ask.site.kind} {ask.local_address!r}: {error}", ask.site.span) from error


def as_drawn(distribution: Any, value: Any, ask: Ask, proposed: bool = False) -> Any:
    """A value from outside, or from a proposal, as the program would have got it, had it been drawn."""
    if not isinstance(distribution, ModelDistribution):
        return value
    try:
        return distribution.as_proposed(value) if proposed else distribution.as_drawn(value)
    except (TypeError, ValueError) as error:
        raise ProgramError(f"{ask.site.kind} {ask.local_address!r}: {error}", ask.site.span) from error


def density(distribution: Distribution, value: Any, ask: Ask) -> float:
    """The log-density of a value.

    Raises:
        ProgramError: there is none; or the value is NaN, as what is missing in data often is, and can't be drawn.
    """
    try:
        found = distribution.log_prob(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ProgramError(
            f"{ask.site.kind} {ask.local_address!r}: no density of {short(distribution)} at {short(value)} ({error})",
            ask.site.span,
        ) from error
    if not found > -math.inf and type(ask) is Observe and isinstance(value, float) and value != value:
        raise ProgramError(
            f"{ask.site.kind} {ask.local_address!r}: the value is nan, which {short(distribution)} can't give; leave "
            "missing data out, or sample() them",
            ask.site.span,
        )
    return found


def truth(ask: Ask) -> bool:
    holds = ask.holds  # type: ignore[attr-defined]
    if is_distribution(holds):
        raise ProgramError(f"condition() needs true or false: {forgotten(holds)}", ask.site.span)
    try:
        return bool(holds)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ProgramError(f"condition() needs true or false, got {short(holds)} ({error})", ask.site.span) from None


def number(value: Any, ask: Ask, word: str) -> float:
    try:
        return float(value)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        told = forgotten(value) if is_distribution(value) else f"got {short(value)}"
        raise ProgramError(f"{word}() needs a number: {told}", ask.site.span) from None
