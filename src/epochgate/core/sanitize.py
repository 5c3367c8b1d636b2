"""Text by others, made safe to show on a terminal or a page.

Control characters would run there, and changes of direction would make a text read as something
else; both are removed.
"""

from __future__ import annotations

import re

_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""C0 and C1 controls, DEL, line and paragraph separators, and Unicode's bidirectional controls."""

PRINTABLE = rf"^[^{_UNPRINTABLE}]*$"
"""Matches text without such characters, for pydantic models, which refuse any other."""
PRINTABLE_IN_PYTHON = rf"^[^{_UNPRINTABLE}]*\Z"
"""The same for Python's own regular expressions, whose `$` lets a line break at the end through."""
_UNPRINTABLE_CHARACTER = re.compile(f"[{_UNPRINTABLE}]")


def sanitize_for_terminal(text: str) -> str:
    """`text` with a replacement character, U+FFFD, for each character that must not be shown."""
    # Stops "a screen that runs what it is shown".
    return _UNPRINTABLE_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)
