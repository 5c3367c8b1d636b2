"""A subnet of processes whose nodes a test ends and starts again one by one, and hears all that
they say.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch
from epochgate.devnet.processes import NodeProcess
from epochgate.devnet.summary import Chronicle
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.observe.cast import Actor, Cast
from epochgate.observe.events import AnyEvent, Line, NodeReady
from epochgate.policies.inference import INFERENCE_POLICY
from tests.support.machine import scale_seconds

BLOCKS_PER_EPOCH = 100
BOOTSTRAP_NODES = 2
READY_SECONDS = 90.0
ROLES = {"hoster": HOSTER, "validator": VALIDATOR}


class ProcessSubnet:
    """Nodes named hoster-1, validator-1 ...; `addresses` and `get_prefix` put each on a host of its
    own.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        epoch_seconds: float,
        addresses: dict[str, str] | None = None,
        get_prefix: Callable[[str], list[str]] = lambda _: [],
    ) -> None:
        clock = SystemClock()
        self.folder = folder
        self.chain_file = folder / "chain.sqlite"
        LocalChain.create(self.chain_file, clock, block_seconds=epoch_seconds / BLOCKS_PER_EPOCH)
        self.chain = LocalChain(self.chain_file, None, clock)
        self.lines: list[Line] = []
        self._get_prefix = get_prefix
        self._addresses = addresses or dict.fromkeys(names, "127.0.0.1")
        self._ports = dict(zip(names, _find_free_ports(len(names)), strict=True))
        actors = []
        for name in names:
            key = SigningKey.create(folder / f"{name}.key")
            role = name.partition("-")[0]
            self.chain.register(key.author, ROLES[role])
            actors.append(Actor(name, role, format_peer_id(key.author)))
        self.cast = Cast(tuple(actors))
        self.chronicle = Chronicle(self.cast, INFERENCE_POLICY)
        self._peer_id_of = {actor.name: actor.peer_id for actor in actors}
        self._heard = asyncio.Condition()
        self._nodes: dict[str, NodeProcess] = {}
        self._listeners: list[asyncio.Task[str]] = []
        self._announcers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def live(self) -> AsyncIterator[ProcessSubnet]:
        """All nodes ready and the chain started. Ends every node it has started, whatever
        happens.
        """
        try:
            names = list(self._peer_id_of)
            for wave in (
                names[:BOOTSTRAP_NODES],
                names[BOOTSTRAP_NODES:],
            ):  # who calls nobody is called again after 5 s only
                for name in wave:
                    await self.start(name)
                for name in wave:
                    await self.wait_for(name, NodeReady)
            self.chain.start(BlockNumber(self.chain.get_head().block + 2))
            yield self
        finally:
            await asyncio.gather(*(node.end() for node in self._nodes.values()))
            await asyncio.gather(*self._listeners, return_exceptions=True)
            await self.chain.close()

    async def start(self, name: str) -> None:
        node = self._nodes[name] = await NodeProcess.start(
            name, self.get_command(name), self.folder
        )
        self._listeners.append(asyncio.create_task(node.listen(self._take)))

    async def kill_and_start_again(self, name: str) -> None:
        """kill -9; returns when the node is ready again."""
        before = self.count(name, NodeReady)
        self._nodes[name].kill()
        await self._nodes[name].process.wait()
        await self.start(name)
        await self.wait_for(name, NodeReady, at_least=before + 1)

    def get_command(self, name: str) -> list[str]:
        known = [other for other in list(self._peer_id_of)[:BOOTSTRAP_NODES] if other != name]
        command = [
            *self._get_prefix(name),
            sys.executable,
            "-m",
            "epochgate",
            "node",
            "--role",
            name.partition("-")[0],
        ]
        command += [
            "--chain",
            f"local:{self.chain_file}",
            "--identity",
            f"{self.folder / name}.key",
            "--events",
            "-",
        ]
        command += ["--data", f"{self.folder / name}", "--listen", self.get_address(name)]
        for other in known:
            command += [
                "--initial-peers",
                f"{self.get_address(other)}/p2p/{self._peer_id_of[other]}",
            ]
        return command

    def get_address(self, name: str) -> str:
        return f"/ip4/{self._addresses[name]}/tcp/{self._ports[name]}"

    def get_facts(self, name: str, kind: type[AnyEvent], **fields: object) -> list[AnyEvent]:
        peer = self._peer_id_of[name]
        said = [
            line.fact for line in self.lines if line.node == peer and isinstance(line.fact, kind)
        ]
        return [
            fact
            for fact in said
            if all(getattr(fact, field) == value for field, value in fields.items())
        ]

    def count(self, name: str, kind: type[AnyEvent], **fields: object) -> int:
        return len(self.get_facts(name, kind, **fields))

    async def wait_for(
        self, name: str, kind: type[AnyEvent], at_least: int = 1, **fields: object
    ) -> None:
        """Until `name` has said so."""
        async with asyncio.timeout(scale_seconds(READY_SECONDS)), self._heard:
            await self._heard.wait_for(lambda: self.count(name, kind, **fields) >= at_least)

    async def wait_for_block(self, epoch: Epoch, block: BlockNumber) -> None:
        slot = self.chain.timing.slot
        assert slot is not None
        left = (
            self.chain.compute_unix_seconds(BlockNumber(slot + epoch * BLOCKS_PER_EPOCH + block))
            - SystemClock().get_unix_seconds()
        )
        await asyncio.sleep(max(0.0, left))

    async def wait_until_settled(self, epoch: Epoch) -> None:
        async with asyncio.timeout(scale_seconds(READY_SECONDS)), self._heard:
            await self._heard.wait_for(lambda: self.chronicle.is_settled(epoch))

    def _take(self, name: str, line: Line) -> None:
        line = msgspec.structs.replace(line, node=self._peer_id_of[name])
        self.lines.append(line)
        self.chronicle.take(line)
        task = asyncio.ensure_future(self._announce())
        self._announcers.add(task)
        task.add_done_callback(self._announcers.discard)

    async def _announce(self) -> None:
        async with self._heard:
            self._heard.notify_all()


def _find_free_ports(count: int) -> list[int]:
    """All held at once, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
