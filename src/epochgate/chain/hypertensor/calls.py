"""The arguments of a call, filled by the names that the chain's live metadata gives its fields.

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


class Field(msgspec.Struct, frozen=True):
    """One argument of a call as the metadata describes it, such as `subnet_id` of type `u32`."""

    name: str
    type_name: str


class Args(msgspec.Struct, frozen=True, array_like=True):
    """The part of a submission that the chain stores without reading it, a MessagePack array.

    The chain takes scores only for the nodes in its consensus when a block takes the submission.
    `scores` holds those of nodes that have left by then, because attestors compare the scores of
    the whole roster. For a node in the consensus the chain's own entry counts, never this one.
    """

    format: int
    epoch: Epoch
    bitmaps: tuple[bytes, ...]
    root: Hash32
    scores: dict[PeerId, int] = {}


_decoder = msgspec.msgpack.Decoder(Args)


def fill_call(call: str, fields: Sequence[Field], known: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the arguments of a call by name.

    Args:
        call: The call's name, for the error.
        fields: Its arguments, as the live metadata describes them.
        known: Values by the name of their argument; more than the call takes.

    Returns:
        One value for each field; None for one that is optional and unknown.

    Raises:
        ChainRefused: A field that is not optional is unknown.
    """
    filled: dict[str, Any] = {}
    for field in fields:
        if field.name in known:
            filled[field.name] = known[field.name]
        elif field.type_name.startswith("Option<"):
            filled[field.name] = None
        else:
            raise ChainRefused(
                f"the chain's {call} asks for {field.name!r} ({field.type_name}), which"
                " this version does not know",
                "install a newer epochgate",
            )
    return filled


def encode_submission(submission: Submission, listed: Container[PeerId]) -> bytes:
    """Encode the `args` that go to the chain with a submission.

    A node may leave before a block takes the submission, so the scores of all nodes go in where
    they fit, and otherwise only those of nodes that are not `listed`.

    Args:
        submission: The elected node's submission.
        listed: The nodes for which the chain takes scores now.

    Returns:
        At most MAX_ARGS_BYTES bytes.

    Raises:
        ChainRefused: The chain does not take that many bytes.
    """
    everything = Args(
        ARGS_FORMAT, submission.epoch, submission.bitmaps, submission.root, submission.scores
    )
    try:
        return encode_args(everything)
    except ChainRefused:
        unlisted = {
            author: score for author, score in submission.scores.items() if author not in listed
        }
        return encode_args(msgspec.structs.replace(everything, scores=unlisted))


def encode_args(args: Args) -> bytes:
    """Encode `args`. Raise ChainRefused where they take more bytes than the chain does."""
    data = msgspec.msgpack.encode(args)
    if len(data) > MAX_ARGS_BYTES:
        raise ChainRefused(
            f"the submission's set takes {len(data)} bytes and the chain at most {MAX_ARGS_BYTES}:"
            " the roster is too large"
        )
    return data


def decode_args(data: bytes | None) -> Args | None:
    """Decode `args` of this format; None for anything else, which an elected node may submit."""
    try:
        args = _decoder.decode(data or b"")
    except msgspec.MsgspecError:
        return None
    if args.format != ARGS_FORMAT:
        return None
    return args


def read_bytes(value: Any) -> bytes:
    """Read a `Vec<u8>` as the client library decodes it.

    The library makes it text where it is UTF-8, and otherwise `0x` and hexadecimal digits. So this
    is only for values that are never text beginning with `0x`.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    if isinstance(value, str):
        return value.encode()
    return bytes(value or ())
