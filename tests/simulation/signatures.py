"""Each signature of a run is checked at most once, whoever checks it: replicas, readers and the
umpire share one process.

What libsodium says of a signature follows from the signed bytes and the key alone, and both are
what is remembered here: a message that differs in one bit is another one. A signature that a key
has just made is known to be good. Who asks, when, and what it makes of the answer stays as it is.
"""

from __future__ import annotations

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from epochgate.core import policy, record
from epochgate.core.types import Signature
from epochgate.keys import SigningKey

_errors: dict[tuple[bytes, bytes], type[Exception] | None] = {}
_sign = SigningKey.sign


def open_signed(signed: bytes, key: bytes) -> bytes:
    """The message behind its signature. Raises BadSignatureError, and ValueError for what can be no
    signature or key.
    """
    place = (signed, key)
    if place not in _errors:
        _errors[place] = _find_error(signed, key)
    if error := _errors[place]:
        raise error(f"not signed by {key.hex()}")
    return signed[64:]


def forget() -> None:
    """Another run has other signatures."""
    _errors.clear()


def check_once() -> None:
    """From now on, in this process."""
    for module in (record, policy):
        setattr(module, "crypto_sign_open", open_signed)  # noqa: B010 - what it imported
    setattr(SigningKey, "sign", _sign_and_remember)  # noqa: B010 - for the rest of the process


def _find_error(signed: bytes, key: bytes) -> type[Exception] | None:
    try:
        crypto_sign_open(signed, key)
    except (BadSignatureError, ValueError) as error:
        return type(error)
    return None


def _sign_and_remember(self: SigningKey, message: bytes) -> Signature:
    signature = _sign(self, message)
    _errors[signature + message, self.author[6:]] = None
    return signature
