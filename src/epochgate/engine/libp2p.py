"""The Network port over libp2p: hivemind's `P2P`, unforked, with one unary handler of bytes.

The daemon encrypts connections, authenticates peers by their ids and finds an address by id through its own Kademlia.
What it lacks is added here: an address book on disk, a watchdog, errors in words.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from hivemind.p2p import P2P, P2PContext, P2PDaemonError, P2PHandlerError, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure, DispatchFailure

from epochgate.core.record import is_author
from epochgate.keys import format_peer_id
from epochgate.ports import Handler, Unreachable

PROTOCOL = "/epochgate/1"
ENVELOPE_BYTES = 1 << 16
"""Room that the daemon's own fields may take in a message."""
DEFAULT_MAX_MESSAGE_BYTES = 4 << 20
ADDRESS_BOOK = "peers.json"
ADDRESS_BOOK_SECONDS = 30.0
MAX_KNOWN_PEERS = 1000
MAX_BOOTSTRAP_PEERS = 16
RESTART_SECONDS = 1.0

logging.getLogger("hivemind").setLevel(logging.ERROR)


class EngineError(RuntimeError):
    """The network cannot start; the message says why and what to do."""


class _Bytes:
    """Bytes in the clothes of a protobuf message, which is what hivemind carries."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def FromString(cls, data: bytes) -> _Bytes:  # noqa: N802 - protobuf's name
        return cls(data)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self.data


class AddressBook:
    """Where peers were last seen, on disk: a node whose bootstrap peers are gone finds its way back with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._addresses: dict[str, list[str]] = {}
        with suppress(OSError, msgspec.DecodeError):  # a missing or damaged book is an empty one: it fills again
            self._addresses = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])

    def add(self, peer: str, addresses: Sequence[str]) -> None:
        """The newest peers stand last, and the oldest go first."""
        self._addresses.pop(peer, None)
        self._addresses[peer] = list(addresses)
        while len(self._addresses) > MAX_KNOWN_PEERS:
            del self._addresses[next(iter(self._addresses))]

    def get_bootstrap_peers(self) -> list[str]:
        """Full addresses of the peers seen last."""
        newest = list(self._addresses.items())[-MAX_BOOTSTRAP_PEERS:]
        return [f"{address}/p2p/{peer}" for peer, addresses in newest for address in addresses[:2]]

    def save(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(self._addresses))
        os.replace(temporary, self._path)


class Libp2pNetwork:
    """One node's libp2p daemon. Make it with `start`, and `close` it.

    To a caller, a handler that raises looks like one that answers nothing: the reply is empty.
    """

    def __init__(self, identity: Path, folder: Path, options: dict[str, object], max_message_bytes: int) -> None:
        self._identity = identity
        self._options = options
        self._max_message_bytes = max_message_bytes
        self._book = AddressBook(folder / ADDRESS_BOOK)
        self._initial_peers: list[str] = []
        self._handler: Handler | None = None
        self._p2p: P2P | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._peer_id = b""
        self._addresses: list[str] = []
        self.restarted = asyncio.Event()
        """Set when the watchdog has brought a dead daemon back."""

    @staticmethod
    async def start(
        identity: Path,
        folder: Path,
        *,
        listen: str = "/ip4/127.0.0.1/tcp/0",
        initial_peers: Sequence[str] = (),
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        is_behind_nat: bool = False,
    ) -> Libp2pNetwork:
        """Start the daemon with the key in `identity`, listening on `listen`, a multiaddress; port 0 takes any free one.

        `folder` keeps the address book. `is_behind_nat` turns on port mapping and relays. Raises EngineError: a busy
        port, no bootstrap peer to be reached, a daemon that does not run here.
        """
        _check_port(listen)
        nat = {"nat_port_map": is_behind_nat, "auto_nat": is_behind_nat, "use_relay": is_behind_nat}
        options = {"host_maddrs": [listen], "persistent_conn_max_msg_size": max_message_bytes + ENVELOPE_BYTES, **nat}
        network = Libp2pNetwork(identity, folder, options, max_message_bytes)
        network._initial_peers = list(initial_peers)
        await network._launch()
        watch = (network._watch_daemon, network._keep_address_book)
        network._tasks = [asyncio.create_task(task()) for task in watch]
        return network

    @property
    def peer_id(self) -> bytes:
        return self._peer_id

    @property
    def max_message_bytes(self) -> int:
        return self._max_message_bytes

    @property
    def daemon_pid(self) -> int | None:
        """The process of the libp2p daemon, None while there is none."""
        return None if self._p2p is None else self._p2p._child.pid

    def get_listen_addresses(self) -> list[str]:
        """Full multiaddresses that others can use as `initial_peers`."""
        return self._addresses

    async def serve(self, handler: Handler) -> None:
        self._handler = handler
        await self._register()

    async def request(self, peer: bytes, message: bytes, timeout_seconds: float) -> bytes:
        if len(message) > self._max_message_bytes:
            raise ValueError(f"a request has at most {self._max_message_bytes} bytes, this one {len(message)}: chunk it")
        if peer == self._peer_id:
            return await self._answer(peer, message)
        if self._p2p is None:
            raise Unreachable("this node's own libp2p daemon is being restarted")
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = await self._p2p.call_protobuf_handler(PeerID(peer), PROTOCOL, _Bytes(message), _Bytes)
        except TimeoutError:
            raise Unreachable(f"{format_peer_id(peer)} did not answer within {timeout_seconds:g} s") from None
        except (P2PDaemonError, P2PHandlerError, ControlFailure, DispatchFailure, OSError, EOFError) as error:
            raise Unreachable(f"{format_peer_id(peer)} cannot be reached: {error or type(error).__name__}") from None
        data: bytes = reply.data
        return data

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        p2p, self._p2p = self._p2p, None
        if p2p is not None:
            with suppress(OSError, ControlFailure):
                await self._refresh_book(p2p)
            await p2p.shutdown()

    async def _launch(self) -> None:
        peers = list(dict.fromkeys(self._initial_peers + self._book.get_bootstrap_peers()))
        own = str(self._identity)
        try:
            self._p2p = await P2P.create(
                initial_peers=peers or None, identity_path=own, check_if_identity_free=False, **self._options
            )
        except (P2PDaemonError, OSError) as error:
            raise EngineError(f"the libp2p daemon did not start: {error}; look at --listen and --initial-peers") from None
        self._peer_id = self._p2p.peer_id.to_bytes()
        if not is_author(self._peer_id):
            await self.close()
            raise EngineError(f"{self._identity} is no Ed25519 identity: make one with `epochgate keygen FILE`")
        self._addresses = [str(address) for address in await self._p2p.get_visible_maddrs()]
        self._options["host_maddrs"] = [address.split("/p2p/")[0] for address in self._addresses]

    async def _register(self) -> None:
        if self._p2p is None or self._handler is None:
            return

        async def answer(request: _Bytes, context: P2PContext) -> _Bytes:
            return _Bytes(await self._answer(context.remote_id.to_bytes(), request.data))

        await self._p2p.add_protobuf_handler(PROTOCOL, answer, _Bytes)

    async def _answer(self, sender: bytes, message: bytes) -> bytes:
        if self._handler is None:
            return b""
        try:
            reply = await self._handler(sender, message)
        except Exception:
            logging.getLogger(__name__).exception("the handler of requests raised")
            return b""
        return reply if len(reply) <= self._max_message_bytes else b""

    async def _watch_daemon(self) -> None:
        """If the daemon dies nothing else says so. It comes back with the same identity and port."""
        while True:
            if self._p2p is not None:
                await self._p2p._child.wait()
                self._p2p._terminate()
                self._p2p = None
            try:
                await self._launch()
                await self._register()
                self.restarted.set()
            except EngineError:
                logging.getLogger(__name__).exception("the libp2p daemon died and does not start again yet")
                await asyncio.sleep(RESTART_SECONDS)

    async def _keep_address_book(self) -> None:
        while True:
            await asyncio.sleep(ADDRESS_BOOK_SECONDS)
            if self._p2p is not None:
                with suppress(OSError, ControlFailure, EOFError):  # the watchdog looks after a daemon that is gone
                    await self._refresh_book(self._p2p)

    async def _refresh_book(self, p2p: P2P) -> None:
        for peer in await p2p.list_peers():
            self._book.add(str(peer.peer_id), [str(address) for address in peer.addrs])
        self._book.save()


def _check_port(listen: str) -> None:
    """p2pd takes another address in silence, or dies without a word that helps; a socket of our own tells."""
    parts = listen.split("/")
    if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] not in ("tcp", "udp") or not parts[4].isdigit():
        raise EngineError(f"--listen {listen!r} is no address like /ip4/127.0.0.1/tcp/0")
    host, port = parts[2], int(parts[4])
    family = socket.AF_INET if parts[1] == "ip4" else socket.AF_INET6
    kind = socket.SOCK_STREAM if parts[3] == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EngineError(f"{listen} cannot be listened on ({error.strerror}): choose another port, or 0 for any") from None
