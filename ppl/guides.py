"""Which programs can guide which."""

from __future__ import annotations

from .program import Program

_WEIGHING = ("observe", "factor", "condition", "twist")


def check_guide(program: Program, guide: Program) -> None:
    """Refuse a guide that weighs, or that samples nothing which the program samples.

    Raises:
        ValueError: naming the sites.
    """
    weighing = [site for site in guide.sites if site.kind in _WEIGHING]
    if weighing:
        raise ValueError(
            f"a guide draws and weighs nothing, but {guide.name} has {weighing[0].kind} at {weighing[0].span}; "
            f"evidence belongs into {program.name}"
        )
    if any(site.kind == "program" or site.dynamic for site in (*program.sites, *guide.sites)):
        return
    known = dict.fromkeys(site.pattern for site in program.sites if site.kind == "sample")
    drawn = dict.fromkeys(site.pattern for site in guide.sites if site.kind == "sample")
    if not any(pattern in known for pattern in drawn):
        raise ValueError(
            f"the guide {guide.name} samples {', '.join(drawn) or 'nothing'}, none of which {program.name} samples: "
            f"it has {', '.join(known) or 'none'}. A guide proposes for sites of the same names, in as many loops"
        )
