"""The Network port over libp2p: hivemind's `P2P`, unforked, with one unary handler of bytes.

The daemon, p2pd, encrypts connections, authenticates peers by their ids, and finds an address by id
through its own Kademlia. What it lacks is added here: bootstrap that may fail, an address book on
disk, a watchdog, errors in words, and a door: members stay connected, who left the roster is hung
up on, and so are strangers where they are many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hivemind.p2p import P2PDaemonError
from hivemind.utils.multiaddr import Multiaddr

from epochgate.core.types import PeerId
from epochgate.engine.answer import check_size, get_answer
from epochgate.engine.daemon import FAILURES, STOP_SECONDS, Daemon, shorten
from epochgate.engine.listening import (
    EngineError,
    check_announced_addresses,
    check_listen_address,
    fix_port,
)
from epochgate.engine.peerstore import FILE_NAME, PeerStore, parse_peer_address
from epochgate.keys import SigningKey, format_peer_id, parse_peer_id
from epochgate.observe.events import Emit, NodeWarning
from epochgate.ports import Handler, Unreachable

ENVELOPE_BYTES = 1 << 16
"""Room that the daemon's own fields may take in a message."""
DEFAULT_MAX_MESSAGE_BYTES = 4 << 20

DEFAULT_WATCH_SECONDS = 5.0
MAX_MISSED_PINGS = 2
"""One may be the fault of a busy machine."""
RESTART_SECONDS = 1.0
MIN_BOOTSTRAP_PEERS = 2
MAX_RECONNECTED_PEERS = 64
MAX_STRANGERS_CONNECTED = 64
"""Newcomers look for their place, and others bootstrap; these are few. Where there are more, all
are hung up on.
"""

logger = logging.getLogger(__name__)
logging.getLogger("hivemind").setLevel(logging.ERROR)


def log_event(event: object) -> None:
    logger.warning("%s", event)


class Libp2pNetwork:
    """One node's place on libp2p, with a daemon of its own. Make it with `start`, and `close` it.

    An empty reply means that the peer's handler raised or replied too much. Requests to oneself do
    not leave the process.
    """

    def __init__(
        self,
        author: PeerId,
        options: dict[str, Any],
        peerstore: PeerStore,
        max_message_bytes: int,
        emit: Emit,
    ) -> None:
        self.peer_id = author
        self.max_message_bytes = max_message_bytes
        self.restarted = asyncio.Event()
        """Set when the watchdog has brought a dead daemon back."""
        self._options = options
        self._peerstore = peerstore
        self._emit = emit
        self._initial_peers: list[tuple[str, str]] = []
        self._addresses: list[str] = []
        self._handler: Handler | None = None
        self._daemon: Daemon | None = None
        self._members: frozenset[PeerId] = frozenset()
        self._leavers: frozenset[PeerId] = frozenset()
        """Those who were members, and have not been hung up on yet."""
        self._members_changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @staticmethod
    async def start(
        identity: Path,
        folder: Path,
        *,
        listen: str = "/ip4/127.0.0.1/tcp/0",
        announce: Sequence[str] = (),
        initial_peers: Sequence[str] = (),
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        is_behind_nat: bool = False,
        watch_seconds: float = DEFAULT_WATCH_SECONDS,
        emit: Emit = log_event,
    ) -> Libp2pNetwork:
        """Start the daemon with the key in `identity`, listening on `listen`, a multiaddress; port
        0 takes any free one.

        `announce` are told to others instead, where they reach this node elsewhere (behind a
        forwarded port, say). `initial_peers` are full addresses, ending in /p2p/PEER; `folder`
        keeps the address book. Peers that do not answer are tried again and no error, for a whole
        network may start at once. `is_behind_nat` turns on port mapping and relays. Raises
        KeyFileError and EngineError: a busy port, a malformed address, a daemon that does not run
        here.
        """
        author = SigningKey.load(identity).author
        check_listen_address(listen)
        check_announced_addresses(announce, listen)
        options = {
            "identity_path": str(identity),
            "host_maddrs": [listen],
            "announce_maddrs": list(announce),
            "persistent_conn_max_msg_size": max_message_bytes + ENVELOPE_BYTES,
        }
        options |= dict.fromkeys(
            ("nat_port_map", "auto_nat", "use_relay", "use_auto_relay"), is_behind_nat
        )
        network = Libp2pNetwork(
            PeerId(author), options, PeerStore(folder / FILE_NAME), max_message_bytes, emit
        )
        network._initial_peers = network._parse_initial_peers(initial_peers)
        await network._launch()
        try:
            if not await network._connect() and network._initial_peers:
                emit(
                    NodeWarning(
                        "network",
                        "no known peer answers yet",
                        "they are tried again; look at --initial-peers",
                    )
                )
        except BaseException:
            await network.close()
            raise
        protect = (network._keep_running(watch_seconds), network._keep_connected(watch_seconds))
        network._tasks = [asyncio.create_task(task) for task in protect]
        return network

    @property
    def daemon_pid(self) -> int | None:
        """The process of the libp2p daemon, None while there is none."""
        return None if self._daemon is None else self._daemon.pid

    def get_listen_addresses(self) -> list[str]:
        """Full multiaddresses that others can use as `initial_peers`."""
        return list(self._addresses)

    async def serve(self, handler: Handler) -> None:
        self._handler = handler
        if self._daemon is not None:
            with suppress(
                TimeoutError
                # the daemon died just now, and the watchdog registers the handler with its
                # successor
            ):
                await self._daemon.register(self._answer)

    async def request(self, peer: PeerId, message: bytes, timeout_seconds: float) -> bytes:
        """Empty bytes mean that the peer's handler failed. Raises Unreachable, and ValueError for
        too long a message.
        """
        check_size(message, self.max_message_bytes)
        if self._daemon is None:
            raise Unreachable("this node's libp2p daemon is not running")
        try:
            async with asyncio.timeout(timeout_seconds):
                return await (
                    self._answer(peer, message)
                    if peer == self.peer_id
                    else self._daemon.request(peer, message)
                )
        except TimeoutError:
            raise Unreachable(
                f"{format_peer_id(peer)} did not answer within {timeout_seconds:g} s"
            ) from None
        except FAILURES as error:
            raise Unreachable(
                f"{format_peer_id(peer)} cannot be reached: {shorten(error)}"
            ) from None

    def set_protected_peers(self, members: Iterable[PeerId]) -> None:
        members = frozenset(members)
        if members != self._members:
            self._leavers = (self._leavers | self._members) - members
            self._members = members
            self._members_changed.set()

    async def close(self) -> None:
        """Leaves no daemon behind. A second call does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        daemon = self._daemon
        self._daemon = None
        if daemon is not None:
            with suppress(TimeoutError, *FAILURES):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._note_peers(daemon)
            await daemon.stop()

    def _parse_initial_peers(self, texts: Sequence[str]) -> list[tuple[str, str]]:
        try:
            peers = [parse_peer_address(text) for text in texts]
            for _, address in peers:
                Multiaddr(address)
        except ValueError as error:
            raise EngineError(f"{error}; look at --initial-peers") from None
        others = [
            (peer, address) for peer, address in peers if peer != format_peer_id(self.peer_id)
        ]
        if 0 < len({peer for peer, _ in others}) < MIN_BOOTSTRAP_PEERS:
            advice = "give at least two: with the only one gone, nobody can be found"
            self._emit(NodeWarning("network", "only one initial peer is known", advice))
        return others

    async def _launch(self) -> None:
        daemon = await Daemon.start(self._options)
        try:
            self._addresses = await daemon.get_addresses()
            self._options["host_maddrs"] = [
                fix_port(self._options["host_maddrs"][0], self._addresses)
            ]
            if self._handler is not None:
                await daemon.register(self._answer)
        except BaseException:
            await daemon.stop()
            raise
        self._daemon = daemon

    async def _connect(self, connected: frozenset[str] = frozenset()) -> bool:
        """Whether any known peer answers; those that are `connected` are not called, and without
        any the book's too.

        All are called, not just enough to find the others: libp2p calls a peer that was down only
        after a pause that grows to minutes, so a node that comes back must announce itself.
        """
        daemon = self._daemon
        known = self._initial_peers + (
            [] if connected else self._peerstore.get_recent(MAX_RECONNECTED_PEERS)
        )
        if daemon is None:
            return False
        calls = [
            daemon.connect(*place) for place in dict.fromkeys(known) if place[0] not in connected
        ]
        return any(await asyncio.gather(*calls))

    async def _answer(self, sender: PeerId, message: bytes) -> bytes:
        if self._handler is None:
            raise P2PDaemonError("this node does not serve")
        return await get_answer(self._handler, sender, message, self.max_message_bytes)

    async def _keep_running(self, watch_seconds: float) -> None:
        """If the daemon dies nothing else says so. It comes back with the same identity and
        port.
        """
        while True:
            if self._daemon is not None:
                await self._watch(self._daemon, watch_seconds)
                dead = self._daemon
                self._daemon = None
                self._emit(
                    NodeWarning(
                        "network",
                        "the libp2p daemon died",
                        "it is started again; look at memory and open files",
                    )
                )
                await dead.stop()
            try:
                await self._launch()
            except (EngineError, TimeoutError, *FAILURES) as error:
                self._emit(
                    NodeWarning(
                        "network", f"the libp2p daemon does not start: {error}", "it is tried again"
                    )
                )
                await asyncio.sleep(RESTART_SECONDS)
            else:
                await self._connect()
                self.restarted.set()

    async def _watch(self, daemon: Daemon, watch_seconds: float) -> None:
        """Returns when the daemon has ended, or hangs."""
        missed = 0
        while missed < MAX_MISSED_PINGS and not await daemon.has_ended(
            within_seconds=watch_seconds
        ):
            try:
                async with asyncio.timeout(watch_seconds):
                    await daemon.ping()
                missed = 0
            except (TimeoutError, *FAILURES):
                missed += 1

    async def _keep_connected(self, watch_seconds: float) -> None:
        """Keeps the door and the book, and calls initial peers that are not there: of nodes that
        start at once, some miss each other. Every `watch_seconds`, and at once for new members.
        """
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._members_changed.wait(), watch_seconds)
            self._members_changed.clear()
            if self._daemon is not None:
                with suppress(*FAILURES):  # the watchdog sees to it
                    await self._trim_connections(self._daemon)
                    await self._connect(await self._note_peers(self._daemon))

    async def _trim_connections(self, daemon: Daemon) -> None:
        """While no roster is known the door is open."""
        if not self._members:
            return
        connected = await daemon.list_connected()
        leavers = self._leavers
        await daemon.protect(connected & self._members)
        strangers = (
            connected - self._members - {parse_peer_id(peer) for peer, _ in self._initial_peers}
        )
        await daemon.disconnect(
            strangers if len(strangers) > MAX_STRANGERS_CONNECTED else strangers & leavers
        )
        self._leavers -= leavers

    async def _note_peers(self, daemon: Daemon) -> frozenset[str]:
        """Who is connected."""
        peers = await daemon.get_peers()
        self._peerstore.note({peer: addresses for peer, addresses in peers.items() if addresses})
        return frozenset(peers)
