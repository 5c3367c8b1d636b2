"""The messages between a client and a replica: MessagePack arrays that begin with a name.

Every field has a bound, which the decoder keeps. Every reply stays below the network's message
limit, since a longer one would never arrive: listings are paged by author, values come as many as
fit, and the client asks again for the rest.
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

MAX_FETCHED_AUTHORS = 4096
"""Authors whose values one request may ask for."""
FRAME_BYTES = 1 << 12
"""An upper bound of the size of a message without its entries."""
RECEIPT_BYTES = 160
"""An upper bound of the size of a receipt, and of an entry without its receipts."""
MAX_TEXT_LENGTH = 400
"""Characters of a fact in a refusal. What a dishonest replica says is shown in logs and on
terminals.
"""

# Stops "one key in many encodings", and "values over size": no field is longer than it can be.
Key = Annotated[RecordKey, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Author = Annotated[PeerId, msgspec.Meta(max_length=AUTHOR_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
# Stops "a screen that runs what it is shown".
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_LENGTH, pattern=PRINTABLE_IN_PYTHON)]


class Post(msgspec.Struct, frozen=True, array_like=True, tag="post"):
    """Store this record. Its author must be the sender."""

    record: Record


class List(msgspec.Struct, frozen=True, array_like=True, tag="list"):
    """List what is stored under `key`, of the authors after `after`."""

    key: Key
    after: Author = NOBODY


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag="fetch"):
    """Send the values that these authors have stored under `key`."""

    key: Key
    authors: Annotated[tuple[Author, ...], msgspec.Meta(max_length=MAX_FETCHED_AUTHORS)]


class ShowSet(msgspec.Struct, frozen=True, array_like=True, tag="show"):
    """Send the set of the submission that was made in `epoch`.

    The proofs that it includes and the pairs of evidence behind them are numbered from 0 on;
    `start` is the first number that is wanted.
    """

    epoch: Count
    start: Count = 0


Request = Post | List | Fetch | ShowSet


class Posted(msgspec.Struct, frozen=True, array_like=True, tag="posted"):
    """The record is stored, since now or before. The receipt is the same each time."""

    receipt: Receipt


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """A `Denied` on the wire, with its facts as text."""

    reason: Text
    rule: Text | None = None
    expected: Text | None = None
    observed: Text | None = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    @staticmethod
    def from_denied(denied: Denied) -> Refused:
        """Write down a verdict for its author."""
        return Refused(
            denied.reason.value,
            _to_text(denied.rule),
            _to_text(denied.expected),
            _to_text(denied.observed),
            denied.wait_blocks,
            denied.wait_seconds,
        )

    def to_denied(self) -> Denied:
        """Read the verdict of another node.

        Returns:
            The verdict. One whose reason is not on the list is itself malformed, and a wait counts
            only where blocks and seconds are both given.
        """
        # Stops "a replica that lies on reads or withholds": reasons come from the closed list.
        try:
            reason = Reason(self.reason)
        except ValueError:
            return Denied(Reason.MALFORMED, self.rule, "a reason from the list", self.reason)
        denied = Denied(reason, self.rule, self.expected, self.observed)
        if self.wait_blocks is None or self.wait_seconds is None:
            return denied
        return msgspec.structs.replace(
            denied, wait_blocks=self.wait_blocks, wait_seconds=self.wait_seconds
        )


class Listing(msgspec.Struct, frozen=True, array_like=True, tag="listing"):
    """Entries in order of author. `is_last` is True when none follow."""

    entries: tuple[Entry, ...]
    is_last: bool


class Values(msgspec.Struct, frozen=True, array_like=True, tag="values"):
    """The first of the wanted records, as many as fit. Those that are not stored are left out."""

    records: tuple[Record, ...]


class SetPage(msgspec.Struct, frozen=True, array_like=True, tag="shown"):
    """Proofs and pairs of evidence of a submission. `is_last` is True when none follow."""

    proofs: tuple[Proof, ...]
    evidence: tuple[tuple[Record, Record], ...]
    is_last: bool


Reply = Posted | Refused | Listing | Values | SetPage

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

_READ_HEADERS = tuple(
    _encoder.encode(example)[: 2 + len(tag)]  # the head of the array, that of the tag, and the tag
    for tag, example in (
        ("list", List(RecordKey(bytes(KEY_BYTES)))),
        ("fetch", Fetch(RecordKey(bytes(KEY_BYTES)), ())),
        ("show", ShowSet(0)),
    )
)


def encode(message: Request | Reply) -> bytes:
    """Encode a message."""
    return _encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Decode what a client sent.

    Args:
        data: Any bytes.

    Returns:
        The request.

    Raises:
        msgspec.MsgspecError: It is not a request, or a field is beyond its bound.
    """
    return _decode(_request_decoder, data)


def decode_reply(data: bytes) -> Reply:
    """Decode what a replica sent.

    Args:
        data: Any bytes.

    Returns:
        The reply.

    Raises:
        msgspec.MsgspecError: It is not a reply, or a field is beyond its bound.
    """
    return _decode(_reply_decoder, data)


def is_read(data: bytes) -> bool:
    """Whether a request is at most one to read, by its first bytes, before it is decoded."""
    return data.startswith(_READ_HEADERS)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    # Stops "malformed MessagePack", and "deep nesting": all that msgspec raises for the bytes of
    # strangers is one kind of error. It lets these two through as they are.
    try:
        return decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _to_text(fact: object) -> str | None:
    if fact is None:
        return None
    text = sanitize_for_terminal(describe_fact(fact))
    if len(text) <= MAX_TEXT_LENGTH:
        return text
    return text[: MAX_TEXT_LENGTH - 3] + "..."
