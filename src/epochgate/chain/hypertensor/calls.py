"""What goes into a call, by the names that the chain's live metadata gives its fields.

The deployed runtime and the newest source differ: `propose_attestation` and `attest` gain
`subnet_node_id`, registration names a validator identity. So a call is filled by name from all that
is known, and never by position.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec

from epochgate.core.types import Epoch, Hash32, PeerId
from epochgate.ports import ChainRefused, Submission

MAX_ARGS_BYTES = 4096
"""`DefaultValidatorArgsLimit` of the network pallet."""
ARGS_FORMAT = 1
MAX_PEER_ID_CHARACTERS = 60


class Field(msgspec.Struct, frozen=True):
    """One argument as the metadata names it: `subnet_id`, `Option<u32>`."""

    name: str
    type_name: str


class Args(msgspec.Struct, frozen=True, array_like=True):
    """What a submission says beside its scores, in its `args`: MessagePack of an array.

    `scores` are read only of those for whom the chain took none, which it does for nodes alone that
    it has in its consensus then: attestors compare everybody's, also of those who have left.
    """

    format: int
    epoch: Epoch
    bitmaps: tuple[bytes, ...]
    root: Hash32
    scores: dict[PeerId, int] = {}


_decoder = msgspec.msgpack.Decoder(Args)


def fill_call(call: str, fields: Sequence[Field], known: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `call`; what is optional and unknown is left out. Raises ChainRefused for
    any other unknown field.
    """
    filled: dict[str, Any] = {}
    for field in fields:
        if field.name in known:
            filled[field.name] = known[field.name]
        elif field.type_name.startswith("Option<"):
            filled[field.name] = None
        else:
            raise ChainRefused(
                f"the chain's {call} asks for {field.name!r} ({field.type_name}), which this"
                " version does not know: install a newer epochgate"
            )
    return filled


def encode_submission(submission: Submission, listed: Container[PeerId]) -> bytes:
    """The args of `submission`, `listed` being those for whom the chain takes scores now.

    A node may leave before the submission is in a block, so everybody's scores are in, where they
    fit; else those only of whom has left. Raises ChainRefused as `encode_args`.
    """
    try:
        return encode_args(
            Args(
                ARGS_FORMAT,
                submission.epoch,
                submission.bitmaps,
                submission.root,
                submission.scores,
            )
        )
    except ChainRefused:
        unlisted = {
            author: score for author, score in submission.scores.items() if author not in listed
        }
        return encode_args(
            Args(ARGS_FORMAT, submission.epoch, submission.bitmaps, submission.root, unlisted)
        )


def encode_args(args: Args) -> bytes:
    """Raises ChainRefused when the chain would not take that many bytes."""
    data = msgspec.msgpack.encode(args)
    if len(data) > MAX_ARGS_BYTES:
        raise ChainRefused(
            f"the submission's set takes {len(data)} bytes and the chain at most {MAX_ARGS_BYTES}:"
            " the roster is too large"
        )
    return data


def decode_args(data: bytes | None) -> Args | None:
    """None for what is no such array: the elected node may have put anything there."""
    try:
        args = _decoder.decode(data or b"")
    except msgspec.MsgspecError:
        return None
    return args if args.format == ARGS_FORMAT else None


def read_bytes(value: Any) -> bytes:
    """A `Vec<u8>` as the client library decodes it: text where it happens to be UTF-8, else `0x`
    and hexadecimal.

    Only for values whose encoding is known not to be text that begins with `0x`.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
    return bytes(value or ())
