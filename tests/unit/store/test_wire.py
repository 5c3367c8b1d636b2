"""What goes between store and replica: strict, bounded, and the same at both ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochgate.core.peer_id import format_peer_id
from epochgate.core.receipt import Entry, Proof, Receipt
from epochgate.core.record import Record
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey, Signature
from epochgate.core.verdict import Denied, Reason
from epochgate.store.wire import (
    FRAME_BYTES,
    MAX_FETCHED_AUTHORS,
    MAX_TEXT_LENGTH,
    RECEIPT_BYTES,
    Fetch,
    List,
    Listing,
    Post,
    Posted,
    Refused,
    Reply,
    Request,
    SetPage,
    ShowSet,
    Values,
    decode_reply,
    decode_request,
    encode,
    is_read,
)
from tests.support.identities import alice, bob

RECORD = Record(RecordKey(bytes(20)), alice.author, b"v" * 96, 1.7e9)
RECEIPT = Receipt(
    bob.author,
    (Epoch(Epoch(1 << 63) - 1)),
    (BlockNumber(BlockNumber(1 << 63) - 1)),
    Signature(bytes(64)),
)
ENTRY = Entry(alice.author, Hash32(bytes(32)), 1.7e9, 1 << 40, (RECEIPT,) * 13)
REQUESTS: list[Request] = [
    Post(RECORD),
    List(RecordKey(bytes(20)), alice.author),
    Fetch(RecordKey(bytes(20)), (alice.author, bob.author)),
    ShowSet(7, 3),
]
REPLIES: list[Reply] = [
    Posted(RECEIPT),
    Refused("early", "note", "blocks 1 to 2", "0", 1, 6.0),
    Listing((ENTRY, ENTRY), is_last=True),
    Values((RECORD,)),
    SetPage((Proof(RECORD, (RECEIPT,)),), ((RECORD, RECORD),), is_last=False),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_arrive_as_they_were_sent(request_: Request) -> None:
    assert decode_request(encode(request_)) == request_
    assert is_read(encode(request_)) is not isinstance(request_, Post)


@pytest.mark.parametrize("reply", REPLIES)
def test_replies_arrive_as_they_were_sent(reply: Reply) -> None:
    assert decode_reply(encode(reply)) == reply
    assert not is_read(encode(reply))


@given(st.binary(max_size=200))
def test_rubbish_is_refused_with_one_kind_of_error(data: bytes) -> None:
    for start in (b"", *(encode(message)[:12] for message in (*REQUESTS, *REPLIES))):
        for decode in (decode_request, decode_reply):
            try:
                decode(start + data)
            except msgspec.MsgspecError:
                continue


@pytest.mark.parametrize(
    "data",
    [
        b"\x97\xa7refused\xa2\xff\xfe\xc0\xc0\xc0\xc0\xc0",
        b"\x93" + encode(Posted(RECEIPT))[1:] + b"\x91" * 5000,
    ],
    ids=["text", "nesting"],
)
def test_neither_broken_text_nor_deep_nesting_is_anything_else(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_reply(data)


@pytest.mark.parametrize("message", [*REQUESTS, *REPLIES])
def test_what_is_cut_short_or_goes_on_is_refused(message: Any) -> None:
    data = encode(message)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(msgspec.MsgspecError):
            (decode_request if message in REQUESTS else decode_reply)(wrong)


@pytest.mark.parametrize(
    "request_",
    [
        List(RecordKey(bytes(19))),
        List(RecordKey(bytes(20)), PeerId(bytes(39))),
        Fetch(RecordKey(bytes(21)), ()),
        Fetch(RecordKey(bytes(20)), (PeerId(b"a" * 39),)),
        Fetch(RecordKey(bytes(20)), (PeerId(b""),) * (MAX_FETCHED_AUTHORS + 1)),
        ShowSet(-1),
        ShowSet(0, -1),
        ShowSet(0, 1 << 63),
    ],
)
def test_everything_has_a_limit(request_: Request) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_request(encode(request_))


@pytest.mark.parametrize("reason", Reason)
def test_the_author_sees_the_same_facts_as_the_replica(reason: Reason) -> None:
    denied = Denied(reason, "note_epoch_3", "blocks 3 to 5", 2, 1, 6.0)
    reply = decode_reply(encode(Refused.from_denied(denied)))
    assert isinstance(reply, Refused)
    assert str(reply.to_denied()) == str(denied)
    assert reply.to_denied().reason is reason


def test_peer_ids_are_told_as_libp2p_writes_them() -> None:
    assert Refused.from_denied(
        Denied(Reason.NOT_AUTHOR, None, alice.author, bob.author)
    ) == Refused("not-author", None, format_peer_id(alice.author), format_peer_id(bob.author))


@given(
    st.one_of(st.text(), st.binary(), st.integers(), st.text(min_size=MAX_TEXT_LENGTH)), st.text()
)
def test_words_are_cut_so_that_they_arrive(fact: object, rule: str) -> None:
    refused = Refused.from_denied(
        Denied(Reason.MALFORMED, rule, fact * 50 if isinstance(fact, (str, bytes)) else fact, fact)
    )
    assert decode_reply(encode(refused)) == refused


def test_a_liar_fills_no_log() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_reply(encode(Refused("early", "x" * (MAX_TEXT_LENGTH + 1))))


@pytest.mark.parametrize(
    "words", ["\x1b]0;title\x07", "two\nlines", "a line\n", "\x9b2J", "left\u202etfel"]
)
def test_a_liar_moves_no_cursor(words: str) -> None:
    """What a replica says is shown to people. An honest one that quotes such a thing shows it as it
    is not.
    """
    with pytest.raises(msgspec.ValidationError):
        decode_reply(encode(Refused("early", words)))
    quoted = decode_reply(
        encode(Refused.from_denied(Denied(Reason.MALFORMED, "note", "words", words)))
    )
    assert isinstance(quoted, Refused)
    assert quoted.observed == "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words
    )


@pytest.mark.parametrize("wish", [True, {"in_cache": True}, b"nearest"])
def test_a_post_says_what_to_store_and_not_where(wish: object) -> None:
    """hivemind's store may be sent to a cache, which other rules hold for."""
    stored = Record(RecordKey(bytes(20)), alice.author, bytes(96), 1e9)
    record = msgspec.structs.astuple(stored)
    for message in (["post", record, wish], ["post", [*record, wish]]):
        assert decode_request(msgspec.msgpack.encode(message)) == Post(stored)


def test_a_reason_that_is_none_is_malformed() -> None:
    denied = Refused("because", "note").to_denied()
    assert (denied.reason, denied.rule, denied.observed) == (Reason.MALFORMED, "note", "because")


def test_sizes_are_upper_bounds() -> None:
    assert len(encode(Posted(RECEIPT))) <= RECEIPT_BYTES
    assert len(
        encode(Listing((ENTRY,) * 100, is_last=True))
    ) <= FRAME_BYTES + 100 * RECEIPT_BYTES * (len(ENTRY.receipts) + 1)
    assert len(encode(Values((RECORD,) * 100))) <= FRAME_BYTES + 100 * (
        len(RECORD.value) + RECEIPT_BYTES
    )
    assert len(encode(Post(RECORD))) <= FRAME_BYTES + len(RECORD.value)


@pytest.mark.parametrize(("wait_blocks", "wait_seconds"), [(3, None), (None, 18.0)])
def test_half_a_wait_of_a_dishonest_replica_is_none(
    wait_blocks: int | None, wait_seconds: float | None
) -> None:
    denied = Refused("early", wait_blocks=wait_blocks, wait_seconds=wait_seconds).to_denied()
    assert (denied.wait_blocks, denied.wait_seconds) == (None, None)
    assert str(denied) == "denied, early"
