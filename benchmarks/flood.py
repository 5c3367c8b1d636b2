"""What a flood costs a replica: refusals a second by reason, honest posts beside it, and memory over an hour of it."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.timing import Row
from epochgate.chain.local import LocalChain
from epochgate.core.calendar import Calendar
from epochgate.core.limits import Allowance, Limits, Rate
from epochgate.core.policy import Policy
from epochgate.core.record import PEER_ID_PREFIX, Record
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import Rule
from epochgate.core.schema import EpochContext
from epochgate.core.verdict import Reason
from epochgate.inference import INFERENCE_POLICY
from epochgate.keys import SigningKey
from epochgate.ledger import Ledger
from epochgate.replica import Replica
from epochgate.schemas import Heartbeat, ServerState
from epochgate.watch import Watch
from epochgate.wire import List, Post, Posted, Refused, decode_reply, encode

MAX_MESSAGE_BYTES = 4 << 20
PLENTY = Allowance(Rate(1e12, 1e12), Rate(1e15, 1e15))
NO_LIMITS = Limits(member=PLENTY, spare=PLENTY, stranger=PLENTY, strangers=PLENTY)
FLOOD_A_SECOND, TICK_SECONDS = 50_000, 0.002
HONEST_POSTS = 300
HOUR_SECONDS, STEP_SECONDS, STRANGERS_A_STEP = 3600, 0.25, 20
BEAT, COMMIT, OPEN = (INFERENCE_POLICY.get_rule(kind) for kind in ("hoster", "hoster-commit", "hoster-reveal"))
HEARTBEAT = Heartbeat(
    state=ServerState.ONLINE, role="hoster", throughput=1.0, public_name="", version="0", policy_digest="00" * 32
)


class Stage:
    """One replica among thirteen in the thirtieth percent of epoch 2, on a clock that is moved by hand."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.seconds = time.time()
        path = folder / "chain.sqlite"
        LocalChain.create(path, self, block_seconds=6.0, genesis=bytes(32))
        self.chain = LocalChain(path, None, self)
        self.hosters = [SigningKey.generate() for _ in range(8)]
        self.validators = [SigningKey.generate() for _ in range(5)]
        for key in (*self.hosters, *self.validators):
            self.chain.register(key.author, int(HOSTER if key in self.hosters else VALIDATOR))
        self.chain.start(1)
        self.seconds = self.chain.genesis_seconds + (1 + 230.5) * 6.0
        policy = Policy(*INFERENCE_POLICY.rules, limits=limits)
        calendar = Calendar(policy)
        for epoch in range(3):
            roster = asyncio.run(self.chain.get_roster(epoch))
            calendar.add(EpochContext(self.chain.network_id, self.chain.timing, roster, self.validators[0].author))
        self.calendar = calendar
        self.ledger = Ledger(folder / "ledger.sqlite")
        watch = Watch(self.chain, self, calendar, self.ledger)
        self.replica = Replica(self.hosters[0], policy, self.ledger, watch, MAX_MESSAGE_BYTES)

    def get_unix_seconds(self) -> float:
        return self.seconds

    def sign(self, key: SigningKey, rule: Rule = COMMIT, epoch: int = 2, payload: bytes = bytes(32)) -> Record:
        bound = self.calendar.get_bound(rule, epoch)
        return key.sign_record(self.chain.network_id, bound.key, payload, self.seconds + bound.longest_seconds - 12)

    def renew(self, key: SigningKey, seconds: float) -> Record:
        """A heartbeat that lives for so long."""
        bound, beat = self.calendar.get_bound(BEAT, 2), BEAT.schema.encode(HEARTBEAT)
        return key.sign_record(self.chain.network_id, bound.key, beat, self.seconds + seconds)

    async def post(self, sender: SigningKey, message: bytes) -> Posted | Refused:
        reply = decode_reply(await self.replica.handle(sender.author, message))
        assert isinstance(reply, Posted | Refused)
        return reply


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        yield from _measure_refusals(_make(Path(name), "refusals", NO_LIMITS))
        yield _measure_latency(_make(Path(name), "latency", Limits()))
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
    yield Reason.LATE, alice, encode(Post(stage.sign(alice, OPEN, epoch=1)))
    yield Reason.EXPIRY, alice, encode(Post(replace(good, expiration_time=float("nan"))))
    yield Reason.WRONG_ROLE, victor, encode(Post(stage.sign(victor)))
    yield Reason.BAD_SIGNATURE, alice, encode(Post(replace(good, value=bytes(96))))
    yield Reason.ALREADY_THERE, bob, encode(Post(stage.sign(bob, payload=bytes(31) + b"2")))


def _measure_refusals(stage: Stage) -> Iterator[Row]:
    async def run(reason: Reason, sender: SigningKey, message: bytes, number: int = 3000) -> float:
        reply = await stage.post(sender, message)
        assert isinstance(reply, Refused)
        assert reply.reason == reason.value, reply
        began = time.perf_counter()
        for _ in range(number):
            await stage.replica.handle(sender.author, message)
        return number / (time.perf_counter() - began)

    with closing(stage.ledger):
        asyncio.run(stage.post(stage.hosters[2], encode(Post(stage.sign(stage.hosters[2])))))
        for reason, sender, message in _make_refusable(stage):
            rate = asyncio.run(run(reason, sender, message))
            yield Row(f"refusals for {reason.value} by one replica", f"{rate:,.0f} a second", "")


def _measure_latency(stage: Stage) -> Row:
    """A member floods at a fixed rate while others renew their heartbeats, in one event loop: what a post takes there."""
    flooder = stage.hosters[1]
    message = encode(Post(msgspec.structs.replace(stage.sign(flooder), value=bytes(600))))

    sent = 0

    async def flood() -> None:
        nonlocal sent
        began = time.perf_counter()
        while True:
            due = int((time.perf_counter() - began) * FLOOD_A_SECOND)
            while sent < due:
                await stage.replica.handle(flooder.author, message)
                sent += 1
            await asyncio.sleep(TICK_SECONDS)

    async def post_honestly(first: int) -> list[float]:
        took = []
        for number in range(first, first + HONEST_POSTS):
            record = encode(Post(stage.renew(stage.hosters[2 + number % 6], 300 + number * 0.1)))
            stage.seconds += 0.02
            began = time.perf_counter()
            await asyncio.sleep(0)  # behind what has arrived before
            reply = await stage.post(stage.hosters[2 + number % 6], record)
            took.append(time.perf_counter() - began)
            assert isinstance(reply, Posted), reply
            await asyncio.sleep(TICK_SECONDS)
        return took

    async def compare() -> tuple[list[float], list[float], float]:
        quiet = await post_honestly(0)
        flooding, began = asyncio.create_task(flood()), time.perf_counter()
        loud = await post_honestly(HONEST_POSTS)
        flooding.cancel()
        return quiet, loud, sent / (time.perf_counter() - began)

    with closing(stage.ledger):
        quiet_posts, loud_posts, reached = asyncio.run(compare())
    quiet, loud = statistics.median(quiet_posts), statistics.median(loud_posts)
    ratio = loud / quiet
    what = f"an honest post beside {FLOOD_A_SECOND:,} records a second of one member, against a quiet replica (p50)"
    slowest = statistics.quantiles(loud_posts, n=100)[98] / statistics.quantiles(quiet_posts, n=100)[98]
    seen = (
        f"{ratio:.2f} x ({loud * 1e6:.0f} us against {quiet * 1e6:.0f}; p99 {slowest:.2f} x), {reached:,.0f} a second arrived"
    )
    return Row(what, seen, "at most 2 x", ratio <= 2 and reached >= 0.9 * FLOOD_A_SECOND)


def _measure_memory(stage: Stage) -> Row:
    """All other hosters send as much as they like, and strangers that were never seen before ask, for an hour of a clock
    moved by hand. What is there after ten minutes is what is there after sixty."""
    rubbish = encode(Post(msgspec.structs.replace(stage.sign(stage.hosters[1]), value=bytes(600))))
    read = encode(List(bytes(20)))
    sizes, numbers = [], itertools.count()

    async def flood(seconds: float) -> None:
        until_seconds = stage.seconds + seconds
        while stage.seconds < until_seconds:
            stage.seconds += STEP_SECONDS
            for key in stage.hosters[1:]:
                await stage.replica.handle(key.author, rubbish)
            for _ in range(STRANGERS_A_STEP):
                stranger = PEER_ID_PREFIX + next(numbers).to_bytes(32, "big")
                await stage.replica.handle(stranger, read)

    with closing(stage.ledger):
        tracemalloc.start()
        for minutes in (10, 20, 30):
            asyncio.run(flood(60 * minutes))
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    sent = int(HOUR_SECONDS / STEP_SECONDS) * (len(stage.hosters) - 1 + STRANGERS_A_STEP)
    grown = sizes[-1] - sizes[0]
    what = f"memory that a replica gains in an hour of flood, {sent:,} requests, after its first ten minutes"
    return Row(what, f"{grown / 1024:.0f} KiB (in all {sizes[-1] / 1024:.0f} KiB)", "at most 1 MiB", grown <= 1 << 20)


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what}: {row.seen} {({True: 'met', False: 'missed', None: ''})[row.is_met]}", flush=True)
