"""A registry without a transaction: stages in each version's `metadata.json`, a pointer file beside them.

Every file is written in place. The batteries must find it broken.
"""

from __future__ import annotations

import json
from pathlib import Path

VERSIONS = ("v1.0.0", "v1.1.0", "v1.2.0")


def prepare(root: Path) -> None:
    """Three versions, v1.1.0 live."""
    for version in VERSIONS:
        (root / version).mkdir(parents=True)
        _write_stage(root, version, "production" if version == "v1.1.0" else "archived")
    (root / "production").write_text("v1.1.0")


def live(root: Path) -> str:
    """Return the version that the pointer file names."""
    return (root / "production").read_text()


def promote(root: Path, version: str) -> None:
    """Move the flag, then the pointer."""
    _write_stage(root, live(root), "archived")
    _write_stage(root, version, "production")
    (root / "production").write_text(version)


def register(root: Path, version: str, model: bytes) -> None:
    """Write a version's files, then rename the folder into place."""
    staged = root / "staged"
    staged.mkdir()
    (staged / "model.onnx").write_bytes(model)
    staged.rename(root / version)


def broken(root: Path) -> list[str]:
    """Return every broken promise; the same ones that the real registry is asked for."""
    flagged, found = [], []
    for version in VERSIONS:
        try:
            stage = json.loads((root / version / "metadata.json").read_text())["stage"]
        except (OSError, ValueError) as error:
            found.append(f"{version} is damaged: {error}")
            continue
        flagged += [version] if stage == "production" else []
    if len(flagged) != 1:
        found.append(f"{len(flagged)} versions in production")
    try:
        target = live(root)
    except OSError as error:
        return [*found, f"there is no pointer: {error}"]
    if [target] != flagged:
        found.append(f"the pointer says {target!r}, the flags say {flagged}")
    return found


def _write_stage(root: Path, version: str, stage: str) -> None:
    (root / version / "metadata.json").write_text(json.dumps({"version": version, "stage": stage}))
