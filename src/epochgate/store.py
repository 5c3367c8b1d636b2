"""The record store that a node talks to: post to a key's replicas, read what they prove.

Records are known by digest first: all replicas list what they hold, with receipts; then one copy of each proven value
comes from whichever replica holds it, and is taken only if it has the digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from epochgate.core.calendar import Moment
from epochgate.core.policy import Judge
from epochgate.core.receipt import Proof, Receipt, ReceiptRule, Stamp, Standing, compute_stamp, is_receipt_signed
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, Section
from epochgate.core.roster import Placement
from epochgate.core.rule import Bound, Rule
from epochgate.core.verdict import Denied, Reason
from epochgate.ledger import Entry
from epochgate.ports import Network, Unreachable
from epochgate.replica import Replica
from epochgate.watch import Watch
from epochgate.wire import Fetch, List, Listing, Post, Posted, Refused, Reply, Request, Values, decode_reply, encode

MAX_CACHED_RECEIPTS = 1 << 16
MAX_PAGES = 64
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
READS_AT_ONCE = 16

_FINAL = frozenset(reason for reason in Reason if reason.is_authors_fault) | {
    Reason.ALREADY_THERE,
    Reason.LATE,
    Reason.NOT_REPLICA,
}
"""Refusals that trying again cannot cure."""


class Posting:
    """How far a record has come: who gave a receipt for it, and what the others said last."""

    def __init__(self, stamp: Stamp, placement: Placement) -> None:
        self.stamp = stamp
        self.placement = placement
        self.receipts: dict[bytes, Receipt] = {}
        self.refusals: dict[bytes, Denied] = {}
        self.unreachable: set[bytes] = set()

    @property
    def is_complete(self) -> bool:
        return len(self.receipts) >= self.placement.to_complete

    @property
    def is_proven(self) -> bool:
        return len(self.receipts) >= self.placement.to_prove

    def __str__(self) -> str:
        words = f"{len(self.receipts)} of {self.placement.k} receipts, {self.placement.to_complete} make it complete"
        denials = "; ".join(sorted({str(denied) for denied in self.refusals.values()}))
        silent = f"; {len(self.unreachable)} replicas did not answer" if self.unreachable else ""
        return words + silent + (f"; {denials}" if denials else "")


class Store:
    """One node's way to the replicas, its own among them."""

    def __init__(
        self,
        network: Network,
        replica: Replica,
        judge: Judge,
        watch: Watch,
        *,
        timeout_seconds: float = 3.0,
    ) -> None:
        self._network = network
        self._replica = replica
        self._judge = judge
        self._watch = watch
        self._timeout_seconds = timeout_seconds
        self._background: list[asyncio.Task[None]] = []
        self._verified: dict[tuple[Stamp, Receipt], bool] = {}
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    async def post(self, record: Record, bound: Bound, until_seconds: float) -> Posting:
        """Send `record` to each of its key's replicas until K - f have given receipts, or Unix time `until_seconds`.

        Returns as soon as it is complete; replicas that have not answered are tried on in the background.
        """
        posting = Posting(compute_stamp(record), bound.placement)
        is_over = asyncio.Event()
        rule = bound.receipt_rule
        tasks = [
            asyncio.create_task(self._post_to(replica, record, rule, posting, until_seconds, is_over))
            for replica in bound.placement.replicas
        ]
        remaining = asyncio.create_task(self._finish(tasks, is_over))
        self._keep_in_background(remaining)
        await is_over.wait()
        return posting

    async def read(self, bound: Bound) -> KeyReading:
        """What the replicas of one key hold, proven by receipts; the values of all that is proven."""
        listings = await self._list_all(bound)
        vouchers = self._collect_vouchers(bound, listings)
        proven = [stamp for stamp, who in vouchers.items() if bound.receipt_rule.judge_count(len(who)) >= Standing.PROVEN]
        records = await self._fetch_all(bound, proven, listings)
        now = self._watch.get_moment()
        proofs: dict[Stamp, Proof] = {}
        for stamp, record in records.items():
            if self._judge.recognise(record, now):
                receipts = [
                    it for entries in listings.values() for e in entries if _stamp(bound, e) == stamp for it in e.receipts
                ]
                proofs[stamp] = Proof(record, _select(receipts, vouchers[stamp]))
            else:
                del vouchers[stamp]  # what nobody may write does not exist, however many vouch for it
        return KeyReading(bound, proofs, vouchers, frozenset(listings))

    async def read_all(self, rule: Rule, epoch: int) -> Section:
        """All keys of a rule in one epoch: one, or one an author. Raises KeyError for an epoch the calendar lacks."""
        calendar = self._watch.calendar
        roster = calendar.get_context(epoch).roster
        readings = await asyncio.gather(*(self._read_politely(bound) for bound in calendar.get_bounds(rule, epoch)))
        return Section(rule, epoch, roster, tuple(readings))

    async def ask(self, peer: bytes, request: Request) -> Reply | None:
        """One request to one peer; None when it is unreachable or answers what is no reply."""
        try:
            if peer == self._network.peer_id:
                return decode_reply(await self._replica.handle(peer, encode(request)))
            return decode_reply(await self._network.request(peer, encode(request), self._timeout_seconds))
        except (Unreachable, msgspec.MsgspecError):
            return None

    def verify(self, rule: ReceiptRule, stamp: Stamp, receipts: Iterable[Receipt]) -> frozenset[bytes]:
        """The replicas whose receipts hold; each signature is checked once, however often it is read."""
        return rule.compute_vouchers(stamp, receipts, self._is_signed)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background.clear()

    async def _post_to(
        self, replica: bytes, record: Record, rule: ReceiptRule, posting: Posting, until_seconds: float, is_over: asyncio.Event
    ) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            reply = await self.ask(replica, Post(record))
            posting.unreachable.discard(replica)
            if (
                isinstance(reply, Posted)
                and reply.receipt.replica == replica
                and self.verify(rule, posting.stamp, (reply.receipt,))
            ):
                posting.receipts[replica] = reply.receipt
                posting.refusals.pop(replica, None)
                if posting.is_complete:
                    is_over.set()
                return
            if isinstance(reply, Refused):
                denied = _read_refusal(reply)
                posting.refusals[replica] = denied
                if denied.reason in _FINAL:
                    return
            else:
                posting.unreachable.add(replica)
            if self._watch.clock.get_unix_seconds() + pause_seconds >= until_seconds:
                return
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    async def _finish(self, tasks: Sequence[asyncio.Task[None]], is_over: asyncio.Event) -> None:
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            is_over.set()

    async def _read_politely(self, bound: Bound) -> KeyReading:
        async with self._reads:
            return await self.read(bound)

    async def _list_all(self, bound: Bound) -> dict[bytes, list[Entry]]:
        """The listings of all replicas that answer; silent ones are waited for only while they could still matter."""
        listings: dict[bytes, list[Entry]] = {}
        changed = asyncio.Event()
        pending = bound.placement.k

        async def list_one(replica: bytes) -> None:
            nonlocal pending
            entries = await self._list(replica, bound)
            entries = await self._list(replica, bound) if entries is None else entries
            pending -= 1
            if entries is not None:
                listings[replica] = entries
            changed.set()

        tasks = [asyncio.create_task(list_one(replica)) for replica in bound.placement.replicas]
        try:
            while pending and not _is_decided(bound, listings, pending):
                await changed.wait()
                changed.clear()
        finally:
            for task in tasks:
                task.cancel()
        return {replica: listings[replica] for replica in bound.placement.replicas if replica in listings}

    async def _list(self, replica: bytes, bound: Bound) -> list[Entry] | None:
        """All pages of one replica's listing, None when it does not answer each of them."""
        entries: list[Entry] = []
        for _ in range(MAX_PAGES):
            reply = await self.ask(replica, List(bound.key, entries[-1].author if entries else b""))
            if not isinstance(reply, Listing):
                return None
            page = [entry for entry in reply.entries if entry.author in bound.roles]
            entries += page
            if reply.is_last or not page:
                return entries
        return None

    def _collect_vouchers(self, bound: Bound, listings: dict[bytes, list[Entry]]) -> dict[Stamp, frozenset[bytes]]:
        receipts: dict[Stamp, dict[Receipt, None]] = {}
        for entries in listings.values():
            for entry in entries:
                receipts.setdefault(_stamp(bound, entry), {}).update(dict.fromkeys(entry.receipts[: 2 * bound.placement.k]))
        rule = bound.receipt_rule
        found = {stamp: self.verify(rule, stamp, them) for stamp, them in receipts.items()}
        return {stamp: who for stamp, who in found.items() if who}

    async def _fetch_all(
        self, bound: Bound, stamps: Sequence[Stamp], listings: dict[bytes, list[Entry]]
    ) -> dict[Stamp, Record]:
        """One copy of each value: this node's own first, then from holders in turn, so that the load is spread."""
        records: dict[Stamp, Record] = {}
        holders = {
            stamp: [replica for replica, entries in listings.items() if any(_stamp(bound, entry) == stamp for entry in entries)]
            for stamp in stamps
        }
        for attempt in range(bound.placement.k):
            asked: dict[bytes, list[Stamp]] = {}
            for index, stamp in enumerate(stamps):
                if stamp not in records and attempt < len(holders[stamp]):
                    own_first = sorted(holders[stamp], key=lambda replica: replica != self._network.peer_id)
                    turn = attempt if own_first[0] == self._network.peer_id else index + attempt
                    asked.setdefault(own_first[turn % len(own_first)], []).append(stamp)
            if not asked:
                break
            found = await asyncio.gather(*(self._fetch(holder, bound, wanted) for holder, wanted in asked.items()))
            for some in found:
                records |= some
        return records

    async def _fetch(self, holder: bytes, bound: Bound, wanted: Sequence[Stamp]) -> dict[Stamp, Record]:
        """What `holder` has of `wanted`, asked again for what did not fit into its reply."""
        records: dict[Stamp, Record] = {}
        left = list(wanted)
        while left:
            reply = await self.ask(holder, Fetch(bound.key, tuple(stamp.author for stamp in left)))
            got = {compute_stamp(record): record for record in reply.records} if isinstance(reply, Values) else {}
            fitting = {stamp: got[stamp] for stamp in left if stamp in got}
            if not fitting:
                break
            records |= fitting
            left = [stamp for stamp in left if stamp not in fitting]
        return records

    def _is_signed(self, network: bytes, stamp: Stamp, receipt: Receipt) -> bool:
        known = self._verified.get((stamp, receipt))
        if known is None:
            if len(self._verified) >= MAX_CACHED_RECEIPTS:
                self._verified.clear()
            known = self._verified[stamp, receipt] = is_receipt_signed(network, stamp, receipt)
        return known

    def _keep_in_background(self, task: asyncio.Task[None]) -> None:
        self._background = [old for old in self._background if not old.done()]
        self._background.append(task)


def _is_decided(bound: Bound, listings: dict[bytes, list[Entry]], pending: int) -> bool:
    """Whether the replicas still asked can no longer turn an unproven record into a proven one."""
    placement = bound.placement
    if len(listings) < placement.to_complete:
        return False
    counts: dict[Stamp, int] = {}
    for entries in listings.values():
        for entry in entries:
            stamp = _stamp(bound, entry)
            counts[stamp] = counts.get(stamp, 0) + 1
    return pending <= placement.f and all(
        count >= placement.to_complete or count + pending < placement.to_prove for count in counts.values()
    )


def _stamp(bound: Bound, entry: Entry) -> Stamp:
    return Stamp(bound.key, entry.author, entry.value_digest)


def _select(receipts: Iterable[Receipt], vouchers: frozenset[bytes]) -> tuple[Receipt, ...]:
    """One receipt of each voucher, in order of replica."""
    chosen = {receipt.replica: receipt for receipt in receipts if receipt.replica in vouchers}
    return tuple(chosen[replica] for replica in sorted(chosen))


def _read_refusal(reply: Refused) -> Denied:
    try:
        return reply.to_denied()
    except ValueError:
        return Denied(Reason.MALFORMED, reply.rule, "a reason from the list", reply.reason)


def get_latest(readings: Iterable[KeyReading], now: Moment) -> dict[bytes, Proof]:
    """Of keys whose records are renewed, such as heartbeats: the proven record of each author that lives longest."""
    latest: dict[bytes, Proof] = {}
    for reading in readings:
        for stamp in reading.get_stamps(Standing.PROVEN):
            proof = reading.proofs[stamp]
            known = latest.get(stamp.author)
            if proof.record.expiration_time > now.time_seconds and (
                known is None or proof.record.expiration_time > known.record.expiration_time
            ):
                latest[stamp.author] = proof
    return latest
