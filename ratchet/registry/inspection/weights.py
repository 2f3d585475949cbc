"""Files of weights, judged without loading them.

`model.pt` is what `torch.save` writes of a state dict: a zip of uncompressed tensors and one pickle that says where
they belong. That pickle is read as a list of instructions and never carried out: it may name a few constructors of
tensors and nothing else, and may use only the instructions that such a file needs. `torch.load(weights_only=True)`
has a list of its own; this one is shorter, and holds before torch sees a byte.
"""

from __future__ import annotations

import io
import json
import math
import pickletools
import re
import zipfile
from typing import Any

from ratchet.errors import CandidateRejectedError

_MEMBER = re.compile(
    r"[A-Za-z0-9_-]{1,64}/"
    r"(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|data/\d{1,6}|\.data/serialization_id)"
)
_MAX_PICKLE_BYTES = 1 << 18
_END_OF_ZIP_BYTES = 22
_DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
_STORAGES = ["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]
_GLOBALS = (
    {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size"}
    | {f"torch {storage}Storage" for storage in _STORAGES}
    | {f"torch {dtype}" for dtype in _DTYPES}
)
_STATE_DICT_OPCODES = """
    PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS
"""
_OPCODES = frozenset(_STATE_DICT_OPCODES.split())
_MAX_HEADER_BYTES = 1 << 20
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


def check_state_dict(filename: str, content: bytes) -> None:
    """Check that a file is a torch state dict and could not be anything else.

    Raises:
        CandidateRejectedError: it is no such zip, or its pickle names or does something that a state dict does not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_archive(filename, content, archive)
            pickled = [item for item in archive.infolist() if item.filename.endswith("/data.pkl")]
            if len(pickled) != 1 or pickled[0].file_size > _MAX_PICKLE_BYTES:
                raise CandidateRejectedError(f"{filename}: not a state dict: it needs one small data.pkl")
            instructions = archive.read(pickled[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CandidateRejectedError(
            f"{filename}: not a file that torch.save wrote of a state dict: {error}; export one, or leave it out"
        ) from error
    _check_instructions(filename, instructions)


def check_safetensors(filename: str, content: bytes) -> None:
    """Check that a file's header describes exactly the bytes that follow it.

    Raises:
        CandidateRejectedError: it does not.
    """
    n_header = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= n_header <= min(_MAX_HEADER_BYTES, len(content) - 8):
        raise CandidateRejectedError(f"{filename}: not a safetensors file: its header has no possible length")
    try:
        header = json.loads(content[8 : 8 + n_header])
        ends = sorted(_range(tensor) for name, tensor in header.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CandidateRejectedError(f"{filename}: not a safetensors file: its header is malformed") from error
    position = 0
    for start, end in ends:
        if start != position:
            raise CandidateRejectedError(f"{filename}: tensors overlap or leave a gap at byte {position}")
        position = end
    if position != len(content) - 8 - n_header:
        raise CandidateRejectedError(f"{filename}: the header describes {position} bytes of tensors, not what is there")


def _check_archive(filename: str, content: bytes, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    for item in members:
        if not _MEMBER.fullmatch(item.filename):
            raise CandidateRejectedError(f"{filename}: {item.filename[:80]!r} does not belong into a state dict")
        if item.compress_type != zipfile.ZIP_STORED or item.file_size != item.compress_size or item.flag_bits & 1:
            raise CandidateRejectedError(f"{filename}: {item.filename} is compressed or encrypted; torch.save does not")
    if len({item.filename for item in members}) != len(members):
        raise CandidateRejectedError(f"{filename}: a part is there twice")
    # Readers may find another archive in the same bytes if something stands before or after this one.
    if min((item.header_offset for item in members), default=0) != 0 or archive.comment:
        raise CandidateRejectedError(f"{filename}: there is something before or after the archive")
    if content[-_END_OF_ZIP_BYTES:][:4] != b"PK\x05\x06" or sum(item.file_size for item in members) > len(content):
        raise CandidateRejectedError(f"{filename}: its parts overlap or do not end where the file does")


def _check_instructions(filename: str, instructions: bytes) -> None:
    end = 0
    try:
        for opcode, argument, position in pickletools.genops(instructions):
            if opcode.name not in _OPCODES:
                raise CandidateRejectedError(f"{filename}: its pickle uses {opcode.name}, which no state dict needs")
            if opcode.name == "GLOBAL" and argument not in _GLOBALS:
                raise CandidateRejectedError(
                    f"{filename}: its pickle names {str(argument)[:80]!r}, which could run code"
                )
            end = (position or 0) + 1
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise CandidateRejectedError(f"{filename}: its pickle is malformed: {error}") from error
    if end != len(instructions):
        raise CandidateRejectedError(f"{filename}: something stands after its pickle")


def _range(tensor: dict[str, Any]) -> tuple[int, int]:
    """Return first and last byte of a tensor whose shape and type need exactly these."""
    start, end = tensor["data_offsets"]
    shape = tensor["shape"]
    sizes_are_numbers = all(type(size) is int and size >= 0 for size in (*shape, start, end))
    if not sizes_are_numbers or end - start != math.prod(shape) * _ITEM_BYTES[tensor["dtype"]]:
        raise ValueError("shape and bytes do not match")
    return start, end
