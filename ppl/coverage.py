"""Whether a proposal can write all that a distribution of a model can: if not, the weights don't make up for it.

A mixture is told by its components: what one of them leaves out, another may give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .runtime.distributions import Distribution

if TYPE_CHECKING:
    from .text_distributions import ChoiceDistribution, TextDistribution


def missed_texts(target: TextDistribution, proposals: Sequence[Any]) -> str | None:
    """What a mixture of proposals surely never gives of a distribution of text; ``None`` if it may give everything.

    Only what they say of themselves is compared, not their probabilities. A constraint of a proposal's does not count:
    the program is to rule out the same texts.
    """
    missed = [_missed_texts(target, proposal) for proposal in proposals]
    return None if None in missed else missed[0]


def _missed_texts(target: TextDistribution, proposal: Any) -> str | None:
    from .text_distributions import TextDistribution

    if not isinstance(proposal, TextDistribution):
        return None
    mine, other = target.spec, proposal.spec
    if set(mine.stop) != set(other.stop):
        return f"ends at stop={list(other.stop)!r}, the distribution at stop={list(mine.stop)!r}"
    if mine.max_tokens != other.max_tokens:
        return f"ends after max_tokens={other.max_tokens}, the distribution after max_tokens={mine.max_tokens}"
    if other.temperature == 0.0 and mine.temperature > 0.0 and mine.top_k != 1:
        return "always takes the most probable token (temperature=0)"
    vocabulary = proposal.lm.model.vocab_size
    kept = vocabulary if mine.top_k is None else mine.top_k
    if mine.top_p == 1.0 and other.top_k is not None and other.top_k < min(kept, vocabulary):
        return f"keeps top_k={other.top_k} tokens, the distribution {mine.top_k or 'all'}"
    if mine.top_p == 1.0 and mine.top_k is None and other.top_p < 1.0:
        return f"keeps the tokens of top_p={other.top_p}, the distribution all"
    same = (mine.temperature, mine.top_k, target.context) == (other.temperature, other.top_k, proposal.context)
    if same and other.top_p < mine.top_p:
        return f"keeps the tokens of top_p={other.top_p}, the distribution those of top_p={mine.top_p}"
    return None


def missed_options(target: ChoiceDistribution, proposals: Sequence[Any]) -> str | None:
    """The same for a choice among texts."""
    if target.among is not None:
        return None
    given: set[str] = set()
    sure: list[str] = []
    for proposal in proposals:
        found = _options(target, proposal)
        if found is None:
            return None
        if isinstance(found, str):
            sure.append(found)
        else:
            given |= found
    if len(sure) == len(proposals):
        return sure[0]
    missing = next((option for option in target.options if str(option) not in given), None)
    return None if missing is None else f"never gives {str(missing)!r}"


def _options(target: ChoiceDistribution, proposal: Any) -> set[str] | str | None:
    """What a proposal gives; words for why it gives but one, and it is not known which; ``None`` if that is unknown."""
    from .text_distributions import ChoiceDistribution

    if isinstance(proposal, ChoiceDistribution):
        if proposal.among is not None:  # what it leaves out, the program rules out
            return None
        given = {str(option) for option in proposal.options}
        if proposal.temperature == 0.0 and target.temperature > 0.0 and len(given) > 1:
            return "always takes the most probable option (temperature=0)"
        return given
    if isinstance(proposal, Distribution) and (outcomes := proposal.support()) is not None:
        return {value for value, _ in outcomes if isinstance(value, str)}
    return None
