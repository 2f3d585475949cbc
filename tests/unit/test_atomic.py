"""Atomic files: whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ratchet.data.atomic import sha256_bytes, sha256_file, write_bytes, write_json

ROOT = Path(__file__).resolve().parents[2]
_OVERWRITE_FOREVER = """
import sys
from pathlib import Path
from ratchet.data.atomic import write_bytes
path = Path(sys.argv[1])
print("ready", flush=True)
for number in range(10**9):
    write_bytes(path, b"%d" % (number % 10) * 400_000)
"""


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A write makes missing folders, replaces the content and leaves no temporary file."""
    path = tmp_path / "deep" / "er" / "file.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Where the name cannot be taken over, the error passes through and no temporary file stays."""
    path = tmp_path / "taken"
    (path / "by a folder").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_bytes(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    """A process killed again and again while it overwrites a file never leaves a mixed or short one."""
    path, delays = tmp_path / "file.bin", np.random.default_rng(7)
    write_bytes(path, b"0" * 400_000)
    for _ in range(6):
        command = [sys.executable, "-c", _OVERWRITE_FOREVER, str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delays.uniform(0.0, 0.05))
            child.kill()
        content = path.read_bytes()
        assert len(content) == 400_000
        assert len(set(content)) == 1


def test_json_is_sorted_readable_and_strict(tmp_path: Path) -> None:
    """JSON is written with sorted keys and a last newline, and refuses what JSON does not know."""
    path = tmp_path / "value.json"
    write_json(path, {"b": [1, 2.5], "a": "µ"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "µ",\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "µ", "b": [1, 2.5]}


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_digests_agree_with_hashlib(tmp_path: Path, size: int) -> None:
    """Both digests equal hashlib's, also where the file is longer than one chunk."""
    data = np.random.default_rng(size).bytes(size)
    path = tmp_path / "data"
    write_bytes(path, data)
    assert sha256_file(path) == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_importing_the_module_is_light() -> None:
    """The model server may import atomic files without pandas, numpy or pyarrow."""
    check = "import sys, ratchet.data.atomic; print(sorted({'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
