"""Which peers stay connected."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from epochgate.core.types import PeerId
from epochgate.engine import connections
from epochgate.engine.connections import ConnectionTrimmer
from tests.support.identities import alice, bob, carol, dave

EVERYBODY = {key.author for key in (alice, bob, carol, dave)}


class MemoryConnections:
    """Everybody is connected until the trimmer disconnects them."""

    def __init__(self) -> None:
        self.connected = set(EVERYBODY)
        self.protected: set[PeerId] = set()

    async def list_connected(self) -> set[PeerId]:
        return set(self.connected)

    async def protect(self, peers: Iterable[PeerId], /) -> None:
        self.protected = set(peers)

    async def disconnect(self, peers: Iterable[PeerId], /) -> None:
        self.connected -= set(peers)


async def test_without_a_roster_everybody_stays() -> None:
    daemon = MemoryConnections()
    await ConnectionTrimmer().trim(daemon)
    assert daemon.connected == EVERYBODY
    assert daemon.protected == set()


async def test_members_are_protected_and_strangers_stay_while_they_are_few() -> None:
    daemon = MemoryConnections()
    trimmer = ConnectionTrimmer()
    trimmer.set_members([alice.author, bob.author])
    await trimmer.trim(daemon)
    assert daemon.connected == EVERYBODY
    assert daemon.protected == {alice.author, bob.author}


async def test_many_strangers_are_disconnected_but_for_initial_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_STRANGERS_CONNECTED", 1)
    daemon = MemoryConnections()
    trimmer = ConnectionTrimmer([dave.author])
    trimmer.set_members([alice.author])
    await trimmer.trim(daemon)
    assert daemon.connected == {alice.author, dave.author}


async def test_a_member_that_leaves_the_roster_is_disconnected_once() -> None:
    daemon = MemoryConnections()
    trimmer = ConnectionTrimmer()
    trimmer.set_members([alice.author, bob.author])
    trimmer.set_members([])
    trimmer.set_members([alice.author])
    await trimmer.trim(daemon)
    assert daemon.connected == EVERYBODY - {bob.author}

    daemon.connected.add(bob.author)
    await trimmer.trim(daemon)
    assert daemon.connected == EVERYBODY, "as a stranger it may come back"


async def test_only_other_members_call_for_a_look() -> None:
    trimmer = ConnectionTrimmer()
    trimmer.set_members([alice.author])
    assert trimmer.changed.is_set()
    trimmer.changed.clear()
    trimmer.set_members([alice.author])
    assert not trimmer.changed.is_set()
