"""p2pd, hivemind's libp2p daemon: one process, what is asked of it, and its end.

Private names of hivemind are used where it has no public one, which is why its version is pinned.
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
from epochgate.ports import Handler

PROTOCOL = "/epochgate/1"
STOP_SECONDS = 3.0
REGISTER_SECONDS = 10.0
CONNECT_SECONDS = 3.0
FIND_SECONDS = 3
MAX_WHY_CHARACTERS = 200
KEPT_TAG = "member"
KEPT_WEIGHT = 1000
"""Above what the daemon's own Kademlia gives to peers that it likes to keep."""

NOT_FOUND = ("routing: not found", "failed to find any peer in table")
"""The daemon's words when its Kademlia does not find a peer."""
FIND_AGAIN_SECONDS = (0.05, 0.2)
"""Pauses before it is asked again: a peer that joined this moment is not yet known to those who are
asked for it.
"""

FAILURES = (P2PDaemonError, P2PHandlerError, DispatchFailure, OSError, EOFError)
"""What a call of the daemon may raise: refusals, and a connection to it that breaks."""


class _Message:
    """Bytes in the clothes of a protobuf message, which is what hivemind carries; protobuf would
    copy them twice more.
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

    A reply that arrives in the same turn of the loop in which its caller gave up would be set on a
    cancelled future, and the error would end the only task that reads from the daemon: the node
    would be deaf and not know it.
    """

    def __contains__(self, call: object) -> bool:
        future = self.get(call)
        return future is not None and not future.done()


class _RunningTasks(dict[Any, "asyncio.Task[None]"]):
    """hivemind's handler tasks. It forgets only those that end well; a caller that gives up would
    leave its request here.
    """

    def __setitem__(self, call: Any, task: asyncio.Task[None]) -> None:
        super().__setitem__(call, task)
        task.add_done_callback(lambda _task: self.pop(call, None))


@functools.lru_cache(maxsize=4096)
def _get_peer_id(peer: PeerId) -> PeerID:
    """hivemind makes the text form of every id anew, which takes longer than all else that is done
    here for a request.
    """
    return PeerID(peer)


class Daemon:
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
    async def start(options: dict[str, object]) -> Daemon:
        """Raises EngineError. A start that is cancelled leaves no process behind."""
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
        """Whether the process or the connection to it ends `within_seconds`; waits no longer than
        it needs to.
        """
        ended, _ = await asyncio.wait(
            self._ends, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        return bool(ended)

    async def ping(self) -> None:
        await self._p2p._client.identify()

    async def register(self, handler: Handler) -> None:
        """Answer PROTOCOL with `handler`. Raises TimeoutError where the daemon does not take it."""

        async def answer(request: _Message, context: P2PContext) -> _Message:
            return _Message(await handler(context.remote_id.to_bytes(), request.data))

        async with asyncio.timeout(REGISTER_SECONDS):
            await self._p2p.add_protobuf_handler(PROTOCOL, answer, _Message)

    async def request(self, peer: PeerId, message: bytes) -> bytes:
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
        return [str(address) for address in await self._p2p.get_visible_maddrs()]

    async def get_peers(self) -> dict[str, list[str]]:
        """The peers that are connected now, and the addresses they listen on."""
        return {
            str(peer.peer_id): await self._find(peer.peer_id)
            for peer in await self._p2p.list_peers()
        }

    async def _find(self, peer: PeerID) -> list[str]:
        """hivemind lists where a connection comes from, which is no place to call; the daemon knows
        better, if asked.
        """
        find = p2pd_pb2.DHTRequest(
            type=p2pd_pb2.DHTRequest.FIND_PEER, peer=peer.to_bytes(), timeout=FIND_SECONDS
        )
        try:
            [response] = await self._ask([p2pd_pb2.Request(type=p2pd_pb2.Request.DHT, dht=find)])
            raise_if_failed(response)
            return [str(address) for address in PeerInfo.from_protobuf(response.dht.peer).addrs]
        except Exception:  # noqa: BLE001 - the peer chose what its addresses say, and may have chosen what nobody parses
            return []

    async def list_connected(self) -> set[PeerId]:
        """The ids of the peers that are connected now."""
        return {peer.peer_id.to_bytes() for peer in await self._p2p.list_peers()}

    async def protect(self, peers: Iterable[PeerId]) -> None:
        """Close others' connections before those of `peers` when there are too many. It is
        forgotten when they disconnect.
        """
        put = p2pd_pb2.ConnManagerRequest.TAG_PEER
        tags = [
            p2pd_pb2.ConnManagerRequest(type=put, peer=peer, tag=KEPT_TAG, weight=KEPT_WEIGHT)
            for peer in peers
        ]
        await self._ask(
            [p2pd_pb2.Request(type=p2pd_pb2.Request.CONNMANAGER, connManager=tag) for tag in tags]
        )

    async def disconnect(self, peers: Iterable[PeerId]) -> None:
        """Their requests under way fail. They may call again."""
        ends = [p2pd_pb2.DisconnectRequest(peer=peer) for peer in peers]
        await self._ask(
            [p2pd_pb2.Request(type=p2pd_pb2.Request.DISCONNECT, disconnect=end) for end in ends]
        )

    async def _ask(self, requests: Iterable[p2pd_pb2.Request]) -> list[p2pd_pb2.Response]:
        """For what hivemind has no call, one after the other on a connection of their own; a
        refusal is a response too.
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

    async def connect(self, peer: str, address: str) -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._p2p._client.connect(PeerID.from_base58(peer), [Multiaddr(address)])
        except (
            *FAILURES,
            ValueError,
        ):  # ValueError: no address at all, for the book may be damaged
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
        self._socket.unlink(
            missing_ok=True
        )  # hivemind leaves that of a daemon which died by itself
        await asyncio.gather(*self._ends, return_exceptions=True)
        for call in list(self._calls.values()):
            if not call.done():
                call.set_exception(P2PDaemonError("this node's libp2p daemon ended"))


def shorten(error: BaseException) -> str:
    """The first line, and not all of it: a peer may have written it."""
    return sanitize_for_terminal(str(error).partition("\n")[0] or type(error).__name__)[
        :MAX_WHY_CHARACTERS
    ]
