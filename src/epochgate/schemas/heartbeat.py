"""Heartbeats: a node's statement about itself while it serves (docs/spec.md#8-heartbeats)."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from epochgate.core.roster import RoleName
from epochgate.core.sanitize import PRINTABLE


class ServerState(enum.IntEnum):
    """JOINING at start, ONLINE when ready, OFFLINE at shutdown."""

    OFFLINE = 0
    JOINING = 1
    ONLINE = 2


Name = Annotated[str, Field(max_length=64, pattern=PRINTABLE)]
Version = Annotated[str, Field(max_length=32, pattern=PRINTABLE)]


class Heartbeat(BaseModel):
    """A node's statement about itself. A subnet that needs more fields subclasses it.

    Attributes:
        state: Whether it is joining, online or offline.
        role: The role, and with it the key, that it stands under; a node in both roles has two.
        throughput: Requests a second that it can answer, finite and not negative.
        public_name: A name for people, up to 64 printable characters.
        version: The version of its software, up to 32 printable characters.
        policy_digest: `Policy.digest` in hex, 64 characters.

    >>> class MyHeartbeat(Heartbeat):
    ...     model_name: str = ""
    >>> heartbeat = MyHeartbeat(
    ...     state=2,
    ...     role="hoster",
    ...     throughput=1.5,
    ...     public_name="alice",
    ...     version="1.0",
    ...     policy_digest="00" * 32,
    ...     model_name="tiny",
    ... )
    >>> Map(MyHeartbeat).decode(heartbeat.to_bytes()) == heartbeat
    True
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    state: ServerState
    role: RoleName
    throughput: Annotated[float, Field(ge=0)]
    public_name: Name
    version: Version
    policy_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def to_bytes(self) -> bytes:
        """The payload that `Map` decodes to an equal heartbeat."""
        return msgspec.msgpack.encode(self.model_dump())
