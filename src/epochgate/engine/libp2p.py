"""The Network port over libp2p: hivemind's `P2P`, unforked, with one unary handler of bytes.

The daemon, p2pd, encrypts connections, authenticates peers by their ids, and finds an address by id through its own
Kademlia. What it lacks is added here: bootstrap that may fail, an address book on disk, a watchdog, errors in words.
Private names of hivemind are used where it has no public one, which is why its version is pinned.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hivemind.p2p import P2P, P2PContext, P2PDaemonError, P2PHandlerError, PeerID
from hivemind.p2p.p2p_daemon_bindings.datastructures import PeerInfo
from hivemind.p2p.p2p_daemon_bindings.utils import DispatchFailure, raise_if_failed, read_pbmsg_safe, write_pbmsg
from hivemind.proto import p2pd_pb2
from hivemind.utils.multiaddr import Multiaddr

from epochgate.core.showable import make_showable
from epochgate.engine.address_book import FILE_NAME, AddressBook, parse_peer_address
from epochgate.engine.answer import check_size, get_answer
from epochgate.engine.listening import EngineError, check_announced_addresses, check_listen_address, fix_port
from epochgate.events import Emit, Trouble
from epochgate.keys import SigningKey, format_peer_id
from epochgate.ports import Handler, Unreachable

PROTOCOL = "/epochgate/1"
ENVELOPE_BYTES = 1 << 16
"""Room that the daemon's own fields may take in a message."""
DEFAULT_MAX_MESSAGE_BYTES = 4 << 20

DEFAULT_WATCH_SECONDS = 5.0
MAX_MISSED_PINGS = 2
"""One may be the fault of a busy machine."""
RESTART_SECONDS = 1.0
STOP_SECONDS = 3.0
REGISTER_SECONDS = 10.0
CONNECT_SECONDS = 3.0
FIND_SECONDS = 3
MIN_BOOTSTRAP_PEERS = 2
MAX_RECONNECTED_PEERS = 64
MAX_WHY_CHARACTERS = 200

NOT_FOUND = ("routing: not found", "failed to find any peer in table")
"""The daemon's words when its Kademlia does not find a peer."""
FIND_AGAIN_SECONDS = (0.05, 0.2)
"""Pauses before it is asked again: a peer that joined this moment is not yet known to those who are asked for it."""

FAILURES = (P2PDaemonError, P2PHandlerError, DispatchFailure, OSError, EOFError)
"""What a call of the daemon may raise: refusals, and a connection to it that breaks."""

logger = logging.getLogger(__name__)
logging.getLogger("hivemind").setLevel(logging.ERROR)


def log_event(event: object) -> None:
    logger.warning("%s", event)


class _Message:
    """Bytes in the clothes of a protobuf message, which is what hivemind carries; protobuf would copy them twice more."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def FromString(cls, data: bytes) -> _Message:  # noqa: N802 - protobuf's name
        return cls(data)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self.data


class _LiveCalls(dict[Any, "asyncio.Future[bytes]"]):
    """hivemind's pending calls, without those that are done.

    A reply that arrives in the same turn of the loop in which its caller gave up would be set on a cancelled future,
    and the error would end the only task that reads from the daemon: the node would be deaf and not know it.
    """

    def __contains__(self, call: object) -> bool:
        future = self.get(call)
        return future is not None and not future.done()


class _RunningTasks(dict[Any, "asyncio.Task[None]"]):
    """hivemind's handler tasks. It forgets only those that end well; a caller that gives up would leave its request here."""

    def __setitem__(self, call: Any, task: asyncio.Task[None]) -> None:
        super().__setitem__(call, task)
        task.add_done_callback(lambda _task: self.pop(call, None))


@functools.lru_cache(maxsize=4096)
def _get_peer_id(peer: bytes) -> PeerID:
    """hivemind makes the text form of every id anew, which takes longer than all else that is done here for a request."""
    return PeerID(peer)


class _Daemon:
    """One p2pd process and hivemind's connection to it. Once it has ended it does not come back."""

    def __init__(self, p2p: P2P) -> None:
        self._p2p = p2p
        self._control = p2p._client.control
        self._control._pending_calls = self._calls = _LiveCalls()
        self._control._handler_tasks = _RunningTasks()
        self._exit = asyncio.ensure_future(p2p._child.wait())
        self._ends = [self._exit, self._control._read_task, self._control._write_task]
        self._socket = Path(p2p._daemon_listen_maddr["unix"])
        self.pid: int = p2p._child.pid

    @staticmethod
    async def start(options: dict[str, object]) -> _Daemon:
        """Raises EngineError. A start that is cancelled leaves no process behind."""
        creating = asyncio.ensure_future(P2P.create(check_if_identity_free=False, **options))
        try:
            return _Daemon(await asyncio.shield(creating))
        except asyncio.CancelledError:
            with suppress(*FAILURES):
                await _Daemon(await creating).stop()
            raise
        except FAILURES as error:
            listen = options["host_maddrs"]
            raise EngineError(f"the libp2p daemon did not start on {listen}: {_shorten(error)}; try another port") from None

    async def has_ended(self, within_seconds: float) -> bool:
        """Whether the process or the connection to it ends `within_seconds`; waits no longer than it needs to."""
        ended, _ = await asyncio.wait(self._ends, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(ended)

    async def ping(self) -> None:
        await self._p2p._client.identify()

    async def register(self, handler: Handler) -> None:
        """Answer PROTOCOL with `handler`. Raises TimeoutError where the daemon does not take it."""

        async def answer(request: _Message, context: P2PContext) -> _Message:
            return _Message(await handler(context.remote_id.to_bytes(), request.data))

        async with asyncio.timeout(REGISTER_SECONDS):
            await self._p2p.add_protobuf_handler(PROTOCOL, answer, _Message)

    async def request(self, peer: bytes, message: bytes) -> bytes:
        for pause_seconds in FIND_AGAIN_SECONDS:
            try:
                return await self._request_once(peer, message)
            except P2PDaemonError as error:
                if not str(error).startswith(NOT_FOUND):
                    raise
            await asyncio.sleep(pause_seconds)
        return await self._request_once(peer, message)

    async def _request_once(self, peer: bytes, message: bytes) -> bytes:
        reply: _Message = await self._p2p.call_protobuf_handler(_get_peer_id(peer), PROTOCOL, _Message(message), _Message)
        return reply.data

    async def get_addresses(self) -> list[str]:
        return [str(address) for address in await self._p2p.get_visible_maddrs()]

    async def get_peers(self) -> dict[str, list[str]]:
        """The peers that are connected now, and the addresses they listen on."""
        return {str(peer.peer_id): await self._find(peer.peer_id) for peer in await self._p2p.list_peers()}

    async def _find(self, peer: PeerID) -> list[str]:
        """hivemind lists where a connection comes from, which is no place to call; the daemon knows better, if asked."""
        reader, writer = await self._control.daemon_connector.open_connection()
        try:
            find = p2pd_pb2.DHTRequest(type=p2pd_pb2.DHTRequest.FIND_PEER, peer=peer.to_bytes(), timeout=FIND_SECONDS)
            await write_pbmsg(writer, p2pd_pb2.Request(type=p2pd_pb2.Request.DHT, dht=find))
            response = p2pd_pb2.Response()
            await read_pbmsg_safe(reader, response)
            raise_if_failed(response)
            return [str(address) for address in PeerInfo.from_protobuf(response.dht.peer).addrs]
        except Exception:  # noqa: BLE001 - the peer chose what its addresses say, and may have chosen what nobody parses
            return []
        finally:
            writer.close()

    async def connect(self, peer: str, address: str) -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._p2p._client.connect(PeerID.from_base58(peer), [Multiaddr(address)])
        except (*FAILURES, ValueError):  # ValueError: no address at all, for the book may be damaged
            return False
        return True

    async def stop(self) -> None:
        """Ends the process, by force where it does not listen, and whatever still waits for it."""
        self._p2p._terminate()
        try:
            await asyncio.wait([self._exit], timeout=STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # it has ended
                self._p2p._child.kill()
        self._socket.unlink(missing_ok=True)  # hivemind leaves that of a daemon which died by itself
        await asyncio.gather(*self._ends, return_exceptions=True)
        for call in list(self._calls.values()):
            if not call.done():
                call.set_exception(P2PDaemonError("this node's libp2p daemon ended"))


class Libp2pNetwork:
    """One node's place on libp2p, with a daemon of its own. Make it with `start`, and `close` it.

    An empty reply means that the peer's handler raised or replied too much. Requests to oneself do not leave the process.
    """

    def __init__(self, author: bytes, options: dict[str, Any], book: AddressBook, max_message_bytes: int, emit: Emit) -> None:
        self.peer_id = author
        self.max_message_bytes = max_message_bytes
        self.restarted = asyncio.Event()
        """Set when the watchdog has brought a dead daemon back."""
        self._options = options
        self._book = book
        self._emit = emit
        self._initial_peers: list[tuple[str, str]] = []
        self._addresses: list[str] = []
        self._handler: Handler | None = None
        self._daemon: _Daemon | None = None
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
        """Start the daemon with the key in `identity`, listening on `listen`, a multiaddress; port 0 takes any free one.

        `announce` are told to others instead, where they reach this node elsewhere (behind a forwarded port, say).
        `initial_peers` are full addresses, ending in /p2p/PEER; `folder` keeps the address book. Peers that do not answer
        are tried again and no error, for a whole network may start at once. `is_behind_nat` turns on port mapping and
        relays. Raises KeyFileError and EngineError: a busy port, a malformed address, a daemon that does not run here.
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
        options |= dict.fromkeys(("nat_port_map", "auto_nat", "use_relay", "use_auto_relay"), is_behind_nat)
        network = Libp2pNetwork(author, options, AddressBook(folder / FILE_NAME), max_message_bytes, emit)
        network._initial_peers = network._parse_initial_peers(initial_peers)
        await network._launch()
        try:
            if not await network._connect() and network._initial_peers:
                emit(Trouble("network", "no known peer answers yet", "they are tried again; look at --initial-peers"))
        except BaseException:
            await network.close()
            raise
        keep = (network._keep_running(watch_seconds), network._keep_connected(watch_seconds))
        network._tasks = [asyncio.create_task(task) for task in keep]
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
            with suppress(TimeoutError):  # the daemon died just now, and the watchdog registers the handler with its successor
                await self._daemon.register(self._answer)

    async def request(self, peer: bytes, message: bytes, timeout_seconds: float) -> bytes:
        """Empty bytes mean that the peer's handler failed. Raises Unreachable, and ValueError for too long a message."""
        check_size(message, self.max_message_bytes)
        if self._daemon is None:
            raise Unreachable("this node's libp2p daemon is not running")
        try:
            async with asyncio.timeout(timeout_seconds):
                return await (self._answer(peer, message) if peer == self.peer_id else self._daemon.request(peer, message))
        except TimeoutError:
            raise Unreachable(f"{format_peer_id(peer)} did not answer within {timeout_seconds:g} s") from None
        except FAILURES as error:
            raise Unreachable(f"{format_peer_id(peer)} cannot be reached: {_shorten(error)}") from None

    async def close(self) -> None:
        """Leaves no daemon behind. A second call does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        daemon, self._daemon = self._daemon, None
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
        others = [(peer, address) for peer, address in peers if peer != format_peer_id(self.peer_id)]
        if 0 < len({peer for peer, _ in others}) < MIN_BOOTSTRAP_PEERS:
            advice = "give at least two: with the only one gone, nobody can be found"
            self._emit(Trouble("network", "only one initial peer is known", advice))
        return others

    async def _launch(self) -> None:
        daemon = await _Daemon.start(self._options)
        try:
            self._addresses = await daemon.get_addresses()
            self._options["host_maddrs"] = [fix_port(self._options["host_maddrs"][0], self._addresses)]
            if self._handler is not None:
                await daemon.register(self._answer)
        except BaseException:
            await daemon.stop()
            raise
        self._daemon = daemon

    async def _connect(self, connected: frozenset[str] = frozenset()) -> bool:
        """Whether any known peer answers; those that are `connected` are not called, and without any the book's too.

        All are called, not just enough to find the others: libp2p calls a peer that was down only after a pause that grows
        to minutes, so a node that comes back must announce itself.
        """
        daemon = self._daemon
        known = self._initial_peers + ([] if connected else self._book.get_recent(MAX_RECONNECTED_PEERS))
        if daemon is None:
            return False
        calls = [daemon.connect(*place) for place in dict.fromkeys(known) if place[0] not in connected]
        return any(await asyncio.gather(*calls))

    async def _answer(self, sender: bytes, message: bytes) -> bytes:
        if self._handler is None:
            raise P2PDaemonError("this node does not serve")
        return await get_answer(self._handler, sender, message, self.max_message_bytes)

    async def _keep_running(self, watch_seconds: float) -> None:
        """If the daemon dies nothing else says so. It comes back with the same identity and port."""
        while True:
            if self._daemon is not None:
                await self._watch(self._daemon, watch_seconds)
                dead, self._daemon = self._daemon, None
                self._emit(Trouble("network", "the libp2p daemon died", "it is started again; look at memory and open files"))
                await dead.stop()
            try:
                await self._launch()
            except (EngineError, TimeoutError, *FAILURES) as error:
                self._emit(Trouble("network", f"the libp2p daemon does not start: {error}", "it is tried again"))
                await asyncio.sleep(RESTART_SECONDS)
            else:
                await self._connect()
                self.restarted.set()

    async def _watch(self, daemon: _Daemon, watch_seconds: float) -> None:
        """Returns when the daemon has ended, or hangs."""
        missed = 0
        while missed < MAX_MISSED_PINGS and not await daemon.has_ended(within_seconds=watch_seconds):
            try:
                async with asyncio.timeout(watch_seconds):
                    await daemon.ping()
                missed = 0
            except (TimeoutError, *FAILURES):
                missed += 1

    async def _keep_connected(self, watch_seconds: float) -> None:
        """Keeps the book, and calls initial peers that are not there: of nodes that start at once, some miss each other."""
        while True:
            await asyncio.sleep(watch_seconds)
            if self._daemon is not None:
                with suppress(*FAILURES):  # the watchdog sees to it
                    await self._connect(await self._note_peers(self._daemon))

    async def _note_peers(self, daemon: _Daemon) -> frozenset[str]:
        """Who is connected."""
        peers = await daemon.get_peers()
        self._book.note({peer: addresses for peer, addresses in peers.items() if addresses})
        return frozenset(peers)


def _shorten(error: BaseException) -> str:
    """The first line, and not all of it: a peer may have written it."""
    return make_showable(str(error).partition("\n")[0] or type(error).__name__)[:MAX_WHY_CHARACTERS]
