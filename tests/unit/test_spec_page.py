"""The specification and what points at it: every cited heading exists, all citations have one form,
and the pages' tables are what the policy says.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import policy_tables
from epochgate.core.verdict import Reason

REPOSITORY = Path(__file__).parents[2]
SPEC = REPOSITORY / "docs" / "spec.md"
PAGE = SPEC.read_text()
SECTIONS = 10

CITATION = re.compile(r"\bspec\.md#([\w-]+)")
OTHER_FORMS = re.compile(
    r"\bSPEC\b|\bDESIGN\b|spec\.md[`)]*,? +(?:section|chapter)|section +\d+ +of +\S*spec\.md"
)
FOLDERS = (".ci", ".github", "benchmarks", "deploy", "docs", "examples", "src", "tests")
TEXTS = {".md", ".py", ".service", ".toml", ".yaml", ".yml"}
BROUGHT = {"node_modules", "__pycache__"}
"""Folders that an installation makes."""


def list_texts() -> list[Path]:
    """What is in the repository that a person reads."""
    files = [file for file in REPOSITORY.iterdir() if file.is_file()]
    files += [file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*.*")]
    return [
        file
        for file in files
        if (file.suffix in TEXTS or file.name == "Makefile") and not BROUGHT & set(file.parts)
    ]


def find_prose(path: Path) -> str:
    """All of a document; the comments and strings of a program, since a constant may have any
    name.
    """
    text = path.read_text()
    if path.suffix != ".py":
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(
        token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING)
    )


def list_anchors(page: str) -> set[str]:
    """The names by which links reach a page's headings, on GitHub and on the site alike."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def find_citations() -> Iterator[tuple[str, str]]:
    """(file, heading) of each citation of the specification."""
    for path in list_texts():
        for heading in CITATION.findall(find_prose(path)):
            yield path.relative_to(REPOSITORY).as_posix(), heading


def test_the_sections_are_numbered_from_one_to_ten() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)]
    assert numbers == list(range(1, SECTIONS + 1))


def test_every_cited_section_exists() -> None:
    anchors = list_anchors(PAGE)
    citations = list(find_citations())
    assert {file for file, _ in citations} >= {
        "src/epochgate/core/scoring.py",
        "docs/adr/0007-hypertensor.md",
    }
    assert [(file, heading) for file, heading in citations if heading not in anchors] == []


def test_nothing_cites_the_specification_in_another_form() -> None:
    own = Path(__file__)
    others = {
        path.relative_to(REPOSITORY).as_posix(): found
        for path in list_texts()
        if path != own and (found := OTHER_FORMS.findall(find_prose(path)))
    }
    assert others == {}


@pytest.mark.parametrize(
    "citation",
    ["SPEC section 5", "(SPEC 4)", "DESIGN, how a verdict is reached", "docs/spec.md, section 5"],
)
def test_another_form_is_found(citation: str) -> None:
    assert OTHER_FORMS.search(citation)


@pytest.mark.parametrize("page", policy_tables.PAGES, ids=lambda page: page.name)
def test_a_pages_tables_are_what_the_policy_says(page: Path) -> None:
    text = page.read_text()
    assert policy_tables.MARKED.search(text)
    assert text == policy_tables.fill(text), "run `make docs-tables`"


def test_every_table_stands_in_a_page() -> None:
    pages = "".join(page.read_text() for page in policy_tables.PAGES)
    shown = [match["name"] for match in policy_tables.MARKED.finditer(pages)]
    assert sorted(shown) == sorted(policy_tables.TABLES)


def test_a_table_that_differs_is_replaced() -> None:
    begin = "<!-- policy-table blocks: begin -->\n"
    end = "<!-- policy-table blocks: end -->"
    filled = policy_tables.fill(f"before\n{begin}an old table\n{end}\nbehind\n")
    assert "an old table" not in filled
    assert filled.startswith(f"before\n{begin}")
    assert "| `hoster-reveal` | 51 | 60 |" in filled
    assert filled.endswith(f"{end}\nbehind\n")


def test_the_reasons_are_those_of_a_verdict_with_the_right_fault() -> None:
    rows = dict(
        re.findall(r"^\| `([\w-]+)` \| .* \| (the author's|nobody's) \|$", PAGE, re.MULTILINE)
    )
    faults = {
        reason.value: "the author's" if reason.is_authors_fault else "nobody's" for reason in Reason
    }
    assert rows == faults


def test_every_section_answers_a_question() -> None:
    sections = re.split(r"^## \d+\. ", PAGE, flags=re.MULTILINE)[1:]
    silent = [
        section.splitlines()[0]
        for section in sections
        if not re.search(r"^\*\*Why .+\?\*\*", section, re.MULTILINE | re.DOTALL)
    ]
    assert silent == []
