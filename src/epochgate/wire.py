"""What a node asks a replica, and what it gets: MessagePack arrays, tagged with a name.

Every reply stays below the network's message limit, since a longer one would never arrive: listings are paged by author,
values come as many as fit, and the caller asks again for the rest.
"""

from __future__ import annotations

import msgspec

from epochgate.core.receipt import Proof, Receipt
from epochgate.core.record import Record
from epochgate.core.verdict import Denied, Reason
from epochgate.ledger import Entry

MAX_WANTED = 4096
FRAME_BYTES = 1 << 12
"""Room for the frame of a reply around its entries."""


class Post(msgspec.Struct, frozen=True, array_like=True, tag="post"):
    """Store this record, whose author is the sender."""

    record: Record


class List(msgspec.Struct, frozen=True, array_like=True, tag="list"):
    """What is stored under `key`, beyond the author `after`."""

    key: bytes
    after: bytes = b""


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag="fetch"):
    """The values of these authors under `key`."""

    key: bytes
    authors: tuple[bytes, ...]


class ShowSet(msgspec.Struct, frozen=True, array_like=True, tag="show"):
    """Of a submission made in `epoch`: the proofs it includes, from number `start` on, without their values."""

    epoch: int
    start: int = 0


Request = Post | List | Fetch | ShowSet


class Posted(msgspec.Struct, frozen=True, array_like=True, tag="posted"):
    """Stored, now or before; the receipt is the same each time."""

    receipt: Receipt


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """A `Denied` on the wire, its facts in words."""

    reason: str
    rule: str | None = None
    expected: str | None = None
    observed: str | None = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    @staticmethod
    def from_denied(denied: Denied) -> Refused:
        expected, observed = _to_words(denied.expected), _to_words(denied.observed)
        return Refused(denied.reason.value, denied.rule, expected, observed, denied.wait_blocks, denied.wait_seconds)

    def to_denied(self) -> Denied:
        """Raises ValueError for a reason that is not on the list."""
        return Denied(Reason(self.reason), self.rule, self.expected, self.observed, self.wait_blocks, self.wait_seconds)


class Listing(msgspec.Struct, frozen=True, array_like=True, tag="listing"):
    """Entries in order of author; `is_last` when nothing follows them."""

    entries: tuple[Entry, ...]
    is_last: bool


class Values(msgspec.Struct, frozen=True, array_like=True, tag="values"):
    """The first of the wanted records, as many as fit; those that are not held are left out."""

    records: tuple[Record, ...]


class Shown(msgspec.Struct, frozen=True, array_like=True, tag="shown"):
    """Proofs and pairs of evidence of a submission; `is_last` when nothing follows them."""

    proofs: tuple[Proof, ...]
    evidence: tuple[tuple[Record, Record], ...]
    is_last: bool


Reply = Posted | Refused | Listing | Values | Shown

POST_TAG = msgspec.msgpack.encode("post")
_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Raises msgspec.MsgspecError."""
    return _request_decoder.decode(data)


def decode_reply(data: bytes) -> Reply:
    """Raises msgspec.MsgspecError."""
    return _reply_decoder.decode(data)


def is_post(data: bytes) -> bool:
    """Whether a request claims to be a post, told from its first bytes, before anything is decoded."""
    return data[1 : 1 + len(POST_TAG)] == POST_TAG


def _to_words(fact: object) -> str | None:
    if fact is None:
        return None
    return fact.hex() if isinstance(fact, bytes) else str(fact)
