"""When to look at a population that only grows."""

from __future__ import annotations


class Looks:
    """Spaces looks at a growing population out, so that all together cost no more than what it grew by.

    A look costs as much as the population is large. One after each step would make the cost of n steps grow with n².
    """

    SHARE = 16

    def __init__(self) -> None:
        self._since = 0

    def due(self, new: int, size: int) -> bool:
        """Whether to look now: after each step while it is small, later whenever it has grown by a sixteenth.

        Args:
            new: how much was done since this was asked last.
            size: how large the population is now.
        """
        self._since += new
        if self._since * self.SHARE < size:
            return False
        self._since = 0
        return True
