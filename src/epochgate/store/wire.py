"""What a node asks a replica, and what it gets: MessagePack arrays, tagged with a name.

Every reply stays below the network's message limit, since a longer one would never arrive: listings
are paged by author, values come as many as fit, and the caller asks again for the rest.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from epochgate.core.peer_id import AUTHOR_BYTES
from epochgate.core.receipt import Entry, Proof, Receipt
from epochgate.core.record import KEY_BYTES, Record
from epochgate.core.sanitize import PRINTABLE_IN_PYTHON, sanitize_for_terminal
from epochgate.core.types import NOBODY, PeerId, RecordKey
from epochgate.core.verdict import Denied, Reason, describe_fact

T = TypeVar("T")

MAX_WANTED = 4096
FRAME_BYTES = 1 << 12
"""Room for the frame of a message around its entries."""
RECEIPT_BYTES = 160
"""An upper bound of a receipt's size on the wire, and of an entry's without its receipts."""
MAX_WORDS = 400
"""Characters of a fact in a refusal: what a dishonest replica says ends up in logs and on
terminals.
"""

Key = Annotated[RecordKey, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Author = Annotated[PeerId, msgspec.Meta(max_length=AUTHOR_BYTES)]
Words = Annotated[str, msgspec.Meta(max_length=MAX_WORDS, pattern=PRINTABLE_IN_PYTHON)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Post(msgspec.Struct, frozen=True, array_like=True, tag="post"):
    """Store this record, whose author is the sender."""

    record: Record


class List(msgspec.Struct, frozen=True, array_like=True, tag="list"):
    """What is stored under `key`, beyond the author `after`."""

    key: Key
    after: Author = NOBODY


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag="fetch"):
    """The values of these authors under `key`."""

    key: Key
    authors: Annotated[tuple[Author, ...], msgspec.Meta(max_length=MAX_WANTED)]


class ShowSet(msgspec.Struct, frozen=True, array_like=True, tag="show"):
    """Of the submission made in `epoch`: the proofs it includes, and behind them its pairs of
    evidence, in one row; from number `start` on.
    """

    epoch: Count
    start: Count = 0


Request = Post | List | Fetch | ShowSet


class Posted(msgspec.Struct, frozen=True, array_like=True, tag="posted"):
    """Stored, now or before; the receipt is the same each time."""

    receipt: Receipt


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """A `Denied` on the wire, its facts in words."""

    reason: Words
    rule: Words | None = None
    expected: Words | None = None
    observed: Words | None = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    @staticmethod
    def from_denied(denied: Denied) -> Refused:
        rule, expected, observed = map(_to_words, (denied.rule, denied.expected, denied.observed))
        return Refused(
            denied.reason.value, rule, expected, observed, denied.wait_blocks, denied.wait_seconds
        )

    def to_denied(self) -> Denied:
        """A reason that is not on the list is itself malformed; of a wait half is no wait."""
        try:
            reason = Reason(self.reason)
        except ValueError:
            return Denied(Reason.MALFORMED, self.rule, "a reason from the list", self.reason)
        wait = (self.wait_blocks, self.wait_seconds)
        return Denied(
            reason,
            self.rule,
            self.expected,
            self.observed,
            *((None, None) if None in wait else wait),
        )


class Listing(msgspec.Struct, frozen=True, array_like=True, tag="listing"):
    """Entries in order of author; `is_last` when nothing follows them."""

    entries: tuple[Entry, ...]
    is_last: bool


class Values(msgspec.Struct, frozen=True, array_like=True, tag="values"):
    """The first of the wanted records, as many as fit; those that are not held are left out."""

    records: tuple[Record, ...]


class SetPage(msgspec.Struct, frozen=True, array_like=True, tag="shown"):
    """Proofs and pairs of evidence of a submission; `is_last` when nothing follows them."""

    proofs: tuple[Proof, ...]
    evidence: tuple[tuple[Record, Record], ...]
    is_last: bool


Reply = Posted | Refused | Listing | Values | SetPage

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

_READ_HEADERS = tuple(
    _encoder.encode(example)[: 2 + len(tag)]  # the array's head, and the tag behind its own
    for tag, example in (
        ("list", List(RecordKey(bytes(KEY_BYTES)))),
        ("fetch", Fetch(RecordKey(bytes(KEY_BYTES)), ())),
        ("show", ShowSet(0)),
    )
)


def encode(message: Request | Reply) -> bytes:
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Raises msgspec.MsgspecError."""
    return _decode(_request_decoder, data)


def decode_reply(data: bytes) -> Reply:
    """Raises msgspec.MsgspecError."""
    return _decode(_reply_decoder, data)


def is_read(data: bytes) -> bool:
    """Whether a request can only be one to read, told from its first bytes, before anything is
    decoded.
    """
    return data.startswith(_READ_HEADERS)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (
        UnicodeDecodeError,
        RecursionError,
    ) as error:  # msgspec lets these two through as they are
        raise msgspec.DecodeError(str(error)) from None


def _to_words(fact: object) -> str | None:
    if fact is None:
        return None
    words = sanitize_for_terminal(describe_fact(fact))
    if len(words) <= MAX_WORDS:
        return words
    return words[: MAX_WORDS - 3] + "..."
