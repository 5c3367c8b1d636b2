"""The set on the chain, under attack: two-faced replicas, dishonest submitters, and nodes that
join, leave or forget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from epochgate.core import settlement
from epochgate.core.commitment import Opening
from epochgate.core.receipt import Proof, Receipt, compute_receipt_bytes, compute_record_id
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, RuleReading, read_bitmap
from epochgate.core.roster import HOSTER
from epochgate.core.rule import Rule
from epochgate.core.verdict import Reason
from epochgate.node.attestor import ask_for_set
from epochgate.node.challenge import get_challenge
from epochgate.node.hoster import commit
from epochgate.observe.events import (
    Abstained,
    AttestationRefused,
    Attested,
    DutyMissed,
    NodeWarning,
    Scored,
    Stored,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import ChainRefused, Submission
from epochgate.store.wire import (
    Fetch,
    List,
    Listing,
    Post,
    Posted,
    Values,
    decode_reply,
    decode_request,
    encode,
)
from simulation.world import (
    VALIDATORS,
    HonestModel,
    NoModel,
    Resident,
    World,
    assert_complete,
    live,
)

COMMIT = INFERENCE_POLICY.get_rule("hoster-commit")
OPEN = INFERENCE_POLICY.get_rule("hoster-reveal")
LATE_PERCENT = 55
BACK_DATED_PERCENT = 20


def hide(
    world: World, replica: Resident, key: bytes, author: bytes, from_whom: Callable[[bytes], bool]
) -> None:
    """`replica` answers honestly, but shows some readers nothing of `author` under `key`."""
    network = replica._network
    assert network is not None
    honest = network.handler
    assert honest is not None

    async def answer(sender: bytes, data: bytes) -> bytes:
        reply = await honest(sender, data)
        request = decode_request(data)
        if not from_whom(sender) or not isinstance(request, (List, Fetch)) or request.key != key:
            return reply
        shown = decode_reply(reply)
        if isinstance(shown, Listing):
            return encode(
                Listing(
                    tuple(entry for entry in shown.entries if entry.author != author), shown.is_last
                )
            )
        if isinstance(shown, Values):
            return encode(
                Values(tuple(record for record in shown.records if record.author != author))
            )
        return reply

    network.handler = answer


def back_date(replica: Resident, record: Record, epoch: int) -> Receipt:
    """A receipt such as only a dishonest replica signs: it says that the record came in time."""
    node_context = replica.get_live_node().context
    block = node_context.chain.timing.compute_first_block(epoch) + BACK_DATED_PERCENT
    message = compute_receipt_bytes(
        node_context.chain.network_id, compute_record_id(record), epoch, block
    )
    return Receipt(replica.key.author, epoch, block, replica.key.sign(message))


def test_a_late_commitment_that_two_faced_replicas_show_to_half_gets_nowhere(
    tmp_path: Path,
) -> None:
    """Dave copies alice's output once it is out. He and carol, f of 7, hold his commitment with
    back-dated receipts, and show it to half of the validators and to nobody else.
    """

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, LATE_PERCENT)
        node_context = world["dave"].get_live_node().context
        stolen = world["alice"].get_live_node().context.database.get_own_opening(COMMIT.kind, 1)
        assert stolen is not None
        record = commit(node_context, COMMIT, 1, stolen.challenge_digest, stolen.payload)
        colluders = [world["dave"], world["carol"]]
        receipts = [back_date(replica, record, 1) for replica in colluders]
        believers = {
            world["victor"].key.author,
            world["alice"].key.author,
            world["dave"].key.author,
        }
        for replica in colluders:
            replica.get_live_node().context.database.keep(record, receipts, 1)
            hide(world, replica, record.key, record.author, lambda sender: sender not in believers)
        opening = node_context.sign_once(
            OPEN, 1, OPEN.schema.encode(node_context.database.get_own_opening(COMMIT.kind, 1))
        )
        posting = await node_context.store.post(
            opening, node_context.get_key_rule(OPEN, 1), node_context.get_unix_seconds() + 10
        )
        assert posting.is_complete
        seen = await world["victor"].get_live_node().context.read_rule(COMMIT, 1)
        assert len(seen.readings[0].signers[compute_record_id(record)]) == 2, (
            "victor is among those who are shown it"
        )
        await world.run_until(3, 50)
        await assert_complete(world, 1, without=("dave",))
        await assert_complete(world, 2, without=("dave",))
        for name in ("victor", "vera", "vito"):
            scored = world[name].get(Scored, 1)[0]
            assert world["dave"].peer_id not in scored.commitments
            assert scored.scores[world["dave"].peer_id] == 0
        scores = (await world.get_submission(2)).submission.scores
        assert scores[world["dave"].key.author] == 0
        for resident in world.residents.values():
            assert not resident.get(AttestationRefused)
            assert not resident.get(Abstained)

    live(tmp_path, story, models={"dave": NoModel()})


def test_a_commitment_that_one_honest_replica_saw_in_time_parts_nobody_either(
    tmp_path: Path,
) -> None:
    """The most that f replicas can do: dave shows his commitment in time to alice alone, and with
    two liars it is proven to whom they choose. Who sees it counts it, who does not leaves it out,
    and all attest either way.
    """

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 20)
        node_context = world["dave"].get_live_node().context
        record = commit(node_context, COMMIT, 1, bytes(32), b"anything")
        assert isinstance(
            await node_context.store.ask(world["alice"].key.author, Post(record)), Posted
        )
        colluders = [world["dave"], world["carol"]]
        receipts = [back_date(replica, record, 1) for replica in colluders]
        believers = {world["victor"].key.author, world["alice"].key.author}
        for replica in colluders:
            replica.get_live_node().context.database.keep(record, receipts, 1)
            hide(world, replica, record.key, record.author, lambda sender: sender not in believers)
        await world.run_until(1, 99)
        counted = {
            name: world["dave"].peer_id in world[name].get(Scored, 1)[0].commitments
            for name in VALIDATORS
        }
        assert counted == {"victor": True, "vera": False, "vito": False}
        await world.run_until(3, 50)
        for epoch in (2, 3):
            on_chain = await world.get_submission(epoch)
            everybody = {resident.key.author for resident in world.residents.values()}
            assert {on_chain.submitter, *on_chain.attested_by} == everybody
        assert not [
            fact
            for resident in world.residents.values()
            for fact in resident.get(AttestationRefused)
        ]

    live(tmp_path, story, models={"dave": NoModel()})


def test_replicas_that_hide_an_honest_record_change_nothing(tmp_path: Path) -> None:
    """Carol and dave, f of 7, list nothing of alice's commitment, to nobody."""

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 16)
        key = world["alice"].get_live_node().context.get_key_rule(COMMIT, 1).key
        for name in ("carol", "dave"):
            hide(world, world[name], key, world["alice"].key.author, lambda _sender: True)
        await world.run_until(2, 50)
        await assert_complete(world, 1)
        assert not [
            fact
            for resident in world.residents.values()
            for fact in resident.get(AttestationRefused)
        ]

    live(tmp_path, story)


def leave_out(rule_reading: RuleReading, author: bytes) -> RuleReading:
    def drop(reading: KeyReading) -> KeyReading:
        proofs = {
            record_id: proof
            for record_id, proof in reading.proofs.items()
            if record_id.author != author
        }
        signers = {
            record_id: who
            for record_id, who in reading.signers.items()
            if record_id.author != author
        }
        return KeyReading(reading.key_rule, proofs, signers, reading.answered)

    return msgspec.structs.replace(rule_reading, readings=tuple(map(drop, rule_reading.readings)))


def cheat(submitter: Resident, how: str, author: bytes) -> None:
    """Make the submitter dishonest in this, and in nothing else: all the rest of its submission
    fits together.
    """
    node_context = submitter.get_live_node().context
    gather = node_context.gather
    submit = node_context.chain.submit

    async def gather_less(
        pairs: Sequence[tuple[Rule, int]], closes: float
    ) -> tuple[RuleReading, ...]:
        rule_readings = await gather(pairs, closes)
        if (COMMIT, 1) not in pairs:
            return rule_readings  # what it reads for its own list it takes as it is
        hosting = (COMMIT.kind, OPEN.kind)
        return tuple(
            leave_out(rule_reading, author) if rule_reading.rule.kind in hosting else rule_reading
            for rule_reading in rule_readings
        )

    async def submit_other(honest: Submission) -> None:
        if how == "wrong root":
            honest = msgspec.structs.replace(honest, root=bytes(32))
        elif how == "wrong bitmap":
            honest = msgspec.structs.replace(honest, bitmaps=(b"\xff", *honest.bitmaps[1:]))
        else:
            honest = msgspec.structs.replace(honest, bitmaps=honest.bitmaps[:1])
        await submit(honest)

    if how == "leaves out":
        node_context.gather = gather_less  # type: ignore[method-assign]  # dishonest
    else:
        node_context.chain.submit = submit_other  # type: ignore[method-assign]  # dishonest


@pytest.mark.parametrize(
    ("how", "difference"),
    [
        ("leaves out", "is complete, but was left out without evidence"),
        ("wrong root", "Merkle root"),
        ("wrong bitmap", "no bit beyond"),
        ("too few bitmaps", "expected 4 bitmaps, saw 1"),
    ],
)
def test_a_submission_whose_set_is_wrong_is_refused_by_all_and_they_say_why(
    tmp_path: Path, how: str, difference: str
) -> None:
    async def story(world: World) -> None:
        await world.start()
        await world.run_until(2, 0.01)
        submitter = await world.get_elected(2)
        cheat(
            submitter,
            how,
            next(world[n].key.author for n in ("alice", "bob") if world[n] is not submitter),
        )
        await world.run_until(2, 50)
        assert (await world.get_submission(2)).attested_by == ()
        for resident in world.residents.values():
            if resident is not submitter:
                (refusal,) = resident.get(AttestationRefused, 2)
                assert any(difference in line for line in refusal.differences), refusal
        await world.run_until(3, 50)
        if (await world.get_elected(3)) is not submitter:
            await assert_complete(world, 2)

    live(tmp_path, story)


def test_a_submission_with_a_record_below_f_plus_1_receipts_is_refused_by_all(
    tmp_path: Path,
) -> None:
    """Dave's commitment reached two of seven replicas; the submitter counts it all the same."""

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 20)
        record = commit(world["dave"].get_live_node().context, COMMIT, 1, bytes(32), b"anything")
        record_id = compute_record_id(record)
        await world.run_until(2, 0.01)
        submitter = await world.get_elected(2)
        node_context = submitter.get_live_node().context
        gather = node_context.gather

        async def gather_more(
            pairs: Sequence[tuple[Rule, int]], closes: float
        ) -> tuple[RuleReading, ...]:
            rule_readings = await gather(pairs, closes)
            reading = rule_readings[0].readings[0]
            reading.proofs[record_id] = Proof(
                record, tuple(back_date(world[name], record, 1) for name in ("carol", "dave"))
            )
            reading.signers[record_id] = frozenset(reading.key_rule.replica_set.replicas)
            return rule_readings

        node_context.gather = gather_more  # type: ignore[method-assign]  # dishonest in this
        await world.run_until(2, 50)
        assert (await world.get_submission(2)).attested_by == ()
        for resident in world.residents.values():
            if resident is not submitter:
                (refusal,) = resident.get(AttestationRefused, 2)
                name = world["dave"].key.author.hex()
                assert refusal.differences == [
                    f"hoster-commit of epoch 1: {name} is included, but its record is not proven"
                ]

    live(tmp_path, story, models={"dave": NoModel()})


def test_an_author_of_two_proven_commitments_is_left_out_by_all_with_both_as_evidence(
    tmp_path: Path,
) -> None:
    """Dave shows one commitment to three replicas and another to four: f + 1 of 7 are three."""

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 20)
        node_context = world["dave"].get_live_node().context
        key_rule = node_context.get_key_rule(COMMIT, 1)
        for payload, replicas in (
            (b"A" * 32, key_rule.replica_set.replicas[:3]),
            (b"B" * 32, key_rule.replica_set.replicas[3:]),
        ):
            expires = (
                node_context.get_unix_seconds() + 1.8 * node_context.chain.timing.seconds_per_epoch
            )
            record = node_context.key.sign_record(
                node_context.chain.network_id, key_rule.key, payload, expires
            )
            for replica in replicas:
                assert isinstance(await node_context.store.ask(replica, Post(record)), Posted)
        await world.run_until(2, 50)
        await assert_complete(world, 1, without=("dave",))
        on_chain = await world.get_submission(2)
        assert world["dave"].key.author not in read_bitmap(
            key_rule.context.roster, on_chain.submission.bitmaps[0]
        )
        assert world["dave"].key.author in {*on_chain.attested_by, on_chain.submitter}
        shown = await ask_for_set(world["alice"].get_live_node().context, on_chain.submitter, 2, ())
        assert [{first.author, second.author} for first, second in shown.evidence] == [
            {world["dave"].key.author}
        ]

    live(tmp_path, story, models={"dave": NoModel()})


def test_a_chain_that_refuses_costs_a_duty_and_not_the_node(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 80)

        async def refuse(_epoch: int) -> None:
            raise ChainRefused("no room in the block: try again")

        chain = world["alice"].get_live_node().context.chain
        # type: ignore[method-assign]  # a chain that fails
        honest = chain.attest
        chain.attest = refuse
        await world.run_until(2, 50)
        (failed,) = [fact.why for fact in world["alice"].get(DutyMissed, 2)]
        assert failed == "the chain refused: no room in the block: try again"
        chain.attest = honest  # type: ignore[method-assign]  # and is well again
        await world.run_until(3, 50)
        await assert_complete(world, 2)
        assert world["alice"].get(Attested, 3)

    live(tmp_path, story)


def test_no_record_waits_for_the_chain(tmp_path: Path) -> None:
    """From the commitments on, all that the nodes ask of it goes unanswered for most of an
    epoch.
    """

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 14)
        answers = asyncio.Event()

        def hold_back(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def wait(*arguments: object) -> Any:
                await answers.wait()
                return await ask(*arguments)

            return wait

        for resident in world.residents.values():
            chain = resident.get_live_node().context.chain
            for name in ("get_roster", "get_elected", "get_submission", "submit", "attest"):
                setattr(chain, name, hold_back(getattr(chain, name)))
        await world.run_until(1, 94)
        stored = [fact for resident in world.residents.values() for fact in resident.get(Stored, 1)]
        kinds = {COMMIT.kind, OPEN.kind, "validator-reveal", "validator-commit", "consensus"}
        assert {fact.rule for fact in stored} == kinds
        assert all(fact.receipts == fact.k for fact in stored)
        answers.set()
        await world.run_until(2, 60)
        await assert_complete(world, 1)

    live(tmp_path, story)


@pytest.mark.parametrize("is_checked", [True, False])
def test_who_takes_over_an_identity_between_commitment_and_opening_has_nothing_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    """A thief has dave's key and place, runs the model, and does not have the salt. It is paid
    where nobody compares.
    """
    if not is_checked:
        monkeypatch.setattr(settlement, "is_opened", lambda *_: True)

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 30)
        await world["dave"].kill()
        world["dave"].lose_ledger()
        await world["dave"].start()
        await world.run_until(1, 53)
        node_context = world["dave"].get_live_node().context
        challenge, digest = await get_challenge(node_context, 1)
        output = OPEN.schema.payload.encode(HonestModel().infer(challenge))  # type: ignore[attr-defined]  # an OpeningOf
        opening = node_context.sign_once(
            OPEN, 1, OPEN.schema.encode(Opening(bytes(32), digest, output))
        )
        assert (
            await node_context.store.post(
                opening, node_context.get_key_rule(OPEN, 1), node_context.get_unix_seconds() + 10
            )
        ).is_complete
        await world.run_until(2, 50)
        for name in VALIDATORS:
            scored = world[name].get(Scored, 1)[0]
            assert world["dave"].peer_id in scored.commitments
            assert (world["dave"].peer_id in scored.openings) is not is_checked
        paid = (await world.get_submission(2)).submission.scores[world["dave"].key.author]
        assert (paid == 0) is is_checked

    live(tmp_path, story, is_on_disk=True)


@pytest.mark.parametrize("percent", [0.5, 12, 30, 55, 70, 93, 96, 99])
def test_who_joins_counts_from_the_snapshot_on_and_stores_nothing_before(
    tmp_path: Path, percent: float
) -> None:
    """The snapshot of epoch 2 is the 95th block of epoch 1; a registration counts from the block
    after it.
    """

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, percent)
        erin = world.residents["erin"] = Resident(world, "erin", HonestModel())
        world.chain.register(erin.key.author, HOSTER)
        await erin.start()
        first = 2 if percent < 94 else 3
        await world.run_until(first - 1, 99.5)
        node_context = erin.get_live_node().context
        payload = bytes(32)
        key_rule = node_context.get_key_rule(COMMIT, first - 1)
        record = node_context.key.sign_record(
            node_context.chain.network_id,
            key_rule.key,
            payload,
            node_context.get_unix_seconds() + 900,
        )
        posting = await node_context.store.post(
            record, key_rule, node_context.get_unix_seconds() + 1
        )
        assert {denied.reason for denied in posting.refusals.values()} <= {
            Reason.NOT_ON_ROSTER,
            Reason.LATE,
        }
        assert not posting.receipts
        await world.run_until(first + 2, 50)
        for epoch in range(1, first + 2):
            await assert_complete(world, epoch, without=("erin",))
            scored = world["victor"].get(Scored, epoch)[0]
            assert (erin.peer_id in scored.scores) is (epoch >= first)
            assert (erin.peer_id in scored.openings) is (epoch >= first)
            on_chain = await world.get_submission(epoch + 1)
            took_part = {on_chain.submitter, *on_chain.attested_by}
            assert (erin.key.author in took_part) is (epoch + 1 >= first)
        assert not erin.get(AttestationRefused)
        assert not erin.get(Abstained)

    live(tmp_path, story)


@pytest.mark.parametrize("percent", [0.5, 12, 30, 55, 70, 93, 96, 99])
def test_who_leaves_keeps_its_epoch_and_is_shut_out_after_the_snapshot(
    tmp_path: Path, percent: float
) -> None:
    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, percent)
        world.chain.deregister(world["dave"].key.author)
        last = 1 if percent < 94 else 2
        await world.run_until(last + 1, 30)
        node_context = world["dave"].get_live_node().context
        key_rule = node_context.get_key_rule(COMMIT, last + 1)
        expires = node_context.get_unix_seconds() + 900
        record = node_context.key.sign_record(
            node_context.chain.network_id, key_rule.key, bytes(32), expires
        )
        posting = await node_context.store.post(
            record, key_rule, node_context.get_unix_seconds() + 2
        )
        assert not posting.receipts
        assert {denied.reason for denied in posting.refusals.values()} == {Reason.NOT_ON_ROSTER}
        await world.run_until(last + 3, 50)
        for epoch in range(1, last + 3):
            await assert_complete(world, epoch, without=("dave",))
            scored = world["victor"].get(Scored, epoch)[0]
            assert (world["dave"].peer_id in scored.scores) is (epoch <= last)
            assert (world["dave"].peer_id in scored.openings) is (epoch <= last)
        assert not [
            fact
            for resident in world.residents.values()
            for fact in resident.get(AttestationRefused)
        ]

    live(tmp_path, story)


def test_a_newcomer_that_cannot_tell_which_of_two_proven_values_was_attested_abstains(
    tmp_path: Path,
) -> None:
    """All agreed on dave's commitment, and later more than f replicas vouch for another one: who
    was there knows which counted, and alice, who lost her ledger, does not.
    """

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 20)
        node_context = world["dave"].get_live_node().context
        first = commit(node_context, COMMIT, 1, bytes(32), b"anything")
        posting = await node_context.store.post(
            first, node_context.get_key_rule(COMMIT, 1), node_context.get_unix_seconds() + 60
        )
        assert posting.is_complete
        second = node_context.key.sign_record(
            node_context.chain.network_id, first.key, b"B" * 32, first.expiration_time
        )
        receipts = tuple(back_date(world[name], second, 1) for name in ("bob", "carol", "dave"))
        await world.run_until(3, 0.01)
        elected = await world.get_elected(3)
        alice = next(world[name] for name in ("alice", "bob") if world[name] is not elected)
        await alice.kill()
        alice.lose_ledger()
        await alice.start()
        alice.get_live_node().context.database.keep_proofs(1, [Proof(second, receipts)])
        await world.run_until(3, 50)
        (abstained,) = alice.get(Abstained, 3)
        assert "two values of it are proven" in abstained.why
        on_chain = await world.get_submission(3)
        others = {
            resident.key.author for resident in world.residents.values() if resident is not alice
        }
        assert {on_chain.submitter, *on_chain.attested_by} == others

    live(tmp_path, story, models={"dave": NoModel()}, is_on_disk=True)


def test_a_hoster_whose_ledger_was_lost_keeps_to_the_commitment_that_is_there(
    tmp_path: Path,
) -> None:
    """A second one would be equivocation. It cannot open the first, says so, and goes on with the
    next epoch.
    """

    async def story(world: World) -> None:
        await world.start()
        await world.run_until(1, 30)
        await world["dave"].kill()
        world["dave"].lose_ledger()
        await world["dave"].start()
        await world.run_until(3, 50)
        (trouble,) = world["dave"].get(NodeWarning)
        assert "hoster-commit of epoch 1" in trouble.what
        (failed,) = [
            fact.why for fact in world["dave"].get(DutyMissed, 1) if fact.duty == "open-output"
        ]
        assert "ledger knows nothing" in failed
        key = world["alice"].get_live_node().context.schedule.get_key_rule(COMMIT, 1).key
        for resident in world.residents.values():
            assert not resident.get_live_node().context.database.has_evidence(
                key, world["dave"].key.author
            )
            assert not resident.get(AttestationRefused)
        await assert_complete(world, 1, without=("dave",))
        await assert_complete(world, 2)

    live(tmp_path, story, is_on_disk=True)


@pytest.mark.parametrize("percent", [1.0, 1.02, 1.05, 1.2])
def test_a_submitter_killed_before_or_after_it_submits_goes_on(
    tmp_path: Path, percent: float
) -> None:
    async def story(world: World) -> None:
        await world.start()
        await world.run_until(2, 0.01)
        submitter = await world.get_elected(2)
        await world.run_until(2, percent)
        await submitter.kill()
        await world.run_until(2, 10)
        await submitter.start()
        await world.run_until(2, 60)
        await assert_complete(world, 1)
        assert not [
            fact
            for resident in world.residents.values()
            for fact in resident.get(AttestationRefused)
        ]

    live(tmp_path, story, is_on_disk=True)
