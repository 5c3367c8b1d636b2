"""Heartbeats: JOINING, ONLINE, OFFLINE under the key of each role, renewed well before they expire
(docs/spec.md#8-heartbeats).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from epochgate._version import __version__
from epochgate.core.epoch import compute_seconds
from epochgate.core.roster import get_role_names
from epochgate.core.rule import Rule
from epochgate.core.types import Epoch
from epochgate.node.context import NodeContext
from epochgate.observe.events import NodeWarning
from epochgate.schemas import Heartbeat, Map, ServerState

SPARE_SECONDS = 6.0
"""Heartbeats ask for this much less than the longest lifetime, so that a replica whose clock is
behind admits them too.
"""
MAX_SPARE_SHARE = 0.2
"""The spare time is at most this share of a lifetime, since epochs may last seconds only."""
RENEWALS = 3
"""Heartbeats per lifetime."""
RETRIES = 10
"""Tries of a failed heartbeat before the next one is due."""


class HeartbeatPublisher:
    """Publishes heartbeats while `run` runs. One that fails is tried again, and the next comes in
    time.
    """

    def __init__(
        self, node: NodeContext, public_name: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.state = ServerState.JOINING
        self._node = node
        self._public_name = public_name
        self._facts = dict(facts or {})
        self._changed = asyncio.Event()
        self._is_well = True

    def set_online(self) -> None:
        self.state = ServerState.ONLINE
        self._changed.set()

    async def run(self) -> None:
        while True:
            rest_seconds = self._compute_shortest_lifetime() / RENEWALS
            if not await self._beat(rest_seconds / RETRIES):
                rest_seconds /= RETRIES
            try:
                async with asyncio.timeout(rest_seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def say_goodbye(self, timeout_seconds: float) -> None:
        """OFFLINE expires later than what was said before, so that it wins."""
        self.state = ServerState.OFFLINE
        await self._beat(timeout_seconds)

    async def _beat(self, timeout_seconds: float) -> bool:
        """Whether the heartbeats of all roles were proven within `timeout_seconds`.

        While a node starts or stops its peers may do the same, so only a node that is online
        complains.
        """
        try:
            said = await asyncio.gather(
                *(self._say(rule, timeout_seconds) for rule in self._get_rules())
            )
            failures = [words for words in said if words]
        except Exception as error:  # noqa: BLE001 - whatever ails one beat, the next is due
            failures = [f"{type(error).__name__}: {error}"]
        if failures and self._is_well and self.state is ServerState.ONLINE:
            advice = (
                "it is tried again; if it stays so, see whether this node is registered and reaches"
                " its peers"
            )
            self._node.emit(NodeWarning("heartbeat", failures[0], advice))
        self._is_well = not failures
        return self._is_well

    async def _say(self, rule: Rule, timeout_seconds: float) -> str:
        """What went wrong, or nothing."""
        node = self._node
        key_rule = node.get_key_rule(rule, self._get_epoch())
        now_seconds = node.get_unix_seconds()
        expiration_time = now_seconds + compute_lifetime_seconds(
            key_rule.longest_seconds, self.state
        )
        payload = rule.schema.encode(self._describe(rule))
        record = node.key.sign_record(
            key_rule.context.network, key_rule.key, payload, expiration_time
        )
        posting = await node.store.post(record, key_rule, now_seconds + timeout_seconds)
        if posting.is_proven:
            return ""
        return str(posting)

    def _describe(self, rule: Rule) -> Heartbeat:
        assert isinstance(rule.schema, Map)  # noqa: S101 - _get_rules chose it for that
        fields = {
            "state": self.state,
            # of a rule for both roles, the validator's
            "role": get_role_names(rule.by)[-1],
            "throughput": self._node.latency.throughput,
            "public_name": self._public_name,
            "version": __version__,
            "policy_digest": self._node.policy.digest.hex(),
        }
        beat = rule.schema.model(**fields, **self._facts)
        assert isinstance(beat, Heartbeat)  # noqa: S101 - likewise
        return beat

    def _get_rules(self) -> Iterator[Rule]:
        """The rules of this node's roles that ask for heartbeats."""
        node = self._node
        roles = node.schedule.get_context(self._get_epoch()).roster.roles.get(node.author, 0)
        return (rule for rule in node.policy.rules if rule.by & roles and is_heartbeat(rule))

    def _get_epoch(self) -> Epoch:
        node = self._node
        return node.chain.timing.compute_epoch(node.chain_clock.get_block()[0])

    def _compute_shortest_lifetime(self) -> float:
        node = self._node
        lifetimes = [
            compute_seconds(rule.ttl, node.chain.timing)
            for rule in node.policy.rules
            if is_heartbeat(rule)
        ]
        return min(lifetimes, default=node.chain.timing.seconds_per_epoch)


def is_heartbeat(rule: Rule) -> bool:
    return (
        not rule.is_of_an_epoch
        and isinstance(rule.schema, Map)
        and issubclass(rule.schema.model, Heartbeat)
    )


def compute_lifetime_seconds(longest_seconds: float, state: ServerState) -> float:
    """What an honest node asks for: OFFLINE takes half of what the other states leave over."""
    spare_seconds = min(SPARE_SECONDS, MAX_SPARE_SHARE * longest_seconds)
    return longest_seconds - (spare_seconds / 2 if state is ServerState.OFFLINE else spare_seconds)
