"""Every planted bug is caught by the law it breaks, and the same check passes what has no bug."""

from __future__ import annotations

import pytest

from .planted import Finding, PlantedBug, planted, to_markdown, try_out

_findings: list[Finding] = []


@pytest.mark.parametrize("bug", planted(), ids=lambda bug: f"{bug.number}-{bug.name.replace(' ', '-')}")
def test_caught(bug: PlantedBug) -> None:
    finding = try_out(bug)
    _findings.append(finding)
    assert not finding.wronged, f"the check fails without the bug too: {finding.wronged}"
    assert tuple(finding.missed) == bug.hides_at
    assert finding.caught


def test_the_table() -> None:
    print("\n" + to_markdown(sorted(_findings, key=lambda f: f.bug.number)))  # pytest -s shows it
