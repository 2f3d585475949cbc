"""Where a run comes from: its data, features, code, environment, seed and trigger, as tags that are always set."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path

UNKNOWN = "unknown"
_GIT_TIMEOUT_S = 5.0


def lineage_tags(
    *,
    dataset_digest: str,
    feature_views: Mapping[str, str],
    schema_hash: str,
    seed: int,
    trigger_event_id: str,
    trigger_reason: str,
) -> dict[str, str]:
    """Return the tags of what one run was made from; an empty value becomes `unknown`.

    Args:
        dataset_digest: of the dataset's manifest.
        feature_views: version by view.
        schema_hash: of the features that the model reads.
        seed: of training.
        trigger_event_id: the event that asked for the run.
        trigger_reason: why it asked, for people.
    """
    tags = {
        "dataset_digest": dataset_digest,
        "feature_views": ",".join(f"{view}@{version}" for view, version in sorted(feature_views.items())),
        "schema_hash": schema_hash,
        "seed": str(seed),
        "trigger_event_id": trigger_event_id,
        "trigger_reason": trigger_reason,
    }
    return {key: value or UNKNOWN for key, value in tags.items()}


def code_tags(folder: Path) -> dict[str, str]:
    """Return the commit of the checkout that a folder is in, and whether files differ from it.

    Both are `unknown` without git, outside of a checkout, before the first commit, and where git does not answer
    within five seconds.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = None if commit is None else _git(folder, "status", "--porcelain")
    is_dirty = UNKNOWN if changes is None else str(bool(changes)).lower()
    return {"git_commit": commit or UNKNOWN, "git_dirty": is_dirty}


@lru_cache(maxsize=1)
def environment_digest() -> str:
    """Return the SHA-256 over the sorted `name==version` lines of the installed packages, lower-case hex."""
    found = {f"{_canonical(package.metadata['Name'])}=={package.version}" for package in distributions()}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def environment_tags() -> dict[str, str]:
    """Return the installed packages' digest, the version of Python and the platform."""
    return {
        "environment_digest": environment_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _canonical(name: str | None) -> str:
    return (name or UNKNOWN).lower().replace("_", "-").replace(".", "-")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
