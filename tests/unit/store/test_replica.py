"""A replica, asked directly: what it turns away, in which words, and what it hands out."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.limits import Allowance, Limits, Quota, Rate
from epochgate.core.peer_id import format_peer_id
from epochgate.core.policy import Policy
from epochgate.core.receipt import Proof, Receipt, compute_record_id
from epochgate.core.record import Record, compute_key
from epochgate.core.roster import HOSTER
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import NOBODY, BlockNumber, Epoch, PeerId, RecordKey, Signature
from epochgate.core.verdict import Reason, Verdict
from epochgate.engine.memory import Hub
from epochgate.store.chain_clock import ChainClock
from epochgate.store.database import NodeDatabase
from epochgate.store.replica import Replica
from epochgate.store.wire import (
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
    encode,
)
from tests.support.identities import key_of
from tests.support.store_cluster import (
    HEARTBEAT,
    LARGE,
    LARGE_BYTES,
    MAX_MESSAGE_BYTES,
    NAMES,
    NOTE,
    OTHER,
    POLICY,
    ClusterNode,
    StoreCluster,
    SwitchableHandler,
)

mallory = key_of("mallory")
"""Nobody's member."""
FEW = Allowance(Rate(1.0, 3.0), Rate(1e6, 1e6))
NONE = Allowance(Rate(0.001, 0.0), Rate(0.001, 0.0))


class StoppedClock:
    def get_unix_seconds(self) -> float:
        return 1_700_000_000.0


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[StoreCluster]:
    hub = Hub(random.Random(0), max_message_bytes=MAX_MESSAGE_BYTES)
    handlers = [
        (name, await SwitchableHandler.attach(hub.join(key_of(name).author))) for name in NAMES[:4]
    ]
    cluster = await StoreCluster.start(
        tmp_path, StoppedClock(), handlers, SwitchableHandler(hub.join(mallory.author))
    )
    yield cluster
    await cluster.close()


@pytest.fixture
def alice(cluster: StoreCluster) -> ClusterNode:
    return cluster.nodes[0]


@pytest.fixture
def bob(cluster: StoreCluster) -> ClusterNode:
    return cluster.nodes[1]


async def ask(replica: Replica, sender: PeerId, request: Request) -> Reply:
    return decode_reply(await replica.handle(sender, encode(request)))


def make_replica(them: ClusterNode, policy: Policy = POLICY, **changes: object) -> Replica:
    """Another replica of the same node."""
    parts: dict[str, object] = {
        "database": them.database,
        "chain_clock": them.chain_clock,
        "max_message_bytes": MAX_MESSAGE_BYTES,
        **changes,
    }
    return Replica(them.key, policy, **parts)  # type: ignore[arg-type]


def make_limited(them: ClusterNode, limits: Limits) -> Replica:
    """Another replica of the same node, as if its policy had declared these limits."""
    policy = Policy(*POLICY.rules, limits=limits)
    them.cluster.schedule.policy = policy
    return make_replica(them, policy)


async def test_a_strangers_post_is_turned_away_before_it_is_decoded(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    for data in (
        encode(Post(alice.write(NOTE))),
        b"\x92\xa4post and then rubbish",
        b"",
        b"\xdc\x00\x03\xa4list",
    ):
        reply = decode_reply(await bob.replica.handle(mallory.author, data))
        assert reply == Refused(
            "not-on-roster", None, "a sender on the roster", format_peer_id(mallory.author)
        )
    assert bob.replica.denied == {Reason.NOT_ON_ROSTER: 4}
    assert not bob.database.held


async def test_no_decoder_sees_a_strangers_post_however_long_it_is(
    alice: ClusterNode, bob: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(_data: bytes) -> Request:
        raise AssertionError("somebody decoded it")

    posts = [
        encode(Post(alice.write(LARGE, bytes(LARGE_BYTES)))),
        encode(Post(alice.write(NOTE))),
        b"\x92\xa4post" * 100_000,
    ]
    with monkeypatch.context() as guarded:
        guarded.setattr("epochgate.store.replica.decode_request", decode)
        for data in posts:
            reply = decode_reply(await bob.replica.handle(mallory.author, data))
            assert isinstance(reply, Refused)
            assert reply.reason == "not-on-roster"
        reply = decode_reply(await bob.replica.handle(alice.author, posts[1]))
        assert isinstance(reply, Refused)
        assert reply.reason == "predicate-error", (
            "a member's is decoded, so the guard stands where they all pass"
        )


async def test_a_stranger_may_read_a_little(alice: ClusterNode, bob: ClusterNode) -> None:
    record = alice.write(NOTE)
    await ask(bob.replica, alice.author, Post(record))
    replica = make_limited(bob, Limits(stranger=FEW))
    for _ in range(3):
        listing = await ask(replica, mallory.author, List(record.key))
        assert isinstance(listing, Listing)
        assert [entry.author for entry in listing.entries] == [alice.author]
    refused = await ask(replica, mallory.author, List(record.key))
    assert refused == Refused("rate", None, "fewer requests, or smaller ones", None, None, 1.0)
    assert isinstance(
        await ask(replica, key_of("another stranger").author, List(record.key)), Listing
    )
    bob.cluster.clock.ahead_seconds += 1.0
    assert isinstance(await ask(replica, mallory.author, List(record.key)), Listing)


async def test_a_flood_by_one_member_leaves_the_others_their_share(
    cluster: StoreCluster, alice: ClusterNode, bob: ClusterNode
) -> None:
    replica = make_limited(bob, Limits(member=FEW, spare=FEW))
    key = cluster.get_key_rule(NOTE, Epoch(0), alice).key
    for _ in range(6):
        assert isinstance(await ask(replica, alice.author, List(key)), Listing)
    assert isinstance(await ask(replica, alice.author, List(key)), Refused)
    carol = cluster.nodes[2]
    assert isinstance(await ask(replica, carol.author, Post(carol.write(NOTE))), Posted)


async def test_who_was_told_to_wait_and_does_not_costs_no_look_at_anything(
    alice: ClusterNode, bob: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it heard sooner or later for its haste."""
    replica = make_limited(
        bob, Limits(member=Allowance(Rate(1.0, 1.0), Rate(1e6, 1e6)), spare=NONE)
    )
    key = alice.write(NOTE).key
    assert isinstance(await ask(replica, alice.author, List(key)), Listing)
    refused = await ask(replica, alice.author, List(key))
    with monkeypatch.context() as blind:
        blind.setattr(bob.chain_clock, "get_evaluation_context", None)
        assert [await ask(replica, alice.author, List(key)) for _ in range(3)] == [refused] * 3
    assert replica.denied == {Reason.RATE: 4}
    bob.cluster.clock.ahead_seconds += 1.0
    assert isinstance(await ask(replica, alice.author, List(key)), Listing)


async def test_what_is_read_is_paid_for_by_its_bytes(alice: ClusterNode, bob: ClusterNode) -> None:
    record = alice.write(LARGE, bytes(LARGE_BYTES))
    narrow = Allowance(Rate(1000.0, 1000.0), Rate(LARGE_BYTES, LARGE_BYTES))
    replica = make_limited(bob, Limits(member=narrow, spare=NONE))
    assert isinstance(await ask(replica, alice.author, Post(record)), Posted)
    refused = await ask(replica, alice.author, List(record.key))
    assert isinstance(refused, Refused)
    assert refused.reason == "rate"
    bob.cluster.clock.ahead_seconds += 1.0
    assert isinstance(await ask(replica, alice.author, Fetch(record.key, (alice.author,))), Values)
    assert isinstance(await ask(replica, alice.author, List(record.key)), Refused)


async def test_a_nodes_own_requests_are_never_too_many(bob: ClusterNode) -> None:
    replica = make_limited(bob, Limits(member=NONE, spare=NONE))
    assert isinstance(await ask(replica, bob.author, Post(bob.write(NOTE))), Posted)


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\xa4post",
        b"\xc0",
        b"\x92\xa4post\x94\xc4\x01k\xc4\x01a\xc4\x01v\xa5later",
        encode(List(RecordKey(bytes(20))))[:-1],
        encode(List(RecordKey(bytes(20)))) + b"\0",
        b"\x93\xa4list\xc4\x13" + bytes(19) + b"\xc4\x00",
        b"\x93\xa4show\x00\xff",
        b"\x92\xa5erase\xc0",
    ],
)
async def test_what_is_no_request_is_refused_as_malformed(
    data: bytes, alice: ClusterNode, bob: ClusterNode
) -> None:
    refused = decode_reply(await bob.replica.handle(alice.author, data))
    assert isinstance(refused, Refused)
    assert refused.reason == "malformed"
    assert refused.expected == "a request"
    assert refused.observed


async def test_an_exception_in_a_judge_is_a_refusal(
    alice: ClusterNode, bob: ClusterNode, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy(Policy):
        def admit(self, _record: Record, _now: EvaluationContext) -> Verdict:
            raise ZeroDivisionError("secret inner workings")

    replica = make_replica(bob, Clumsy(*POLICY.rules))
    assert await ask(replica, alice.author, Post(alice.write(NOTE))) == Refused(
        "predicate-error", None, "a judge and a database that work", "ZeroDivisionError"
    )
    assert replica.denied == {Reason.PREDICATE_ERROR: 1}
    assert "secret inner workings" in caplog.text


async def test_before_the_first_roster_nothing_is_judged(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    chain_clock = ChainClock(
        bob.cluster.chain, bob.cluster.clock, EpochSchedule(POLICY), bob.database.held
    )
    refused = await ask(
        make_replica(bob, chain_clock=chain_clock), alice.author, Post(alice.write(NOTE))
    )
    assert refused == Refused("not-started", None, "the chain's first roster")


async def test_without_the_epochs_roster_posts_wait_and_reads_go_on(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    record = alice.write(NOTE)
    beat = alice.write(HEARTBEAT)
    await ask(bob.replica, alice.author, Post(record))
    cluster = bob.cluster
    cluster.clock.ahead_seconds += 100 * 6.0
    note = alice.key.sign_record(
        cluster.chain.network_id, compute_key("note_epoch_1"), bytes(32), beat.expiration_time
    )
    for posted, rule in ((beat, "hoster"), (note, None)):
        refused = await ask(bob.replica, alice.author, Post(posted))
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.rule) == ("chain-stale", rule)
    assert isinstance(await ask(bob.replica, alice.author, List(record.key)), Listing)


async def test_only_a_keys_replicas_take_it(tmp_path: Path) -> None:
    hub = Hub(random.Random(0), max_message_bytes=MAX_MESSAGE_BYTES)
    names = [f"author {number}" for number in range(15)]
    handlers = [(name, SwitchableHandler(hub.join(key_of(name).author))) for name in names]
    cluster = await StoreCluster.start(
        tmp_path, StoppedClock(), handlers, SwitchableHandler(hub.join(mallory.author))
    )
    author = cluster.nodes[0]
    replicas = cluster.get_key_rule(NOTE, Epoch(0), author).replica_set.replicas
    for them in cluster.nodes:
        reply = await ask(them.replica, author.author, Post(author.write(NOTE)))
        if them.author in replicas:
            assert isinstance(reply, Posted)
        else:
            assert reply == Refused(
                "not-replica",
                "note_epoch_0",
                "one of the key's 13 replicas",
                format_peer_id(them.author),
            )
            assert not them.database.held
    await cluster.close()


async def test_evidence_is_kept_only_of_what_the_author_signed(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    first = alice.write(NOTE, b"1" * 32)
    second = alice.write(NOTE, b"2" * 32)
    unsigned = msgspec.structs.replace(second, value=second.value[:-1] + b"!")
    await ask(bob.replica, alice.author, Post(first))
    for other in (unsigned, second):
        refused = await ask(bob.replica, alice.author, Post(other))
        assert isinstance(refused, Refused)
        assert refused.reason == "already-there"
    assert bob.database.get_evidence(first.key) == ((first, second),)


async def test_a_receipt_says_when_the_record_came_and_is_the_same_ever_after(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    record = alice.write(NOTE)
    posted = await ask(bob.replica, alice.author, Post(record))
    assert isinstance(posted, Posted)
    rule = bob.cluster.get_key_rule(NOTE, Epoch(0), alice).receipt_rule
    assert rule.compute_signers(compute_record_id(record), [posted.receipt]) == {bob.author}
    assert (posted.receipt.epoch, posted.receipt.block) == (0, 21)
    await bob.cluster.advance_to(50)
    assert await ask(bob.replica, alice.author, Post(record)) == posted
    assert bob.replica.take_counts() == (1, {})
    assert bob.replica.take_counts() == (0, {})


@pytest.mark.parametrize(
    ("limits", "expected", "observed"),
    [
        (
            Limits(author=Quota(2, 1 << 20)),
            "at most 2 records and 1048576 bytes per author and epoch",
            "3 records and 65792 bytes",
        ),
        (
            Limits(author=Quota(9, 65_700)),
            "at most 9 records and 65700 bytes per author and epoch",
            "3 records and 65792 bytes",
        ),
        (
            Limits(total=Quota(24, 4 << 20)),
            "at most 2 records and 349525 bytes per author and epoch, its part of the total",
            "3 records and 65792 bytes",
        ),
    ],
)
async def test_an_authors_room_is_its_own_and_ends(
    limits: Limits, expected: str, observed: str, alice: ClusterNode, bob: ClusterNode
) -> None:
    """A town of four, whose records are held for three epochs: a twelfth of the total each."""
    await ask(bob.replica, alice.author, Post(alice.write(NOTE)))
    await ask(bob.replica, alice.author, Post(alice.write(LARGE, bytes(LARGE_BYTES))))
    replica = make_limited(bob, limits)
    assert await ask(replica, alice.author, Post(alice.write(OTHER))) == Refused(
        "quota", "other_epoch_0", expected, observed
    )
    carol = bob.cluster.nodes[2]
    assert isinstance(await ask(replica, carol.author, Post(carol.write(OTHER))), Posted)


async def test_what_is_refused_takes_no_room(
    cluster: StoreCluster, alice: ClusterNode, bob: ClusterNode
) -> None:
    replica = make_limited(bob, Limits(author=Quota(1, 1 << 20)))
    forged = msgspec.structs.replace(alice.write(OTHER), value=bytes(96))
    for refused in (
        forged,
        alice.write(NOTE, lifetime_seconds=-1),
        alice.write(NOTE, b"no digest"),
    ):
        assert isinstance(await ask(replica, alice.author, Post(refused)), Refused)
    assert isinstance(await ask(replica, alice.author, Post(alice.write(NOTE))), Posted)
    assert bob.database.usage.get_all().entries == 1


async def test_a_keys_room_is_parted_among_its_authors(
    cluster: StoreCluster, alice: ClusterNode, bob: ClusterNode
) -> None:
    """A note has 96 bytes; what one author leaves, no other may take."""
    replica = make_limited(bob, Limits(key=Quota(9, 383)))
    refused = await ask(replica, alice.author, Post(alice.write(NOTE)))
    assert refused == Refused(
        "quota", "note_epoch_0", "at most 95 bytes per author and key", "96 bytes"
    )
    replica = make_limited(bob, Limits(key=Quota(4, 4 * 96)))
    for them in cluster.nodes:
        assert isinstance(await ask(replica, them.author, Post(them.write(NOTE))), Posted)


async def test_what_a_replica_holds_in_all_ends_whatever_the_shares_say(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    """Here by records of an epoch that was never let go."""
    note = alice.write(NOTE)
    for number in range(12):
        bob.database.keep(
            msgspec.structs.replace(note, key=compute_key(f"note {number}")), (), Epoch(-3)
        )
    replica = make_limited(bob, Limits(total=Quota(12, 1 << 20)))
    refused = await ask(replica, alice.author, Post(alice.write(HEARTBEAT)))
    assert refused == Refused(
        "quota",
        "hoster",
        "at most 12 records and 1048576 bytes in total",
        "13 records and 1248 bytes",
    )


async def test_a_key_takes_no_more_records_than_its_limit(
    cluster: StoreCluster, alice: ClusterNode, bob: ClusterNode
) -> None:
    """A roster that outgrew its policy: who comes first is served."""
    replica = make_limited(bob, Limits(key=Quota(1, 1 << 20)))
    assert isinstance(await ask(replica, alice.author, Post(alice.write(NOTE))), Posted)
    carol = cluster.nodes[2]
    refused = await ask(replica, carol.author, Post(carol.write(NOTE)))
    assert refused == Refused(
        "quota",
        "note_epoch_0",
        "at most 1 records and 1048576 bytes per key",
        "2 records and 192 bytes",
    )


async def test_renewing_a_record_takes_no_more_room(alice: ClusterNode, bob: ClusterNode) -> None:
    replica = make_limited(bob, Limits(author=Quota(1, 1 << 20)))
    for lifetime_seconds in (100, 200, 300):
        beat = alice.write(HEARTBEAT, lifetime_seconds=lifetime_seconds)
        assert isinstance(await ask(replica, alice.author, Post(beat)), Posted)


async def test_what_no_reply_could_hold_is_not_stored(alice: ClusterNode, bob: ClusterNode) -> None:
    replica = make_replica(bob, max_message_bytes=LARGE_BYTES)
    refused = await ask(replica, alice.author, Post(alice.write(LARGE, bytes(LARGE_BYTES))))
    assert isinstance(refused, Refused)
    assert refused.reason == "too-large"


async def test_listings_and_values_come_in_pages_that_fit(
    cluster: StoreCluster, bob: ClusterNode
) -> None:
    limit = 4096 + 2 * 320 + 100
    records = [them.write(NOTE) for them in cluster.nodes]
    for them, record in zip(cluster.nodes, records, strict=True):
        await ask(bob.replica, them.author, Post(record))
    replica = make_replica(bob, max_message_bytes=limit)
    authors: list[PeerId] = []
    pages = 0
    while True:
        data = await replica.handle(
            bob.author, encode(List(records[0].key, authors[-1] if authors else NOBODY))
        )
        assert len(data) <= limit
        page = decode_reply(data)
        assert isinstance(page, Listing)
        authors += [entry.author for entry in page.entries]
        pages += 1
        if page.is_last:
            break
    assert authors == sorted(them.author for them in cluster.nodes)
    assert pages == 2
    values = await ask(replica, bob.author, Fetch(records[0].key, tuple(authors)))
    assert isinstance(values, Values)
    assert [record.author for record in values.records] == authors[: len(values.records)]
    assert 0 < len(values.records) < 4


async def test_what_has_expired_is_neither_listed_nor_handed_out(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    record = alice.write(HEARTBEAT, lifetime_seconds=10)
    await ask(bob.replica, alice.author, Post(record))
    bob.cluster.clock.ahead_seconds += 10
    assert await ask(bob.replica, alice.author, List(record.key)) == Listing((), is_last=True)
    assert await ask(bob.replica, alice.author, Fetch(record.key, (alice.author,))) == Values(())


async def test_a_submitters_set_is_shown_in_pages(alice: ClusterNode, bob: ClusterNode) -> None:
    record = alice.write(LARGE, bytes(LARGE_BYTES))
    proof = Proof(record, (Receipt(bob.author, Epoch(0), BlockNumber(20), Signature(bytes(64))),))
    bob.replica.show_set(Epoch(1), [proof] * 3, [(record, record)] * 2)
    proofs: list[Proof] = []
    pairs: list[tuple[Record, Record]] = []
    page = SetPage((), (), is_last=False)
    while not page.is_last:
        data = await bob.replica.handle(alice.author, encode(ShowSet(1, len(proofs) + len(pairs))))
        assert len(data) <= MAX_MESSAGE_BYTES
        reply = decode_reply(data)
        assert isinstance(reply, SetPage)
        page = reply
        proofs += page.proofs
        pairs += page.evidence
    assert (proofs, pairs) == ([proof] * 3, [(record, record)] * 2)
    nothing = SetPage((), (), is_last=True)
    assert await ask(bob.replica, alice.author, ShowSet(1, 99)) == nothing
    assert await ask(bob.replica, alice.author, ShowSet(2)) == nothing


async def test_who_left_the_roster_posts_no_more(
    tmp_path: Path, alice: ClusterNode, bob: ClusterNode
) -> None:
    cluster = bob.cluster
    cluster.chain.deregister(alice.author)
    await cluster.advance_to(20, epoch=Epoch(1))
    refused = await ask(bob.replica, alice.author, Post(alice.write(NOTE, epoch=Epoch(1))))
    assert isinstance(refused, Refused)
    assert refused.reason == "not-on-roster"
    assert isinstance(await ask(bob.replica, alice.author, List(alice.write(NOTE).key)), Listing)


async def test_who_left_the_roster_reads_no_more_than_any_stranger(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    cluster = bob.cluster
    key = alice.write(NOTE).key
    replica = make_limited(bob, Limits(stranger=FEW))
    for _ in range(5):
        assert isinstance(await ask(replica, alice.author, List(key)), Listing)
    cluster.chain.deregister(alice.author)
    await cluster.advance_to(20, epoch=Epoch(1))
    replies = [await ask(replica, alice.author, List(key)) for _ in range(5)]
    assert [isinstance(reply, Listing) for reply in replies] == [True] * 3 + [False] * 2


async def test_who_comes_back_to_the_roster_begins_anew(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    cluster = bob.cluster
    key = alice.write(NOTE).key
    slow = Allowance(Rate(1e-9, 1.0), Rate(1e9, 1e9))
    replica = make_limited(bob, Limits(member=slow, spare=NONE))
    assert isinstance(await ask(replica, alice.author, List(key)), Listing)
    assert isinstance(await ask(replica, alice.author, List(key)), Refused)
    cluster.chain.deregister(alice.author)
    await cluster.advance_to(20, epoch=Epoch(1))
    await ask(replica, cluster.nodes[2].author, List(key))
    cluster.chain.register(alice.author, HOSTER)
    await cluster.advance_to(20, epoch=Epoch(2))
    assert isinstance(await ask(replica, alice.author, List(key)), Listing)


async def test_nothing_is_handed_out_that_is_not_on_disk(
    alice: ClusterNode, bob: ClusterNode
) -> None:
    class FullDisk(NodeDatabase):
        def keep(self, *_arguments: object) -> None:
            raise OSError("no space left")

    replica = make_replica(bob, database=FullDisk(None))
    refused = await ask(replica, alice.author, Post(alice.write(NOTE)))
    assert isinstance(refused, Refused)
    assert refused.reason == "predicate-error"
    assert replica.take_counts()[0] == 0
