"""`--challenger module:factory`, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.core.types import Epoch
from epochgate.runtime.loading import InputError, load_challenger

MODULE = """
class Prompts:
    def choose(self, epoch, seed):
        return epoch

def fail():
    raise OSError("no data set")
"""


@pytest.fixture(autouse=True)
def _a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_challenger.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_challenger_is_what_its_factory_makes() -> None:
    challenger = load_challenger("a_challenger:Prompts")
    assert challenger is not None
    assert challenger.choose(Epoch(7), bytes(32)) == 7
    assert load_challenger(None) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a_challenger:fail", "calling it failed: OSError: no data set"),
        ("a_challenger:nobody", "has no 'nobody'"),
        ("builtins:dict", r"has no choose\(epoch, seed\)"),
    ],
)
def test_a_wrong_challenger_is_told_in_words(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_challenger(name)
