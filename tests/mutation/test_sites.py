"""A mutant differs from its module in one place, and every kind of site is found."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.sites import list_mutants


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a < b", "a <= b"),
        ("a in b", "a not in b"),
        ("a and b", "a or b"),
        ("a and b", "a"),
        ("a + b", "a - b"),
        ("not a", "a"),
        ("7", "8"),
        ("7", "6"),
        ("True", "False"),
        ("b'ab'", "b'`b'"),
        ("min(a)", "max(a)"),
        ("a if b else c", "c if b else a"),
    ],
)
def test_an_expression_is_changed(tmp_path: Path, before: str, after: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(f"x = {before}\n")
    assert f"x = {after}" in [mutant.text for mutant in list_mutants(module)]


@pytest.mark.parametrize(
    ("statement", "after"),
    [
        ("if a:\n    b()", "if True:\n    b()"),
        ("if a:\n    b()", "if False:\n    b()"),
        ("b()", "pass"),
        ("raise a", "pass"),
        ("a += b", "pass"),
        ("def f():\n    return a", "def f():\n    return None"),
    ],
)
def test_a_statement_is_changed(tmp_path: Path, statement: str, after: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(f"{statement}\n")
    assert after in [mutant.text for mutant in list_mutants(module)]


def test_words_and_annotations_are_left_alone(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('def describe(a: int = 0) -> str:\n    return f"{a + 1}"\n\n\nx: int\n')
    assert list(list_mutants(module)) == []


def test_only_the_lines_asked_for_are_changed(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("x = 1\ny = 2\n")
    assert {mutant.line for mutant in list_mutants(module, frozenset({2}))} == {2}


def test_each_mutant_differs_and_is_a_program(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f(a, b):\n    if a < b and not a == 3:\n        return g(a - 1)\n")
    texts = [mutant.text for mutant in list_mutants(module)]
    assert len(set(texts)) == len(texts)
    assert ast.unparse(ast.parse(module.read_text())) not in texts
    for text in texts:
        ast.parse(text)
