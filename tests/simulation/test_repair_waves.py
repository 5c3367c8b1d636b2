"""Repair on whole subnets, and what colluding replicas can and cannot do to a key
(docs/spec.md#5-which-records-count).

In the second half seven replicas hold a key, so f is 2, K - f is 5, and 3 receipts prove a record.
"""

from __future__ import annotations

from pathlib import Path

from epochgate.core.claim import Agreed, ShownSet, compute_claim, judge_claim
from epochgate.core.receipt import (
    Entry,
    Receipt,
    Standing,
    compute_receipt_bytes,
    compute_record_id,
)
from epochgate.core.record import Record
from epochgate.core.record_set import RecordSet, RuleReading, compute_set
from epochgate.core.settlement import collect_openings
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.core.verdict import Reason
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import Handler
from epochgate.store.wire import (
    Fetch,
    List,
    Listing,
    Posted,
    Refused,
    Values,
    decode_request,
    encode,
)
from tests.simulation.faults import compute_f
from tests.simulation.subnet import SimSubnet, live
from tests.support.memory_cluster import live as live_in_town
from tests.support.store_cluster import NOTE, OTHER, ClusterNode, StoreCluster

HOSTERS = tuple(f"hoster {number}" for number in range(8))
VALIDATORS = ("victor", "vera", "vito", "vlad")
NAMES = HOSTERS + VALIDATORS
COMMIT = INFERENCE_POLICY.get_rule("hoster-commit")
OPENING = INFERENCE_POLICY.get_rule("hoster-reveal")


async def find_verified(subnet: SimSubnet, reader: str, epoch: Epoch) -> set[str]:
    """The hosters whose opening verifies against its commitment, as `reader` finds both at the
    replicas now.

    It asks the store and not the reader's own memory of what it read before.
    """
    node = subnet[reader].get_live_node()
    rule_readings = [
        await node.store.read_all(rule, epoch, wait_for_all=True) for rule in (COMMIT, OPENING)
    ]
    outputs = INFERENCE_POLICY.protocol.require_outputs()
    opened = collect_openings(node.schedule, compute_set(rule_readings), outputs, epoch)
    return {name for name in HOSTERS if subnet[name].key.author in opened}


def test_every_replica_loses_its_disk_once_f_at_a_time_and_all_openings_still_verify(
    tmp_path: Path,
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 61)
        f = compute_f(len(NAMES))
        assert f == 3
        assert await find_verified(subnet, "victor", Epoch(1)) == set(HOSTERS)
        for wave in range(0, len(NAMES), f):
            lost = NAMES[wave : wave + f]
            for name in lost:
                await subnet[name].kill()
                subnet[name].lose_ledger()
            reader = next(name for name in NAMES if name not in lost)
            assert await find_verified(subnet, reader, Epoch(1)) == set(HOSTERS), "while f are away"
            for name in lost:
                await subnet[name].start()
            await subnet.run_until(Epoch(1), 64 + wave)
            for name in lost:
                assert await find_verified(subnet, name, Epoch(1)) == set(HOSTERS), (
                    "also to those who lost everything"
                )
        await subnet.run_until(Epoch(2), 55)
        on_chain = await subnet.get_submission(Epoch(2))
        assert on_chain.is_attested
        assert len(on_chain.attested_by) == len(NAMES) - 1
        assert 0 not in on_chain.submission.scores.values(), (
            "everybody is paid for what was shown before"
        )

    live(tmp_path, story, hosters=HOSTERS, validators=VALIDATORS, is_on_disk=True)


IN_TIME = 30
TOO_LATE = 80
"""Percent of the epoch: NOTE is open from 10 to 60."""


class Gang:
    """Replicas that sign whatever they like, and show each reader what they like."""

    def __init__(self, cluster: StoreCluster, size: int) -> None:
        self.cluster = cluster
        self.members = cluster.nodes[-size:]
        self.honest = cluster.nodes[:-size]

    def back_date(self, record: Record) -> tuple[Receipt, ...]:
        """Their receipts for a record that they say they saw in time."""
        block = self.cluster.chain.timing.compute_first_block(Epoch(0)) + IN_TIME
        message = compute_receipt_bytes(
            self.cluster.chain.network_id, compute_record_id(record), Epoch(0), BlockNumber(block)
        )
        return tuple(
            Receipt(them.author, Epoch(0), BlockNumber(block), them.key.sign(message))
            for them in self.members
        )

    def show(self, record: Record, receipts: tuple[Receipt, ...], to: list[ClusterNode]) -> None:
        """Under its key they hold this record and nothing else for some, and nothing at all for
        everybody else.
        """
        readers = {reader.author for reader in to}
        record_id = compute_record_id(record)
        entry = Entry(
            record.author,
            record_id.value_digest,
            record.expiration_time,
            len(record.value),
            receipts,
        )
        for member in self.members:
            honest = member.replica.handle

            async def answer(sender: PeerId, message: bytes, honest: Handler = honest) -> bytes:
                request = decode_request(message)
                if isinstance(request, List | Fetch) and request.key == record.key:
                    is_shown = sender in readers
                    if isinstance(request, List):
                        return encode(Listing((entry,) if is_shown else (), is_last=True))
                    return encode(Values((record,) if is_shown else ()))
                return await honest(sender, message)

            member._handler.handler = answer


async def read_rule(reader: ClusterNode) -> RuleReading:
    reading = await reader.read(NOTE, wait_for_all=True)
    return RuleReading(NOTE, Epoch(0), reading.key_rule.context.roster, (reading,))


def judge(records: RecordSet, submitter: RuleReading, attestor: RuleReading) -> object:
    """What an attestor makes of a set, which the submitter also shows it."""
    return judge_claim(compute_claim(records), [attestor], ShownSet(submitter.readings))


async def post_late(cluster: StoreCluster, gang: Gang, author: ClusterNode) -> Record:
    """Honest replicas refuse what is late, whoever else takes it."""
    await cluster.advance_to(TOO_LATE)
    record = author.write(NOTE)
    replies = await author.post_to(gang.honest, record)
    assert [isinstance(reply, Refused) and reply.to_denied().reason for reply in replies] == [
        Reason.LATE
    ] * len(replies)
    return record


def test_f_colluding_replicas_cannot_bring_in_a_late_record(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        gang = Gang(cluster, cluster.f)
        late = await post_late(cluster, gang, cluster.nodes[0])
        gang.show(late, gang.back_date(late), to=gang.honest)
        for reader in gang.honest:
            assert not (await read_rule(reader)).get_proofs(Standing.PROVEN)
            assert await reader.repair() == 0

    live_in_town(tmp_path, story, 7)


def test_f_colluding_replicas_cannot_hide_an_honest_record(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        gang = Gang(cluster, cluster.f)
        alice = cluster.nodes[0]
        record = alice.write(NOTE)
        other = alice.write(NOTE, b"other" + bytes(27))
        await alice.post_to(gang.honest, record)
        gang.show(other, (), to=[])
        for reader in gang.honest:
            rule_reading = await read_rule(reader)
            assert rule_reading.is_enough
            assert [
                proof.record for proof in rule_reading.get_proofs(Standing.COMPLETE)[alice.author]
            ] == [record]

    live_in_town(tmp_path, story, 7)


def test_f_colluding_replicas_cannot_make_honest_validators_disagree(tmp_path: Path) -> None:
    """Alice, who is one of them, sends her record in time to a single honest replica; the others
    show it to bob alone.

    So bob reads it as proven and carol does not. Whoever of the two submits, the other agrees, on
    the same set.
    """

    async def story(cluster: StoreCluster) -> None:
        gang = Gang(cluster, cluster.f)
        alice, bob, carol = cluster.nodes[:3]
        record = alice.write(NOTE)
        (posted,) = await alice.post_to([gang.honest[-1]], record)
        assert isinstance(posted, Posted)
        receipts = tuple(
            sorted((posted.receipt, *gang.back_date(record)), key=lambda receipt: receipt.replica)
        )
        gang.show(record, receipts, to=[bob])
        seen = await read_rule(bob)
        unseen = await read_rule(carol)
        assert (len(seen.get_proofs(Standing.PROVEN)), len(unseen.get_proofs(Standing.PROVEN))) == (
            1,
            0,
        )
        for submitter, attestor in ((seen, unseen), (unseen, seen)):
            records = compute_set([submitter])
            verdict = judge(records, submitter, attestor)
            assert isinstance(verdict, Agreed)
            assert verdict.records.included == records.included

    live_in_town(tmp_path, story, 7)


def test_more_than_f_break_agreement_at_their_key(tmp_path: Path) -> None:
    """What breaks: f + 1 prove a late record to whom they like, and repair spreads it; f + 1 that
    keep silent leave too few answers to judge by. What does not: see below.
    """

    async def story(cluster: StoreCluster) -> None:
        gang = Gang(cluster, cluster.f + 1)
        _, bob, carol = cluster.nodes[:3]
        late = await post_late(cluster, gang, cluster.nodes[0])
        gang.show(late, gang.back_date(late), to=[bob])
        fooled = await read_rule(bob)
        other = await read_rule(carol)
        assert (
            len(fooled.get_proofs(Standing.PROVEN)),
            len(other.get_proofs(Standing.PROVEN)),
        ) == (1, 0)
        assert isinstance(judge(compute_set([fooled]), fooled, other), Agreed), (
            "the late record counts"
        )
        assert await bob.repair() == 1
        for member in gang.members:
            member.fall_silent()
        assert not (await read_rule(carol)).is_enough, (
            "and so nobody is led to a wrong verdict, but to none"
        )

    live_in_town(tmp_path, story, 7)


def test_more_than_f_break_neither_signatures_nor_windows_nor_other_keys_nor_what_is_committed(
    tmp_path: Path,
) -> None:
    async def story(cluster: StoreCluster) -> None:
        gang = Gang(cluster, cluster.f + 1)
        alice, bob, carol = cluster.nodes[:3]
        committed = alice.write(NOTE)
        elsewhere = bob.write(OTHER)
        await alice.post_to(gang.honest, committed)
        await bob.post_to(cluster.nodes, elsewhere)
        forged = gang.members[0].write(NOTE)
        forged = Record(forged.key, carol.author, forged.value, forged.expiration_time)
        gang.show(forged, gang.back_date(forged), to=gang.honest)
        rule_reading = await read_rule(bob)
        assert carol.author not in rule_reading.get_proofs(Standing.PROVEN), (
            "nobody speaks in another's name"
        )
        changed = Record(
            committed.key, alice.author, committed.value[:-1] + b"!", committed.expiration_time
        )
        gang.show(changed, gang.back_date(changed), to=gang.honest)
        rule_reading = await read_rule(bob)
        proven = rule_reading.get_proofs(Standing.PROVEN)[alice.author]
        assert [proof.record for proof in proven] == [committed], "what is committed stays as it is"
        assert not rule_reading.is_enough, (
            "what seems proven and nobody can show keeps readers from judging"
        )
        assert (
            len((await bob.read(OTHER, wait_for_all=True)).signers[compute_record_id(elsewhere)])
            == 7
        ), "other keys are well"
        await post_late(cluster, gang, carol)

    live_in_town(tmp_path, story, 7)
