"""What a flood costs a replica: refusals a second by reason, honest posts beside it, and memory
over an hour of it.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
import tracemalloc
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.timing import Row
from epochgate.chain.local import LocalChain
from epochgate.core.limits import Allowance, Limits, Rate
from epochgate.core.peer_id import PEER_ID_PREFIX
from epochgate.core.policy import Policy
from epochgate.core.record import Record
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch, PeerId, RecordKey
from epochgate.core.verdict import Reason
from epochgate.keys import SigningKey
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import Heartbeat, ServerState
from epochgate.store.chain_clock import ChainClock
from epochgate.store.database import NodeDatabase
from epochgate.store.replica import Replica
from epochgate.store.wire import List, Post, Posted, Refused, decode_reply, encode

MAX_MESSAGE_BYTES = 4 << 20
PLENTY = Allowance(Rate(1e12, 1e12), Rate(1e15, 1e15))
NO_LIMITS = Limits(member=PLENTY, spare=PLENTY, stranger=PLENTY, strangers=PLENTY)
FLOOD_A_SECOND = 50_000
HONEST_POSTS = 100
PAUSE_SECONDS = 0.003
ROUNDS = 8
"""A post at each pause, with and without the flood in turn, so that what else the machine does
falls on both.
"""
FIRST_POSTS = 20
"""Not counted: meanwhile the flooder spends what it may send at once."""
HOUR_SECONDS = 3600
STEP_SECONDS = 0.25
STRANGERS_A_STEP = 20
BEAT, COMMIT, OPEN = (
    INFERENCE_POLICY.get_rule(kind) for kind in ("hoster", "hoster-commit", "hoster-reveal")
)
HEARTBEAT = Heartbeat(
    state=ServerState.ONLINE,
    role="hoster",
    throughput=1.0,
    public_name="",
    version="0",
    policy_digest="00" * 32,
)


class Stage:
    """One replica among thirteen in the thirtieth percent of epoch 2, on a clock that is moved by
    hand.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.seconds = time.time()
        path = folder / "chain.sqlite"
        LocalChain.create(path, self, block_seconds=6.0, genesis=bytes(32))
        self.chain = LocalChain(path, None, self)
        self.hosters = [SigningKey.generate() for _ in range(8)]
        self.validators = [SigningKey.generate() for _ in range(5)]
        for key in (*self.hosters, *self.validators):
            self.chain.register(key.author, int(HOSTER if key in self.hosters else VALIDATOR))
        self.chain.start(BlockNumber(1))
        self.seconds = self.chain.genesis_seconds + (1 + 230.5) * 6.0
        policy = Policy(*INFERENCE_POLICY.rules, limits=limits)
        schedule = EpochSchedule(policy)
        for epoch in range(3):
            roster = asyncio.run(self.chain.get_roster(Epoch(epoch)))
            schedule.add(
                EpochContext(
                    self.chain.network_id, self.chain.timing, roster, self.validators[0].author
                )
            )
        self.schedule = schedule
        self.database = NodeDatabase(folder / "ledger.sqlite")
        chain_clock = ChainClock(self.chain, self, schedule, self.database.held)
        self.replica = Replica(
            self.hosters[0], policy, self.database, chain_clock, MAX_MESSAGE_BYTES
        )

    def get_unix_seconds(self) -> float:
        return self.seconds

    def sign(
        self,
        key: SigningKey,
        rule: Rule = COMMIT,
        epoch: Epoch = Epoch(2),
        payload: bytes = bytes(32),
    ) -> Record:
        key_rule = self.schedule.get_key_rule(rule, epoch)
        return key.sign_record(
            self.chain.network_id,
            key_rule.key,
            payload,
            self.seconds + key_rule.longest_seconds - 12,
        )

    def renew(self, key: SigningKey, seconds: float) -> Record:
        """A heartbeat that lives for so long."""
        key_rule = self.schedule.get_key_rule(BEAT, Epoch(2))
        beat = BEAT.schema.encode(HEARTBEAT)
        return key.sign_record(self.chain.network_id, key_rule.key, beat, self.seconds + seconds)

    async def post(self, sender: SigningKey, message: bytes) -> Posted | Refused:
        reply = decode_reply(await self.replica.handle(sender.author, message))
        assert isinstance(reply, Posted | Refused)
        return reply


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        yield from _measure_refusals(_make(Path(name), "refusals", NO_LIMITS))
        yield _measure_rate(_make(Path(name), "rate", Limits()))
        yield from _measure_latency(_make(Path(name), "latency", Limits()))
        yield _measure_memory(_make(Path(name), "memory", Limits()))


def _make(folder: Path, name: str, limits: Limits) -> Stage:
    (folder / name).mkdir()
    return Stage(folder / name, limits)


def _make_refusable(stage: Stage) -> Iterator[tuple[Reason, SigningKey, bytes]]:
    alice, bob, victor, stranger = *stage.hosters[1:3], stage.validators[0], SigningKey.generate()
    good = stage.sign(alice)
    replace = msgspec.structs.replace
    yield Reason.NOT_ON_ROSTER, stranger, encode(Post(stage.sign(stranger)))
    yield Reason.MALFORMED, alice, b"\x91" * 512
    yield Reason.NOT_AUTHOR, bob, encode(Post(good))
    yield Reason.TOO_LARGE, alice, encode(Post(stage.sign(alice, payload=bytes(100_000))))
    yield Reason.UNKNOWN_KEY, alice, encode(Post(replace(good, key=bytes(20))))
    yield Reason.EARLY, alice, encode(Post(stage.sign(alice, OPEN)))
    yield Reason.LATE, alice, encode(Post(stage.sign(alice, OPEN, epoch=Epoch(1))))
    yield Reason.EXPIRY, alice, encode(Post(replace(good, expiration_time=float("nan"))))
    yield Reason.WRONG_ROLE, victor, encode(Post(stage.sign(victor)))
    yield Reason.BAD_SIGNATURE, alice, encode(Post(replace(good, value=bytes(96))))
    yield Reason.ALREADY_THERE, bob, encode(Post(stage.sign(bob, payload=bytes(31) + b"2")))


def _measure_refusals(stage: Stage) -> Iterator[Row]:
    with closing(stage.database):
        asyncio.run(stage.post(stage.hosters[2], encode(Post(stage.sign(stage.hosters[2])))))
        for reason, sender, message in _make_refusable(stage):
            yield asyncio.run(_count_refusals(stage, reason, sender, message))


def _measure_rate(stage: Stage) -> Row:
    """A member that has spent all it may, and does not wait."""
    sender = stage.hosters[1]
    message = encode(List(RecordKey(bytes(20))))

    async def spend() -> None:
        while not isinstance(
            decode_reply(await stage.replica.handle(sender.author, message)), Refused
        ):
            pass

    with closing(stage.database):
        asyncio.run(spend())
        return asyncio.run(_count_refusals(stage, Reason.RATE, sender, message))


async def _count_refusals(
    stage: Stage, reason: Reason, sender: SigningKey, message: bytes, number: int = 3000
) -> Row:
    reply = await stage.post(sender, message)
    assert isinstance(reply, Refused)
    assert reply.reason == reason.value, reply
    began = time.thread_time()
    for _ in range(number):
        await stage.replica.handle(sender.author, message)
    rate = number / (time.thread_time() - began)
    return Row(f"refusals for {reason.value} by one replica", f"{rate:,.0f} a second", "")


class Arrivals:
    """Requests that come by the clock, whatever the replica does: each is due at its time, is
    handled by a task of its own in the order of arrival, as the engine does it, and what it took is
    counted from when it was due. The clock is the time that this thread has computed, so that what
    else the machine does counts for neither side.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._flooder = stage.hosters[1]
        self._rubbish = encode(
            Post(msgspec.structs.replace(stage.sign(self._flooder), value=bytes(600)))
        )
        self._posts = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self.arrived = 0
        self.seconds = 0.0

    async def take(self, flood_a_second: int, posts: int = HONEST_POSTS) -> list[float]:
        """What each of so many heartbeats took, beside so much of a flood."""
        heartbeats = [self._renew() for _ in range(posts)]
        took: list[float] = []
        began = time.thread_time()
        began_seconds = self._stage.seconds
        sent = 0
        arrived = 0
        while len(took) < posts:
            passed = time.thread_time() - began
            self._stage.seconds = began_seconds + passed
            is_due = sent < posts and passed >= (sent + 1) * PAUSE_SECONDS
            until = (sent + 1) * PAUSE_SECONDS if is_due else passed
            for _ in range(int(until * flood_a_second) - arrived):
                self._spawn(self._stage.replica.handle(self._flooder.author, self._rubbish))
                arrived += 1
            if is_due:
                self._spawn(self._post(*heartbeats[sent], began + until, took))
                sent += 1
            await asyncio.sleep(0)
        if flood_a_second:
            self.arrived = self.arrived + arrived
            self.seconds = self.seconds + time.thread_time() - began
        return took

    async def _post(
        self, sender: SigningKey, message: bytes, due_seconds: float, took: list[float]
    ) -> None:
        reply = await self._stage.post(sender, message)
        took.append(time.thread_time() - due_seconds)
        assert isinstance(reply, Posted), reply

    def _renew(self) -> tuple[SigningKey, bytes]:
        self._posts += 1
        sender = self._stage.hosters[2 + self._posts % 6]
        return sender, encode(Post(self._stage.renew(sender, 300 + self._posts * 0.1)))

    def _spawn(self, work: Coroutine[None, None, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _measure_latency(stage: Stage) -> Iterator[Row]:
    """A member floods at a fixed rate while others renew their heartbeats: what a post takes, with
    and without.
    """
    arrivals = Arrivals(stage)

    async def compare() -> tuple[list[float], list[float]]:
        quiet: list[float] = []
        loud: list[float] = []
        for _ in range(ROUNDS):
            quiet += await arrivals.take(0)
            await arrivals.take(FLOOD_A_SECOND, FIRST_POSTS)
            loud += await arrivals.take(FLOOD_A_SECOND)
        return quiet, loud

    with closing(stage.database):
        quiet, loud = (sorted(posts) for posts in asyncio.run(compare()))
    reached = arrivals.arrived / arrivals.seconds
    for name, share in (("p50", 0.5), ("p99", 0.99), ("slowest", 1.0)):
        one, other = (
            posts[min(len(posts) - 1, int(share * len(posts)))] for posts in (quiet, loud)
        )
        what = (
            f"an honest post beside {FLOOD_A_SECOND:,} records a second of one member, against a"
            f" quiet replica ({name})"
        )
        seen = (
            f"{other / one:.2f} x ({other * 1e6:.0f} us against {one * 1e6:.0f}), {reached:,.0f} a"
            " second arrived"
        )
        is_met = other <= 2 * one and reached >= 0.9 * FLOOD_A_SECOND
        yield Row(what, seen, "at most 2 x" if share < 1 else "", is_met if share < 1 else None)


def _measure_memory(stage: Stage) -> Row:
    """All other hosters send as much as they like, and strangers that were never seen before ask,
    for an hour of a clock moved by hand. What is there after ten minutes is what is there after
    sixty.
    """
    rubbish = encode(Post(msgspec.structs.replace(stage.sign(stage.hosters[1]), value=bytes(600))))
    read = encode(List(RecordKey(bytes(20))))
    sizes = []
    numbers = itertools.count()

    async def flood(seconds: float) -> None:
        until_seconds = stage.seconds + seconds
        while stage.seconds < until_seconds:
            stage.seconds += STEP_SECONDS
            for key in stage.hosters[1:]:
                await stage.replica.handle(key.author, rubbish)
            for _ in range(STRANGERS_A_STEP):
                stranger = PEER_ID_PREFIX + next(numbers).to_bytes(32, "big")
                await stage.replica.handle(PeerId(stranger), read)

    with closing(stage.database):
        tracemalloc.start()
        for minutes in (10, 20, 30):
            asyncio.run(flood(60 * minutes))
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    sent = int(HOUR_SECONDS / STEP_SECONDS) * (len(stage.hosters) - 1 + STRANGERS_A_STEP)
    grown = sizes[-1] - sizes[0]
    what = (
        f"memory that a replica gains in an hour of flood, {sent:,} requests, after its first ten"
        " minutes"
    )
    return Row(
        what,
        f"{grown / 1024:.0f} KiB (in all {sizes[-1] / 1024:.0f} KiB)",
        "at most 1 MiB",
        grown <= 1 << 20,
    )


if __name__ == "__main__":
    for row in measure():
        print(
            f"{row.what}: {row.seen} {({True: 'met', False: 'missed', None: ''})[row.is_met]}",
            flush=True,
        )
