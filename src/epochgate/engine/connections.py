"""Which peers stay connected: members of the roster always, others while they are few."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from epochgate.core.types import PeerId

MAX_STRANGERS_CONNECTED = 64
"""Newcomers look for their place, and others bootstrap: these are few. Beyond this many, all
strangers are disconnected.
"""


class Connections(Protocol):
    """The part of the daemon that closes connections."""

    async def list_connected(self) -> set[PeerId]: ...

    async def protect(self, peers: Iterable[PeerId], /) -> None: ...

    async def disconnect(self, peers: Iterable[PeerId], /) -> None: ...


class ConnectionTrimmer:
    """Protects members' connections, and closes those of peers that left and of many strangers."""

    def __init__(self, initial_peers: Iterable[PeerId] = ()) -> None:
        """Begin without a roster.

        Args:
            initial_peers: Peers that this node bootstraps with; they never count as strangers.
        """
        self.changed = asyncio.Event()
        """Set when there are other members than before."""
        self._initial_peers = frozenset(initial_peers)
        self._members: frozenset[PeerId] = frozenset()
        self._leavers: frozenset[PeerId] = frozenset()
        """Peers that were members, and have not been disconnected yet."""

    def set_members(self, members: Iterable[PeerId]) -> None:
        """Take the peers on the newest roster; none at all mean that no roster is known."""
        members = frozenset(members)
        if members != self._members:
            self._leavers = (self._leavers | self._members) - members
            self._members = members
            self.changed.set()

    async def trim(self, daemon: Connections) -> None:
        """Protect and close connections. Without a roster nothing is done."""
        if not self._members:
            return
        connected = await daemon.list_connected()
        leavers = self._leavers
        await daemon.protect(connected & self._members)
        strangers = connected - self._members - self._initial_peers
        if len(strangers) > MAX_STRANGERS_CONNECTED:
            await daemon.disconnect(strangers)
        else:
            await daemon.disconnect(strangers & leavers)
        self._leavers -= leavers
