"""hivemind's serializer, made safe for bytes from strangers.

hivemind's own reads extensions inside extensions without a limit: 1.4 KB of tuples in tuples
overflow the C stack and end the process, which no `except` can stop. It runs no code otherwise: it
reads MessagePack, tuples, and dictionaries of records.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hivemind.utils
import msgpack

from epochgate.core.schema import Malformed

MAX_TUPLE_DEPTH = 16


class MSGPackSerializer(hivemind.utils.MSGPackSerializer):  # type: ignore[misc]  # untyped
    """`dumps` is hivemind's. `loads` reads plain values and tuples, and refuses other extensions.

    Example:
        >>> MSGPackSerializer.loads(MSGPackSerializer.dumps({"state": (1, 2)}))
        {'state': (1, 2)}
    """

    @classmethod
    def loads(cls, buf: bytes) -> Any:
        """Decode one value. Raise Malformed, a ValueError, for anything else, and nothing more."""
        try:
            return cls._load(buf, MAX_TUPLE_DEPTH)
        except Malformed:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise Malformed(
                f"expected one MessagePack value, saw {type(error).__name__}: {str(error)[:100]}"
            ) from None

    @classmethod
    def _load(cls, buf: bytes, depth: int) -> Any:
        value = msgpack.loads(buf, ext_hook=partial(cls._load_extension, depth), raw=False)
        _refuse_timestamps(value)
        return value

    @classmethod
    def _load_extension(cls, depth: int, code: int, data: bytes) -> tuple[Any, ...]:
        if code != cls._TUPLE_EXT_TYPE_CODE or depth == 0:
            raise Malformed(f"expected tuples at most {MAX_TUPLE_DEPTH} deep, saw extension {code}")
        return tuple(cls._load(data, depth - 1))


def _refuse_timestamps(value: Any) -> None:
    """Raise Malformed for a value with a timestamp in it.

    msgpack reads timestamps, extension -1, itself, without asking the hook. Inside tuples this has
    been done when the tuple was loaded.
    """
    pending = [value]
    while pending:
        entry = pending.pop()
        if isinstance(entry, msgpack.Timestamp):
            raise Malformed("expected plain values and tuples, saw a timestamp")
        if isinstance(entry, list):
            pending += entry
        elif isinstance(entry, dict):
            pending += entry.keys()
            pending += entry.values()
