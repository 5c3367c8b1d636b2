"""What store and replica must do on every engine, told once. Each of `BEHAVIOURS` happens in a town of its own.

A town's nodes share one chain, policy and calendar; every one of them is a replica of every key, since a town is small.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import pytest

from epochgate.chain.local import LocalChain
from epochgate.core.calendar import Calendar
from epochgate.core.epoch import epochs, percent
from epochgate.core.policy import Policy
from epochgate.core.receipt import Receipt, Standing, compute_receipt_bytes, compute_stamp
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.record_set import KeyReading
from epochgate.core.roster import HOSTER
from epochgate.core.rule import Bound, Rule
from epochgate.core.schema import Digest, EpochContext
from epochgate.core.verdict import Reason
from epochgate.keys import SigningKey
from epochgate.ledger import Entry, Ledger
from epochgate.limits import Limits
from epochgate.ports import Clock, Handler, Network
from epochgate.repair import repair
from epochgate.replica import Replica
from epochgate.store import Posting, Store, get_latest
from epochgate.watch import Watch
from epochgate.wire import (
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
from people import meet

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")
VISITOR = "walter"
LARGE_BYTES = 1 << 16
MAX_MESSAGE_BYTES = 3 * LARGE_BYTES
TIMEOUT_SECONDS = 2.0
LONG_SECONDS = 60.0

HEARTBEAT = Rule("hoster", by=HOSTER, ttl=epochs("1.1"), schema=Digest())
NOTE = Rule("note_epoch_{epoch}", by=HOSTER, during=percent("[10, 60]"), ttl=epochs(2), once=True, schema=Digest())
OTHER = Rule("other_epoch_{epoch}", by=HOSTER, during=percent("[10, 60]"), ttl=epochs(2), once=True, schema=Digest())
LARGE = Rule("large_epoch_{epoch}", by=HOSTER, ttl=epochs(2), once=True, schema=Digest(LARGE_BYTES), max_bytes=2 * LARGE_BYTES)
OWN = Rule("own_epoch_{epoch}_{author}", by=HOSTER, ttl=epochs(2), once=True, schema=Digest())
POLICY = Policy(HEARTBEAT, NOTE, OTHER, LARGE, OWN)
LIMITS = Limits(stranger=Limits().member, strangers=Limits().spare)
"""The visitor reads as much as a member."""


class TownClock:
    """Another clock, moved on by the town."""

    def __init__(self, clock: Clock) -> None:
        self.ahead_seconds = 0.0
        self._clock = clock

    def get_unix_seconds(self) -> float:
        return self._clock.get_unix_seconds() + self.ahead_seconds


class Line:
    """A peer's network, with a handler that may change: a port serves once, and neighbours come to lie."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.handler: Handler = _say_nothing

    @staticmethod
    async def lay(network: Network) -> Line:
        line = Line(network)
        await network.serve(line._answer)
        return line

    async def _answer(self, sender: bytes, message: bytes) -> bytes:
        return await self.handler(sender, message)


class Neighbour:
    """One node: replica and store on a line."""

    def __init__(self, town: Town, name: str, line: Line) -> None:
        self.town = town
        self.name = name
        self.key: SigningKey = meet(name)
        self.author = self.key.author
        self.network = line.network
        self._line = line
        self._path = town.folder / f"{name}.sqlite"
        self.open()

    def open(self) -> None:
        town, network = self.town, self.network
        self.ledger = Ledger(self._path)
        self.watch = Watch(town.chain, town.clock, town.calendar, self.ledger)
        self.replica = Replica(self.key, POLICY, self.ledger, self.watch, network.max_message_bytes, LIMITS)
        self.store = Store(network, self.replica, POLICY, self.watch, timeout_seconds=TIMEOUT_SECONDS)
        self._line.handler = self.replica.handle

    async def close(self) -> None:
        self._line.handler = _say_nothing
        await self.store.close()
        self.ledger.close()

    async def restart(self) -> None:
        await self.close()
        self.open()

    async def lose_everything(self) -> None:
        await self.close()
        for path in self.town.folder.glob(f"{self.name}.sqlite*"):
            path.unlink()
        self.open()

    def fall_silent(self) -> None:
        self._line.handler = _keep_silent

    def speak(self) -> None:
        """Answer honestly, as from the beginning."""
        self._line.handler = self.replica.handle

    def answer_after(self, seconds: float) -> None:
        async def answer(sender: bytes, message: bytes) -> bytes:
            await asyncio.sleep(seconds)
            return await self.replica.handle(sender, message)

        self._line.handler = answer

    def keep_values_back(self) -> None:
        """List everything, and never answer who asks for values."""

        async def answer(sender: bytes, message: bytes) -> bytes:
            if isinstance(decode_request(message), Fetch):
                return await _keep_silent(sender, message)
            return await self.replica.handle(sender, message)

        self._line.handler = answer

    def lie(self, lie: Lie) -> None:
        """Answer as a replica does, but for what `lie` makes of it."""

        async def answer(sender: bytes, message: bytes) -> bytes:
            reply = decode_reply(await self.replica.handle(sender, message))
            return encode(lie(self, decode_request(message), reply))

        self._line.handler = answer

    def write(self, rule: Rule, payload: bytes = bytes(32), lifetime_seconds: float = 600.0, epoch: int = 0) -> Record:
        bound = self.town.get_bound(rule, epoch, self)
        expiration_time = self.town.clock.get_unix_seconds() + lifetime_seconds
        return self.key.sign_record(bound.context.network, bound.key, payload, expiration_time)

    async def post(self, rule: Rule, record: Record, within_seconds: float = LONG_SECONDS) -> Posting:
        until_seconds = self.town.clock.get_unix_seconds() + within_seconds
        return await self.store.post(record, self.town.get_bound(rule, 0, self), until_seconds)

    async def post_to(self, replicas: Iterable[Neighbour], record: Record) -> list[Reply | None]:
        """Past the store, as a dishonest author would."""
        return [await self.store.ask(replica.author, Post(record)) for replica in replicas]

    async def read(self, rule: Rule, *, is_thorough: bool = False) -> KeyReading:
        return await self.store.read(self.town.get_bound(rule, 0, self), is_thorough=is_thorough)

    async def repair(self, epoch: int = 0) -> int:
        return await repair(POLICY, self.store, self.ledger, self.watch, self.author, epoch)

    def get_listing(self, rule: Rule) -> list[Entry]:
        key = self.town.get_bound(rule, 0, self).key
        return list(self.ledger.get_listing(key, self.town.clock.get_unix_seconds()))


class Town:
    """`settle` makes one in the twentieth percent of epoch 0. The visitor is on the network and not on the roster, so it is
    nobody's replica and reads everything from others."""

    visitor: Neighbour

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = TownClock(clock)
        self.calendar = Calendar(POLICY)
        path = folder / "chain.sqlite"
        LocalChain.create(path, self.clock, block_seconds=6.0, genesis=bytes(32))
        self.chain = LocalChain(path, None, self.clock)
        self.neighbours: list[Neighbour] = []

    @staticmethod
    async def settle(folder: Path, clock: Clock, lines: Sequence[tuple[str, Line]], visitors: Line) -> Town:
        town = Town(folder, clock)
        for name, _ in lines:
            town.chain.register(meet(name).author, HOSTER)
        town.chain.start(1)
        await town.move_to(20)
        town.neighbours = [Neighbour(town, name, line) for name, line in lines]
        town.visitor = Neighbour(town, VISITOR, visitors)
        return town

    async def move_to(self, percent_complete: int, epoch: int = 0) -> None:
        """The middle of a block, so that a slow machine stays in it."""
        block = 1 + epoch * 100 + percent_complete + 0.5
        self.clock.ahead_seconds += self.chain.genesis_seconds + block * 6.0 - self.clock.get_unix_seconds()
        for number in range(max(0, epoch - 2), epoch + 1):
            roster = await self.chain.get_roster(number)
            self.calendar.add(EpochContext(self.chain.network_id, self.chain.timing, roster))

    def get_bound(self, rule: Rule, epoch: int, author: Neighbour) -> Bound:
        return self.calendar.get_bound(rule, epoch, author.author if "{author}" in rule.name else None)

    @property
    def f(self) -> int:
        return (len(self.neighbours) - 1) // 3

    async def close(self) -> None:
        for neighbour in (*self.neighbours, self.visitor):
            await neighbour.close()
        await self.chain.close()


async def _say_nothing(_sender: bytes, _message: bytes) -> bytes:
    return b""


async def _keep_silent(_sender: bytes, _message: bytes) -> bytes:
    return await asyncio.get_running_loop().create_future()


async def eventually(is_so: Callable[[], bool]) -> None:
    """What goes on in the background comes to an end."""
    async with asyncio.timeout(LONG_SECONDS):
        while not is_so():  # noqa: ASYNC110 - a neighbour's ledger or loop rings no bell
            await asyncio.sleep(0.01)


# How replicas lie.

Lie = Callable[[Neighbour, Request, Reply], Reply]


def withhold_all(_liar: Neighbour, request: Request, reply: Reply) -> Reply:
    return Listing((), is_last=True) if isinstance(request, List) else reply


def withhold_values(_liar: Neighbour, request: Request, reply: Reply) -> Reply:
    return Values(()) if isinstance(request, Fetch) else reply


def falsify_values(_liar: Neighbour, _request: Request, reply: Reply) -> Reply:
    if not isinstance(reply, Values):
        return reply
    return Values(tuple(msgspec.structs.replace(record, value=record.value[:-1] + b"!") for record in reply.records))


def swap_values(liar: Neighbour, _request: Request, reply: Reply) -> Reply:
    """Other values, which their author did sign."""
    if not isinstance(reply, Values):
        return reply
    writers = {them.author: them for them in liar.town.neighbours}
    return Values(tuple(writers[record.author].write(NOTE, b"another" + bytes(25)) for record in reply.records))


def falsify_expiry(_liar: Neighbour, _request: Request, reply: Reply) -> Reply:
    if not isinstance(reply, Values):
        return reply
    later = (msgspec.structs.replace(record, expiration_time=record.expiration_time + 1) for record in reply.records)
    return Values(tuple(later))


def invent_records(liar: Neighbour, request: Request, reply: Reply) -> Reply:
    """A record of everybody's, with a receipt in every replica's name."""
    if not isinstance(request, List):
        return reply
    digest = compute_value_digest(b"never written")
    block = liar.watch.get_block()[0]
    receipts = tuple(Receipt(them.author, 0, block, liar.key.sign(b"trust me")) for them in liar.town.neighbours)
    authors = sorted(them.author for them in liar.town.neighbours)
    return Listing(tuple(Entry(author, digest, 1e12, 96, receipts) for author in authors), is_last=True)


def borrow_receipts(liar: Neighbour, request: Request, reply: Reply) -> Reply:
    """Under every key, what is held under OTHER, with the receipts that are right there."""
    if not isinstance(request, List):
        return reply
    return Listing(tuple(liar.get_listing(OTHER)), is_last=True)


def back_date(liar: Neighbour, request: Request, reply: Reply) -> Reply:
    """A receipt of its own, correctly signed, for a block outside the window."""
    if not isinstance(reply, Listing) or not isinstance(request, List):
        return reply
    network = liar.town.chain.network_id
    entries = []
    for entry in reply.entries:
        stamp = compute_stamp(Record(request.key, entry.author, b"", 0.0))
        stamp = msgspec.structs.replace(stamp, value_digest=entry.value_digest)
        receipt = Receipt(liar.author, 0, 2, liar.key.sign(compute_receipt_bytes(network, stamp, 0, 2)))
        entries.append(msgspec.structs.replace(entry, receipts=(receipt,)))
    return Listing(tuple(entries), is_last=True)


def list_without_end(liar: Neighbour, request: Request, reply: Reply) -> Reply:
    return Listing(tuple(liar.get_listing(NOTE)), is_last=False) if isinstance(request, List) else reply


def refuse_everything(_liar: Neighbour, _request: Request, _reply: Reply) -> Reply:
    return Refused("not-in-the-mood", "x" * 100, "y" * 100)


def give_false_receipts(liar: Neighbour, _request: Request, reply: Reply) -> Reply:
    return Posted(Receipt(liar.author, 0, 20, bytes(64))) if isinstance(reply, Posted) else reply


LIES: tuple[Lie, ...] = (
    withhold_all,
    withhold_values,
    falsify_values,
    swap_values,
    falsify_expiry,
    invent_records,
    borrow_receipts,
    back_date,
    list_without_end,
    refuse_everything,
    give_false_receipts,
)


# What must hold.


async def all_replicas_give_receipts(town: Town) -> None:
    alice = town.neighbours[0]
    posting = await alice.post(NOTE, alice.write(NOTE))
    assert posting.is_complete
    await eventually(lambda: len(posting.receipts) == len(town.neighbours))
    assert str(posting).startswith(f"{len(town.neighbours)} of {len(town.neighbours)} receipts")
    assert posting.standing is Standing.COMPLETE
    assert not posting.refusals
    assert not posting.unreachable


async def everybody_reads_what_all_have_posted(town: Town) -> None:
    records = [them.write(NOTE, bytes([number]) * 32) for number, them in enumerate(town.neighbours)]
    pairs = zip(town.neighbours, records, strict=True)
    await asyncio.gather(*(them.post(NOTE, record) for them, record in pairs))
    for reader in town.neighbours:
        reading = await reader.read(NOTE)
        assert reading.is_enough
        found = [reading.proofs[stamp].record for stamp in reading.get_stamps(Standing.COMPLETE)]
        assert found == sorted(records, key=lambda record: record.author)


async def the_same_record_gets_the_same_receipts_even_after_the_window(town: Town) -> None:
    alice = town.neighbours[0]
    record = alice.write(NOTE)
    replies = await alice.post_to(town.neighbours, record)
    await town.move_to(90)
    assert all(isinstance(reply, Posted) for reply in replies)
    assert await alice.post_to(town.neighbours, record) == replies


async def a_second_value_is_refused_and_kept_as_evidence(town: Town) -> None:
    alice = town.neighbours[0]
    first, second, third = (alice.write(NOTE, bytes([number]) * 32) for number in range(3))
    await alice.post_to(town.neighbours, first)
    for other in (second, third):
        posting = await alice.post(NOTE, other)
        assert {denied.reason for denied in posting.refusals.values()} == {Reason.ALREADY_THERE}
        assert len(posting.refusals) == len(town.neighbours)
    for them in town.neighbours:
        assert them.ledger.get_evidence(first.key) == ((first, second),)
    reading = await alice.read(NOTE)
    assert list(reading.proofs) == [compute_stamp(first)]


async def a_two_faced_author_is_seen_with_both_faces(town: Town) -> None:
    alice, half = town.neighbours[0], len(town.neighbours) // 2
    records = [alice.write(NOTE, bytes([number]) * 32) for number in range(2)]
    await alice.post_to(town.neighbours[:half], records[0])
    await alice.post_to(town.neighbours[half:], records[1])
    section = await town.neighbours[-1].store.read_all(NOTE, 0)
    proven = section.get_proofs(Standing.PROVEN)[alice.author]
    assert sorted(proof.record.payload for proof in proven) == [record.payload for record in records]


async def somebody_elses_record_is_refused(town: Town) -> None:
    alice, bob = town.neighbours[:2]
    posting = await bob.post(NOTE, alice.write(NOTE))
    assert {denied.reason for denied in posting.refusals.values()} == {Reason.NOT_AUTHOR}
    assert not posting.receipts
    assert all(not them.ledger.held for them in town.neighbours)


async def what_is_early_is_repeated_until_the_window_opens(town: Town) -> None:
    alice = town.neighbours[0]
    await town.move_to(5)
    record = alice.write(NOTE)
    (refused,) = await alice.post_to([alice], record)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.wait_blocks, refused.wait_seconds) == ("early", 5, 30.0)
    posting = asyncio.create_task(alice.post(NOTE, record, within_seconds=600))
    await eventually(lambda: alice.replica.denied[Reason.EARLY] > 1)
    await town.move_to(10)
    assert (await posting).is_complete


async def what_is_late_is_refused_for_good(town: Town) -> None:
    alice = town.neighbours[0]
    await town.move_to(61)
    posting = await alice.post(NOTE, alice.write(NOTE))
    assert not posting.is_proven
    assert "denied, late; by rule note_epoch_0; expected blocks 11 to 61; saw 62" in str(posting)


async def f_silent_replicas_change_nothing(town: Town) -> None:
    alice = town.neighbours[0]
    for them in town.neighbours[-town.f :]:
        them.fall_silent()
    posting = await alice.post(NOTE, alice.write(NOTE))
    assert posting.is_complete
    reading = await alice.read(NOTE)
    assert reading.is_enough
    assert list(reading.get_stamps(Standing.COMPLETE)) == [posting.stamp]


async def one_silent_replica_more_is_told(town: Town) -> None:
    alice, k, f = town.neighbours[0], len(town.neighbours), town.f
    for them in town.neighbours[-f - 1 :]:
        them.fall_silent()
    posting = await alice.post(NOTE, alice.write(NOTE), within_seconds=TIMEOUT_SECONDS + 0.5)
    assert not posting.is_complete
    assert posting.is_proven
    assert str(posting) == f"{k - f - 1} of {k} receipts, {k - f} make it complete; {f + 1} replicas did not answer"
    reading = await alice.read(NOTE)
    assert not reading.is_enough
    assert reading.answered == frozenset(them.author for them in town.neighbours[: k - f - 1])
    assert list(reading.get_stamps(Standing.PROVEN)) == [posting.stamp]


async def f_liars_change_nothing(town: Town) -> None:
    alice, bob = town.neighbours[:2]
    other = bob.write(OTHER, b"o" * 32)
    await bob.post_to(town.neighbours, other)
    liars = town.neighbours[1 : 1 + town.f]
    for liar in liars:
        liar.lie(give_false_receipts)
    record = alice.write(NOTE)
    posting = await alice.post(NOTE, record)
    assert posting.is_complete
    assert not posting.receipts.keys() & {liar.author for liar in liars}
    for lie in LIES:
        for liar in liars:
            liar.lie(lie)
        for reader in (alice, town.neighbours[-1], town.visitor):
            reading = await reader.read(NOTE)
            assert reading.is_enough, lie.__name__
            assert [proof.record for proof in reading.proofs.values()] == [record], lie.__name__
            assert list(reading.get_stamps(Standing.COMPLETE)) == [posting.stamp], lie.__name__


async def who_is_caught_forging_is_not_believed_at_all(town: Town) -> None:
    alice, liar = town.neighbours[0], town.neighbours[1]
    await alice.post_to(town.neighbours, alice.write(NOTE))
    liar.lie(invent_records)
    reading = await town.visitor.read(NOTE, is_thorough=True)
    assert reading.answered == frozenset(them.author for them in town.neighbours if them is not liar)
    assert len(reading.vouchers) == 1


async def what_too_few_have_seen_does_not_exist(town: Town) -> None:
    alice, reader = town.neighbours[0], town.neighbours[-1]
    record = alice.write(NOTE)
    await alice.post_to(town.neighbours[: town.f], record)
    reading = await reader.read(NOTE)
    assert reading.is_enough
    assert not reading.proofs
    assert len(reading.vouchers[compute_stamp(record)]) == town.f
    await alice.post_to(town.neighbours[town.f : town.f + 1], record)
    reading = await reader.read(NOTE)
    assert list(reading.get_stamps(Standing.PROVEN)) == [compute_stamp(record)]
    assert not list(reading.get_stamps(Standing.COMPLETE))


async def large_values_are_read_whole(town: Town) -> None:
    """More than one message holds, from replicas that all answer within theirs."""
    records = [them.write(LARGE, bytes([number]) * LARGE_BYTES) for number, them in enumerate(town.neighbours)]
    pairs = zip(town.neighbours, records, strict=True)
    await asyncio.gather(*(them.post(LARGE, record) for them, record in pairs))
    reading = await town.visitor.read(LARGE)
    found = {proof.record.author: proof.record for proof in reading.proofs.values()}
    assert found == {record.author: record for record in records}


async def keys_of_their_own_are_read_as_one_section(town: Town) -> None:
    for them in town.neighbours:
        assert (await them.post(OWN, them.write(OWN))).is_complete
    section = await town.neighbours[0].store.read_all(OWN, 0)
    assert section.is_enough
    assert list(section.get_proofs(Standing.COMPLETE)) == sorted(them.author for them in town.neighbours)
    alice, bob = town.neighbours[:2]
    bound = town.get_bound(OWN, 0, alice)
    foreign = bob.key.sign_record(bound.context.network, bound.key, bytes(32), town.clock.get_unix_seconds() + 600)
    (refused,) = await bob.post_to([alice], foreign)
    assert isinstance(refused, Refused)
    assert refused.reason == "not-author"


async def the_latest_heartbeat_wins_and_old_ones_do_not_come_back(town: Town) -> None:
    alice, reader = town.neighbours[0], town.neighbours[-1]
    old, new = alice.write(HEARTBEAT, b"o" * 32, 100), alice.write(HEARTBEAT, b"n" * 32, 200)
    await alice.post_to(town.neighbours, old)
    assert (await alice.post(HEARTBEAT, new)).is_complete
    await eventually(
        lambda: all(them.get_listing(HEARTBEAT)[0].expiration_time == new.expiration_time for them in town.neighbours)
    )
    (refused,) = await alice.post_to([reader], old)
    assert isinstance(refused, Refused)
    assert refused.reason == "already-there"
    latest = get_latest([await reader.read(HEARTBEAT)], reader.watch.get_moment())
    assert latest[alice.author].record == new
    town.clock.ahead_seconds += 200
    assert not (await reader.read(HEARTBEAT)).proofs


async def a_restart_keeps_records_and_receipts(town: Town) -> None:
    alice = town.neighbours[0]
    record = alice.write(NOTE)
    before = await alice.post_to(town.neighbours, record)
    for them in town.neighbours:
        await them.restart()
    reading = await town.neighbours[-1].read(NOTE, is_thorough=True)
    assert reading.vouchers[compute_stamp(record)] == frozenset(them.author for them in town.neighbours)
    assert await alice.post_to(town.neighbours, record) == before


async def a_replica_that_lost_its_data_takes_what_is_proven(town: Town) -> None:
    alice, carol = town.neighbours[0], town.neighbours[2]
    proven, unproven = alice.write(NOTE), alice.write(OTHER)
    posting = await alice.post(NOTE, proven)
    await eventually(lambda: len(posting.receipts) == len(town.neighbours))
    await alice.post_to([alice], unproven)
    await carol.lose_everything()
    assert await carol.repair() == 1
    assert not carol.get_listing(OTHER)
    (entry,) = carol.get_listing(NOTE)
    assert {receipt.replica for receipt in entry.receipts} == posting.receipts.keys() - {carol.author}
    assert await carol.repair() == 0
    (posted,) = await alice.post_to([carol], proven)
    assert isinstance(posted, Posted)
    assert posted.receipt.replica == carol.author
    (entry,) = carol.get_listing(NOTE)
    assert {receipt.replica for receipt in entry.receipts} == posting.receipts.keys()


async def a_forged_repair_is_refused(town: Town) -> None:
    carol = town.neighbours[2]
    for liar in town.neighbours:
        if liar is not carol:
            liar.lie(invent_records)
    assert await carol.repair() == 0
    assert not carol.ledger.held


Behaviour = Callable[[Town], Awaitable[None]]

BEHAVIOURS: list[Behaviour] = [
    all_replicas_give_receipts,
    everybody_reads_what_all_have_posted,
    the_same_record_gets_the_same_receipts_even_after_the_window,
    a_second_value_is_refused_and_kept_as_evidence,
    a_two_faced_author_is_seen_with_both_faces,
    somebody_elses_record_is_refused,
    what_is_early_is_repeated_until_the_window_opens,
    what_is_late_is_refused_for_good,
    f_silent_replicas_change_nothing,
    one_silent_replica_more_is_told,
    f_liars_change_nothing,
    who_is_caught_forging_is_not_believed_at_all,
    what_too_few_have_seen_does_not_exist,
    large_values_are_read_whole,
    keys_of_their_own_are_read_as_one_section,
    the_latest_heartbeat_wins_and_old_ones_do_not_come_back,
    a_restart_keeps_records_and_receipts,
    a_replica_that_lost_its_data_takes_what_is_proven,
    a_forged_repair_is_refused,
]
every_behaviour = pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
