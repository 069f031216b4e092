"""docs/decisions: each decision has an id, all its fields and one place; what cites it is right."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/decisions"
SUBJECTS = ("engine", "wire", "pixels", "export", "training", "house")
MOST_LINES = 8
CITED = re.compile(r"(?<![\w-])D-(\d+)\b")
LINKED = re.compile(r"\[D-(\d+)\]\(([\w.]*)#d-(\d+)\)")
HEAD = re.compile(
    r"\*\*Date\*\* (?P<date>\d{4}-\d\d-\d\d) · \*\*Subject\*\* (?P<subject>\w+) · "
    r"\*\*Status\*\* (?:standing|superseded by \[D-(?P<after>\d+)\]\([\w.]*#d-\d+\))"
    r"(?P<trials> · \[trials\]\(trials\.md#d-\d+\))?"
)
ROW = re.compile(
    r"\| \[D-(\d+)\]\((\w+)\.md#d-(\d+)\) \| (\S+) \| (\w+) \| ([^|]+) \| (.+) \|", re.MULTILINE
)


class Decision(NamedTuple):
    """One section of a page."""

    number: int
    page: str
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]

    @property
    def head(self) -> re.Match[str]:
        found = HEAD.fullmatch(self.lines[0])
        assert found, f"D-{self.number} does not begin with date, subject and status"
        return found

    @property
    def question(self) -> str:
        part = self.text.partition("**Question** ")[2].partition("**Number** ")[0]
        return " ".join(LINKED.sub(r"D-\1", part).split())


def sections(page: str) -> list[Decision]:
    """The decisions of a page, in its order."""
    parts = re.split(r"^## D-(\d+)\n", (FOLDER / page).read_text("utf-8"), flags=re.MULTILINE)
    return [
        Decision(int(number), page.removesuffix(".md"), text)
        for number, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


DECISIONS = {each.number: each for subject in SUBJECTS for each in sections(f"{subject}.md")}
TRIALS = {each.number: each for each in sections("trials.md")}
INDEX = ROW.findall((FOLDER / "index.md").read_text("utf-8"))


def test_ids_are_unique_and_contiguous() -> None:
    numbers = [each.number for subject in SUBJECTS for each in sections(f"{subject}.md")]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_page_is_in_order_and_holds_its_subject_alone(subject: str) -> None:
    page = sections(f"{subject}.md")
    assert page
    assert [each.number for each in page] == sorted(each.number for each in page)
    assert {each.head["subject"] for each in page} == {subject}


def test_ids_are_in_order_of_date() -> None:
    dates = [DECISIONS[number].head["date"] for number in sorted(DECISIONS)]
    assert dates == sorted(dates)


@pytest.mark.parametrize("number", sorted(DECISIONS))
def test_a_decision_has_all_fields_and_is_short(number: int) -> None:
    decision = DECISIONS[number]
    assert len(decision.lines) <= MOST_LINES
    starts = [line.split("** ")[0] for line in decision.lines if line.startswith("**")]
    assert starts == ["**Date", "**Question", "**Number", "**Choice"]
    assert all(len(line) <= 130 for line in decision.lines)


@pytest.mark.parametrize("number", sorted(DECISIONS))
def test_what_supersedes_a_decision_exists_and_came_later(number: int) -> None:
    if (after := DECISIONS[number].head["after"]) is not None:
        assert int(after) in DECISIONS
        assert int(after) > number


def test_trials_and_decisions_name_each_other() -> None:
    assert {each.number for each in DECISIONS.values() if each.head["trials"]} == TRIALS.keys()
    for number, decision in DECISIONS.items():
        if decision.head["trials"]:
            assert f"(trials.md#d-{number})" in decision.lines[0]
            assert f"[D-{number}]({decision.page}.md#d-{number})" in TRIALS[number].text


def test_index_and_pages_agree() -> None:
    assert [int(row[0]) for row in INDEX] == sorted(DECISIONS)
    for number, page, anchor, date, subject, status, question in INDEX:
        decision = DECISIONS[int(number)]
        after = decision.head["after"]
        assert (number, page, date, subject) == (
            anchor,
            decision.page,
            decision.head["date"],
            decision.head["subject"],
        )
        assert status == ("standing" if after is None else f"superseded by D-{after}")
        assert question == decision.question


@pytest.mark.parametrize("page", [*SUBJECTS, "trials", "index"])
def test_a_link_to_a_decision_goes_to_its_page(page: str) -> None:
    for number, path, anchor in LINKED.findall((FOLDER / f"{page}.md").read_text("utf-8")):
        assert number == anchor
        assert (path.removesuffix(".md") or page) == DECISIONS[int(number)].page


def cited() -> dict[int, set[str]]:
    """Every D-n of the tree outside of the pages themselves, and the files that name it."""
    listing = subprocess.run(
        ["git", "grep", "-I", "-l", "-E", "D-[0-9]+", "--", ":!docs/decisions", ":!tests/vectors"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[int, set[str]] = {}
    for name in listing.stdout.splitlines():
        if (ROOT / name).is_file():
            for number in CITED.findall((ROOT / name).read_text("utf-8")):
                found.setdefault(int(number), set()).add(name)
    return found


def test_every_decision_that_is_cited_exists() -> None:
    places = cited()
    assert places, "code cites decisions"
    assert {number: names for number, names in places.items() if number not in DECISIONS} == {}
