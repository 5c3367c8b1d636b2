from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from epochgate.core.commitment import Opening
from epochgate.core.receipt import (
    Proof,
    Receipt,
    RecordId,
    compute_receipt_bytes,
    compute_record_id,
)
from epochgate.core.record import Record, compute_key
from epochgate.core.storage_usage import Usage
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey, Salt, Signature
from epochgate.keys import SigningKey
from epochgate.store.database import NodeDatabase
from epochgate.store.database_file import NodeDatabaseError
from tests.support.identities import NETWORK, alice, bob, carol, sign, vera, victor, vito

NOW_SECONDS = 1_700_000_000.0
LATER_SECONDS = NOW_SECONDS + 600
COMMITS = "hoster-commit_epoch_5"
KEY = compute_key(COMMITS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


@pytest.fixture(params=["on disk", "in memory"])
def database(request: pytest.FixtureRequest, path: Path) -> Iterator[NodeDatabase]:
    database = NodeDatabase(path if request.param == "on disk" else None)
    yield database
    database.close()


def commit(
    author: SigningKey, payload: bytes = b"digest", expiration_time: float = LATER_SECONDS
) -> Record:
    return sign(author, COMMITS, payload, expiration_time)


def vouch(replica: SigningKey, record: Record, block: BlockNumber = BlockNumber(520)) -> Receipt:
    message = compute_receipt_bytes(NETWORK, compute_record_id(record), Epoch(5), block)
    return Receipt(replica.author, Epoch(5), block, replica.sign(message))


def reopen(database: NodeDatabase, path: Path) -> NodeDatabase:
    database.close()
    return NodeDatabase(path)


# What a replica stores.


def test_a_record_is_there_with_its_receipt(database: NodeDatabase) -> None:
    record = commit(alice)
    receipt = vouch(victor, record)

    database.keep(record, [receipt], epoch=Epoch(5))

    held = database.held[KEY, alice.author]
    record_id = compute_record_id(record)
    assert (held.value_digest, held.expiration_time, held.epoch) == (
        record_id.value_digest,
        LATER_SECONDS,
        5,
    )
    assert database.get_record(KEY, alice.author) == record
    assert database.get_receipts(record_id) == (receipt,)


def test_nobody_and_nothing_is_none(database: NodeDatabase) -> None:
    assert database.get_record(KEY, alice.author) is None
    assert database.get_receipts(RecordId(KEY, alice.author, Hash32(bytes(32)))) == ()
    assert list(database.get_listing(KEY, NOW_SECONDS)) == []
    assert database.get_evidence(KEY) == ()
    assert database.get_proofs(KEY) == ()
    assert database.get_own_record("hoster-commit", Epoch(5)) is None
    assert database.get_own_opening("hoster-commit", Epoch(5)) is None
    assert database.get_score_list(Epoch(5)) is None


def test_a_newer_record_takes_the_place_of_the_older_and_of_its_receipts(
    database: NodeDatabase,
) -> None:
    older = commit(alice, b"older")
    newer = commit(alice, b"newer and longer", LATER_SECONDS + 1)
    database.keep(older, [vouch(victor, older)], epoch=Epoch(5))

    database.keep(newer, [vouch(vera, newer)], epoch=Epoch(6))

    assert database.get_record(KEY, alice.author) == newer
    assert database.get_receipts(compute_record_id(older)) == ()
    assert database.get_receipts(compute_record_id(newer)) == (vouch(vera, newer),)
    assert database.usage.get_all() == Usage(1, len(newer.value))


def test_the_same_record_again_keeps_the_receipt_it_had(database: NodeDatabase) -> None:
    record = commit(alice)
    database.keep(record, [vouch(victor, record, block=BlockNumber(520))], epoch=Epoch(5))

    database.keep(
        record, [vouch(victor, record, block=BlockNumber(533)), vouch(vera, record)], epoch=Epoch(5)
    )

    assert set(database.get_receipts(compute_record_id(record))) == {
        vouch(victor, record, block=BlockNumber(520)),
        vouch(vera, record),
    }


def test_receipts_of_others_add_up_in_order_of_replica(database: NodeDatabase) -> None:
    record = commit(alice)
    record_id = compute_record_id(record)
    database.keep(record, [vouch(victor, record)], epoch=Epoch(5))

    database.add_receipts(record_id, [vouch(vito, record), vouch(vera, record)])

    assert [receipt.replica for receipt in database.get_receipts(record_id)] == sorted(
        [victor.author, vera.author, vito.author]
    )


def test_receipts_for_what_is_not_held_leave_nothing_behind(database: NodeDatabase) -> None:
    record = commit(alice)
    other = commit(alice, b"another digest")
    database.keep(record, [], epoch=Epoch(5))

    database.add_receipts(compute_record_id(other), [vouch(vera, other)])
    database.add_receipts(compute_record_id(commit(bob)), [vouch(vera, commit(bob))])

    assert database.get_receipts(compute_record_id(record)) == ()
    assert (KEY, bob.author) not in database.held


def test_a_listing_is_in_order_of_author_without_what_expired(database: NodeDatabase) -> None:
    for author in (carol, alice, bob, vera, vito, victor):
        record = commit(author, expiration_time=NOW_SECONDS if author is bob else LATER_SECONDS)
        database.keep(record, [vouch(victor, record)], epoch=Epoch(5))
    authors = sorted(author.author for author in (alice, carol, vera, vito, victor))

    entries = list(database.get_listing(KEY, NOW_SECONDS))

    assert [entry.author for entry in entries] == authors
    assert [
        entry.author for entry in database.get_listing(KEY, NOW_SECONDS, after=authors[1])
    ] == authors[2:]
    assert entries[0].value_bytes == len(commit(alice).value)
    assert entries[0].receipts[0].replica == victor.author
    assert list(database.get_listing(compute_key("hoster"), NOW_SECONDS)) == []


def test_a_listing_shows_what_has_come_and_gone_since_it_was_last_asked_for(
    database: NodeDatabase,
) -> None:
    def list_receipts() -> dict[bytes, int]:
        return {entry.author: len(entry.receipts) for entry in database.get_listing(KEY, 0.0)}

    one = commit(alice, expiration_time=NOW_SECONDS)
    other = commit(bob)
    database.keep(one, [vouch(victor, one)], epoch=Epoch(5))
    assert list_receipts() == {alice.author: 1}
    database.keep(other, [vouch(victor, other)], epoch=Epoch(6))
    assert list_receipts() == {alice.author: 1, bob.author: 1}
    database.add_receipts(compute_record_id(other), [vouch(vera, other)])
    assert list_receipts() == {alice.author: 1, bob.author: 2}
    database.forget(NOW_SECONDS, oldest_epoch=Epoch(6))
    assert list_receipts() == {bob.author: 2}


def test_entries_and_bytes_are_counted_of_an_author_in_an_epoch_of_a_key_and_of_all(
    database: NodeDatabase,
) -> None:
    one = commit(alice, b"1" * 100)
    other = sign(alice, "hoster", b"2" * 50, NOW_SECONDS)
    for record in (one, other, commit(bob, b"3" * 10)):
        database.keep(record, [], epoch=Epoch(5))

    renewed = sign(alice, "hoster", b"2" * 60, NOW_SECONDS + 1)
    database.keep(renewed, [], epoch=Epoch(6))

    assert database.usage.get_authors(alice.author, Epoch(5)) == Usage(1, len(one.value))
    assert (
        database.usage.get_authors(alice.author, Epoch(6))
        == database.usage.get_keys(other.key)
        == Usage(1, len(renewed.value))
    )
    assert database.usage.get_authors(carol.author, Epoch(5)) == Usage()
    assert database.usage.get_keys(KEY).entries == 2
    assert database.usage.get_all().entries == 3

    database.forget(LATER_SECONDS, oldest_epoch=Epoch(7))

    assert (
        database.usage.get_authors(alice.author, Epoch(6))
        == database.usage.get_keys(KEY)
        == database.usage.get_all()
        == Usage()
    )


def test_only_the_first_pair_of_evidence_is_kept(database: NodeDatabase) -> None:
    first = commit(alice, b"first")
    second = commit(alice, b"second")
    third = commit(alice, b"third")
    assert not database.has_evidence(KEY, alice.author)

    database.keep_evidence(first, second, epoch=Epoch(5))
    database.keep_evidence(first, third, epoch=Epoch(5))

    assert database.has_evidence(KEY, alice.author)
    assert database.get_evidence(KEY) == ((first, second),)


# What a node wrote itself, what it read, and what it agreed to.


def test_what_a_node_once_said_it_says_again(database: NodeDatabase) -> None:
    opening = Opening(Salt(b"s" * 32), Hash32(b"c" * 32), b"scores")
    said = commit(alice, b"digest")

    assert database.keep_own("hoster-commit", Epoch(5), said, opening) == said
    after_a_restart = database.keep_own(
        "hoster-commit",
        Epoch(5),
        commit(alice, b"another"),
        Opening(Salt(b"t" * 32), Hash32(b"c" * 32), b"scores"),
    )

    assert after_a_restart == said
    assert database.get_own_record("hoster-commit", Epoch(5)) == said
    assert database.get_own_opening("hoster-commit", Epoch(5)) == opening
    assert database.get_own_record("hoster-commit", Epoch(6)) is None


def test_an_own_record_without_a_secret_has_no_opening(database: NodeDatabase) -> None:
    database.keep_own("challenge", Epoch(5), commit(victor))

    assert database.get_own_opening("challenge", Epoch(5)) is None


def test_proofs_are_kept_with_all_the_receipts_ever_read(database: NodeDatabase) -> None:
    record = commit(alice)
    database.keep_proofs(Epoch(5), [Proof(record, (vouch(vera, record), vouch(vito, record)))])
    database.keep_proofs(
        Epoch(5), [Proof(record, (vouch(victor, record),)), Proof(commit(bob), ())]
    )

    proofs = {proof.record.author: proof for proof in database.get_proofs(KEY)}

    assert proofs[alice.author].record == record
    assert {receipt.replica for receipt in proofs[alice.author].receipts} == {
        victor.author,
        vera.author,
        vito.author,
    }
    assert proofs[bob.author] == Proof(commit(bob), ())


def test_both_values_of_an_equivocator_are_kept_as_proofs(database: NodeDatabase) -> None:
    database.keep_proofs(
        Epoch(5), [Proof(commit(alice, b"first"), ()), Proof(commit(alice, b"second"), ())]
    )

    assert {proof.record.payload for proof in database.get_proofs(KEY)} == {b"first", b"second"}


def test_a_score_list_comes_back_as_it_was(database: NodeDatabase) -> None:
    database.keep_score_list(Epoch(5), [1_000_000, 0, 7])
    database.keep_score_list(Epoch(6), [])

    assert database.get_score_list(Epoch(5)) == (1_000_000, 0, 7)
    assert database.get_score_list(Epoch(6)) == ()


def test_forgetting_lets_go_of_old_epochs_and_of_nothing_else(database: NodeDatabase) -> None:
    old = commit(alice, expiration_time=NOW_SECONDS)
    fresh = sign(alice, "hoster-commit_epoch_6", b"digest", NOW_SECONDS)
    living = sign(bob, "hoster", b"heartbeat", LATER_SECONDS)
    for epoch, record in ((5, old), (6, fresh), (5, living)):
        database.keep(record, [vouch(victor, record)], Epoch(epoch))
    for epoch in (5, 6):
        database.keep_own("hoster-commit", Epoch(epoch), old)
        database.keep_score_list(Epoch(epoch), [epoch])
    database.keep_proofs(Epoch(5), [Proof(old, ())])
    database.keep_evidence(old, commit(alice, b"other"), epoch=Epoch(5))

    database.forget(NOW_SECONDS + 1, oldest_epoch=Epoch(6))

    assert set(database.held) == {(fresh.key, alice.author), (living.key, bob.author)}
    assert database.get_record(old.key, alice.author) is None
    assert database.get_record(living.key, bob.author) == living
    assert (
        database.get_own_record("hoster-commit", Epoch(5)),
        database.get_own_record("hoster-commit", Epoch(6)),
    ) == (None, old)
    assert (database.get_score_list(Epoch(5)), database.get_score_list(Epoch(6))) == (None, (6,))
    assert database.get_proofs(KEY) == ()
    assert not database.has_evidence(KEY, alice.author)
    assert database.get_evidence(KEY) == ()


# The file.


def test_everything_is_there_when_the_database_is_opened_again(path: Path) -> None:
    database = NodeDatabase(path)
    record = commit(alice)
    large = sign(bob, "hoster", b"x" * (3 << 20), LATER_SECONDS)
    for each in (record, large):
        database.keep(each, [vouch(victor, each)], epoch=Epoch(5))
    database.add_receipts(compute_record_id(record), [vouch(vera, record)])
    database.keep_evidence(record, commit(alice, b"other"), epoch=Epoch(5))
    held = dict(database.held)
    usage = database.usage.get_all()

    database = reopen(database, path)

    assert database.held == held
    assert database.usage.get_all() == usage
    assert database.get_record(large.key, bob.author) == large
    assert {receipt.replica for receipt in database.get_receipts(compute_record_id(record))} == {
        victor.author,
        vera.author,
    }
    assert database.has_evidence(KEY, alice.author)
    database.close()


@pytest.mark.parametrize("table", ["held", "contents", "own", "lists"])
def test_a_damaged_database_is_refused_at_the_start(path: Path, table: str) -> None:
    database = NodeDatabase(path)
    database.keep(commit(alice), [], epoch=Epoch(5))
    database.keep_own("hoster-commit", Epoch(5), commit(alice))
    database.keep_score_list(Epoch(5), [1])
    ((page,),) = database._file.read("SELECT rootpage FROM sqlite_master WHERE name = ?", table)
    database.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(hashlib.shake_256(b"damage").digest(4096))

    with pytest.raises(NodeDatabaseError, match="move it away"):
        NodeDatabase(path)


def test_receipts_that_cannot_be_read_are_damage_too(path: Path) -> None:
    database = NodeDatabase(path)
    database.keep(commit(alice), [], epoch=Epoch(5))
    database.close()
    tamper(path, "UPDATE held SET receipts = x'ff'")

    with pytest.raises(NodeDatabaseError, match="damaged"):
        NodeDatabase(path)


def test_a_write_that_fails_changes_nothing(path: Path) -> None:
    database = NodeDatabase(path)
    database.keep(commit(alice), [], epoch=Epoch(5))
    database._file._connection.execute("PRAGMA max_page_count = 30")  # a disk that is full

    with pytest.raises(NodeDatabaseError, match="see that its disk has room"):
        database.keep(sign(bob, "hoster", b"x" * (1 << 20), LATER_SECONDS), [], epoch=Epoch(5))

    assert set(database.held) == {(KEY, alice.author)}
    assert database.usage.get_all().entries == 1
    database.keep(commit(carol), [], epoch=Epoch(5))
    database = reopen(database, path)
    assert set(database.held) == {(KEY, alice.author), (KEY, carol.author)}
    database.close()


def test_half_a_batch_is_nothing(database: NodeDatabase) -> None:
    def read_proofs() -> Iterator[Proof]:
        yield Proof(commit(alice), ())
        raise ConnectionError("the second one never came")

    with pytest.raises(ConnectionError):
        database.keep_proofs(Epoch(5), read_proofs())

    assert database.get_proofs(KEY) == ()
    database.keep_proofs(Epoch(5), [Proof(commit(bob), ())])
    assert database.get_proofs(KEY) == (Proof(commit(bob), ()),)


def test_what_is_forgotten_takes_no_room(path: Path) -> None:
    database = NodeDatabase(path)
    epoch_bytes = 8 << 18
    for epoch in range(12):
        for number in range(8):
            record = sign(alice, f"key {number} of {epoch}", bytes(1 << 18), NOW_SECONDS)
            database.keep(record, [vouch(victor, record)], Epoch(epoch))
            database.keep_proofs(Epoch(epoch), [Proof(record, ())])
        database.forget(LATER_SECONDS, oldest_epoch=Epoch(epoch))

    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 8 * epoch_bytes
    assert database.usage.get_all().entries == 8
    database.close()


def tamper(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


# Killed.

KILLS = 15
WRITER = """
import hashlib, itertools, json, pathlib, sys
from epochgate.core.commitment import Opening
from epochgate.core.receipt import Receipt, compute_record_id
from epochgate.core.record import Record
from epochgate.store.database import NodeDatabase

database, life = NodeDatabase(pathlib.Path(sys.argv[1])), int(sys.argv[2])
author = bytes.fromhex("002408011220") + bytes(32)
for number in itertools.count():
    seed = hashlib.sha256(b"%d %d" % (life, number)).digest()
    value = seed * (3 if number % 7 else 5000)
    record = Record(seed[:20], author, value, 2e9)
    receipt = Receipt(author, life, number, seed + seed)
    own = database.keep_own("commit", 1000 * life + number, record, Opening(seed, seed, value))
    database.keep(own, [receipt], life)
    if number % 5 == 0:
        database.forget(0.0, 0)
    print(json.dumps([life, number, seed.hex(), len(value)]), flush=True)
"""


def test_a_killed_node_finds_every_record_whose_receipt_it_gave(path: Path) -> None:
    promised: list[tuple[int, int, str, int]] = []
    for life in range(KILLS):
        promised += run_until_killed(path, life, lines=1 + life * life % 41)

    database = NodeDatabase(path)

    assert len({life for life, *_ in promised}) == KILLS
    for life, number, seed_hex, value_bytes in promised:
        seed = bytes.fromhex(seed_hex)
        author = bytes.fromhex("002408011220") + bytes(32)
        record = Record(RecordKey(seed[:20]), PeerId(author), seed * (value_bytes // 32), 2e9)
        assert database.get_record(record.key, PeerId(author)) == record
        assert database.get_receipts(compute_record_id(record)) == (
            Receipt(PeerId(author), Epoch(life), BlockNumber(number), Signature(seed + seed)),
        )
        assert database.get_own_record("commit", Epoch(1000 * life + number)) == record
        assert database.get_own_opening("commit", Epoch(1000 * life + number)) == Opening(
            Salt(seed), Hash32(seed), record.value
        )
    for (key, author), held in database.held.items():
        whole = database.get_record(key, author)
        assert whole is not None
        assert hashlib.sha256(whole.value).digest() == held.value_digest
        assert len(held.receipts) == 1
    database.close()


def run_until_killed(path: Path, life: int, lines: int) -> list[tuple[int, int, str, int]]:
    """What a node promised before SIGKILL hit it, somewhere in its work after so many promises."""
    command = [sys.executable, "-c", WRITER, str(path), str(life)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    promises = [writer.stdout.readline() for _ in range(lines)]
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read()
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    return [
        json.loads(line)
        for line in (*promises, *rest.splitlines(keepends=True))
        if line.endswith(b"\n")
    ]
