"""A subnet of four nodes on the development chain, put there as its operators would do it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from multiaddr import Multiaddr

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.registration import (
    NewNode,
    NewSubnet,
    Step,
    find_subnet,
    plan_activation,
    plan_node,
    plan_subnet,
    send,
)
from epochgate.chain.hypertensor.rpc import Rpc
from epochgate.chain.hypertensor.units import UNIT
from epochgate.core.types import BlockNumber
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.observe.events import AnyEvent, NodeWarning
from tests.chain.devchain import COLDKEYS, DevChain
from tests.support.identities import alice, bob, carol, dave, victor

ROLES = {alice: "hoster", bob: "hoster", carol: "", victor: "validator"}
PATIENCE_SECONDS = 30.0
BLOCK_SECONDS = 0.25
"""What the clients take for the block time, since blocks come when a test asks for them."""


@dataclass
class ChainSubnet:
    """The subnet, the accounts of its nodes, and the chain as each node sees it."""

    devchain: DevChain
    rpc: Rpc
    subnet_id: int = 0
    hotkeys: dict[SigningKey, Account] = field(default_factory=dict)
    coldkeys: dict[SigningKey, str] = field(default_factory=dict)
    facts: list[AnyEvent] = field(default_factory=list)
    _open: list[HypertensorChain] = field(default_factory=list)

    @staticmethod
    async def register(devchain: DevChain) -> ChainSubnet:
        """Registered, with nobody in it."""
        subnet = ChainSubnet(devchain, Rpc(devchain.url))
        owner = get_coldkey("alith")
        peer = format_peer_id(dave.author)
        bootnodes = [(peer, Multiaddr(f"/ip4/127.0.0.1/tcp/31330/p2p/{peer}").to_bytes())]
        coldkeys = {get_coldkey(name).address: 1 for name in COLDKEYS}
        new = NewSubnet(
            name="a subnet",
            repo="a repository",
            max_cost=100 * UNIT,
            min_stake=100 * UNIT,
            max_stake=1000 * UNIT,
            coldkeys=coldkeys,
            bootnodes=bootnodes,
        )
        await send(subnet.rpc, await plan_subnet(subnet.rpc, owner, new))
        found = await find_subnet(subnet.rpc, owner.address)
        assert found is not None
        subnet.subnet_id = found
        return subnet

    async def add_nodes(self, *, hotkey_balance: int = UNIT) -> None:
        for name, (key, role) in zip(COLDKEYS, ROLES.items(), strict=True):
            await self.add_node(name, key, role, hotkey_balance=hotkey_balance)

    async def add_node(
        self,
        coldkey: str,
        key: SigningKey,
        role: str = "",
        *,
        hotkey: Account | None = None,
        hotkey_balance: int = UNIT,
    ) -> None:
        self.coldkeys[key] = coldkey
        hotkey = self.hotkeys[key] = hotkey or Account(bytes([len(self.hotkeys) + 1]) * 32)
        node = NewNode(
            subnet_id=self.subnet_id,
            author=key.author,
            hotkey=hotkey.address,
            stake=100 * UNIT,
            max_burn=100 * UNIT,
            hotkey_balance=hotkey_balance,
            role_field="non_unique",
            role_text=role,
        )
        await send(self.rpc, await plan_node(self.rpc, get_coldkey(coldkey), node))

    async def remove_node(self, key: SigningKey) -> None:
        """Its operator takes it out."""
        chain = await self.see(None)
        node = next(node for node in chain.nodes if node.author == key.author)
        known = {"subnet_id": self.subnet_id, "subnet_node_id": node.node_id}
        owner = get_coldkey(self.coldkeys[key])
        await send(self.rpc, [Step("remove a node", owner, "remove_subnet_node", known)])

    async def activate(self) -> None:
        await send(self.rpc, plan_activation(get_coldkey("alith"), self.subnet_id))

    async def begin(self) -> None:
        """Until the subnet's first epoch begins."""
        chain = await self.see(None)
        assert chain.facts is not None
        assert chain.timing.slot is None
        await self.devchain.reach(
            BlockNumber(chain.facts.slot + chain.facts.start_epoch * chain.timing.blocks_per_epoch)
        )
        await until(lambda: chain.timing.slot is not None)

    async def pay_somebody(self, amount: int) -> None:
        """A transfer, which makes a block that is like no other. It asks anew, for an extrinsic
        names a final block's hash, and on this chain final blocks are reorganised as well.
        """
        known = {"dest": get_coldkey("dorothy").address, "value": amount}
        rpc = Rpc(self.devchain.url)
        try:
            await send(
                rpc, [Step("pay", get_coldkey("alith"), "transfer_keep_alive", known, "Balances")]
            )
        finally:
            await rpc.close()

    async def see(
        self, key: SigningKey | None, url: str | None = None, block_seconds: float = BLOCK_SECONDS
    ) -> HypertensorChain:
        """The chain as that node sees it, perhaps by another way."""
        chain = await HypertensorChain.open(
            url or self.devchain.url,
            self.subnet_id,
            SystemClock(),
            author=key.author if key else None,
            account=self.hotkeys.get(key) if key else None,
            role_field="non_unique",
            block_seconds=block_seconds,
            emit=self.facts.append,
        )
        self._open.append(chain)
        return chain

    @property
    def troubles(self) -> list[str]:
        return [fact.what for fact in self.facts if isinstance(fact, NodeWarning)]

    async def close(self) -> None:
        for chain in self._open:
            await chain.close()
        await self.rpc.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


def get_coldkey(name: str) -> Account:
    return Account(bytes.fromhex(COLDKEYS[name]))
