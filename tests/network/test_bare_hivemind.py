"""The faults of bare hivemind 1.1.12, each shown on hivemind's own DHT nodes, and then its absence
in epochgate's store.

Three nodes of plain hivemind and four on epochgate's libp2p engine, all with real daemons, serve
all tests of this file. What the engine adds to hivemind (a watchdog, silent replicas, lost
bootstrap peers, clock errors in words) is in `test_libp2p.py` and, where the store shows it, at the
end.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hivemind.dht import DHTID
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.routing import BinaryDHTValue
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.utils import MSGPackSerializer
from hivemind.utils.crypto import RSAPrivateKey

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.receipt import Standing
from epochgate.core.record import Record
from epochgate.core.rule import KeyRule
from epochgate.core.types import RecordKey
from epochgate.core.verdict import Admitted, Reason, Verdict
from epochgate.engine.system import SystemClock
from epochgate.predicate import PredicateValidator
from epochgate.predicate.judge import compose
from epochgate.store.client import get_latest
from epochgate.store.wire import Fetch, Refused, Values
from tests.suites.store_lies import withhold_all
from tests.support.bare_hivemind import start_node
from tests.support.libp2p_cluster import attach_handlers
from tests.support.store_cluster import (
    HEARTBEAT,
    LARGE,
    LARGE_BYTES,
    NAMES,
    NOTE,
    OUTSIDER,
    POLICY,
    StoreCluster,
    SwitchableHandler,
    eventually,
)

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module")]

LIMIT_BYTES = 1 << 16
"""Of a message, where hivemind's default is 4 MiB: the same happens at any size."""
SOON_SECONDS = 60.0
OLD_SECONDS = 1.5
"""The life of a record that is replayed: a slow machine comes to it in time, and the test to its
end.
"""


class Doorman(RecordValidatorBase):  # type: ignore[misc] # hivemind has no types
    """A node's validator, whose rule each test sets."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.rule: Callable[[DHTRecord], Any] = lambda _record: True
        self.refused: list[DHTRecord] = []

    def validate(self, record: DHTRecord) -> Any:
        answer = self.rule(record)
        if answer is False:
            self.refused.append(record)
        return answer


class Peer:
    """A node of plain hivemind, with hivemind's signatures and a doorman."""

    def __init__(self) -> None:
        self.doorman = Doorman()
        self.signature = RSASignatureValidator(RSAPrivateKey())
        self.owner: bytes = self.signature.local_public_key
        self.node: Any = None

    async def join(self, known: list[Peer], **options: Any) -> Peer:
        options |= {"persistent_conn_max_msg_size": LIMIT_BYTES}
        self.node = await start_node(
            [peer.node for peer in known], self.doorman, self.signature, **options
        )
        return self

    async def store(
        self, name: str, value: object, subkey: object = None, lives: float = SOON_SECONDS
    ) -> bool:
        stored: bool = await self.node.store(name, value, time.time() + lives, subkey=subkey)
        return stored

    async def store_all(self, name: str, entries: dict[Any, object]) -> None:
        values = list(entries.values())
        subkeys = list(entries)
        stored = await self.node.store_many(
            [name] * len(values), values, time.time() + SOON_SECONDS, subkeys=subkeys
        )
        assert all(stored.values())

    async def send(
        self,
        other: Peer,
        name: str,
        value: Any,
        subkey: object = None,
        expires: float | None = None,
    ) -> Any:
        """To one peer alone, and what it answers: None for nothing."""
        expires = time.time() + SOON_SECONDS if expires is None else expires
        sent = await self.node.protocol.call_store(
            other.node.peer_id, [find_id(name)], [value], [expires], [subkey]
        )
        return sent[0] if sent else sent

    async def ask(self, other: Peer, name: str) -> Any:
        """One peer alone."""
        found = await self.node.protocol.call_find(other.node.peer_id, [find_id(name)])
        return found[find_id(name)][0]

    async def read(self, name: str, **options: Any) -> Any:
        found = await self.node.get(name, **options)
        if found is None or not isinstance(found.value, dict):
            return found and found.value
        return {subkey: entry.value for subkey, entry in found.value.items()}

    def knows(self, other: Peer) -> bool:
        return other.node.node_id in self.node.protocol.routing_table

    def get_held(self, name: str) -> Any:
        found = self.node.protocol.storage.get(find_id(name))
        return None if found is None else found.value


def find_id(name: str) -> DHTID:
    return DHTID.generate(source=name)


def pack(value: object) -> BinaryDHTValue:
    data: bytes = MSGPackSerializer.dumps(value)
    return data


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare_nodes() -> AsyncIterator[list[Peer]]:
    peers: list[Peer] = []
    try:
        for _ in range(3):
            peers.append(await Peer().join(peers))
        yield peers
    finally:
        await asyncio.gather(*(peer.node.shutdown() for peer in peers))


@pytest_asyncio.fixture(loop_scope="module")
async def bare(bare_nodes: list[Peer]) -> list[Peer]:
    """Alice, bob and carol: empty, admitting everything, and acquainted."""
    for peer in bare_nodes:
        peer.doorman.reset()
        peer.node.protocol.storage.clear()
        for other in bare_nodes:
            if other is not peer:
                await peer.node.protocol.call_ping(other.node.peer_id)
    await eventually(
        lambda: all(a is b or a.knows(b) for a, b in itertools.product(bare_nodes, repeat=2))
    )
    return bare_nodes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def handlers(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[list[tuple[str, SwitchableHandler]]]:
    async with attach_handlers(tmp_path_factory.mktemp("town"), (*NAMES[:4], OUTSIDER)) as handlers:
        yield handlers


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(
    handlers: list[tuple[str, SwitchableHandler]], tmp_path: Path
) -> AsyncIterator[StoreCluster]:
    cluster = await StoreCluster.start(tmp_path, SystemClock(), handlers[:4], handlers[-1][1])
    try:
        yield cluster
    finally:
        await cluster.close()


# A reply over the limit makes the reader drop healthy peers until the network is dark for it.


async def test_bare_hivemind_goes_dark_for_who_reads_a_reply_over_the_limit(
    bare: list[Peer],
) -> None:
    alice = bare[0]
    reader = await Peer().join(bare, client_mode=True, wait_timeout=1.0)
    try:
        assert await alice.store("small", 1)
        assert await reader.read("small") == 1
        for first in range(0, 80, 20):
            await alice.store_all("large", dict.fromkeys(range(first, first + 20), bytes(1000)))
        assert await reader.read("large") is None
        await eventually(lambda: not any(map(reader.knows, bare)))
        assert await reader.read("small") is None, "nobody is left to be asked"
    finally:
        await reader.node.shutdown()


async def test_ours_replies_in_pages(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    records = [them.write(LARGE, bytes(LARGE_BYTES)) for them in cluster.nodes]
    for them, record in zip(cluster.nodes, records, strict=True):
        assert (await them.post(LARGE, record)).is_complete
    assert sum(len(record.value) for record in records) > cluster.outsider.network.max_message_bytes
    page = await cluster.outsider.store.ask(
        alice.author, Fetch(records[0].key, tuple(record.author for record in records))
    )
    assert isinstance(page, Values)
    assert 0 < len(page.records) < len(records)
    reading = await cluster.outsider.read(LARGE, wait_for_all=True)
    assert len(reading.proofs) == len(records)
    assert reading.answered == {them.author for them in cluster.nodes}
    assert (await alice.post(NOTE, alice.write(NOTE))).is_complete
    assert len((await cluster.outsider.read(NOTE, wait_for_all=True)).answered) == len(
        cluster.nodes
    ), "nobody was dropped"


# A refused store with an earlier expiry shortens the stored record's life: an old record, replayed,
# deletes the new one.


async def test_bare_hivemind_lets_an_old_signed_record_delete_the_new_one(bare: list[Peer]) -> None:
    alice, bob, carol = bare
    old_expires = time.time() + OLD_SECONDS
    assert await alice.store("heartbeat", "old", subkey=alice.owner, lives=OLD_SECONDS)
    old = carol.get_held("heartbeat").get(alice.owner)
    assert await alice.store("heartbeat", "new", subkey=alice.owner)
    sent = await carol.send(
        bob, "heartbeat", old.value, subkey=alice.owner, expires=old.expiration_time
    )
    assert sent is False, "it is refused, and works all the same"
    await asyncio.sleep(old_expires - time.time() + 0.1)
    assert carol.get_held("heartbeat").get(alice.owner) is not None
    assert bob.get_held("heartbeat").get(alice.owner) is None


async def test_ours_keeps_the_new_record_when_the_old_one_is_replayed(
    cluster: StoreCluster,
) -> None:
    alice = cluster.nodes[0]
    reader = cluster.nodes[-1]
    old = alice.write(HEARTBEAT, b"o" * 32, 100)
    new = alice.write(HEARTBEAT, b"n" * 32, 200)
    await alice.post_to(cluster.nodes, old)
    await alice.post_to(cluster.nodes, new)
    assert {reply.reason for reply in await alice.post_to(cluster.nodes, old)} == {"already-there"}  # type: ignore[union-attr]  # anything else fails
    cluster.clock.ahead_seconds += 150
    latest = get_latest([await reader.read(HEARTBEAT)], reader.chain_clock.get_evaluation_context())
    assert latest[alice.author].record == new


# A plain store with a later expiry replaces everybody's entries.


async def test_bare_hivemind_lets_one_replace_everybodys_entries(bare: list[Peer]) -> None:
    alice, bob, carol = bare
    assert await alice.store("heartbeat", "alive", subkey=alice.owner)
    assert await bob.store("heartbeat", "alive", subkey=bob.owner)
    assert await alice.read("heartbeat", latest=True) == {alice.owner: "alive", bob.owner: "alive"}
    assert await carol.store("heartbeat", "mine", lives=2 * SOON_SECONDS)
    assert await alice.read("heartbeat", latest=True) == "mine"


async def test_ours_lets_nobody_touch_what_others_wrote(cluster: StoreCluster) -> None:
    alice, bob, carol = cluster.nodes[:3]
    for them in (alice, bob):
        assert (await them.post(HEARTBEAT, them.write(HEARTBEAT))).is_complete
    assert (await carol.post(HEARTBEAT, carol.write(HEARTBEAT, lifetime_seconds=650.0))).is_complete
    longer = msgspec.structs.replace(
        carol.write(HEARTBEAT, lifetime_seconds=655.0), author=alice.author
    )
    assert {reply.reason for reply in await carol.post_to(cluster.nodes, longer)} == {"not-author"}  # type: ignore[union-attr]  # anything else fails
    authors = {record_id.author for record_id in (await cluster.outsider.read(HEARTBEAT)).proofs}
    assert authors == {alice.author, bob.author, carol.author}


# One bad entry hides all good ones; an empty dictionary hides the key.


async def test_bare_hivemind_lets_one_bad_entry_hide_all_good_ones(bare: list[Peer]) -> None:
    alice, bob, _ = bare
    for name in ("good", "better", "bad"):
        assert await alice.store("notes", name, subkey=name)
    alice.doorman.rule = lambda record: record.value != pack("bad")
    assert await alice.ask(bob, "notes") is None, "bob shows all three"


class TooGenerous:
    """Admits whatever is asked, as a replica with a fault does."""

    def find_key_rule(self, key: RecordKey, now: EvaluationContext) -> KeyRule | None:
        return POLICY.find_key_rule(key, now)

    def admit(self, record: Record, _now: EvaluationContext) -> Verdict:
        return Admitted("anything", record.author)

    recognise = admit


async def test_ours_leaves_out_the_bad_entry_alone(cluster: StoreCluster) -> None:
    alice, bob, carol = cluster.nodes[:3]
    for them in cluster.nodes:
        them.replica.judge = TooGenerous()
    good = [them.write(NOTE) for them in (alice, carol)]
    bad = bob.write(NOTE, b"not a digest")
    for them, record in zip((alice, carol, bob), (*good, bad), strict=True):
        assert (await them.post(NOTE, record)).is_complete, (
            "all replicas hold it, and give receipts"
        )
    reading = await cluster.outsider.read(NOTE)
    assert {proof.record.author for proof in reading.proofs.values()} == {
        alice.author,
        carol.author,
    }


async def test_bare_hivemind_lets_an_empty_dictionary_hide_the_key(bare: list[Peer]) -> None:
    alice, bob, carol = bare
    name = next(name for name in map(str, itertools.count()) if is_nearest(bob, name, bare))
    assert await alice.store(name, "good", subkey="alice")
    bob.node.protocol.storage.clear()
    bob.node.protocol.storage.store(
        find_id(name), DictionaryDHTValue(), time.time() + 2 * SOON_SECONDS
    )
    reader = await Peer().join(bare, client_mode=True)
    try:
        assert await reader.ask(carol, name)
        assert await reader.read(name, num_workers=1) == {}, (
            "whoever answers first with a later expiry is believed"
        )
    finally:
        await reader.node.shutdown()


def is_nearest(peer: Peer, name: str, peers: list[Peer]) -> bool:
    return peer is min(peers, key=lambda them: them.node.node_id.xor_distance(find_id(name)))


async def test_ours_believes_no_empty_listing(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    posting = await alice.post(NOTE, alice.write(NOTE))
    await eventually(lambda: len(posting.receipts) == len(cluster.nodes))
    for liar in cluster.nodes:
        for other in cluster.nodes:
            other.answer_after(0.05)
        liar.lie(withhold_all)  # and is the first to answer
        assert list((await cluster.outsider.read(NOTE)).get_record_ids(Standing.PROVEN)) == [
            posting.record_id
        ]


# NaN and 10^9 s expiries pass.


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e9])
async def test_bare_hivemind_takes_odd_expiries(bare: list[Peer], seconds: float) -> None:
    alice, bob, _ = bare
    assert await alice.send(bob, "odd", pack(1), expires=time.time() + seconds)
    assert bob.get_held("odd") is not None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 1e9, -1.0])
async def test_ours_refuses_odd_expiries(cluster: StoreCluster, seconds: float) -> None:
    alice = cluster.nodes[0]
    replies = await alice.post_to(cluster.nodes, alice.write(NOTE, lifetime_seconds=seconds))
    assert [reply.reason for reply in replies] == ["expiry"] * len(cluster.nodes)  # type: ignore[union-attr]  # anything else fails


# An exception in a validator makes the sender drop its node; an async one admits everything.


def raise_error(_record: DHTRecord) -> bool:
    raise ZeroDivisionError("a predicate with a fault")


async def refuse_everything(_record: DHTRecord) -> bool:
    return False


async def test_bare_hivemind_drops_a_node_whose_validator_raises(bare: list[Peer]) -> None:
    alice, bob, _ = bare
    bob.doorman.rule = raise_error
    assert await alice.send(bob, "notes", pack(1), subkey="alice") is None
    await eventually(lambda: not alice.knows(bob))


async def test_ours_answers_whose_predicate_raised_and_goes_on(cluster: StoreCluster) -> None:
    alice, bob = cluster.nodes[:2]
    bob.replica.judge = compose(POLICY, PredicateValidator(raise_error))
    posting = await alice.post(NOTE, alice.write(NOTE))
    await posting.wait_for_stragglers(0.2)
    assert posting.is_complete
    assert not posting.unreachable, "bob has answered, and is asked again"
    assert posting.refusals[bob.author].reason is Reason.PREDICATE_ERROR
    assert "a predicate with a fault" in str(posting.refusals[bob.author])


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_bare_hivemind_admits_everything_where_a_validator_is_async(bare: list[Peer]) -> None:
    alice, bob, _ = bare
    bob.doorman.rule = refuse_everything
    assert await alice.send(bob, "notes", pack(1), subkey="alice") is True


async def test_ours_admits_nothing_where_a_predicate_is_async(cluster: StoreCluster) -> None:
    alice, bob = cluster.nodes[:2]
    bob.replica.judge = compose(POLICY, PredicateValidator(refuse_everything))  # type: ignore[arg-type]  # its author's mistake
    (reply,) = await alice.post_to([bob], alice.write(NOTE))
    assert isinstance(reply, Refused)
    assert reply.reason == "predicate-error"


# `store()` reports the last replica's verdict only.


async def test_bare_hivemind_reports_the_verdict_of_one_replica(bare: list[Peer]) -> None:
    alice, bob, carol = bare
    alice.doorman.rule = lambda _record: False
    assert await alice.store("notes", 1, subkey="a") is True, "the first of three has refused"
    assert alice.get_held("notes") is None
    alice.doorman.reset()
    bob.doorman.rule = carol.doorman.rule = lambda _record: False
    assert await alice.store("more notes", 1, subkey="a") is False, "the first of three holds it"
    assert alice.get_held("more notes") is not None


async def test_ours_reports_what_every_replica_said(cluster: StoreCluster) -> None:
    alice, bob, carol, dave = cluster.nodes
    bob.replica.judge = compose(POLICY, PredicateValidator(lambda _record: False))
    dave.fall_silent()
    posting = await alice.post(NOTE, alice.write(NOTE), within_seconds=2.5)
    assert posting.receipts.keys() == {alice.author, carol.author}
    assert posting.refusals.keys() == {bob.author}
    assert posting.unreachable == {dave.author}


# The default `get` answers from a local cache.


async def test_bare_hivemind_reads_from_a_local_cache(bare: list[Peer]) -> None:
    alice = bare[0]
    reader = await Peer().join(bare, client_mode=True, cache_locally=True)
    try:
        assert await alice.store("state", "old")
        assert await reader.read("state") == "old"
        assert await alice.store("state", "new", lives=2 * SOON_SECONDS)
        assert await reader.read("state") == "old"
        assert await reader.read("state", latest=True) == "new"
    finally:
        await reader.node.shutdown()


async def test_ours_asks_the_replicas_at_every_reading(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    outsider = cluster.outsider
    for payload, lifetime_seconds in ((b"o" * 32, 100.0), (b"n" * 32, 200.0)):
        assert (
            await alice.post(HEARTBEAT, alice.write(HEARTBEAT, payload, lifetime_seconds))
        ).is_complete
        latest = get_latest(
            [await outsider.read(HEARTBEAT)], outsider.chain_clock.get_evaluation_context()
        )
        assert latest[alice.author].record.payload == payload


# Records handed to newcomers after a window are refused, so replication decays. Node ids are
# self-chosen.


async def test_bare_hivemind_hands_newcomers_what_they_must_refuse(bare: list[Peer]) -> None:
    """The newcomer also takes the very id of the key, and so becomes its first replica."""
    alice = bare[0]
    assert await alice.store("commitment", "in time", subkey=alice.owner)
    newcomer = Peer()
    newcomer.doorman.rule = lambda _record: False  # the window is over
    await newcomer.join(bare, node_id=find_id("commitment"))
    try:
        await eventually(lambda: bool(newcomer.doorman.refused))
        assert newcomer.doorman.refused[0].key == find_id("commitment").to_bytes()
        assert newcomer.get_held("commitment") is None
    finally:
        await newcomer.node.shutdown()


async def test_ours_repairs_after_the_window(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    carol = cluster.nodes[2]
    record = alice.write(NOTE)
    await alice.post_to(cluster.nodes, record)
    await cluster.advance_to(90)
    await carol.lose_everything()
    (refused,) = await alice.post_to([carol], record)
    assert isinstance(refused, Refused)
    assert refused.reason == "late"
    assert await carol.repair() == 1
    (entry,) = carol.get_listing(NOTE)
    assert len(entry.receipts) == len(cluster.nodes) - 1, "of those who saw it in time"


async def test_bare_hivemind_lets_a_node_choose_its_place(bare: list[Peer]) -> None:
    alice = bare[0]
    mallory = await Peer().join(bare, node_id=find_id("coveted"))
    try:
        await eventually(lambda: alice.knows(mallory))
        assert await alice.store("coveted", 1, subkey=alice.owner)
        assert is_nearest(mallory, "coveted", [*bare, mallory])
        assert mallory.get_held("coveted") is not None
    finally:
        await mallory.node.shutdown()
        for peer in bare:
            await peer.node.protocol.update_routing_table(
                mallory.node.node_id, mallory.node.peer_id, responded=False
            )


async def test_ours_gives_places_to_members_alone_and_by_seed(cluster: StoreCluster) -> None:
    """`simulation/test_adversaries.py` grinds an id among sixty members, and wins nothing by it."""
    alice = cluster.nodes[0]
    outsider = cluster.outsider
    posting = await alice.post(NOTE, alice.write(NOTE))
    await eventually(lambda: len(posting.receipts) == len(cluster.nodes))
    assert outsider.author not in posting.replica_set.replicas
    assert not outsider.database.held
    (refused,) = await outsider.post_to([alice], outsider.write(NOTE))
    assert isinstance(refused, Refused)
    assert refused.reason == "not-on-roster"


# Unsigned records pass the signature validator.


async def test_bare_hivemind_takes_unsigned_records(bare: list[Peer]) -> None:
    alice, bob, carol = bare
    assert await carol.send(bob, "notes", pack("in alice's name"), subkey=b"alice") is True
    assert await alice.ask(bob, "notes")
    protected = await carol.send(bob, "notes", pack("in alice's name"), subkey=alice.owner)
    assert protected is False, "it asks for a signature only where a subkey says so"


async def test_ours_takes_none(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    signed = alice.write(NOTE)
    for value in (signed.payload, bytes(64) + signed.payload, b""):
        replies = await alice.post_to(cluster.nodes, msgspec.structs.replace(signed, value=value))
        assert [reply.reason for reply in replies] == ["bad-signature"] * len(cluster.nodes)  # type: ignore[union-attr]  # anything else fails


# What hivemind leaves to its users.


async def test_ours_says_how_far_a_clock_is_off(cluster: StoreCluster) -> None:
    alice, bob = cluster.nodes[:2]
    for percent, words in (
        (5, "expected blocks 11 to 61; saw block 6; opens in 5 blocks, about 30 s"),
        (70, "expected blocks 11 to 61; saw block 71"),
    ):
        await cluster.advance_to(percent)
        (refused,) = await alice.post_to([bob], alice.write(NOTE))
        assert isinstance(refused, Refused)
        assert words in str(refused.to_denied())
