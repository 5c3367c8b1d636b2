"""Text that somebody else wrote and that a terminal or a page will show: without control
characters, which would run there, and without changes of direction, which would make it read as
something else.
"""

from __future__ import annotations

import re

_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"

PRINTABLE = rf"^[^{_UNPRINTABLE}]*$"
"""A regular expression that showable text matches, for schemas that refuse any other."""
_UNPRINTABLE_CHARACTER = re.compile(f"[{_UNPRINTABLE}]")


def sanitize_for_terminal(text: str) -> str:
    """The text with a replacement character for each that is not to be shown."""
    return _UNPRINTABLE_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)
