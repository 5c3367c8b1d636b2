"""Each signature of a run is checked once, whoever checks it: replicas, readers and the umpire share one process.

What libsodium says of a signature follows from the signed bytes and the key alone, and both are what is remembered here:
a message that differs in one bit is another one. Who asks, when, and what it makes of the answer stays as it is.
"""

from __future__ import annotations

import functools

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from epochgate.core import policy, record

MAX_REMEMBERED = 1 << 18


def open_signed(signed: bytes, key: bytes) -> bytes:
    """The message behind its signature. Raises BadSignatureError, and ValueError for what can be no signature or key."""
    if error := _find_error(signed, key):
        raise error(f"not signed by {key.hex()}")
    return signed[64:]


@functools.lru_cache(MAX_REMEMBERED)
def _find_error(signed: bytes, key: bytes) -> type[Exception] | None:
    try:
        crypto_sign_open(signed, key)
    except (BadSignatureError, ValueError) as error:
        return type(error)
    return None


def forget() -> None:
    """Another run has other signatures."""
    _find_error.cache_clear()


def check_once() -> None:
    """From now on, in this process."""
    record.crypto_sign_open = policy.crypto_sign_open = open_signed  # type: ignore[attr-defined]  # what they imported
