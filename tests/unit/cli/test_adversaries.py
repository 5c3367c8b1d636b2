"""Adversaries come with a clone of the repository; elsewhere a line says how to get them."""

from __future__ import annotations

import sys

import pytest

from epochgate.cli.adversaries import load_adversaries
from tests.support.command_line import refuse


@pytest.fixture
def _an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that holds no adversaries."""
    monkeypatch.setitem(sys.modules, "epochgate.adversaries", None)


def test_a_clone_has_them() -> None:
    assert "copier" in load_adversaries()


@pytest.mark.usefixtures("_an_installed_package")
@pytest.mark.parametrize(
    "command",
    [
        ["devnet", "--adversary", "copier"],
        ["attack"],
        ["adversary", "copier", "--role", "hoster"],
    ],
)
def test_where_they_are_missing_a_line_says_how_to_get_them(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse(capsys, *command)
    assert line == (
        "adversaries do not come with the package: clone the repository, and run"
        " `pip install -e '.[node]'` in it"
    )


def test_a_mistake_in_one_of_them_is_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "epochgate.adversaries")
    monkeypatch.setitem(sys.modules, "epochgate.adversaries.hosters", None)
    with pytest.raises(ModuleNotFoundError, match=r"epochgate\.adversaries\.hosters"):
        load_adversaries()
