"""The pages of the repository: their links lead somewhere, and the reference has every public
module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import epochgate

REPOSITORY = Path(__file__).parents[2]
REFERENCE = REPOSITORY / "docs" / "reference"
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *REPOSITORY.glob("examples/**/*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def find_links(page: Path) -> Iterator[tuple[str, str]]:
    """File and heading of each link to another page; web addresses are left out."""
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if "://" not in target:
            file, _, heading = target.partition("#")
            yield file, heading


def list_headings(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_a_pages_links_lead_somewhere(page: Path) -> None:
    for file, heading in find_links(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        assert not heading or heading in list_headings(target), f"{file}#{heading}"


def list_reference() -> dict[str, Path]:
    return {page.stem: page for page in REFERENCE.glob("*.md") if page.stem != "index"}


@pytest.mark.parametrize("module", sorted(list_reference()))
def test_a_reference_page_is_of_a_module_that_exists(module: str) -> None:
    path = Path(epochgate.__file__).parent.joinpath(*module.split("."))
    assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
    assert f"::: epochgate.{module}\n" in list_reference()[module].read_text()


def test_the_reference_has_the_home_of_every_public_name() -> None:
    modules = {
        getattr(epochgate, name).__module__ for name in epochgate.__all__ if is_defined(name)
    }
    homes = {module.removeprefix("epochgate.") for module in modules}
    pages = list_reference()
    assert [home for home in homes if not any(is_within(home, page) for page in pages)] == []


def is_defined(name: str) -> bool:
    """Whether a public name is a class or function of ours; others are values, or unions."""
    home = getattr(getattr(epochgate, name), "__module__", "")
    return str(home).startswith("epochgate.")


def is_within(module: str, page: str) -> bool:
    """Whether `page` shows `module`, or the package that brings its names."""
    return module == page or module.startswith(f"{page}.")


def test_the_references_index_lists_every_page() -> None:
    index = (REFERENCE / "index.md").read_text()
    assert sorted(re.findall(r"\]\(([\w.]+)\.md\)", index)) == sorted(list_reference())
