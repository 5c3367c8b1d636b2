"""p2pd, hivemind's libp2p daemon: its process, the calls to it, and its end.

hivemind has no public name for some of this, so private ones are used and its version is pinned.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hivemind.p2p import P2P, P2PContext, P2PDaemonError, P2PHandlerError, PeerID
from hivemind.p2p.p2p_daemon_bindings.datastructures import PeerInfo
from hivemind.p2p.p2p_daemon_bindings.utils import (
    DispatchFailure,
    raise_if_failed,
    read_pbmsg_safe,
    write_pbmsg,
)
from hivemind.proto import p2pd_pb2
from hivemind.utils.multiaddr import Multiaddr

from epochgate.core.sanitize import sanitize_for_terminal
from epochgate.core.types import PeerId
from epochgate.engine.listening import EngineError
from epochgate.engine.peerstore import PeerAddress
from epochgate.ports import Handler

PROTOCOL = "/epochgate/1"
STOP_SECONDS = 3.0
REGISTER_SECONDS = 10.0
CONNECT_SECONDS = 3.0
FIND_SECONDS = 3
MAX_REASON_CHARACTERS = 200
MEMBER_TAG = "member"
MEMBER_WEIGHT = 1000
"""More than the daemon's own Kademlia gives to the peers in its table."""

NOT_FOUND = ("routing: not found", "failed to find any peer in table")
"""The beginnings of the daemon's error when its Kademlia does not find a peer."""
FIND_AGAIN_SECONDS = (0.05, 0.2)
"""Pauses before it is asked again: other peers do not know yet of one that joined this moment."""

FAILURES = (P2PDaemonError, P2PHandlerError, DispatchFailure, OSError, EOFError)
"""Errors of a call to the daemon: refusals, and a connection to it that breaks."""


class _Message:
    """Bytes with the methods of a protobuf message, which is what hivemind carries.

    A message of protobuf's own would copy them twice more.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def FromString(cls, data: bytes) -> _Message:  # noqa: N802 - protobuf's name
        return cls(data)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self.data


class _LiveCalls(dict[Any, "asyncio.Future[bytes]"]):
    """hivemind's pending calls, without those that are done.

    A reply may arrive in the same turn of the loop in which its caller gave up. hivemind would set
    it on a cancelled future, and the error would end the only task that reads from the daemon: the
    node would receive nothing more and not know it.
    """

    def __contains__(self, call: object) -> bool:
        future = self.get(call)
        return future is not None and not future.done()


class _RunningTasks(dict[Any, "asyncio.Task[None]"]):
    """hivemind's handler tasks, forgotten when they end.

    hivemind forgets only those that end without an error, so each request whose caller gave up
    would stay here.
    """

    def __setitem__(self, call: Any, task: asyncio.Task[None]) -> None:
        super().__setitem__(call, task)
        task.add_done_callback(lambda _task: self.pop(call, None))


@functools.lru_cache(maxsize=4096)
def _get_peer_id(peer: PeerId) -> PeerID:
    """hivemind's form of a peer id, remembered.

    It makes the id's text each time, which takes longer than all else done here for a request.
    """
    return PeerID(peer)


class Daemon:
    """One p2pd process and hivemind's connection to it. Once it has ended it does not come back.

    Its calls raise one of FAILURES where the daemon refuses, or is gone.
    """

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
    async def start(options: dict[str, object]) -> Daemon:
        """Start a process. One whose start is cancelled is ended.

        Args:
            options: Those of hivemind's `P2P.create`, `host_maddrs` among them.

        Returns:
            The daemon, connected.

        Raises:
            EngineError: The daemon did not start.
        """
        creating = asyncio.ensure_future(P2P.create(check_if_identity_free=False, **options))
        try:
            return Daemon(await asyncio.shield(creating))
        except asyncio.CancelledError:
            with suppress(*FAILURES):
                await Daemon(await creating).stop()
            raise
        except FAILURES as error:
            listen = options["host_maddrs"]
            raise EngineError(
                f"the libp2p daemon did not start on {listen}: {shorten(error)}; try another port"
            ) from None

    async def has_ended(self, within_seconds: float) -> bool:
        """Whether the process, or the connection to it, ends within that time.

        Returns as soon as it ends.
        """
        ended, _ = await asyncio.wait(
            self._ends, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        return bool(ended)

    async def ping(self) -> None:
        """Ask the daemon who it is, to see whether it answers."""
        await self._p2p._client.identify()

    async def register(self, handler: Handler) -> None:
        """Answer requests with `handler`. Raise TimeoutError where the daemon does not take it."""

        async def answer(request: _Message, context: P2PContext) -> _Message:
            sender = PeerId(context.remote_id.to_bytes())
            return _Message(await handler(sender, request.data))

        async with asyncio.timeout(REGISTER_SECONDS):
            await self._p2p.add_protobuf_handler(PROTOCOL, answer, _Message)

    async def request(self, peer: PeerId, message: bytes) -> bytes:
        """Send a request and return the reply; waits for as long as it takes."""
        for pause_seconds in FIND_AGAIN_SECONDS:
            try:
                return await self._request_once(peer, message)
            except P2PDaemonError as error:
                if not str(error).startswith(NOT_FOUND):
                    raise
            await asyncio.sleep(pause_seconds)
        return await self._request_once(peer, message)

    async def _request_once(self, peer: PeerId, message: bytes) -> bytes:
        reply: _Message = await self._p2p.call_protobuf_handler(
            _get_peer_id(peer), PROTOCOL, _Message(message), _Message
        )
        return reply.data

    async def get_addresses(self) -> list[str]:
        """The full multiaddresses that the daemon listens on or announces."""
        return [str(address) for address in await self._p2p.get_visible_maddrs()]

    async def get_peers(self) -> dict[str, list[str]]:
        """The peers that are connected now, and the addresses they listen on."""
        return {
            str(peer.peer_id): await self._find(peer.peer_id)
            for peer in await self._p2p.list_peers()
        }

    async def _find(self, peer: PeerID) -> list[str]:
        """The addresses that a connected peer listens on.

        hivemind lists the address that a connection comes from, where nobody listens. The daemon
        knows the others.
        """
        find = p2pd_pb2.DHTRequest(
            type=p2pd_pb2.DHTRequest.FIND_PEER, peer=peer.to_bytes(), timeout=FIND_SECONDS
        )
        try:
            [response] = await self._ask([p2pd_pb2.Request(type=p2pd_pb2.Request.DHT, dht=find)])
            raise_if_failed(response)
            return [str(address) for address in PeerInfo.from_protobuf(response.dht.peer).addrs]
        except Exception:  # noqa: BLE001 - parsing a peer's bytes may raise anything
            return []

    async def list_connected(self) -> set[PeerId]:
        """The ids of the peers that are connected now."""
        return {PeerId(peer.peer_id.to_bytes()) for peer in await self._p2p.list_peers()}

    async def protect(self, peers: Iterable[PeerId], /) -> None:
        """Let the daemon close others' connections before those of `peers` when it has too many.

        It forgets that when they disconnect.
        """
        put = p2pd_pb2.ConnManagerRequest.TAG_PEER
        tags = [
            p2pd_pb2.ConnManagerRequest(type=put, peer=peer, tag=MEMBER_TAG, weight=MEMBER_WEIGHT)
            for peer in peers
        ]
        await self._ask(
            [p2pd_pb2.Request(type=p2pd_pb2.Request.CONNMANAGER, connManager=tag) for tag in tags]
        )

    async def disconnect(self, peers: Iterable[PeerId], /) -> None:
        """Close connections. Requests under way on them fail, and the peers may call again."""
        ends = [p2pd_pb2.DisconnectRequest(peer=peer) for peer in peers]
        await self._ask(
            [p2pd_pb2.Request(type=p2pd_pb2.Request.DISCONNECT, disconnect=end) for end in ends]
        )

    async def _ask(self, requests: Iterable[p2pd_pb2.Request]) -> list[p2pd_pb2.Response]:
        """Send requests for which hivemind has no call, and return a response for each.

        They go one after the other on a connection of their own. A refusal is a response too.
        """
        reader, writer = await self._control.daemon_connector.open_connection()
        responses = []
        try:
            for request in requests:
                await write_pbmsg(writer, request)
                response = p2pd_pb2.Response()
                await read_pbmsg_safe(reader, response)
                responses.append(response)
        finally:
            writer.close()
        return responses

    async def connect(self, place: PeerAddress) -> bool:
        """Connect to a peer, and tell whether it answered within CONNECT_SECONDS."""
        try:
            peer = PeerID.from_base58(place.peer)
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._p2p._client.connect(peer, [Multiaddr(place.address)])
        except (*FAILURES, ValueError):  # ValueError: not an address, for the file may be damaged
            return False
        return True

    async def stop(self) -> None:
        """End the process, by force where it does not end itself, and fail the calls that wait."""
        self._p2p._terminate()
        try:
            await asyncio.wait([self._exit], timeout=STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # it has ended
                self._p2p._child.kill()
        self._socket.unlink(missing_ok=True)  # hivemind leaves that of a daemon that died
        await asyncio.gather(*self._ends, return_exceptions=True)
        for call in list(self._calls.values()):
            if not call.done():
                call.set_exception(P2PDaemonError("this node's libp2p daemon ended"))


def shorten(error: BaseException) -> str:
    """The first line of an error, cut to MAX_REASON_CHARACTERS: a peer may have written it."""
    line = str(error).partition("\n")[0] or type(error).__name__
    return sanitize_for_terminal(line)[:MAX_REASON_CHARACTERS]
