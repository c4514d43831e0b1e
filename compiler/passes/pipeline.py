"""Which passes run, in which order, and what they did to a program."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from .. import ir
from ..facts import Facts
from ..link import Compiled, link_ir
from ..names import Names
from ..verify import verify
from .base import Info, Level, Pass, Remark, Step

DEBUG = bool(os.environ.get("PPL_DEBUG"))
"""Whether the verifier runs after every pass."""


@dataclass(frozen=True)
class Pipeline:
    """Passes in their order, and what they must leave.

    Attributes:
        passes: the passes.
        keep: the addresses that users ask for, or ``*`` for all. Only passes below JOINT look at it. They keep a site
            if its name turns up in any of the addresses, whatever the loops and programs around it.
        observed: the names of the samples that are given from outside, and so may rule runs out.
    """

    passes: tuple[Pass, ...] = ()
    keep: frozenset[str] = frozenset()
    observed: frozenset[str] = frozenset()

    @property
    def level(self) -> Level:
        """What the whole pipeline preserves: as much as the weakest of its passes."""
        return max((p.level for p in self.passes), default=Level.TRACE)

    @property
    def kept_names(self) -> frozenset[str]:
        """The names in ``keep``, without counters."""
        return _names(self.keep)

    def keeping(self, addresses: Iterable[str]) -> Pipeline:
        """The pipeline that leaves more addresses."""
        return replace(self, keep=self.keep | frozenset(addresses)) if self.level > Level.JOINT else self

    def observing(self, addresses: Iterable[str]) -> Pipeline:
        """The pipeline for programs in which more samples are given."""
        return replace(self, observed=self.observed | _names(addresses)) if self.passes else self

    def run(self, program: ir.Program, names: Names, debug: bool | None = None) -> Optimised:
        """Run the passes.

        Args:
            program: verified IR.
            names: what its outside names stand for.
            debug: verify the IR before the passes and after each; by default as ``DEBUG`` says.

        Raises:
            InvalidIR: a pass broke the IR's rules.
        """
        debug = DEBUG if debug is None else debug
        if debug:
            verify(program)
        steps = []
        kept = self.kept_names
        facts = Facts(program, names, self.observed)
        for each in self.passes:
            if facts.program is not program:
                facts = facts.renewed(program)
            new, remarks = each.run(program, Info(facts, kept))
            if new is not program and debug:
                verify(new)
            steps.append(Step(each, program, new, tuple(remarks)))
            program = new
        if not debug and any(step.before is not step.after for step in steps):
            verify(program)
        return Optimised(program, tuple(steps), names)


def _names(addresses: Iterable[str]) -> frozenset[str]:
    """The names in addresses, without counters."""
    return frozenset(re.sub(r"(\[\d+\])*$", "", part) for address in addresses for part in address.split("/"))


@dataclass(frozen=True)
class Optimised:
    """What a pipeline made of a program.

    Attributes:
        program: the IR in the end.
        steps: what each pass did.
        names: what was looked up on the way; the result is only good as long as that holds.
    """

    program: ir.Program
    steps: tuple[Step, ...]
    names: Names = field(repr=False)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """All remarks, in the order of the passes."""
        return tuple(remark for step in self.steps for remark in step.remarks)

    @property
    def changed(self) -> bool:
        """Whether any pass did anything."""
        return any(step.before is not step.after for step in self.steps)


def optimise(
    fn: Callable[..., Any], plain: Compiled, pipeline: Pipeline, debug: bool | None = None
) -> tuple[Compiled, Optimised]:
    """Send a compiled function through a pipeline.

    Args:
        fn: the plain function.
        plain: what was compiled from it.
        pipeline: the passes.
        debug: as for ``Pipeline.run``.

    Raises:
        InvalidIR: a pass broke the IR's rules.
    """
    key = (plain.ir, pipeline, bool(DEBUG if debug is None else debug))
    result = _cache.get(key)
    if result is None or not result.names.hold_for(fn):
        if len(_cache) >= _CACHED:
            _cache.clear()
        result = _cache[key] = pipeline.run(plain.ir, Names(fn), debug)
    return (link_ir(fn, result.program) if result.changed else plain), result


# A nested @program is rewritten once, however often the definition around it runs.
_cache: dict[tuple[ir.Program, Pipeline, bool], Optimised] = {}
_CACHED = 1024
