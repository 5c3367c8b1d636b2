"""The Network port over libp2p: hivemind's `P2P`, unforked, with one unary handler of bytes.

The daemon, p2pd, encrypts connections, authenticates peers by their ids, and finds an address by id
through its own Kademlia. This module adds what it lacks: a bootstrap that may fail, addresses on
disk, a watchdog, errors in words, and protection of members' connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from hivemind.p2p import P2PDaemonError
from hivemind.utils.multiaddr import Multiaddr

from epochgate.core.limits import DEFAULT_MAX_MESSAGE_BYTES
from epochgate.core.types import PeerId
from epochgate.engine.answer import check_size, get_answer
from epochgate.engine.connections import ConnectionTrimmer
from epochgate.engine.daemon import FAILURES, STOP_SECONDS, Daemon, shorten
from epochgate.engine.listening import (
    EngineError,
    check_announced_addresses,
    check_listen_address,
    fix_port,
)
from epochgate.engine.peerstore import FILE_NAME, PeerAddress, PeerStore, parse_peer_address
from epochgate.keys import SigningKey, format_peer_id, parse_peer_id
from epochgate.observe.events import Emit, NodeWarning
from epochgate.ports import Handler, Unreachable
from epochgate.supervision.task_keeper import TaskKeeper

ENVELOPE_BYTES = 1 << 16
"""Room that the daemon's own fields may take in a message."""

DEFAULT_WATCH_SECONDS = 5.0
MAX_MISSED_PINGS = 2
"""A busy machine may miss one."""
RESTART_SECONDS = 1.0
MIN_BOOTSTRAP_PEERS = 2
MAX_RECONNECTED_PEERS = 64

logger = logging.getLogger(__name__)
logging.getLogger("hivemind").setLevel(logging.ERROR)


def log_event(event: object) -> None:
    """Log an event as a warning: where no other `emit` is given."""
    logger.warning("%s", event)


class Libp2pNetwork:
    """One node's place on libp2p, with a daemon of its own. Make it with `start`, and `close` it.

    Requests to the node itself do not leave the process.
    """

    def __init__(
        self,
        author: PeerId,
        options: dict[str, Any],
        peerstore: PeerStore,
        initial_peers: Sequence[PeerAddress],
        max_message_bytes: int,
        emit: Emit,
    ) -> None:
        self.peer_id = author
        self.max_message_bytes = max_message_bytes
        self.restarted = asyncio.Event()
        """Set when the watchdog has brought a dead daemon back."""
        self._options = options
        self._peerstore = peerstore
        self._initial_peers = list(initial_peers)
        self._emit = emit
        self._addresses: list[str] = []
        self._handler: Handler | None = None
        self._daemon: Daemon | None = None
        self._connections = ConnectionTrimmer(parse_peer_id(place.peer) for place in initial_peers)
        self._tasks = TaskKeeper(self._tell_failure)

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
        """Start a daemon and connect to known peers.

        Peers that do not answer are tried again, and are no error: a whole network may start at
        once.

        Args:
            identity: The file with the node's key, as `SigningKey.create` writes it.
            folder: Keeps the addresses of peers between runs.
            listen: The multiaddress to listen on; port 0 takes any free one.
            announce: Multiaddresses told to others instead of `listen`, where they reach this node
                elsewhere, for example behind a forwarded port.
            initial_peers: Full multiaddresses, ending in /p2p/PEER, of peers to begin with.
            max_message_bytes: The longest request or reply.
            is_behind_nat: Whether to use port mapping and relays.
            watch_seconds: The time between two looks at the daemon and the connections.
            emit: Is given warnings.

        Returns:
            The network, which does not serve yet.

        Raises:
            KeyFileError: The identity cannot be used.
            EngineError: An address is malformed, a port is busy, or no daemon runs here.
        """
        author = SigningKey.load(identity).author
        check_listen_address(listen)
        check_announced_addresses(announce, listen)
        options = {
            "identity_path": str(identity),
            "host_maddrs": [listen],
            "announce_maddrs": list(announce),
            "persistent_conn_max_msg_size": max_message_bytes + ENVELOPE_BYTES,
            "nat_port_map": is_behind_nat,
            "auto_nat": is_behind_nat,
            "use_relay": is_behind_nat,
            "use_auto_relay": is_behind_nat,
        }
        network = Libp2pNetwork(
            author,
            options,
            PeerStore(folder / FILE_NAME),
            _parse_initial_peers(initial_peers, author),
            max_message_bytes,
            emit,
        )
        network._warn_of_few_peers()
        await network._launch()
        try:
            if not await network._connect() and network._initial_peers:
                advice = "they are tried again; look at --initial-peers"
                network._warn("no known peer answers yet", advice)
        except BaseException:
            await network.close()
            raise
        network._keep(watch_seconds)
        return network

    @property
    def daemon_pid(self) -> int | None:
        """The process of the libp2p daemon, None while there is none."""
        if self._daemon is None:
            return None
        return self._daemon.pid

    def get_listen_addresses(self) -> list[str]:
        """Full multiaddresses that others can use as `initial_peers`."""
        return list(self._addresses)

    async def serve(self, handler: Handler, /) -> None:
        self._handler = handler
        if self._daemon is not None:
            # where the daemon has just died, the watchdog registers the handler with its successor
            with suppress(TimeoutError):
                await self._daemon.register(self._answer)

    async def request(self, peer: PeerId, message: bytes, /, timeout_seconds: float) -> bytes:
        check_size(message, self.max_message_bytes)
        if self._daemon is None:
            raise Unreachable("this node's libp2p daemon is not running")
        try:
            async with asyncio.timeout(timeout_seconds):
                if peer == self.peer_id:
                    return await self._answer(peer, message)
                return await self._daemon.request(peer, message)
        except TimeoutError:
            raise Unreachable(
                f"{format_peer_id(peer)} did not answer within {timeout_seconds:g} s"
            ) from None
        except FAILURES as error:
            raise Unreachable(
                f"{format_peer_id(peer)} cannot be reached: {shorten(error)}"
            ) from None

    def set_protected_peers(self, members: Iterable[PeerId], /) -> None:
        self._connections.set_members(members)

    async def close(self) -> None:
        """Leave no daemon behind. A second call does nothing."""
        await self._tasks.close()
        daemon = self._daemon
        self._daemon = None
        if daemon is not None:
            with suppress(TimeoutError, *FAILURES):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._note_peers(daemon)
            await daemon.stop()

    # The daemon's life.

    async def _launch(self) -> None:
        daemon = await Daemon.start(self._options)
        try:
            self._addresses = await daemon.get_addresses()
            listen = self._options["host_maddrs"][0]
            self._options["host_maddrs"] = [fix_port(listen, self._addresses)]
            if self._handler is not None:
                await daemon.register(self._answer)
        except BaseException:
            await daemon.stop()
            raise
        self._daemon = daemon

    async def _answer(self, sender: PeerId, message: bytes) -> bytes:
        if self._handler is None:
            raise P2PDaemonError("this node does not serve")
        return await get_answer(self._handler, sender, message, self.max_message_bytes)

    def _keep(self, watch_seconds: float) -> None:
        """Keep the daemon running and the peers connected until `close`."""
        keep_running = partial(self._keep_running, watch_seconds)
        keep_connected = partial(self._keep_connected, watch_seconds)
        self._tasks.keep("the watchdog of the libp2p daemon", keep_running, RESTART_SECONDS)
        self._tasks.keep("the care of connections", keep_connected, RESTART_SECONDS)

    async def _keep_running(self, watch_seconds: float) -> None:
        """Start the daemon again, with the same identity and port, whenever it dies or hangs.

        Nothing else says that it died.
        """
        while True:
            if self._daemon is not None:
                await self._watch(self._daemon, watch_seconds)
                dead = self._daemon
                self._daemon = None
                advice = "it is started again; look at memory and open files"
                self._warn("the libp2p daemon died", advice)
                await dead.stop()
            try:
                await self._launch()
            except (EngineError, TimeoutError, *FAILURES) as error:
                self._warn(f"the libp2p daemon does not start: {error}", "it is tried again")
                await asyncio.sleep(RESTART_SECONDS)
            else:
                await self._connect()
                self.restarted.set()

    async def _watch(self, daemon: Daemon, watch_seconds: float) -> None:
        """Return when the daemon has ended, or does not answer."""
        missed = 0
        while missed < MAX_MISSED_PINGS:
            if await daemon.has_ended(within_seconds=watch_seconds):
                return
            try:
                async with asyncio.timeout(watch_seconds):
                    await daemon.ping()
                missed = 0
            except (TimeoutError, *FAILURES):
                missed += 1

    # Peers.

    async def _connect(self, connected: frozenset[str] = frozenset()) -> bool:
        """Call the initial peers and, while nobody is connected, those seen last.

        All are called, not just enough to find the others: libp2p calls a peer that was down only
        after a pause that grows to minutes, so a node that comes back must announce itself.

        Args:
            connected: The ids, as text, of peers that are connected now; they are not called.

        Returns:
            Whether any of them answers.
        """
        daemon = self._daemon
        if daemon is None:
            return False
        known = list(self._initial_peers)
        if not connected:
            known += self._peerstore.get_recent(MAX_RECONNECTED_PEERS)
        places = [place for place in dict.fromkeys(known) if place.peer not in connected]
        return any(await asyncio.gather(*map(daemon.connect, places)))

    async def _keep_connected(self, watch_seconds: float) -> None:
        """Trim connections, note peers, and call initial peers that are not connected.

        Of nodes that start at once, some miss each other. Done every `watch_seconds`, and at once
        when the members change.
        """
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._connections.changed.wait(), watch_seconds)
            self._connections.changed.clear()
            if self._daemon is not None:
                with suppress(*FAILURES):  # a daemon that died, which the watchdog replaces
                    await self._connections.trim(self._daemon)
                    await self._connect(await self._note_peers(self._daemon))

    async def _note_peers(self, daemon: Daemon) -> frozenset[str]:
        """Note where peers listen, and return the ids, as text, of all that are connected."""
        peers = await daemon.get_peers()
        self._peerstore.note({peer: addresses for peer, addresses in peers.items() if addresses})
        return frozenset(peers)

    # Warnings.

    def _warn_of_few_peers(self) -> None:
        peers = {place.peer for place in self._initial_peers}
        if 0 < len(peers) < MIN_BOOTSTRAP_PEERS:
            advice = "give at least two: with the only one gone, nobody can be found"
            self._warn("only one initial peer is known", advice)

    def _tell_failure(self, name: str, error: Exception, is_begun_again: bool) -> None:
        """Warn of an error that nobody expected; the keeper's tasks are always begun again."""
        self._warn(f"{name} ended with {type(error).__name__}: {error}", "it is begun again")

    def _warn(self, what: str, advice: str) -> None:
        self._emit(NodeWarning("network", what, advice))


def _parse_initial_peers(texts: Sequence[str], author: PeerId) -> list[PeerAddress]:
    """The peers to begin with, without this node itself. Raise EngineError for a malformed one."""
    try:
        places = [parse_peer_address(text) for text in texts]
        for place in places:
            Multiaddr(place.address)
    except ValueError as error:
        raise EngineError(f"{error}; look at --initial-peers") from None
    own = format_peer_id(author)
    return [place for place in places if place.peer != own]
