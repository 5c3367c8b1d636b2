"""Heartbeats: what a node says of itself while it serves (docs/spec.md#8-heartbeats)."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from epochgate.core.sanitize import PRINTABLE


class ServerState(enum.IntEnum):
    """JOINING at start, ONLINE when ready, OFFLINE at shutdown."""

    OFFLINE = 0
    JOINING = 1
    ONLINE = 2


Name = Annotated[str, Field(max_length=64, pattern=PRINTABLE)]
Version = Annotated[str, Field(max_length=32, pattern=PRINTABLE)]


class Heartbeat(BaseModel):
    """A subnet that wants to say more subclasses it: `class MyHeartbeat(Heartbeat): model_name:
    Name = ""`.

    `role` is the key it stands under (a node in both roles has two), `throughput` requests a
    second, `policy_digest` is `Policy.digest` in hex.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    state: ServerState
    role: Literal["hoster", "validator"]
    throughput: Annotated[float, Field(ge=0)]
    public_name: Name
    version: Version
    policy_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def to_bytes(self) -> bytes:
        """The payload that `Map` decodes to an equal heartbeat."""
        return msgspec.msgpack.encode(self.model_dump())
