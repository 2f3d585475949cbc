"""`ratchet doctor`: what is missing on this machine, and how to get it.

It reads metadata, files and ports, and imports none of the heavy packages that it asks about.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ratchet.cli import daemon, ports
from ratchet.cli.processes import find_marked
from ratchet.cli.requirements import REQUIREMENTS, Requirement, find_installed, find_problem
from ratchet.cli.services import Service, list_services, project_root
from ratchet.clock import SystemClock
from ratchet.errors import ConfigurationError, RatchetError
from ratchet.registry import FileRegistry
from ratchet.settings import Settings

_MINIMUM_PYTHON = (3, 11)
_DISK_NEEDED_BYTES = 500_000_000
_DISK_WANTED_BYTES = 5_000_000_000
_OPTIONAL_PROGRAMS = {
    "redis-server": "for Redis engines",
    "postgres": "for Postgres engines",
    "chromium": "for screenshots of the user interfaces",
}


@dataclass(frozen=True)
class Check:
    """One finding: `ok` fits, `warn` limits something, `missing` stops something from working."""

    name: str
    status: Literal["ok", "warn", "missing"]
    detail: str
    remedy: str = ""


def examine(settings: Settings) -> list[Check]:
    """Look at everything that Ratchet needs on this machine; nothing is changed."""
    return [
        _check_python(),
        *(check_package(requirement, find_installed(requirement.name)) for requirement in REQUIREMENTS),
        _check_checkout(),
        _check_home(settings.root),
        _check_disk(settings.root),
        *(_check_port(settings, service) for service in list_services(settings) if service.port),
        *_check_addresses(settings),
        _check_left_behind(settings.root),
        *_check_registry(settings),
        *(_check_program(name, purpose) for name, purpose in _OPTIONAL_PROGRAMS.items()),
    ]


def check_package(requirement: Requirement, installed: str | None) -> Check:
    """Compare an installed version, None for not installed, with what is required."""
    problem = find_problem(requirement, installed)
    if problem is None:
        return Check(requirement.name, "ok", str(installed))
    return Check(requirement.name, "missing", problem, f"pip install '{requirement.specifier}'")


def _check_python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if os.name != "posix":
        return Check("Python", "warn", f"{version} on {sys.platform}", "ratchet up needs Linux or macOS")
    if sys.version_info[:2] < _MINIMUM_PYTHON:
        return Check("Python", "missing", version, "install Python 3.11 or later")
    return Check("Python", "ok", version)


def _check_checkout() -> Check:
    try:
        root = project_root()
    except ConfigurationError as error:
        return Check("checkout", "missing", str(error), "clone the repository and run: pip install -e .")
    if find_spec("flows") is None and Path.cwd() != root:
        return Check("checkout", "warn", f"{root}, but flows/ cannot be imported here", f"cd {root}")
    return Check("checkout", "ok", str(root))


def _check_home(home: Path) -> Check:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check("home", "missing", f"{existing} cannot be written", "choose another folder with RATCHET_HOME")
    return Check("home", "ok", str(home) if home.exists() else f"{home} (made when it is first needed)")


def _check_disk(home: Path) -> Check:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1e9:.1f} GB free"
    remedy = "make room, or choose another disk with RATCHET_HOME"
    if free < _DISK_NEEDED_BYTES:
        return Check("disk", "missing", detail, remedy)
    return Check("disk", "warn" if free < _DISK_WANTED_BYTES else "ok", detail, remedy)


def _check_port(settings: Settings, service: Service) -> Check:
    name = f"port of {service.name}"
    host, port = service.host or "", service.port or 0
    if ports.is_free(host, port):
        return Check(name, "ok", f"{port} is free")
    holder = ports.find_holder(port)
    if holder in {process.pid for process in find_marked(settings.root)}:
        return Check(name, "ok", f"{port} is held by our own process {holder}")
    return Check(
        name,
        "missing",
        f"{port} is held by {ports.describe_holder(port)}",
        f"stop it, or choose another port with {service.port_variable}",
    )


def _check_addresses(settings: Settings) -> list[Check]:
    return [
        Check(
            f"address of {service.name}",
            "warn",
            f"{service.host} can be reached from other machines, and the service asks for no password",
            "bind it to 127.0.0.1, or put a proxy with authentication in front",
        )
        for service in list_services(settings)
        if service.host and not _is_loopback(service.host)
    ]


def _is_loopback(host: str) -> bool:
    try:
        address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return False
    return address == "::1" or address.startswith("127.")


def _check_left_behind(home: Path) -> Check:
    if daemon.is_running(home):
        return Check("services", "ok", "running, supervised")
    left = find_marked(home)
    if left:
        return Check("services", "warn", f"{len(left)} processes without their supervisor", "run: ratchet down")
    return Check("services", "ok", "not running (start them with: ratchet up)")


def _check_registry(settings: Settings) -> list[Check]:
    try:
        with FileRegistry(
            settings.root / "registry", settings.registry_database_url, SystemClock(), read_only=True
        ) as registry:
            versions = registry.list_models()
    except RatchetError as error:
        return [Check("registry", "missing", str(error), "check RATCHET_REGISTRY_URL and the folder's permissions")]
    live = [f"{version.name} {version.version}" for version in versions if version.stage == "production"]
    return [
        Check("registry", "ok", f"{len(versions)} versions"),
        Check("production", "ok", ", ".join(live) or "no model yet (turn the loop once with: ratchet run)"),
    ]


def _check_program(name: str, purpose: str) -> Check:
    path = shutil.which(name)
    if path:
        return Check(name, "ok", path)
    return Check(name, "warn", f"not found; optional, {purpose}", "install it with the system's package manager")
