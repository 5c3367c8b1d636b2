"""The Network port over real libp2p daemons on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hivemind.p2p import P2P
from hivemind.proto import p2pd_pb2

from epochgate.core.types import PeerId
from epochgate.engine import connections
from epochgate.engine.libp2p import Libp2pNetwork
from epochgate.engine.listening import EngineError
from epochgate.keys import FILE_PREFIX, KeyFileError, format_peer_id
from epochgate.observe.events import AnyEvent, NodeWarning
from epochgate.ports import Unreachable
from tests.suites.network_suite import (
    LIMIT,
    LONG_SECONDS,
    SHORT_SECONDS,
    Behaviour,
    every_behaviour,
    greet,
)
from tests.support.identities import key_of

pytestmark = pytest.mark.network

NOBODY = f"/ip4/127.0.0.1/tcp/9/p2p/{format_peer_id(key_of('nobody').author)}"


class Libp2pWorld:
    """Each name has a folder and a key of its own, and the first to join is the others' bootstrap
    peer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.networks: list[Libp2pNetwork] = []
        self.events: list[AnyEvent] = []

    def get_identity(self, name: str) -> Path:
        path = self.folder / name / "identity"
        if not path.exists():
            path.parent.mkdir()
            key = key_of(name)
            path.touch(0o600)
            path.write_bytes(FILE_PREFIX + bytes(key._key) + key.author[-32:])
        return path

    async def join(self, name: str, **options: Any) -> Libp2pNetwork:
        identity = self.get_identity(name)
        first = self.networks[0].get_listen_addresses() if self.networks else []
        chosen: dict[str, Any] = {
            "initial_peers": first,
            "max_message_bytes": LIMIT,
            "emit": self.events.append,
            **options,
        }
        network = await Libp2pNetwork.start(identity, identity.parent, **chosen)
        self.networks.append(network)
        return network

    def get_troubles(self) -> list[str]:
        return [event.what for event in self.events if isinstance(event, NodeWarning)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Libp2pWorld]:
    world = Libp2pWorld(tmp_path)
    yield world
    await asyncio.gather(*(network.close() for network in world.networks))


def get_daemons() -> set[int]:
    """The libp2p daemons that this process has started and that still run."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "p2pd"}


async def ask_until_unreachable(asker: Libp2pNetwork, asked: Libp2pNetwork) -> None:
    """The asker's libp2p then puts the peer off: it would not call it again for five seconds."""
    try:
        while True:
            await asker.request(asked.peer_id, b"hi", SHORT_SECONDS)
    except Unreachable:
        pass


@every_behaviour
async def test_libp2p_engine(behaviour: Behaviour, world: Libp2pWorld) -> None:
    await behaviour(world)
    assert not [trouble for trouble in world.get_troubles() if "daemon" in trouble]


async def test_a_daemon_that_is_killed_comes_back_with_its_name_and_port(
    world: Libp2pWorld,
) -> None:
    alice = await world.join("alice")
    bob = await world.join("bob")
    await alice.serve(greet)
    await bob.serve(greet)
    assert await alice.request(bob.peer_id, b"hi", LONG_SECONDS)
    addresses = bob.get_listen_addresses()
    daemon = bob.daemon_pid
    assert daemon is not None
    assert bob._daemon is not None
    socket_of_the_dead = bob._daemon._socket
    assert socket_of_the_dead.exists()
    os.kill(daemon, signal.SIGKILL)
    await ask_until_unreachable(alice, bob)
    await asyncio.wait_for(bob.restarted.wait(), LONG_SECONDS)
    assert format_peer_id(alice.peer_id) in await bob._daemon.get_peers(), (
        "he calls alice, who may have put him off"
    )
    assert (await alice.request(bob.peer_id, b"back?", LONG_SECONDS)).endswith(b"back?")
    assert (await bob.request(alice.peer_id, b"yes", LONG_SECONDS)).endswith(b"yes")
    assert bob.get_listen_addresses() == addresses
    assert bob.daemon_pid != daemon
    assert not socket_of_the_dead.exists()
    assert "the libp2p daemon died" in world.get_troubles()


async def test_a_daemon_that_hangs_is_replaced(world: Libp2pWorld) -> None:
    alice = await world.join("alice")
    bob = await world.join("bob", watch_seconds=0.4)
    await bob.serve(greet)
    daemon = bob.daemon_pid
    assert daemon is not None
    os.kill(daemon, signal.SIGSTOP)
    await asyncio.wait_for(bob.restarted.wait(), LONG_SECONDS)
    assert daemon not in get_daemons()
    assert await alice.request(bob.peer_id, b"hi", LONG_SECONDS)


async def test_a_request_under_way_fails_at_once_when_the_daemon_dies(world: Libp2pWorld) -> None:
    alice = await world.join("alice")
    bob = await world.join("bob")
    is_asked = asyncio.Event()

    async def brood(_sender: bytes, _message: bytes) -> bytes:
        is_asked.set()
        await asyncio.sleep(3600)
        return b""

    await bob.serve(brood)
    asking = asyncio.create_task(alice.request(bob.peer_id, b"?", timeout_seconds=3600))
    await asyncio.wait_for(is_asked.wait(), LONG_SECONDS)
    assert alice.daemon_pid is not None
    os.kill(alice.daemon_pid, signal.SIGKILL)
    with pytest.raises(Unreachable):
        await asyncio.wait_for(asking, LONG_SECONDS)


async def test_callers_that_give_up_leave_nothing_behind(world: Libp2pWorld) -> None:
    alice = await world.join("alice")
    bob = await world.join("bob")
    arrived = asyncio.Event()
    given_up = asyncio.Event()

    async def never_answer(_sender: bytes, _message: bytes) -> bytes:
        arrived.set()
        try:
            await asyncio.sleep(3600)
        finally:
            given_up.set()
        return b""

    await bob.serve(never_answer)
    asking = asyncio.create_task(alice.request(bob.peer_id, b"?" * LIMIT, timeout_seconds=3600))
    await asyncio.wait_for(arrived.wait(), LONG_SECONDS)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(given_up.wait(), LONG_SECONDS)
    await asyncio.sleep(0)  # the task that was given up ends in this turn
    assert alice._daemon is not None
    assert bob._daemon is not None
    assert not alice._daemon._control._pending_calls
    assert not bob._daemon._control._handler_tasks


class Host:
    """A network whose visitors stay until it answers them, or disconnects them."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self.network = network
        self.may_answer = asyncio.Event()
        self._has_come = asyncio.Event()

    async def welcome(self, visitor: Libp2pNetwork) -> asyncio.Task[bytes]:
        """The visitor's request, which has arrived."""
        self._has_come.clear()
        visit = asyncio.create_task(
            visitor.request(self.network.peer_id, b"may I?", timeout_seconds=3600)
        )
        await asyncio.wait_for(self._has_come.wait(), LONG_SECONDS)
        return visit

    async def answer(self, sender: PeerId, message: bytes) -> bytes:
        self._has_come.set()
        await self.may_answer.wait()
        return await greet(sender, message)

    async def look_at_the_door(self) -> set[PeerId]:
        """Who is connected afterwards."""
        assert self.network._daemon is not None
        await self.network._connections.trim(self.network._daemon)
        return await self.network._daemon.list_connected()

    async def drop_most(self, favourite: bytes) -> None:
        """As the daemon does with too many connections, though `favourite` weighs more than those
        whom nobody keeps.
        """
        assert self.network._daemon is not None
        put = p2pd_pb2.ConnManagerRequest.TAG_PEER
        trim = p2pd_pb2.ConnManagerRequest.TRIM
        favour = p2pd_pb2.ConnManagerRequest(type=put, peer=favourite, tag="favourite", weight=500)
        wishes = (favour, p2pd_pb2.ConnManagerRequest(type=trim))
        kind = p2pd_pb2.Request.CONNMANAGER
        await self.network._daemon._ask(
            [p2pd_pb2.Request(type=kind, connManager=wish) for wish in wishes]
        )


async def end_by_disconnecting(visit: asyncio.Task[bytes]) -> None:
    with pytest.raises(Unreachable):
        await asyncio.wait_for(visit, LONG_SECONDS)


async def test_who_left_the_roster_is_disconnected_and_many_strangers_while_members_stay(
    world: Libp2pWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_STRANGERS_CONNECTED", 1)
    ivan, alice, bob, carol = [
        await world.join(name, watch_seconds=3600) for name in ("ivan", "alice", "bob", "carol")
    ]
    host = Host(alice)
    await alice.serve(host.answer)
    of_ivan, of_bob, of_carol = [await host.welcome(visitor) for visitor in (ivan, bob, carol)]
    everybody = {ivan.peer_id, bob.peer_id, carol.peer_id}
    assert await host.look_at_the_door() >= everybody, "no roster is known"
    alice.set_protected_peers([alice.peer_id, bob.peer_id, carol.peer_id])
    alice.set_protected_peers([])
    assert await host.look_at_the_door() >= everybody, "an empty roster is none"
    alice.set_protected_peers([alice.peer_id, bob.peer_id])
    await end_by_disconnecting(of_carol)
    of_carol = await host.welcome(carol)
    assert await host.look_at_the_door() >= everybody, "one stranger may look for her place"
    of_dave = await host.welcome(await world.join("dave"))
    await host.look_at_the_door()
    await end_by_disconnecting(of_carol)
    await end_by_disconnecting(of_dave)
    host.may_answer.set()
    assert await asyncio.gather(of_bob, of_ivan)


async def test_a_member_is_the_last_whom_the_daemon_drops_also_after_a_restart(
    world: Libp2pWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peers' names are such that the daemon's Kademlia lets either be dropped."""
    monkeypatch.setitem(
        P2P.DHT_MODE_MAPPING,
        "server",
        P2P.DHT_MODE_MAPPING["server"] | {"connLo": 1, "connGrace": "0s"},
    )
    member, stranger = [await world.join(name, initial_peers=[]) for name in ("victor", "heidi")]
    places = [*member.get_listen_addresses(), *stranger.get_listen_addresses()]
    alice = await world.join("alice", initial_peers=places)
    host = Host(alice)
    await alice.serve(host.answer)
    alice.set_protected_peers([alice.peer_id, member.peer_id])
    await host.look_at_the_door()
    assert alice.daemon_pid is not None
    os.kill(alice.daemon_pid, signal.SIGKILL)
    await asyncio.wait_for(alice.restarted.wait(), LONG_SECONDS)
    of_member = await host.welcome(member)
    of_stranger = await host.welcome(stranger)
    await host.look_at_the_door()
    await host.drop_most(favourite=stranger.peer_id)
    await end_by_disconnecting(of_stranger)
    host.may_answer.set()
    assert await of_member


async def test_closing_leaves_no_daemon(world: Libp2pWorld) -> None:
    before = get_daemons()
    alice = await world.join("alice")
    assert get_daemons() - before == {alice.daemon_pid}
    await alice.close()
    assert get_daemons() == before
    assert alice.daemon_pid is None


@pytest.mark.parametrize("started_for_seconds", [0.0, 0.03, 0.06, 0.12])
async def test_a_start_that_is_given_up_leaves_no_daemon(
    world: Libp2pWorld, started_for_seconds: float
) -> None:
    before = get_daemons()
    starting = asyncio.create_task(world.join("alice"))
    while get_daemons() == before:  # noqa: ASYNC110 - the kernel sets no Event
        await asyncio.sleep(0.001)
    await asyncio.sleep(
        started_for_seconds
    )  # whatever it is doing now, and even if it has just finished
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await (await starting).close()
    assert get_daemons() == before


async def test_the_address_book_finds_others_when_the_bootstrap_peer_is_gone(
    world: Libp2pWorld,
) -> None:
    alice, bob, carol = [await world.join(name) for name in ("alice", "bob", "carol")]
    await carol.serve(greet)
    assert await bob.request(carol.peer_id, b"hi", LONG_SECONDS)
    await bob.close()
    await alice.close()
    bob_again = await world.join("bob")
    assert await bob_again.request(carol.peer_id, b"hi again", LONG_SECONDS)
    await bob_again.close()
    (world.folder / "bob" / "peers.json").unlink()
    bob_without_book = await world.join("bob")
    with pytest.raises(Unreachable):
        await bob_without_book.request(carol.peer_id, b"lost", LONG_SECONDS)
    assert "no known peer answers yet" in world.get_troubles()


async def test_a_node_that_comes_first_finds_those_who_come_later(world: Libp2pWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"/ip4/127.0.0.1/tcp/{probe.getsockname()[1]}"
    name = format_peer_id(key_of("bob").author)
    alice = await world.join("alice", initial_peers=[f"{address}/p2p/{name}"], watch_seconds=0.2)
    assert world.get_troubles() == ["only one initial peer is known", "no known peer answers yet"]
    is_met = asyncio.Event()

    async def meet_alice(_sender: bytes, _message: bytes) -> bytes:
        is_met.set()
        return b"hi"

    bob = await world.join("bob", listen=address, initial_peers=[])
    await bob.serve(meet_alice)
    while not is_met.is_set():
        try:
            assert await alice.request(bob.peer_id, b"there you are", LONG_SECONDS) == b"hi"
        except Unreachable:
            await asyncio.sleep(0.1)  # the daemon tells nobody when it has found a peer


async def test_an_initial_peer_that_was_down_is_called_again_though_others_are_there(
    world: Libp2pWorld,
) -> None:
    """Libp2p itself would not: it puts off whom it could not reach, and a node that has one peer
    looks content.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"/ip4/127.0.0.1/tcp/{probe.getsockname()[1]}"
    carol = await world.join("carol")
    bobs_name = format_peer_id(key_of("bob").author)
    peers = [*carol.get_listen_addresses(), f"{address}/p2p/{bobs_name}"]
    alice = await world.join("alice", initial_peers=peers, watch_seconds=0.2)
    bob = await world.join("bob", listen=address, initial_peers=[])
    assert alice._daemon is not None
    assert bob._daemon is not None
    async with asyncio.timeout(4 * LONG_SECONDS):
        while bobs_name not in await alice._daemon.get_peers():  # noqa: ASYNC110 - the daemon tells nobody when it has found a peer
            await asyncio.sleep(0.1)


async def test_two_initial_peers_are_enough_and_oneself_is_none(world: Libp2pWorld) -> None:
    alice = await world.join("alice")
    others = [*alice.get_listen_addresses(), NOBODY]
    bob = await world.join("bob", initial_peers=others)
    assert world.get_troubles() == []
    carol = await world.join("carol", initial_peers=[NOBODY, *bob.get_listen_addresses()])
    assert world.get_troubles() == []
    await alice.serve(greet)
    assert await carol.request(
        alice.peer_id, b"found you though one of my two is gone", LONG_SECONDS
    )
    me = f"/ip4/127.0.0.1/tcp/9/p2p/{format_peer_id(key_of('dave').author)}"
    await world.join("dave", initial_peers=[me, *carol.get_listen_addresses()])
    assert world.get_troubles() == ["only one initial peer is known"]


async def test_what_cannot_start_says_why_and_what_to_do(
    world: Libp2pWorld, tmp_path: Path
) -> None:
    alice = await world.join("alice")
    busy = alice.get_listen_addresses()[0].partition("/p2p/")[0]
    with pytest.raises(EngineError, match=rf"port {busy.split('/')[-1]} of .* choose another port"):
        await world.join("bob", listen=busy)
    for typing_error in (
        "alice",
        busy,
        f"/ip4/127.0.0.1/p2p/{NOBODY[-52:]}x",
        f"/ip9/1/tcp/1/p2p/{NOBODY[-52:]}",
    ):
        with pytest.raises(EngineError, match="look at --initial-peers"):
            await world.join("bob", initial_peers=[typing_error])
    with pytest.raises(KeyFileError, match="does not exist"):
        await Libp2pNetwork.start(tmp_path / "missing", tmp_path)
    assert not (tmp_path / "missing").exists(), "hivemind would have made an RSA key there"
    P2P.generate_identity(str(tmp_path / "rsa"))
    with pytest.raises(KeyFileError, match="RSA"):
        await Libp2pNetwork.start(tmp_path / "rsa", tmp_path)
    world.get_identity("carol").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        await world.join("carol")
