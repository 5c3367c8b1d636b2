"""One plain tensor that `torch.save` wrote, read without unpickling anything.

The file is a zip of stored members (APPNOTE.TXT 4.3): `data.pkl` says what the tensor is, `data/0`
holds its elements. The pickle of one plain tensor has one form, so it is matched as text. No
pickle is ever run, so one that would make an unpickler do something else is refused like any other.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from epochgate.core.schema import Malformed
from epochgate.schemas.layout import MAX_DIMENSIONS, Layout

MAGIC = b"PK\x03\x04"
MAX_OVERHEAD_BYTES = 8192
"""All of the file but the elements: about 1.6 KB today, a few more with alignment."""
MAX_PICKLE_BYTES = 1024
MAX_MEMBERS = 12

_KINDS = {
    b"BoolStorage": "bool",
    b"ByteStorage": "uint8",
    b"CharStorage": "int8",
    b"ShortStorage": "int16",
    b"IntStorage": "int32",
    b"LongStorage": "int64",
    b"HalfStorage": "float16",
    b"BFloat16Storage": "bfloat16",
    b"FloatStorage": "float32",
    b"DoubleStorage": "float64",
}
_MEMBERS = frozenset(
    {
        b"data.pkl",
        b"data/0",
        b"version",
        b"byteorder",
        b".format_version",
        b".storage_alignment",
        b".data/serialization_id",
    }
)

_END = struct.Struct("<4sHHHHIIH")
"""End of central directory: signature, two disk numbers, entries here and in all, size and offset
of the directory, comment.
"""
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
"""Central header: signature, versions, flags, method, time, date, CRC, both sizes, lengths of name,
extra and comment, disk, attributes, offset of the local header.
"""
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_KNOWN_FLAGS = 0x0808
"""The CRC follows the data; the name is UTF-8. Any other flag (encrypted, patched) is refused."""


class _Member(NamedTuple):
    first_byte: int
    size_bytes: int
    crc: int


def _compile_pickle() -> re.Pattern[bytes]:
    """PROTO 2, `_rebuild_tensor_v2` of a storage by persistent id, offset, shape, stride, no
    gradient, no hooks, STOP.

    In the form, `<` is an integer, `@` a tuple of them, and `~` a memo entry, which one tensor
    never needs.
    """
    integer = rb"(?:K.|M..|J....)"
    sides = rb"(\)|<\x85|<<\x86|<<<\x87|\((?:<){4,%d}t)" % MAX_DIMENSIONS
    form = (
        rb"\x80\x02ctorch\._utils\n_rebuild_tensor_v2\n~\("
        rb"\(X\x07\x00\x00\x00storage~ctorch\n([A-Za-z0-9]{1,20})\n~"
        rb"X\x01\x00\x00\x000~X\x03\x00\x00\x00cpu~(<)t~Q"
        rb"(<)@~@~\x89ccollections\nOrderedDict\n~\)R~t~R~\."
    )
    form = form.replace(b"~", rb"(?:q.)?").replace(b"@", sides).replace(b"<", integer)
    return re.compile(form, re.DOTALL)


_match_pickle = _compile_pickle().fullmatch
_INTEGERS = re.compile(rb"K(.)|M(..)|J(....)", re.DOTALL)


def find_tensor(data: bytes) -> Layout:
    """Find the tensor of a `torch.save` file.

    It accepts the files that `torch.save(tensor.detach().cpu().contiguous().clone(), file)` writes:
    one contiguous tensor that covers its storage exactly, without a gradient. A module, a
    dictionary, a subclass, a strided or shared view is refused.

    Args:
        data: The whole file, by anybody.

    Returns:
        Where the tensor lies in it.

    Raises:
        Malformed: The file is anything else. Nothing else is raised.
    """
    # Stops "pickle anywhere" and "truncated and bit-flipped records".
    try:
        members = dict(_find_members(data))
        pickle = members[b"data.pkl"]
        storage = members[b"data/0"]
    except (struct.error, KeyError, IndexError) as error:
        raise Malformed(
            f"expected the zip of torch.save with data.pkl and data/0: {error}"
        ) from None
    if pickle.size_bytes > MAX_PICKLE_BYTES:
        raise Malformed(
            f"expected a pickle of at most {MAX_PICKLE_BYTES} bytes, saw {pickle.size_bytes}"
        )
    if b"byteorder" in members and _read_member(data, members[b"byteorder"]) != b"little":
        raise Malformed("expected little-endian data")
    layout = _parse_pickle(_read_member(data, pickle), storage.first_byte)
    if layout.size_bytes != storage.size_bytes:
        raise Malformed(
            f"expected a storage of {layout.size_bytes} bytes, saw {storage.size_bytes}"
        )
    _read_member(data, storage)
    return layout


def _parse_pickle(pickle: bytes, first_byte: int) -> Layout:
    match = _match_pickle(pickle)
    dtype = None
    if match is not None:
        dtype = _KINDS.get(match[1])
    if match is None or dtype is None:
        raise Malformed(
            "expected torch.save of one plain tensor: detached, on the CPU, of a common dtype; saw"
            " another pickle"
        )
    (elements,), (offset,), shape, stride = (_read_integers(part) for part in match.groups()[1:])
    steps = []
    count = 1
    for side in reversed(shape):
        steps.append(count)
        count *= max(side, 1)
    # The stride along a side of one element is never used, so it may be anything.
    strided = any(
        side > 1 and step != due
        for side, step, due in zip(shape, stride, reversed(steps), strict=False)
    )
    if len(shape) != len(stride) or min((elements, *shape)) < 0 or strided:
        raise Malformed(f"expected a contiguous tensor, saw shape {shape} with strides {stride}")
    if offset or elements != (0 if 0 in shape else count):
        raise Malformed(
            f"expected a tensor that covers its storage, saw shape {shape} at {offset} of"
            f" {elements} elements"
        )
    return Layout(dtype, shape, first_byte)


def _read_integers(part: bytes) -> tuple[int, ...]:
    return tuple(
        int.from_bytes(one or two or four, "little", signed=bool(four))
        for one, two, four in _INTEGERS.findall(part)
    )


def _find_members(data: bytes) -> Iterator[tuple[bytes, _Member]]:
    """Names, without their common folder, and members. The central directory decides; nothing is
    read that it does not name.
    """
    offset, entries = _find_directory(data)
    folder = None
    seen = set()
    for _ in range(entries):
        fields = _ENTRY.unpack_from(data, offset)
        offset += _ENTRY.size
        path = data[offset : offset + fields[10]]
        offset += sum(fields[10:13])
        root, _, name = path.partition(b"/")
        if folder is None:
            folder = root
        if root != folder or name not in _MEMBERS or name in seen:
            raise Malformed("expected the members of torch.save, each once, in one folder")
        is_plain = not fields[3] & ~_KNOWN_FLAGS and not fields[4] and fields[8] == fields[9]
        if fields[0] != b"PK\x01\x02" or not is_plain:
            raise Malformed(
                "expected members that are stored as they are: neither compressed nor encrypted"
            )
        seen.add(name)
        yield name, _locate(data, fields[16], size_bytes=fields[9], crc=fields[7])


def _find_directory(data: bytes) -> tuple[int, int]:
    """The offset of the central directory, and how many entries it has."""
    signature, _, _, entries, entries_in_all, _, offset, comment = _END.unpack_from(
        data, len(data) - _END.size
    )
    if (
        signature != b"PK\x05\x06"
        or comment
        or entries != entries_in_all
        or not 0 < entries <= MAX_MEMBERS
    ):
        raise Malformed(f"expected the end of a zip of at most {MAX_MEMBERS} members")
    return offset, entries


def _locate(data: bytes, local_offset: int, *, size_bytes: int, crc: int) -> _Member:
    """The member behind a local header, which is only asked for its own length."""
    signature, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(data, local_offset)
    first_byte = local_offset + _LOCAL.size + name_bytes + extra_bytes
    if signature != MAGIC or first_byte + size_bytes > len(data):
        raise Malformed("expected each member inside the file, behind its header")
    return _Member(first_byte, size_bytes, crc)


def _read_member(data: bytes, member: _Member) -> bytes:
    content = data[member.first_byte : member.first_byte + member.size_bytes]
    if zlib.crc32(content) != member.crc:
        raise Malformed("a member's checksum does not fit: the bytes were changed")
    return content
