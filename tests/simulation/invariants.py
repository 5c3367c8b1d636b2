"""What must hold in every run, checked at every record that a replica takes, every answer it gives,
every event a node emits, and four times an epoch for what the whole subnet promises.

The checker works everything out for itself from the words of docs/spec.md (windows, rosters,
replicas, signatures, Merkle roots): it consults nothing that it judges.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from nacl.exceptions import BadSignatureError

from epochgate.core.epoch import Head
from epochgate.core.receipt import Receipt
from epochgate.core.record import Record
from epochgate.core.types import PeerId, RecordKey
from epochgate.core.verdict import Reason
from epochgate.observe.events import AnyEvent, AttestationRefused, Line, Scored, encode_line
from epochgate.ports import OnChain
from tests.simulation.signatures import open_signed

LENGTH = 100
BLOCK_SECONDS = 6.0
SLOT = 10
HOSTER = 1
VALIDATOR = 2
SEEN_LAST = 12


class Window(msgspec.Struct, frozen=True):
    """One line of the table in docs/spec.md#2-keys-and-windows: blocks of the epoch, both inside;
    what a record must outlive, in epochs.
    """

    by: int
    first: int
    last: int
    longest_epochs: float
    kept_until: float
    payload_bytes: int | None = None


TABLE = {
    "consensus-epoch_{}": Window(VALIDATOR, 0, 15, 1.1, 1.0),
    "hoster-commit_epoch_{}": Window(HOSTER, 16, 50, 2.0, 2.0, 32),
    "validator-reveal_epoch_{}": Window(VALIDATOR, 16, 50, 2.0, 2.0),
    "hoster-reveal_epoch_{}": Window(HOSTER, 51, 60, 2.0, 2.0),
    "validator-commit_epoch_{}": Window(VALIDATOR, 60, 99, 2.0, 2.5, 32),
}
HEARTBEATS = {"hoster": HOSTER, "validator": VALIDATOR}
STAND_INS_FROM = 11
MOST_AHEAD = 3

HONEST_MAY_HEAR = {
    Reason.EARLY,
    Reason.LATE,
    Reason.CHAIN_STALE,
    Reason.NOT_STARTED,
    Reason.UNKNOWN_KEY,
    Reason.NOT_ON_ROSTER,
    Reason.NOT_REPLICA,
    Reason.NOT_ELECTED,
    Reason.ALREADY_THERE,
    Reason.EXPIRY,
}
"""What clocks, lags, races and one's own lost disk explain. All else would be the fault of another.
"""

Place = tuple[RecordKey, PeerId]
"""Key and author."""


class Registry:
    """Who is registered, from which block to which, and all that follows from it alone."""

    def __init__(self, genesis: bytes, network: bytes) -> None:
        self._genesis = genesis
        self._network = network
        self._stays: list[tuple[PeerId, int, int, float]] = []
        self._keys: dict[bytes, tuple[str, int | None]] = {
            _key(name): (name, None) for name in HEARTBEATS
        }
        self._members: dict[int, dict[PeerId, int]] = {}
        self._replicas: dict[tuple[bytes, int], tuple[PeerId, ...]] = {}

    def join(self, author: PeerId, roles: int, block: int) -> None:
        self._stays.append((author, roles, block, math.inf))

    def leave(self, author: PeerId, block: int) -> None:
        self._stays = [
            (who, roles, a, min(b, block) if who == author else b)
            for who, roles, a, b in self._stays
        ]

    def has(self, key: bytes) -> bool:
        """Whether `key` is one of the policy's, in some epoch up to now or soon."""
        try:
            self.find_name(key)
        except KeyError:
            return False
        return True

    def find_name(self, key: bytes) -> tuple[str, int | None]:
        """The pattern that a key was made of, and its epoch. Raises KeyError."""
        if key not in self._keys:
            known = 1 + max(
                (epoch for _, epoch in self._keys.values() if epoch is not None), default=-1
            )
            for epoch in range(known, known + 8):
                self._keys |= {_key(pattern.format(epoch)): (pattern, epoch) for pattern in TABLE}
        return self._keys[key]

    def get_members(self, epoch: int) -> dict[PeerId, int]:
        """Roles by author, in order of author, as of five blocks before the epoch's first."""
        if epoch not in self._members:
            block = self._get_snapshot_block(epoch)
            found = {who: roles for who, roles, a, b in self._stays if a <= block < b}
            self._members[epoch] = {who: found[who] for who in sorted(found)}
        return self._members[epoch]

    def get_registered(self, block: int) -> dict[PeerId, int]:
        return {who: roles for who, roles, a, b in self._stays if a <= block < b}

    def get_elected(self, epoch: int) -> PeerId:
        seed = self._get_seed(epoch)
        validators = [who for who, roles in self.get_members(epoch).items() if roles & VALIDATOR]
        return min(validators, key=lambda who: hashlib.sha256(seed + b"election" + who).digest())

    def get_replicas(self, key: bytes, epoch: int) -> tuple[bytes, ...]:
        """The K smallest SHA-256(seed, key, peer id)."""
        _, of = self.find_name(key)
        seed = self._network if of is None else self._get_seed(of)
        if (key, epoch) not in self._replicas:
            ranked = sorted(
                self.get_members(epoch), key=lambda who: hashlib.sha256(seed + key + who).digest()
            )
            self._replicas[key, epoch] = tuple(ranked[:13])
        return self._replicas[key, epoch]

    def get_tolerance(self, key: bytes, epoch: int) -> tuple[int, int]:
        """K and f."""
        k = len(self.get_replicas(key, epoch))
        return k, max(0, (k - 1) // 3)

    def _get_snapshot_block(self, epoch: int) -> int:
        return SLOT + epoch * LENGTH - (5 if epoch else 0)

    def _get_seed(self, epoch: int) -> bytes:
        block = struct.pack(">Q", self._get_snapshot_block(epoch))
        return hashlib.sha256(b"epochgate/local-chain/seed/1\0" + self._genesis + block).digest()


class InvariantChecker:
    """Sees everything, and keeps the first thing that was broken. `faults` is the most that may be
    dishonest.
    """

    def __init__(
        self, registry: Registry, network: bytes, genesis_seconds: float, *, is_within_f: bool
    ) -> None:
        self.registry = registry
        self.is_within_f = is_within_f
        self.broken: str = ""
        self.last: deque[str] = deque(maxlen=SEEN_LAST)
        self.adversaries: set[PeerId] = set()
        self.wiped: set[PeerId] = set()
        """Those who lost their disk: they may say twice what is said once."""
        self.events = 0
        self._network = network
        self._genesis_seconds = genesis_seconds
        self._digest = hashlib.sha256()
        self._given: dict[tuple[bytes, bytes, bytes], tuple[bytes, Receipt]] = {}
        self._given_before_loss: set[Receipt] = set()
        """They come back with the copies of others: a replica's word holds beyond its disk."""
        self._admitted: dict[Place, dict[bytes, dict[PeerId, float]]] = {}
        """Who admitted a value under a key, by author and digest, and when the value expires."""
        self._scores: dict[int, dict[PeerId, dict[str, int]]] = {}

    def get_digest(self) -> str:
        """SHA-256 over all events and admitted records so far, in order."""
        return self._digest.hexdigest()

    # What it is told.

    def see_event(self, name: str, author: PeerId, fact: AnyEvent, now_seconds: float) -> None:
        self._note(encode_line(Line(name, now_seconds, fact)))
        if author in self.adversaries:
            return
        if isinstance(fact, Scored):
            self._scores.setdefault(fact.epoch, {})[author] = fact.scores
        if isinstance(fact, AttestationRefused) and self.is_within_f:
            submitter = self.registry.get_elected(fact.epoch)
            if submitter not in self.adversaries and submitter not in self.wiped:
                self._break(
                    f"{name} refused an honest submitter in epoch {fact.epoch}:"
                    f" {'; '.join(fact.differences)}"
                )

    def see_receipt(
        self,
        replica: PeerId,
        sender: PeerId,
        record: Record,
        receipt: Receipt,
        clock_seconds: float,
        head: Head | None = None,
    ) -> None:
        """`replica`, whose clock shows that, answered a post with a receipt. `head` is what it
        knows of the chain where that is not what its clock says.
        """
        if replica in self.adversaries:
            return None
        digest = _sha256(record.value)
        place = (replica, record.key, record.author)
        before = self._given.get(place)
        if before is not None and before[0] == digest:
            self._check(
                before[1] == receipt, f"{_name(replica)} gave another receipt for the same record"
            )
            return None
        if receipt in self._given_before_loss:
            self._given[place] = (digest, receipt)
            return None
        if not self.registry.has(record.key):
            return self._break("a record was admitted under a key that no rule makes")
        block = (
            self._compute_block(clock_seconds)
            if head is None
            else self._compute_deciding_block(head, clock_seconds)
        )
        self._judge(record, block, clock_seconds, before)
        self._check(
            sender == record.author, "a record was admitted from somebody else than its author"
        )
        self._check(
            (receipt.replica, receipt.block) == (replica, block),
            f"{_name(replica)} gave a receipt for another block",
        )
        self._check_receipt(record, receipt)
        self._given[place] = (digest, receipt)
        values = self._admitted.setdefault((record.key, record.author), {})
        values.setdefault(digest, {})[replica] = record.expiration_time
        return self._note(msgspec.msgpack.encode((replica, record, receipt)))

    def see_kept(
        self, replica: PeerId, record: Record, receipts: Iterable[Receipt], clock_seconds: float
    ) -> None:
        """A record came to `replica`'s disk. What it did not admit itself must have come with f + 1
        receipts.
        """
        receipts = tuple(receipts)
        if replica in self.adversaries or replica in {receipt.replica for receipt in receipts}:
            return None
        if not self.registry.has(record.key):
            return self._break("a record was taken under a key that no rule makes")
        epoch = self._find_epoch(record, clock_seconds)
        replicas = self.registry.get_replicas(record.key, epoch)
        (_, f) = self.registry.get_tolerance(record.key, epoch)
        signers = {receipt.replica for receipt in receipts if receipt.replica in replicas}
        for receipt in receipts:
            self._check_receipt(record, receipt)
        self._check(
            len(signers) > f,
            f"{_name(replica)} took a copy that {len(signers)} replicas vouch for, f is {f}",
        )
        seen = self._admitted.get((record.key, record.author), {}).get(_sha256(record.value), {})
        if len(signers & self.adversaries) <= f:
            self._check(
                bool(signers & seen.keys()),
                f"{_name(replica)} took a copy that no honest replica admitted in time",
            )
        return None

    def see_refusal(self, replica: PeerId, sender: PeerId, record: Record, reason: str) -> None:
        if replica in self.adversaries or sender in self.adversaries:
            return
        self._check(
            Reason(reason) in HONEST_MAY_HEAR and record.author == sender,
            f"{_name(replica)} refused {_name(sender)}, who is honest, as {reason}",
        )

    def see_wiped(self, author: PeerId) -> None:
        self.wiped.add(author)
        lost = [place for place in self._given if place[0] == author]
        self._given_before_loss |= {self._given.pop(place)[1] for place in lost}

    # What it looks at, four times an epoch.

    def look_at_records(self, held: dict[PeerId, dict[Place, Any]], now_seconds: float) -> None:
        """Nothing with K - f receipts is lost: `held` is what those who run and are honest hold by
        now.
        """
        if not self.is_within_f:
            return
        current = (self._compute_block(now_seconds) - SLOT) // LENGTH
        held_by_all: dict[Place, list[Any]] = {}
        for them in held.values():
            for place, copy in them.items():
                held_by_all.setdefault(place, []).append(copy)
        for (key, author), values in self._admitted.items():
            _, epoch = self.registry.find_name(key)
            if epoch is None or epoch < current - 2 or len(values) > 1:
                continue
            ((digest, admitters),) = values.items()
            k, f = self.registry.get_tolerance(key, epoch)
            if len(admitters) < k - f or min(admitters.values()) <= now_seconds:
                continue
            copies = held_by_all.get((key, author), [])
            signers = {
                receipt.replica
                for copy in copies
                if copy.value_digest == digest
                for receipt in copy.receipts
            }
            self._check(
                len(signers) > f,
                f"{_name(author)}'s complete record of epoch {epoch} is lost: {len(signers)}"
                " receipts",
            )

    def look_at_submission(
        self, epoch: int, on_chain: OnChain | None, is_before_attested: bool
    ) -> None:
        """What is on the chain, and attested or an honest node's, names one value an author,
        admitted in time, and hides nothing complete.
        """
        if on_chain is None or not (
            on_chain.is_attested or on_chain.submitter not in self.adversaries
        ):
            return
        pairs = [
            ("hoster-commit", epoch - 1),
            ("hoster-reveal", epoch - 1),
            ("validator-commit", epoch - 2),
        ]
        pairs += [("validator-reveal", epoch - 1)]
        if not is_before_attested:
            pairs += [("hoster-commit", epoch - 2), ("hoster-reveal", epoch - 2)]
        choices: list[list[bytes]] = []
        wanted = [pair for pair in pairs if pair[1] >= 0]
        self._check(
            len(wanted) == len(on_chain.submission.bitmaps),
            f"the submission of epoch {epoch} has other bitmaps",
        )
        for (kind, of), bitmap in zip(wanted, on_chain.submission.bitmaps, strict=False):
            choices += self._list_choices(_key(f"{kind}_epoch_{of}"), of, bitmap)
        roots = {_compute_root(leaves) for leaves in itertools.product(*choices)}
        self._check(
            on_chain.submission.root in roots,
            f"the root of epoch {epoch} is not of records admitted in time",
        )
        total = sum(on_chain.submission.scores.values())
        self._check(total in (0, 10**18), f"the scores of epoch {epoch} add up to {total}")

    def look_at_agreement(self, epoch: int, validators: set[PeerId]) -> None:
        """Once healed: identical scores on all honest validators."""
        lists = {who: self._scores.get(epoch, {}).get(who) for who in sorted(validators)}
        self._check(
            all(scores is not None for scores in lists.values()),
            f"not everybody scored epoch {epoch} once healed",
        )
        self._check(
            len({str(scores) for scores in lists.values()}) == 1,
            f"validators differ about healed epoch {epoch}",
        )

    def look_at_lists(self, epoch: int, lists: dict[PeerId, tuple[int, ...]]) -> None:
        """What those who attested an epoch remember of it is the same."""
        self._check(
            len(set(lists.values())) <= 1,
            f"those who attested remember different lists of epoch {epoch}",
        )

    def require(self, is_so: bool, what: str) -> None:
        self._check(is_so, what)

    # How it judges.

    def _judge(self, record: Record, block: int, clock_seconds: float, before: object) -> None:
        pattern, epoch = self.registry.find_name(record.key)
        current, elapsed = divmod(block - SLOT, LENGTH)
        name = _name(record.author)
        left_seconds = record.expiration_time - clock_seconds
        if epoch is None:
            members = (
                self.registry.get_members(current)
                if block >= SLOT
                else self.registry.get_registered(block + 1)
            )
            self._check(
                bool(members.get(record.author, 0) & HEARTBEATS[pattern]),
                f"{name} is no {pattern} and was admitted",
            )
            self._check(
                0 < left_seconds <= 1.1 * LENGTH * BLOCK_SECONDS,
                f"{name}'s {pattern} lives {left_seconds:g} s",
            )
        else:
            window = TABLE[pattern]
            at = f"{name}'s {pattern.format(epoch)} at block {elapsed} of epoch {current}"
            self._check(
                epoch == current and window.first <= elapsed <= window.last,
                f"outside its window: {at}",
            )
            members = self.registry.get_members(epoch)
            self._check(bool(members.get(record.author, 0) & window.by), f"not in that role: {at}")
            self._check(before is None, f"a second value under a once-key: {at}")
            self._check(
                0 < left_seconds <= window.longest_epochs * LENGTH * BLOCK_SECONDS,
                f"lives {left_seconds:g} s: {at}",
            )
            last_read = SLOT + (epoch + window.kept_until) * LENGTH - 3
            self._check(
                self._compute_block(record.expiration_time) >= last_read - 1,
                f"expires before it is last read: {at}",
            )
            self._check(
                window.payload_bytes in (None, len(record.value) - 64),
                f"of {len(record.value) - 64} bytes: {at}",
            )
            is_challenge = pattern.startswith("consensus")
            if is_challenge and elapsed < STAND_INS_FROM:
                self._check(record.author == self.registry.get_elected(epoch), f"not elected: {at}")
        fields = (
            b"epochgate/record/1\0"
            + struct.pack(">I", len(self._network))
            + self._network
            + record.key
        )
        fields += (
            record.author + struct.pack(">d", record.expiration_time) + _sha256(record.value[64:])
        )
        self._check(
            _is_signed(record.author, fields, record.value[:64]),
            f"a record of {name} was admitted unsigned",
        )

    def _check_receipt(self, record: Record, receipt: Receipt) -> None:
        fields = (self._network, record.key, record.author, _sha256(record.value))
        message = b"epochgate/receipt/1\0" + b"".join(
            struct.pack(">I", len(field)) + field for field in fields
        )
        message += struct.pack(">QQ", receipt.epoch, receipt.block)
        self._check(
            _is_signed(receipt.replica, message, receipt.signature),
            f"a false receipt of {_name(receipt.replica)}",
        )

    def _list_choices(self, key: RecordKey, epoch: int, bitmap: bytes) -> Iterator[list[bytes]]:
        """For each author that a bitmap names, the leaves that it may stand for."""
        _, f = self.registry.get_tolerance(key, epoch)
        k = len(self.registry.get_replicas(key, epoch))
        for index, author in enumerate(self.registry.get_members(epoch)):
            values = self._admitted.get((key, author), {})
            is_named = bool(bitmap[index // 8] >> index % 8 & 1)
            needed = f + 1 - min(f, len(self.adversaries))
            possible = [digest for digest, admitters in values.items() if len(admitters) >= needed]
            if is_named:
                self._check(
                    bool(possible),
                    f"{_name(author)} is in the set of epoch {epoch} with nothing proven in time",
                )
                yield [b"\0epochgate/leaf/1" + key + author + digest for digest in possible]
            elif (
                self.is_within_f
                and len(values) == 1
                and author not in self.wiped | self.adversaries
            ):
                (admitters,) = values.values()
                self._check(
                    len(admitters) < k - f,
                    f"{_name(author)}'s record of epoch {epoch} was left out of the set",
                )

    def _find_epoch(self, record: Record, clock_seconds: float) -> int:
        _, epoch = self.registry.find_name(record.key)
        return (
            max(0, (self._compute_block(clock_seconds) - SLOT) // LENGTH)
            if epoch is None
            else epoch
        )

    def _compute_block(self, unix_seconds: float) -> int:
        return max(
            0,
            (round(unix_seconds * 1000) - round(self._genesis_seconds * 1000))
            // round(BLOCK_SECONDS * 1000),
        )

    def _compute_deciding_block(self, head: Head, clock_seconds: float) -> int:
        """The head moved on by a block less than local time, by three at most: beyond that nothing
        may be admitted.
        """
        ahead = max(0, math.floor((clock_seconds - head.seen_seconds) / BLOCK_SECONDS) - 1)
        self._check(
            ahead <= MOST_AHEAD, f"a record was admitted by a head that is {ahead + 1} blocks old"
        )
        return head.block + ahead

    def _note(self, line: bytes) -> None:
        self._digest.update(struct.pack(">I", len(line)) + line)
        self.events += 1
        if line.startswith(b"{"):
            self.last.append(line.decode().strip())

    def _check(self, is_so: bool, what: str) -> None:
        if not is_so:
            self._break(what)

    def _break(self, what: str) -> None:
        self.broken = self.broken or what


def _key(name: str) -> RecordKey:
    return RecordKey(hashlib.sha1(msgspec.msgpack.encode(name), usedforsecurity=False).digest())


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _is_signed(author: PeerId, message: bytes, signature: bytes) -> bool:
    try:
        open_signed(signature + message, RecordKey(author[6:]))
    except (BadSignatureError, ValueError):
        return False
    return True


def _name(author: PeerId) -> str:
    return author.hex()[-8:]


def _compute_root(leaves: Iterable[bytes]) -> bytes:
    """Sorted leaves hashed in pairs, an odd one moves up (RFC 6962, section 2.1)."""
    layer = [_sha256(leaf) for leaf in sorted(leaves)]
    if not layer:
        return _sha256(b"\0epochgate/leaf/1")
    while len(layer) > 1:
        odd = layer[-1:] if len(layer) % 2 else []
        layer = [
            _sha256(b"\1epochgate/node/1" + a + b)
            for a, b in zip(layer[::2], layer[1::2], strict=False)
        ] + odd
    return layer[0]
