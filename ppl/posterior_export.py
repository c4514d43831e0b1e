"""A posterior as JSON can hold it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .posterior_values import to_jsonable
from .runtime.result import Death, Generation, Run

if TYPE_CHECKING:
    from .posterior import Posterior

FORMAT = 1  # goes up when a reader of the old form would misread the new one


def posterior_dict(posterior: Posterior) -> dict[str, Any]:
    """Everything in a posterior, out of dicts, lists, strings, numbers, booleans and None."""
    runs = posterior.runs
    document = {
        "format": FORMAT,
        "program": posterior.program,
        "method": posterior.method,
        "guarantee": posterior.guarantee,
        "seed": posterior.seed,
        "particles": posterior.n,
        "empty": posterior.empty,
        "incomplete": posterior.incomplete,
        "log_evidence": posterior.result.log_evidence,
        "ess": posterior.ess,
        "distinct": posterior.distinct,
        "distribution": [] if posterior.empty else _answers(posterior),
        "runs": [_run(run, weight) for run, weight in zip(runs, runs.weights, strict=True)],
        "history": [_generation(generation) for generation in posterior.history],
        "deaths": [_death(death) for death in posterior.deaths],
        "cost": dataclasses.asdict(posterior.cost),
    }
    plain: dict[str, Any] = to_jsonable(document)
    return plain


def _answers(posterior: Posterior) -> list[dict[str, Any]]:
    found = posterior.distribution()
    return [
        {
            "value": to_jsonable(value),
            "probability": p,
            "standard_error": found.standard_errors[value],
            "runs": found.counts[value],
        }
        for value, p in found.items()
    ]


def _run(run: Run, weight: float) -> dict[str, Any]:
    trace = [
        {"address": c.address, "value": to_jsonable(c.value), "log_prob": c.log_prob, "observed": c.observed}
        for c in run.trace
    ]
    return {
        "value": to_jsonable(run.value),
        "weight": weight,
        "log_weight": run.log_weight,
        "log_joint": run.log_joint,
        "trace": trace,
    }


def _generation(generation: Generation) -> dict[str, Any]:
    return {field.name: getattr(generation, field.name) for field in dataclasses.fields(generation)}


def _death(death: Death) -> dict[str, Any]:
    site = death.site
    return {
        "site": site.name,
        "kind": site.kind,
        "program": site.program,
        "at": str(site.span),
        "file": site.span.file,
        "line": site.span.line,
        "source": site.span.text,
        "count": death.count,
        "error": death.error,
    }
