"""The nodes of a devnet, by name, role and peer id, so that messages can name them."""

from __future__ import annotations

import msgspec

PEER_ID_TAIL = 6


class Actor(msgspec.Struct, frozen=True):
    """One node of a devnet.

    Attributes:
        name: Its name, such as `hoster-1`.
        role: `hoster` or `validator`.
        peer_id: Its peer id as text, `12D3KooW...`.
        adversary: The name of the adversary that it plays; None for an honest node.
    """

    name: str
    role: str
    peer_id: str
    adversary: str | None = None


class Cast(msgspec.Struct, frozen=True):
    """All nodes of a devnet.

    Attributes:
        actors: The nodes, hosters first.
    """

    actors: tuple[Actor, ...]

    @property
    def peer_ids(self) -> tuple[str, ...]:
        """The peer ids of all nodes, as text."""
        return tuple(actor.peer_id for actor in self.actors)

    @property
    def hosters(self) -> tuple[str, ...]:
        """The peer ids of the hosters."""
        return tuple(actor.peer_id for actor in self.actors if actor.role == "hoster")

    @property
    def validators(self) -> tuple[str, ...]:
        """The peer ids of the validators."""
        return tuple(actor.peer_id for actor in self.actors if actor.role == "validator")

    @property
    def adversaries(self) -> frozenset[str]:
        """The peer ids of the nodes that are not honest."""
        return frozenset(actor.peer_id for actor in self.actors if actor.adversary is not None)

    def get_name(self, peer_id: str) -> str:
        """Get a node's name; for a peer that is not of the devnet, the end of its peer id."""
        for actor in self.actors:
            if actor.peer_id == peer_id:
                return actor.name
        return shorten(peer_id)

    def name_peers(self, message: str) -> str:
        """Replace the peer ids in a message by the names of the nodes."""
        for actor in self.actors:
            message = message.replace(actor.peer_id, actor.name)
        return message


def shorten(peer_id: str) -> str:
    """The end of a peer id, since all ids of Ed25519 keys begin alike."""
    return "…" + peer_id[-PEER_ID_TAIL:]
