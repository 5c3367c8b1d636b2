"""Text by others: what must not reach a terminal is replaced, and schemas can refuse it."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel, Field, ValidationError

from epochgate.core.sanitize import PRINTABLE, PRINTABLE_IN_PYTHON, sanitize_for_terminal


class Shown(BaseModel):
    text: str = Field(pattern=PRINTABLE)


@pytest.mark.parametrize(
    "character",
    [
        "\0",
        "\a",
        "\b",
        "\t",
        "\n",
        "\r",
        "\x1b",
        "\x1f",
        "\x7f",
        "\x80",
        "\x9b",
        "\x9f",
        "\u2028",
        "\u2029",
        "\u202a",
        "\u202e",
        "\u2066",
        "\u2069",
    ],
)
def test_a_character_that_would_act_on_a_terminal_is_replaced(character: str) -> None:
    assert sanitize_for_terminal(f"a{character}b{character}") == "a\ufffdb\ufffd"
    assert re.search(PRINTABLE_IN_PYTHON, f"a{character}") is None
    with pytest.raises(ValidationError):
        Shown(text=f"a{character}")


@pytest.mark.parametrize(
    "text", ["", "hoster-1", " ~", "Zoë", "\xa0", "日本語", "مرحبا", "\u2027\u202f\u2065\u206a"]
)
def test_all_other_text_stays_as_it_is(text: str) -> None:
    assert sanitize_for_terminal(text) == text
    assert re.search(PRINTABLE_IN_PYTHON, text) is not None
    assert Shown(text=text).text == text
