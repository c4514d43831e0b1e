"""Requests of one run that go side by side mean the same as one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from ppl import SMC, ProgramError, ProposalSite, call, condition, dist, infer, observe, program, sample, table_lm
from ppl.certificate import validate
from ppl.compiler.requests import Gather, each

lm = table_lm(["a", "b", "<eos>"], eos="<eos>", seed=5)
rows_seen: list[int] = []


def lengths(texts: list[str]) -> list[int]:
    rows_seen.append(len(texts))
    return [len(text) for text in texts]


@program
def panel(n: int) -> tuple[Any, ...]:
    x = sample(lm.context("a").token(temperature=0.5))
    y = sample(lm.context("b").text(stop="a", max_tokens=2))
    zs = [sample(lm.context("a" * (i + 1)).choice(["a", "ba"])) for i in range(n)]
    observe(lm.context(x).choice(["a", "b"]), "b")
    observe(lm.context(y).choice(["a", "b"], temperature=2.0), "a")
    ms = [call(lengths, z) for z in zs]
    return x, y, tuple(zs), sum(ms)


def test_the_same_run_from_the_same_seed() -> None:
    for method in ("importance", "smc"):
        plain = infer(panel, 3, method=method, n=8, seed=3, passes=[])
        batched = infer(panel, 3, method=method, n=8, seed=3)
        if method == "importance":
            assert [r.value for r in plain.runs] == [r.value for r in batched.runs]
            assert [r.trace for r in plain.runs] == [r.trace for r in batched.runs]
            assert plain.log_evidence == pytest.approx(batched.log_evidence, abs=1e-12)
            assert [r.log_joint for r in plain.runs] == pytest.approx([r.log_joint for r in batched.runs])
        assert batched.cost.forwards < plain.cost.forwards
        assert batched.cost.model_calls == plain.cost.model_calls


def test_one_round_trip_for_all_rows_of_all_particles() -> None:
    rows_seen.clear()
    infer(panel, 3, method="importance", n=4, seed=1)
    assert rows_seen == [12]


def test_populations_keep_their_law() -> None:
    @program
    def pair() -> tuple[str, str]:
        x = sample(lm.context("a").choice(["a", "ba"]))
        y = sample(lm.context("b").choice(["a", "ba"]))
        observe(lm.context(x + y).choice(["a", "b"]), "a")
        observe(lm.context(y + x).choice(["a", "b"]), "b")
        return x, y

    assert "asked for together" in pair.explain()
    assert validate(pair.with_passes(), method=SMC(ess_threshold=1.0), n=(1, 2))


def test_a_death_among_them_is_the_runs() -> None:
    @program
    def doomed() -> str:
        x = sample(lm.context("a").choice(["a", "ba"]))
        observe(lm.context("a").token(top_k=1), "b")
        observe(lm.context("b").token(top_k=1), "a")
        condition(x == "a")
        return x

    plain = infer(doomed, method="importance", n=8, seed=2, passes=[])
    batched = infer(doomed, method="importance", n=8, seed=2)
    assert not plain.runs and not batched.runs
    assert sum(d.count for d in batched.deaths) == 8


def test_an_error_names_its_own_line() -> None:
    @program
    def wrong() -> tuple[str, str]:
        x = sample(lm.context("a").token())
        y = sample(7)
        return x, y

    with pytest.raises(ProgramError, match="needs a distribution, got int 7") as caught:
        infer(wrong, method="importance", n=1, passes=["batch"])
    assert caught.value.span is not None and caught.value.span.text == "y = sample(7)"


def test_computed_names_are_checked() -> None:
    @program
    def twice(name: str) -> tuple[str, str]:
        x = sample(lm.context("a").token(), name=f"{name}")
        y = sample(lm.context("b").token(), name=f"{name}")
        return x, y

    with pytest.raises(ProgramError, match="was used before"):
        infer(twice, "z", method="importance", n=1)


def test_proposals_see_the_variables() -> None:
    @program
    def guided(bias: float) -> tuple[str, str, float]:
        x = sample(lm.context("a").choice(["a", "ba"]))
        y = sample(lm.context("b").choice(["a", "ba"]))
        return x, y, bias

    def propose(site: ProposalSite) -> Any:
        assert site.variables["bias"] == 0.25
        return lm.context("ab").choice(["a", "ba"])

    options: dict[str, Any] = {"proposals": {"y": propose}, "method": "importance", "n": 200, "seed": 0}
    plain, batched = infer(guided, 0.25, passes=[], **options), infer(guided, 0.25, passes="default", **options)
    assert [r.value for r in plain.runs] == [r.value for r in batched.runs]
    assert plain.log_evidence == pytest.approx(batched.log_evidence)


def test_rows_of_requests() -> None:
    from ppl.compiler import Site, Span
    from ppl.compiler.requests import Sample

    site = Site("sample", "x", 2, "p", Span("f", 1))
    found = each(Sample, site, (7,), distribution=[dist.flip(0.5), dist.flip(0.1)])
    assert isinstance(found, Gather)
    assert [ask.local_address for ask in found.asks] == ["x[7][0]", "x[7][1]"]
    assert each(Sample, site, (7,), distribution=[]).asks == []
