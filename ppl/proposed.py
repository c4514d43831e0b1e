"""A program together with proposals for its sites: what a certificate of ``infer(..., proposals=...)`` is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .infer import check_proposals, under
from .program import Program
from .running import Proposals
from .runtime.particle import Fixed


class Proposed(Program):
    """A program that is run under proposals wherever a check runs it. They change no measure, so it means the same.

    Args:
        program: the program.
        proposals: as for ``infer``.

    Raises:
        TypeError, ValueError: they make no sense for this program.
    """

    def __init__(self, program: Program, proposals: Proposals) -> None:
        check_proposals(program, proposals)
        program = under(program, None, (), proposals)
        super().__init__(program.function, program.fixed, program.compiler, program.pipeline)
        self.proposals = proposals

    def _like(self, function: Callable[..., Any], fixed: Mapping[str, Fixed] | None, pipeline: Any) -> Proposed:
        return Proposed(Program(function, fixed, self.compiler, pipeline), self.proposals)


def proposals_of(program: Program) -> Proposals:
    """What a program is to be run under."""
    return program.proposals if isinstance(program, Proposed) else None
