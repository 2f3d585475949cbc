"""Which registry the settings mean; the only place that chooses one."""

from __future__ import annotations

from ratchet.clock import Clock
from ratchet.registry.files import FileRegistry
from ratchet.registry.inspection import CandidateInspector
from ratchet.settings import Settings


def open_registry(settings: Settings, clock: Clock, *, read_only: bool = False) -> FileRegistry:
    """Open the registry below the settings' home folder; a context manager that closes it.

    What is registered through it is inspected first, in a process with limits.

    Raises:
        ConfigurationError: its URL cannot be used.
    """
    folder, url = settings.root / "registry", settings.registry_database_url
    return FileRegistry(folder, url, clock, read_only=read_only, inspect=None if read_only else CandidateInspector())
