"""What the passes did to a program, as text for its author."""

from __future__ import annotations

from collections.abc import Iterator

from ..names import Names
from .base import Step
from .bought import bought
from .pipeline import Optimised


def explain(result: Optimised) -> str:
    """The passes in their order, with what each bought, did, could not do and why; then the IR that came out.

    Args:
        result: of a pipeline.
    """
    from ..printer import to_text

    lines = [f"{result.program.name} ({result.program.span})"]
    for number, step in enumerate(result.steps, 1):
        lines += _step(number, step, result.names)
    if not result.steps:
        lines.append("no passes")
    return "\n".join(lines) + "\n\n" + to_text(result.program)


def _step(number: int, step: Step, names: Names) -> Iterator[str]:
    made = [remark for remark in step.remarks if remark.kind == "applied"]
    missed = [remark for remark in step.remarks if remark.kind == "missed"]
    count = f"{len(made)} done, {len(missed)} not" if step.remarks else "nothing to do"
    yield f"{number}. {step.pass_.name} (keeps {step.pass_.level.name}): {count}"
    gains = bought(step, names)
    if gains:
        yield f"   bought: {'; '.join(gains)}"
    for remark in sorted([*made, *missed], key=lambda r: (r.span.line, r.kind)):
        yield f"   {remark}"
        if remark.span.text:
            yield f"       {remark.span.text}"
