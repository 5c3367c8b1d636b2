"""A replica: judges what arrives, keeps it, signs a receipt, and answers those who read.

Nothing reaches the network loop as an exception, and nothing is refused without a reason. A sender that is not on the
roster stores nothing: its posts are turned away before they are decoded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import msgspec

from epochgate.core.calendar import NOTHING_HELD, Moment
from epochgate.core.policy import Judge
from epochgate.core.receipt import Proof, Receipt, Stamp, compute_receipt_bytes, compute_stamp
from epochgate.core.record import Record, is_record_signed
from epochgate.core.rule import Bound
from epochgate.core.verdict import Denied, Reason
from epochgate.keys import SigningKey
from epochgate.ledger import Entry, Ledger
from epochgate.limits import Gate, Limits
from epochgate.watch import Watch
from epochgate.wire import (
    FRAME_BYTES,
    MAX_WANTED,
    Fetch,
    List,
    Listing,
    Post,
    Posted,
    Refused,
    Reply,
    Shown,
    ShowSet,
    Values,
    decode_request,
    encode,
    is_post,
)

RECEIPT_BYTES = 160
"""An upper bound of a receipt's size on the wire."""


class Replica:
    """One node's side of the store. `admitted` and `denied` count its verdicts since they were last taken."""

    def __init__(
        self, key: SigningKey, judge: Judge, ledger: Ledger, watch: Watch, max_message_bytes: int, limits: Limits | None = None
    ) -> None:
        self.author = key.author
        self.judge = judge
        self.ledger = ledger
        self.admitted = 0
        self.denied: Counter[Reason] = Counter()
        self._key = key
        self._watch = watch
        self._max_reply_bytes = max_message_bytes - FRAME_BYTES
        self._gate = Gate(limits or Limits())
        self._sets: dict[int, tuple[tuple[Proof, ...], tuple[tuple[Record, Record], ...]]] = {}

    async def handle(self, sender: bytes, data: bytes) -> bytes:
        """Answer one request of an authenticated sender: the handler for the Network port."""
        try:
            return encode(self._answer(sender, data))
        except LookupError:
            return encode(self._refuse(Denied(Reason.NOT_STARTED, None, "the chain's first roster", None)))
        except Exception as error:
            logging.getLogger(__name__).exception("a request could not be answered")
            return encode(
                self._refuse(Denied(Reason.MALFORMED, None, "a request that this version can answer", repr(error)[:200]))
            )

    def post(self, sender: bytes, record: Record) -> Posted | Refused:
        """Judge a record, and keep it with a receipt when it is admitted. The same record again gets the same receipt."""
        now = self._watch.get_moment()
        bound = self.judge.find_bound(record.key, now)
        if sender != record.author:
            return self._refuse(Denied(Reason.NOT_AUTHOR, bound.name if bound else None, record.author, sender))
        if bound is not None and self.author not in bound.placement.replicas:
            return self._refuse(
                Denied(Reason.NOT_REPLICA, bound.name, f"one of the key's {bound.placement.k} replicas", self.author)
            )
        stamp = compute_stamp(record)
        held = self.ledger.held.get((record.key, record.author))
        is_held = held is not None and held.value_digest == stamp.value_digest
        if is_held:
            if own := self._find_own_receipt(stamp):
                return Posted(own)
            now = msgspec.structs.replace(now, held=NOTHING_HELD)  # a repaired copy: it is judged as if it came first
        verdict = self.judge.admit(record, now)
        if isinstance(verdict, Denied):
            self._look_for_equivocation(verdict, bound, record)
            return self._refuse(verdict)
        if bound is None:
            raise AssertionError("a judge admitted a key for which it finds no rule")
        self.admitted += 1
        receipt = self._sign(stamp, now, bound)
        self.ledger.keep(record, (receipt,), now.data.epoch)
        return Posted(receipt)

    def show_set(self, epoch: int, proofs: Sequence[Proof], evidence: Sequence[tuple[Record, Record]]) -> None:
        """Serve the set of the submission that this node made in `epoch`; sets of earlier epochs are let go."""
        self._sets = {epoch: (tuple(proofs), tuple(evidence))}

    def take_counts(self) -> tuple[int, Counter[Reason]]:
        """Admitted, and denied by reason, since this was last asked."""
        counts = (self.admitted, self.denied)
        self.admitted, self.denied = 0, Counter()
        return counts

    def _answer(self, sender: bytes, data: bytes) -> Reply:
        now = self._watch.get_moment()
        roster = self._watch.calendar.get_roster(now.data.epoch)
        is_member = roster is not None and sender in roster.roles
        if not is_member and is_post(data):
            return self._refuse(Denied(Reason.NOT_ON_ROSTER, None, "a sender on the roster", sender))
        if not self._gate.admits(sender, len(data), is_member=is_member, now_seconds=now.time_seconds):
            return self._refuse(Denied(Reason.RATE, None, "fewer requests, or smaller ones", None))
        try:
            request = decode_request(data)
        except msgspec.MsgspecError as error:
            return self._refuse(Denied(Reason.MALFORMED, None, "a request", str(error)[:200]))
        match request:
            case Post(record):
                return self.post(sender, record)
            case List(key, after):
                return self._list(key, after, now)
            case Fetch(key, authors):
                return self._fetch(key, authors, now)
            case ShowSet(epoch, start):
                return self._show(epoch, start)

    def _list(self, key: bytes, after: bytes, now: Moment) -> Listing:
        entries: list[Entry] = []
        room = self._max_reply_bytes
        for entry in self.ledger.get_listing(key, now.time_seconds, after):
            room -= RECEIPT_BYTES * (len(entry.receipts) + 1)
            if room < 0:
                return Listing(tuple(entries), is_last=False)
            entries.append(entry)
        return Listing(tuple(entries), is_last=True)

    def _fetch(self, key: bytes, authors: tuple[bytes, ...], now: Moment) -> Values:
        records: list[Record] = []
        room = self._max_reply_bytes
        for author in authors[:MAX_WANTED]:
            held = self.ledger.held.get((key, author))
            if held is None or held.expiration_time <= now.time_seconds:
                continue
            room -= held.value_bytes + RECEIPT_BYTES
            if room < 0:
                break
            record = self.ledger.get_record(key, author)
            if record is not None:
                records.append(record)
        return Values(tuple(records))

    def _show(self, epoch: int, start: int) -> Shown:
        proofs, evidence = self._sets.get(epoch, ((), ()))
        page: list[Proof] = []
        room = self._max_reply_bytes - sum(len(a.value) + len(b.value) + RECEIPT_BYTES for a, b in evidence)
        for proof in proofs[max(0, start) :]:
            room -= len(proof.record.value) + RECEIPT_BYTES * (len(proof.receipts) + 1)
            if room < 0:
                return Shown(tuple(page), evidence if start == 0 else (), is_last=False)
            page.append(proof)
        return Shown(tuple(page), evidence if start == 0 else (), is_last=True)

    def _find_own_receipt(self, stamp: Stamp) -> Receipt | None:
        return next((receipt for receipt in self.ledger.get_receipts(stamp) if receipt.replica == self.author), None)

    def _sign(self, stamp: Stamp, now: Moment, bound: Bound) -> Receipt:
        epoch = now.data.epoch if bound.epoch is None else bound.epoch
        signature = self._key.sign(compute_receipt_bytes(now.network, stamp, epoch, now.block))
        return Receipt(self.author, epoch, now.block, signature)

    def _look_for_equivocation(self, verdict: Denied, bound: Bound | None, record: Record) -> None:
        """The first different value under a once-key is verified once and kept as evidence; later ones go unread."""
        if verdict.reason is not Reason.ALREADY_THERE or bound is None or not bound.once:
            return
        if self.ledger.has_evidence(record.key, record.author):
            return
        first = self.ledger.get_record(record.key, record.author)
        if first is not None and first.value != record.value and is_record_signed(bound.context.network, record):
            self.ledger.keep_evidence(first, record, bound.epoch or 0)

    def _refuse(self, denied: Denied) -> Refused:
        self.denied[denied.reason] += 1
        return Refused.from_denied(denied)
