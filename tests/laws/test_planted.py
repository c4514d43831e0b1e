"""Every planted bug is caught by the law it breaks, and the same check passes what has no bug."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .planted import HEADINGS, Finding, PlantedBug, planted, to_markdown, try_out


@pytest.mark.parametrize("bug", planted(), ids=lambda bug: f"{bug.number}-{bug.name.replace(' ', '-')}")
def test_caught(bug: PlantedBug) -> None:
    finding = try_out(bug)
    print(" | ".join(finding.row))  # pytest -s shows them; python -m tests.laws.planted prints the table
    assert not finding.wronged, f"the check fails without the bug too: {finding.wronged}"
    assert tuple(finding.missed) == bug.hides_at
    assert finding.caught


def test_all_of_the_list_are_there() -> None:
    assert {bug.number for bug in planted()} == set(range(1, 20))


def test_some_hide_from_two_particles_and_not_from_three() -> None:
    assert [bug.number for bug in planted() if 2 in bug.hides_at and 3 in bug.sizes and 3 not in bug.hides_at]


@dataclass
class Verdict:
    holds: bool
    law: str = "a | b"
    exact: bool = True
    error: float = 0.125

    def __bool__(self) -> bool:
        return self.holds


def test_the_table_says_where_a_bug_was_found_and_where_it_hid() -> None:
    bug = PlantedBug(
        99, "tests", "here", make=lambda n: Verdict(n < 3), right=lambda n: Verdict(True), check=lambda v: v
    )
    finding = try_out(bug)
    assert (list(finding.caught), list(finding.missed), finding.wronged) == ([3], [1, 2], {})
    assert finding.row == ("99", "tests", "here", "exactly", "a | b", "3", "1, 2", "0.12")
    table = to_markdown([finding])
    assert "a \\| b" in table and len(table.splitlines()) == 3 and table.count(HEADINGS[1]) == 1
    assert Finding(bug, {}, {1: Verdict(True)}, {}).row[3] == "not at all"


def test_a_check_that_fails_without_the_bug_is_no_check() -> None:
    bug = PlantedBug(99, "tests", "here", lambda n: Verdict(False), lambda n: Verdict(n > 1), lambda v: v)
    assert list(try_out(bug).wronged) == [1]
