"""Peer ids: the 38 bytes that name a node, and libp2p's text form of them, `12D3KooW...`.

A peer id contains its node's Ed25519 public key, so a signature is checked with the name alone, and
one node has exactly one name. The text form is base58 with Bitcoin's alphabet (libp2p peer id
specification).
"""

from __future__ import annotations

import functools
import re

from epochgate.core.types import PeerId

PEER_ID_PREFIX = bytes.fromhex("002408011220")
"""Identity multihash of a protobuf public key of type Ed25519 (libp2p peer id specification)."""
AUTHOR_BYTES = len(PEER_ID_PREFIX) + 32

MAX_TEXT_CHARACTERS = 60
"""A peer id of 38 bytes has 52. Longer text is refused before it is worked on."""
MAX_REMEMBERED_NAMES = 1 << 12
"""Every event names its peers in text, and base58 is slow to write."""
MAX_HEX_BYTES = 40
"""Longer values are cut to `MAX_SHOWN_BYTES` in messages."""
MAX_SHOWN_BYTES = 16
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
"""Two digits at a time take half the time. A flood of strangers is named as it is refused."""
_HEX_PEER_ID = re.compile(PEER_ID_PREFIX.hex() + "[0-9a-f]{64}")


def is_author(name: bytes) -> bool:
    """Whether `name` is a peer id that contains an Ed25519 public key."""
    return len(name) == AUTHOR_BYTES and name.startswith(PEER_ID_PREFIX)


def get_public_key(peer_id: PeerId) -> bytes:
    """The Ed25519 public key that `peer_id` contains: its last 32 bytes."""
    return peer_id[len(PEER_ID_PREFIX) :]


@functools.lru_cache(MAX_REMEMBERED_NAMES)
def format_peer_id(peer_id: PeerId) -> str:
    """The text form that libp2p uses, `12D3KooW...`."""
    number = int.from_bytes(peer_id, "big")
    pairs = []
    while number:
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    digits = "".join(reversed(pairs)).lstrip(_ALPHABET[0])
    zeros = len(peer_id) - len(peer_id.lstrip(b"\0"))
    return _ALPHABET[0] * zeros + digits


def parse_peer_id(text: str) -> PeerId:
    """Read the text form.

    Args:
        text: A peer id as a person or a registration wrote it; it may be anything.

    Returns:
        The peer id's 38 bytes.

    Raises:
        ValueError: `text` is anything but the peer id of an Ed25519 key.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"{text[:MAX_TEXT_CHARACTERS]!r}... is too long for a peer id")
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise ValueError(f"{text!r} is not a peer id: {character!r} does not belong to base58")
        number = number * len(_ALPHABET) + digit
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
    peer_id = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not is_author(peer_id):
        raise ValueError(f"{text!r} is not the peer id of an Ed25519 key (12D3KooW...)")
    return PeerId(peer_id)


def describe_key_name(name: str) -> str:
    """A key's name for a message, in which the author that it contains stands in text form.

    The name itself holds the author in hex, since it has to be the same on every node.
    """
    return _HEX_PEER_ID.sub(_format_match, name)


def describe_bytes(value: bytes) -> str:
    """Bytes for a message: a peer id in its text form, all others in hex and cut to a line."""
    if is_author(value):
        return format_peer_id(PeerId(value))
    if len(value) <= MAX_HEX_BYTES:
        return value.hex()
    return f"{value[:MAX_SHOWN_BYTES].hex()}... ({len(value)} bytes)"


def _format_match(match: re.Match[str]) -> str:
    return format_peer_id(PeerId(bytes.fromhex(match[0])))
