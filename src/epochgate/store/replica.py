"""A replica: judges what arrives, keeps it, signs a receipt, and answers those who read.

Nothing reaches the network loop as an exception, and nothing is refused without a reason. A sender
that is not on the roster stores nothing: its posts are turned away before they are decoded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import msgspec

from epochgate.core.admission import Capacity, compute_receipt_epoch, judge_post
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge
from epochgate.core.receipt import Entry, Proof, Receipt, compute_receipt_bytes, compute_record_id
from epochgate.core.record import Record, is_record_signed
from epochgate.core.roster import MAX_REPLICAS, Roster
from epochgate.core.rule import KeyRule
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.core.verdict import Denied, Reason
from epochgate.keys import SigningKey
from epochgate.observe.recorder import Recorder, Unrecorded
from epochgate.store.chain_clock import ChainClock
from epochgate.store.database import NodeDatabase
from epochgate.store.rate_limit import RateLimiter
from epochgate.store.wire import (
    FRAME_BYTES,
    RECEIPT_BYTES,
    Fetch,
    List,
    Listing,
    Post,
    Posted,
    Refused,
    SetPage,
    ShowSet,
    Values,
    decode_request,
    encode,
    is_read,
)

FEWER = "fewer requests, or smaller ones"
"""What is expected of a sender beyond its rate."""


class Replica:
    """One node's side of the store, within the limits of the schedule's policy.

    `admitted` and `denied` count its verdicts since they were last taken.
    """

    def __init__(
        self,
        key: SigningKey,
        judge: Judge,
        database: NodeDatabase,
        chain_clock: ChainClock,
        max_message_bytes: int,
        recorder: Recorder | None = None,
    ) -> None:
        self.author = key.author
        self.judge = judge
        self.database = database
        self.admitted = 0
        self.denied: Counter[Reason] = Counter()
        self._key = key
        self._chain_clock = chain_clock
        self._max_reply_bytes = max_message_bytes - FRAME_BYTES
        policy = chain_clock.schedule.policy
        self.capacity = Capacity(
            self._max_reply_bytes - RECEIPT_BYTES, policy.limits, policy.held_epochs
        )
        self._limiter = RateLimiter(policy.limits)
        self._recorder: Recorder = recorder or Unrecorded()
        self._roster: Roster | None = None
        self._sets: dict[int, tuple[tuple[Proof, ...], tuple[tuple[Record, Record], ...]]] = {}

    async def handle(self, sender: PeerId, data: bytes) -> bytes:
        """Answer one request of an authenticated sender: the handler for the Network port. This
        node asks itself so too.
        """
        try:
            return self._answer(sender, data)
        except Exception as error:
            logging.getLogger(__name__).exception("a request could not be answered")
            return self._refuse(
                Denied(
                    Reason.PREDICATE_ERROR,
                    None,
                    "a judge and a database that work",
                    type(error).__name__,
                )
            )

    def show_set(
        self, epoch: Epoch, proofs: Sequence[Proof], evidence: Sequence[tuple[Record, Record]]
    ) -> None:
        """Serve the set of the submission that this node made in `epoch`; sets of earlier epochs
        are let go.
        """
        self._sets = {epoch: (tuple(proofs), tuple(evidence))}

    def take_counts(self) -> tuple[int, Counter[Reason]]:
        """Admitted, and denied by reason, since this was last asked."""
        counts = (self.admitted, self.denied)
        self.admitted = 0
        self.denied = Counter()
        return counts

    def _answer(self, sender: PeerId, data: bytes) -> bytes:
        wait_seconds = self._limiter.compute_retry_after_seconds(
            sender, self._chain_clock.clock.get_unix_seconds()
        )
        if wait_seconds > 0:
            return self._put_off(wait_seconds)
        try:
            now = self._chain_clock.get_evaluation_context()
        except LookupError:
            return self._refuse(Denied(Reason.NOT_STARTED, None, "the chain's first roster"))
        is_member = sender in self._get_roles(now)
        if not is_member and not is_read(data):
            return self._turn_away(
                sender,
                now,
                Denied(Reason.NOT_ON_ROSTER, None, "a sender on the roster", sender),
                data,
            )
        if sender == self.author:
            return self._serve(sender, data, now)
        paying, wait_seconds = self._limiter.find_buckets(
            sender, is_member=is_member, now_seconds=now.time_seconds
        )
        if not paying:
            denied = Denied(Reason.RATE, None, FEWER, None, None, wait_seconds)
            return self._turn_away(sender, now, denied, data)
        for buckets in paying:
            buckets.debit(1, len(data))
        reply = self._serve(sender, data, now)
        for buckets in paying:
            buckets.debit(0, len(reply))
        return reply

    def _get_roles(self, now: EvaluationContext) -> dict[PeerId, int]:
        roster = self._chain_clock.schedule.find_newest_roster(now.data.epoch)
        if roster is None:
            return {}
        if roster is not self._roster:
            self._limiter.retain(roster.roles)
            self._roster = roster
        return roster.roles

    def _serve(self, sender: PeerId, data: bytes, now: EvaluationContext) -> bytes:
        try:
            request = decode_request(data)
        except msgspec.MsgspecError as error:
            return self._turn_away(
                sender, now, Denied(Reason.MALFORMED, None, "a request", str(error)), data
            )
        match request:
            case Post(record):
                verdict = self._post(sender, record, now)
                if isinstance(verdict, Receipt):
                    return encode(Posted(verdict))
                return self._refuse(verdict)
            case List(key, after):
                return encode(self._list(key, after, now))
            case Fetch(key, authors):
                return encode(self._fetch(key, authors, now))
            case ShowSet(epoch, start):
                return encode(self._show(Epoch(epoch), start))

    def _post(self, sender: PeerId, record: Record, now: EvaluationContext) -> Receipt | Denied:
        key_rule = self.judge.find_key_rule(record.key, now)
        answer = judge_post(
            self.judge,
            key_rule,
            record,
            now,
            sender=sender,
            replica=self.author,
            stored=self.database,
            capacity=self.capacity,
        )
        is_new = not isinstance(answer, Denied | Receipt)
        if isinstance(answer, Denied):
            self._look_for_equivocation(answer, key_rule, record)
        elif not isinstance(answer, Receipt):
            answer = self._keep(record, key_rule, now)
        self._recorder.note_post(sender, record, now, answer, is_new=is_new)
        return answer

    def _keep(self, record: Record, key_rule: KeyRule | None, now: EvaluationContext) -> Receipt:
        """The receipt is handed out only once it is on disk."""
        epoch = compute_receipt_epoch(key_rule, now)
        signature = self._key.sign(
            compute_receipt_bytes(now.network, compute_record_id(record), epoch, now.block)
        )
        receipt = Receipt(PeerId(self.author), epoch, now.block, signature)
        self.database.keep(record, (receipt,), now.data.epoch)
        self.admitted += 1
        return receipt

    def _look_for_equivocation(
        self, verdict: Denied, key_rule: KeyRule | None, record: Record
    ) -> None:
        """The first different value under a once-key is verified once and kept as evidence; later
        ones go unread.
        """
        if verdict.reason is not Reason.ALREADY_THERE or key_rule is None or not key_rule.once:
            return
        if self.database.has_evidence(record.key, record.author):
            return
        first = self.database.get_record(record.key, record.author)
        if (
            first is not None
            and first.value != record.value
            and is_record_signed(key_rule.context.network, record)
        ):
            self.database.keep_evidence(first, record, key_rule.epoch or Epoch(0))

    def _list(self, key: RecordKey, after: PeerId, now: EvaluationContext) -> Listing:
        entries: list[Entry] = []
        left_bytes = self._max_reply_bytes
        for entry in self.database.get_listing(key, now.time_seconds, after):
            left_bytes -= RECEIPT_BYTES * (len(entry.receipts) + 1)
            if left_bytes < 0:
                return Listing(tuple(entries), is_last=False)
            entries.append(entry)
        return Listing(tuple(entries), is_last=True)

    def _fetch(self, key: RecordKey, authors: Sequence[PeerId], now: EvaluationContext) -> Values:
        records: list[Record] = []
        left_bytes = self._max_reply_bytes
        for author in authors:
            held = self.database.held.get((key, author))
            if held is None or held.expiration_time <= now.time_seconds:
                continue
            left_bytes -= held.value_bytes + RECEIPT_BYTES
            if left_bytes < 0:
                break
            record = self.database.get_record(key, author)
            if record is not None:
                records.append(record)
        return Values(tuple(records))

    def _show(self, epoch: Epoch, start: int) -> SetPage:
        proofs, evidence = self._sets.get(epoch, ((), ()))
        left_bytes = self._max_reply_bytes
        end = start
        row: tuple[Proof | tuple[Record, Record], ...] = (*proofs, *evidence)
        for item in row[start:]:
            left_bytes -= _compute_size(item)
            if left_bytes < 0:
                break
            end += 1
        first_pair = max(0, start - len(proofs))
        last_pair = max(0, end - len(proofs))
        return SetPage(proofs[start:end], evidence[first_pair:last_pair], is_last=end >= len(row))

    def _put_off(self, wait_seconds: float) -> bytes:
        """Refuse a sender that was told to wait and does not: a flood costs a look and a count,
        whatever is in it.
        """
        self.denied[Reason.RATE] += 1
        self._recorder.note_put_off()
        return encode(Refused(Reason.RATE.value, None, FEWER, None, None, wait_seconds))

    def _turn_away(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, data: bytes
    ) -> bytes:
        """Refuse what has not been read as a record."""
        self._recorder.note_turned_away(sender, now, denied, len(data))
        return self._refuse(denied)

    def _refuse(self, denied: Denied) -> bytes:
        self.denied[denied.reason] += 1
        return encode(Refused.from_denied(denied))


def _compute_size(item: Proof | tuple[Record, Record]) -> int:
    """An upper bound of its size on the wire."""
    if isinstance(item, Proof):
        return len(item.record.value) + RECEIPT_BYTES * (MAX_REPLICAS + 1)
    return sum(len(record.value) + RECEIPT_BYTES for record in item)
