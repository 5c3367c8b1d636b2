"""CONTRIBUTING.md answers a newcomer's questions by file and function, and each that it names is
there.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()
QUESTIONS = (
    "How do I run one test?",
    "Where is a window decided?",
    "Where is a receipt signed?",
    "What happens when a block comes?",
    "How do I add a rule?",
    "How do I add a schema?",
    "How do I add a duty?",
    "How do I add an adversary?",
    "How do I add an engine?",
)
WALKS = {
    "A record, from `Store.post` to the replica's disk": ("Store.post", "NodeDatabase.keep"),
    "A duty, from the clock to the network": ("EpochFollower.follow", "Network.request"),
    "A score, from an opening to the chain": ("commit_scores", "attest"),
}
"""Each with the functions that it begins and ends with."""
FUNCTION = re.compile(r"`?([\w./]+\.py)::([\w.]+)`?")
FILE = re.compile(r"`((?:\.ci|benchmarks|deploy|docs|examples|src|tests)/[\w./-]*)`")


def get_section(title: str) -> str:
    """What stands below a heading, up to the next of the same or a higher level."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"CONTRIBUTING.md has no heading {title!r}"
    return found[2]


@cache
def list_definitions(file: Path) -> frozenset[str]:
    """Functions and classes by their qualified names, and the module's tables and constants."""
    module = ast.parse(file.read_text())
    return frozenset(find_definitions(module) | find_constants(module))


def find_definitions(node: ast.AST, prefix: str = "") -> set[str]:
    names: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}"
            names |= {name} | find_definitions(child, f"{name}.")
    return names


def find_constants(module: ast.Module) -> set[str]:
    targets: list[ast.expr] = []
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize(("file", "name"), sorted(set(FUNCTION.findall(PAGE))))
def test_a_named_function_is_there(file: str, name: str) -> None:
    assert (REPOSITORY / file).is_file()
    assert name in list_definitions(REPOSITORY / file)


@pytest.mark.parametrize("file", sorted(set(FILE.findall(PAGE))))
def test_a_named_file_is_there(file: str) -> None:
    assert (REPOSITORY / file).exists()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_file_and_function(question: str) -> None:
    assert FUNCTION.search(get_section(question))


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_lists_its_calls_from_end_to_end(title: str) -> None:
    rows = [row for row in get_section(title).splitlines() if "::" in row]
    steps = [FUNCTION.findall(row)[0][1] for row in rows]
    first, last = WALKS[title]
    assert (steps[0], steps[-1]) == (first, last)
    assert len(steps) >= 10


def test_the_page_shows_every_folder_of_the_package() -> None:
    package = REPOSITORY / "src" / "epochgate"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    shown = re.findall(r"`src/epochgate/(\w+)/`", get_section("The map"))
    assert folders == set(shown)
