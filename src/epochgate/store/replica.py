"""A replica: judges what arrives, stores it, signs a receipt, and answers those who read.

No exception reaches the network loop, and nothing is refused without a reason. Checks come cheapest
first: the sender's rate, its place on the roster, and only then the bytes of the request.
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
from epochgate.observe.recorder import NullRecorder, Recorder
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

FEWER_REQUESTS = "fewer requests, or smaller ones"
"""The fact that is expected of a sender beyond its rate."""

Evidence = tuple[Record, Record]
"""Two different signed records of one author under a once-key."""


class Replica:
    """One node's replica.

    Its limits are those of the policy by which the key tables are made.

    Args:
        key: Signs receipts.
        judge: Decides what may be stored: the policy, or one composed of it and predicates.
        database: What is stored.
        chain_clock: The chain's time, and the key tables of the epochs.
        max_message_bytes: The network's limit, below which every reply stays.
        recorder: Notes each decision; None notes nothing.

    Attributes:
        author: This node's peer id.
        capacity: The limits of its storage.
        admitted: How many records it has stored since `take_counts`.
        denied: How many requests it has refused since then, by reason.
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
        self._recorder: Recorder = recorder or NullRecorder()
        self._roster: Roster | None = None
        """The roster by whose members the rate limiter was last cleaned up."""
        self._sets: dict[Epoch, tuple[tuple[Proof, ...], tuple[Evidence, ...]]] = {}

    async def handle(self, sender: PeerId, data: bytes) -> bytes:
        """Answer one request. It is the `Handler` of a node's network, and of its own store.

        Args:
            sender: The authenticated peer that sent the request, perhaps this node itself.
            data: The request, of any bytes.

        Returns:
            The reply, in any case.
        """
        # Stops "a predicate that raises": an error of a judge or of the database is a refusal.
        try:
            return self._answer(sender, data)
        except Exception as error:
            logging.getLogger(__name__).exception("a request could not be answered")
            expected = "a judge and a database that work"
            return self._refuse(
                Denied(Reason.PREDICATE_ERROR, None, expected, type(error).__name__)
            )

    def show_set(self, epoch: Epoch, proofs: Sequence[Proof], evidence: Sequence[Evidence]) -> None:
        """Serve the set of this node's newest submission, in the place of an older one.

        Args:
            epoch: The epoch in which the submission was made.
            proofs: The records that it includes, with receipts that prove them.
            evidence: Why authors were left out: a pair of records each.
        """
        self._sets = {epoch: (tuple(proofs), tuple(evidence))}

    def take_counts(self) -> tuple[int, Counter[Reason]]:
        """Read `admitted` and `denied`, and set them to nothing."""
        counts = (self.admitted, self.denied)
        self.admitted = 0
        self.denied = Counter()
        return counts

    def _answer(self, sender: PeerId, data: bytes) -> bytes:
        now_seconds = self._chain_clock.clock.get_unix_seconds()
        wait_seconds = self._limiter.compute_retry_after_seconds(sender, now_seconds)
        # Stops "a flood from a peer or an author": a sender that was told to wait and does not
        # costs a look and a count, whatever it sends.
        if wait_seconds > 0:
            return self._defer(wait_seconds)
        # Stops "started or killed at any point of an epoch": without a roster nobody is a member.
        try:
            now = self._chain_clock.get_evaluation_context()
        except LookupError:
            return self._refuse(Denied(Reason.NOT_STARTED, None, "the chain's first roster"))
        is_member = sender in self._get_roles(now)
        # Stops "no longer staked but still served": a stranger stores nothing, and no decoder sees
        # its posts.
        if not is_member and not is_read(data):
            denied = Denied(Reason.NOT_ON_ROSTER, None, "a sender on the roster", sender)
            return self._reject(sender, now, denied, data)
        if sender == self.author:
            return self._serve(sender, data, now)
        charged, wait_seconds = self._limiter.find_buckets(
            sender, is_member=is_member, now_seconds=now.time_seconds
        )
        # Stops "a flood from a peer or an author".
        if not charged:
            denied = Denied(Reason.RATE, None, FEWER_REQUESTS, wait_seconds=wait_seconds)
            return self._reject(sender, now, denied, data)
        for buckets in charged:
            buckets.debit(1, len(data))
        reply = self._serve(sender, data, now)
        for buckets in charged:
            buckets.debit(0, len(reply))
        return reply

    def _get_roles(self, now: EvaluationContext) -> dict[PeerId, int]:
        """The roles of the members of the newest roster."""
        roster = self._chain_clock.schedule.find_newest_roster(now.data.epoch)
        if roster is None:
            return {}
        if roster is not self._roster:
            self._limiter.retain(roster.roles)
            self._roster = roster
        return roster.roles

    def _serve(self, sender: PeerId, data: bytes, now: EvaluationContext) -> bytes:
        """Answer a request that was paid for."""
        # Stops "malformed MessagePack", "truncated and bit-flipped records", and "deep nesting".
        try:
            request = decode_request(data)
        except msgspec.MsgspecError as error:
            denied = Denied(Reason.MALFORMED, None, "a request", str(error))
            return self._reject(sender, now, denied, data)
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
        """Judge a record, and store it if it is admitted. `core/admission.py` has the checks."""
        key_rule = self.judge.find_key_rule(record.key, now)
        answer = judge_post(
            self.judge,
            key_rule,
            sender=sender,
            record=record,
            now=now,
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
        """Store an admitted record, and return the receipt only when both are on disk."""
        epoch = compute_receipt_epoch(key_rule, now)
        signature = self._key.sign(
            compute_receipt_bytes(now.network, compute_record_id(record), epoch, now.block)
        )
        receipt = Receipt(self.author, epoch, now.block, signature)
        self.database.keep(record, (receipt,), now.data.epoch)
        # Stops "a quota spent on records that were refused": nothing is counted before this.
        self.admitted += 1
        return receipt

    def _look_for_equivocation(
        self, verdict: Denied, key_rule: KeyRule | None, record: Record
    ) -> None:
        """Keep a refused record as evidence, if its author signed another one before.

        The first one that differs is verified, once. Later ones are not looked at, since each would
        cost the check of a signature.
        """
        if verdict.reason is not Reason.ALREADY_THERE or key_rule is None or not key_rule.once:
            return
        if self.database.has_evidence(record.key, record.author):
            return
        first = self.database.get_record(record.key, record.author)
        if first is None or first.value == record.value:
            return
        # Stops "a second, different commitment": signed, it convicts its author.
        if is_record_signed(key_rule.context.network, record):
            self.database.keep_evidence(first, record, key_rule.epoch or Epoch(0))

    # Stops "a reply too large to send": each of these returns what fits, and says whether more
    # follows or lets the reader ask again.

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
        items: tuple[Proof | Evidence, ...] = (*proofs, *evidence)
        left_bytes = self._max_reply_bytes
        end = start
        for item in items[start:]:
            left_bytes -= _compute_size_bytes(item)
            if left_bytes < 0:
                break
            end += 1
        first_pair = max(0, start - len(proofs))
        last_pair = max(0, end - len(proofs))
        return SetPage(proofs[start:end], evidence[first_pair:last_pair], is_last=end >= len(items))

    def _defer(self, wait_seconds: float) -> bytes:
        """Refuse a sender that was told to wait and does not."""
        self.denied[Reason.RATE] += 1
        self._recorder.note_request_deferred()
        return encode(
            Refused(Reason.RATE.value, expected=FEWER_REQUESTS, wait_seconds=wait_seconds)
        )

    def _reject(self, sender: PeerId, now: EvaluationContext, denied: Denied, data: bytes) -> bytes:
        """Refuse a request that has not been read as a record."""
        self._recorder.note_request_rejected(sender, now, denied, len(data))
        return self._refuse(denied)

    def _refuse(self, denied: Denied) -> bytes:
        self.denied[denied.reason] += 1
        return encode(Refused.from_denied(denied))


def _compute_size_bytes(item: Proof | Evidence) -> int:
    """An upper bound of its size in a reply."""
    if isinstance(item, Proof):
        return len(item.record.value) + RECEIPT_BYTES * (MAX_REPLICAS + 1)
    return sum(len(record.value) + RECEIPT_BYTES for record in item)
