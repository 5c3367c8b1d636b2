"""Replicas that hide what they hold, or show what was never in time."""

from __future__ import annotations

import heapq
from collections import defaultdict

import msgspec

from epochgate.adversaries.adversary import Adversary
from epochgate.adversaries.hosters import be_late
from epochgate.core.receipt import Entry, Receipt, compute_receipt_bytes, compute_record_id
from epochgate.core.record import Record, compute_key
from epochgate.core.roster import HOSTER
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.core.verdict import Reason
from epochgate.keys import SigningKey
from epochgate.node.runner import Node
from epochgate.store.wire import (
    Fetch,
    List,
    Listing,
    Post,
    Posted,
    Refused,
    Reply,
    Request,
    Values,
    decode_reply,
    decode_request,
    encode,
)

GROUND_KEYS = 2_000
"""Tries at a peer id near a known key: a tenth of a second; more would win nothing either."""
COVETED_KEYS = ("hoster", "validator")
"""Known for ever, unlike the keys of an epoch."""


def _hide(node: Node) -> None:
    """It takes records and gives receipts, and shows nobody's but its own."""
    honest = node.replica.handle

    async def answer(sender: PeerId, data: bytes) -> bytes:
        reply = await honest(sender, data)
        match _decode(data, reply):
            case List(), Listing(entries):
                own = tuple(entry for entry in entries if entry.author == node.context.author)
                return encode(Listing(own, is_last=True))
            case Fetch(), Values():
                return encode(Values(()))
        return reply

    node.handler = answer


class TwoFaced:
    """Signs receipts for late records as if they had been in time, and shows them to every other
    reader.
    """

    def __init__(self, node: Node) -> None:
        self._node = node.context
        self._honest = node.replica.handle
        self._late: defaultdict[RecordKey, dict[PeerId, tuple[Record, Receipt]]] = defaultdict(dict)

    async def answer(self, sender: PeerId, data: bytes) -> bytes:
        reply = await self._honest(sender, data)
        match _decode(data, reply):
            case Post(record), Refused(reason=Reason.LATE.value):
                receipt = self._date_back(record)
                if receipt is None:
                    return reply
                return encode(Posted(receipt))
            case List(key=key, after=after), Listing(entries=entries, is_last=True) if (
                self._is_shown_to(sender)
            ):
                late = [
                    _make_entry(*pair)
                    for author, pair in sorted(self._late[RecordKey(key)].items())
                    if author > after
                ]
                merged = {entry.author: entry for entry in (*entries, *late)}
                return encode(
                    Listing(tuple(merged[author] for author in sorted(merged)), is_last=True)
                )
            case Fetch(key=key, authors=authors), Values(records=records) if self._is_shown_to(
                sender
            ):
                late_records = tuple(
                    self._late[RecordKey(key)][PeerId(author)][0]
                    for author in authors
                    if author in self._late[RecordKey(key)]
                )
                return encode(Values(records + late_records))
        return reply

    def _is_shown_to(self, reader: PeerId) -> bool:
        readers = self._node.schedule.get_context(self._get_epoch()).roster.authors
        return reader in readers[::2]

    def _get_epoch(self) -> Epoch:
        return self._node.chain_clock.get_evaluation_context().data.epoch

    def _date_back(self, record: Record) -> Receipt | None:
        now = self._node.chain_clock.get_evaluation_context()
        key_rule = self._node.judge.find_key_rule(record.key, now)
        if key_rule is None or key_rule.epoch is None:
            return None
        record_id = compute_record_id(record)
        signature = self._node.key.sign(
            compute_receipt_bytes(now.network, record_id, key_rule.epoch, key_rule.last)
        )
        receipt = Receipt(PeerId(self._node.author), key_rule.epoch, key_rule.last, signature)
        self._late[record.key][record.author] = (record, receipt)
        return receipt


def _be_two_faced(node: Node) -> None:
    node.handler = TwoFaced(node).answer
    be_late(node)


def _make_entry(record: Record, receipt: Receipt) -> Entry:
    return Entry(
        record.author,
        compute_record_id(record).value_digest,
        record.expiration_time,
        len(record.value),
        (receipt,),
    )


def _decode(data: bytes, reply: bytes) -> tuple[Request | None, Reply | None]:
    try:
        return decode_request(data), decode_reply(reply)
    except msgspec.MsgspecError:
        return None, None


def grind_key(tries: int = GROUND_KEYS) -> SigningKey:
    """The key, of so many, whose peer id lies nearest to a key that is known in advance, by XOR as
    in Kademlia.
    """
    targets = [int.from_bytes(compute_key(name), "big") for name in COVETED_KEYS]

    def measure(key: SigningKey) -> int:
        place = int.from_bytes(compute_key(key.author.hex()), "big")
        return min(place ^ target for target in targets)

    return heapq.nsmallest(1, (SigningKey.generate() for _ in range(tries)), key=measure)[0]


REPLICAS = (
    Adversary(
        "hoarder",
        HOSTER,
        "gives receipts and hides the records",
        "others hold them: nothing is lost",
        _hide,
    ),
    Adversary(
        "two-faced",
        HOSTER,
        "back-dates receipts, shows them to some",
        "f receipts prove nothing: 0",
        _be_two_faced,
    ),
    Adversary(
        "squatter",
        HOSTER,
        "grinds its peer id towards a key, and hides it",
        "places follow the seed",
        _hide,
        grind_key,
    ),
)
