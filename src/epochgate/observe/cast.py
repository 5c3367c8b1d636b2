"""Who takes part in a devnet: nodes named for their role, known to each other by peer id."""

from __future__ import annotations

import msgspec

PEER_ID_TAIL = 6


class Actor(msgspec.Struct, frozen=True):
    """One node. `peer_id` is its text form, `12D3KooW...`; `role` is `hoster` or `validator`,
    `adversary` what it plays where it is none of the honest.
    """

    name: str
    role: str
    peer_id: str
    adversary: str | None = None


class Cast(msgspec.Struct, frozen=True):
    """All nodes of a devnet, hosters first."""

    actors: tuple[Actor, ...]

    @property
    def peer_ids(self) -> tuple[str, ...]:
        return tuple(actor.peer_id for actor in self.actors)

    @property
    def hosters(self) -> tuple[str, ...]:
        return tuple(actor.peer_id for actor in self.actors if actor.role == "hoster")

    @property
    def validators(self) -> tuple[str, ...]:
        return tuple(actor.peer_id for actor in self.actors if actor.role == "validator")

    @property
    def adversaries(self) -> frozenset[str]:
        return frozenset(actor.peer_id for actor in self.actors if actor.adversary is not None)

    def get_name(self, peer_id: str) -> str:
        """The node's name, or the end of the peer id of one that is not in the cast."""
        return next(
            (actor.name for actor in self.actors if actor.peer_id == peer_id), shorten(peer_id)
        )

    def name_peers(self, words: str) -> str:
        """The same words with names in the place of peer ids."""
        for actor in self.actors:
            words = words.replace(actor.peer_id, actor.name)
        return words


def shorten(peer_id: str) -> str:
    """The end of a peer id, which tells nodes apart; all Ed25519 ones begin alike."""
    return "…" + peer_id[-PEER_ID_TAIL:]
