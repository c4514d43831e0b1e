"""A proposal for any site that looks at the present value: with it all that takes ``proposals=`` is certified."""

from __future__ import annotations

from typing import Any

from ..distributions import Restricted, as_distribution
from ..follow import MoveSite


def leaning(site: MoveSite) -> Any:
    """The site's own law, but with the present value twice as probable against any other; texts as the program draws
    them.

    A move that takes this density for the program's own, or that looks at the wrong present value on the way back, has
    another invariant law.
    """
    local = as_distribution(site.distribution)
    outcomes = None if local is None else local.support()
    if not outcomes:
        return site.drawn_from
    return Restricted([(value, log_p + (LEAN if value == site.value else 0.0)) for value, log_p in outcomes])


LEAN = 0.6931471805599453
"""log 2."""
