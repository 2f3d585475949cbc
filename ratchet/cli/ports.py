"""Whether a port can be bound, and who holds it otherwise."""

from __future__ import annotations

import os
import socket

import psutil  # type: ignore[import-untyped]


def is_free(host: str, port: int) -> bool:
    """Return whether a server could bind this address now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as servers do, so that a connection in TIME_WAIT does not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True


def find_free(host: str) -> int:
    """Return a port of `host` on which nobody listens now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def find_holder(port: int) -> int | None:
    """Return the pid that listens on a port, None where the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return int(connection.pid)
    return None


def describe_holder(port: int) -> str:
    """Return who listens on a port, in words."""
    pid = find_holder(port)
    if pid is None:
        return "another process"
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"
