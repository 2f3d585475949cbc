"""Which files a version may consist of, and whether each is what its name says. Nothing here unpickles."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import NoReturn

from ratchet.errors import CandidateRejectedError, InputError
from ratchet.registry.golden import GOLDEN_FILE
from ratchet.registry.inspection.limits import InspectionLimits
from ratchet.registry.inspection.weights import check_safetensors, check_state_dict
from ratchet.registry.names import MODEL_FILE, check_file_name

WEIGHTS_FILE = "model.pt"
_PNG = b"\x89PNG\r\n\x1a\n"
_PARQUET = b"PAR1"
_CHUNK_BYTES = 1 << 16


def check_names_and_sizes(files: Mapping[str, bytes], limits: InspectionLimits) -> None:
    """Check what can be told without looking into a file.

    Raises:
        CandidateRejectedError: a file is missing, is of a kind that is not accepted, or is too large.
    """
    for filename in (MODEL_FILE, GOLDEN_FILE):
        if filename not in files:
            raise CandidateRejectedError(f"{filename}: missing; a candidate needs {MODEL_FILE} and {GOLDEN_FILE}")
    if len(files) > limits.max_files:
        raise CandidateRejectedError(f"{len(files)} files; at most {limits.max_files} are accepted")
    for filename, content in files.items():
        _check_name(filename)
        most = limits.max_json_bytes if filename.endswith(".json") else limits.max_file_bytes
        if len(content) > most:
            raise CandidateRejectedError(f"{filename}: {len(content):,} bytes; at most {most:,} are accepted")
    total = sum(map(len, files.values()))
    if total > limits.max_total_bytes:
        raise CandidateRejectedError(
            f"the files have {total:,} bytes together; at most {limits.max_total_bytes:,} are accepted"
        )


def check_content(filename: str, content: bytes) -> None:
    """Check that a file other than the model is what its name says; run it where a limit of memory holds.

    Raises:
        CandidateRejectedError: it is not.
    """
    check = _BY_NAME.get(filename) or _BY_SUFFIX.get(PurePosixPath(filename).suffix)
    if check is not None:
        check(filename, content)


def _check_name(filename: str) -> None:
    try:
        check_file_name(filename)
    except InputError as error:
        raise CandidateRejectedError(str(error)) from error
    if filename != MODEL_FILE and filename not in _BY_NAME and PurePosixPath(filename).suffix not in _BY_SUFFIX:
        accepted = ", ".join(sorted({MODEL_FILE, *_BY_NAME} | {f"*{suffix}" for suffix in _BY_SUFFIX}))
        raise CandidateRejectedError(f"{filename}: not a kind of file that is accepted; store {accepted}")


def _check_json(filename: str, content: bytes) -> None:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CandidateRejectedError(f"{filename}: not JSON: {error}") from error


def _check_text(filename: str, content: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), _CHUNK_BYTES):
            decoder.decode(content[start : start + _CHUNK_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CandidateRejectedError(f"{filename}: not UTF-8 text: {error.reason}") from error
    if b"\0" in content:
        raise CandidateRejectedError(f"{filename}: not text: it holds zero bytes")


def _check_png(filename: str, content: bytes) -> None:
    if not content.startswith(_PNG):
        raise CandidateRejectedError(f"{filename}: not a PNG picture")


def _check_parquet(filename: str, content: bytes) -> None:
    if len(content) < 3 * len(_PARQUET) or not (content.startswith(_PARQUET) and content.endswith(_PARQUET)):
        raise CandidateRejectedError(f"{filename}: not a Parquet file")


_BY_NAME: dict[str, Callable[[str, bytes], None]] = {WEIGHTS_FILE: check_state_dict}
_BY_SUFFIX: dict[str, Callable[[str, bytes], None]] = {
    ".json": _check_json,
    ".md": _check_text,
    ".html": _check_text,
    ".csv": _check_text,
    ".png": _check_png,
    ".parquet": _check_parquet,
    ".safetensors": check_safetensors,
}
