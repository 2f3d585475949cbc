"""`ratchet up`, `ratchet down` and `ratchet status`: the services of one home folder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from ratchet.cli import daemon, ports
from ratchet.cli.deployment import deploy_flows
from ratchet.cli.health import is_healthy
from ratchet.cli.plan import Plan, ProcessRecord, SupervisorRecord, last_words, log_path, read_state
from ratchet.cli.processes import find_marked
from ratchet.cli.services import Service, build_plan, list_services, project_root
from ratchet.clock import NS_PER_S
from ratchet.errors import ConfigurationError, RatchetError, UnavailableError
from ratchet.settings import Settings

_POLL_S = 0.3
_HOPELESS_AFTER_RESTARTS = 3


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `ratchet status`."""

    name: str
    state: str
    """healthy, not answering, waiting, backing off, stopped, or left behind (its supervisor was killed)."""
    pid: int | None
    restarts: int
    uptime_s: float | None
    url: str | None
    log: str

    @property
    def is_healthy(self) -> bool:
        """Whether the service runs, supervised, and answers."""
        return self.state == "healthy"


def up(settings: Settings, console: Console, *, project: Path | None = None, timeout_s: float = 180.0) -> None:
    """Start all services in the background, wait until they are healthy, deploy the flows, and print where to look.

    Services that run already are left as they are. Where this call started them and fails, it stops them again.

    Args:
        settings: ports, addresses and the home folder.
        console: where progress is shown.
        project: the checkout with `prefect.yaml` and `flows/`; None: found by `project_root`.
        timeout_s: how long the services may take to become healthy.

    Raises:
        ConfigurationError: no checkout, no folder to write to, a port is taken, other settings are running, or the
            deployment is refused.
        UnavailableError: a service does not become healthy; the message names its log.
    """
    folder = project or project_root()
    plan = build_plan(settings, folder, os.environ)
    is_ours = _start(settings, plan, console)
    columns = (SpinnerColumn(finished_text="[green]✓[/green]"), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            _await_health(settings, progress, timeout_s)
            line = progress.add_task("deploy flows", total=1)
            deployments = deploy_flows(settings, folder)
            progress.update(line, completed=1)
    except (RatchetError, KeyboardInterrupt):
        if is_ours:
            console.print("stopping what was started")
            daemon.shut_down(settings.root)
        raise
    _print_places(settings, console, deployments)


def down(settings: Settings, console: Console) -> None:
    """Stop all services of the home folder, also those that a killed supervisor left behind.

    Raises:
        BusyError: a supervisor runs but does not say who it is.
    """
    with console.status("stopping the services"):
        was_running = daemon.shut_down(settings.root)
    console.print("All services are stopped." if was_running else "Nothing was running.")


def status(settings: Settings) -> list[ServiceStatus]:
    """Return every service, in the order of starting, as it is now."""
    record = read_state(settings.root) if daemon.is_running(settings.root) else None
    return [_status_of(settings, service, record) for service in list_services(settings)]


def _status_of(settings: Settings, service: Service, supervisor: SupervisorRecord | None) -> ServiceStatus:
    entry = _find_entry(supervisor, service.name)
    log = str(log_path(settings.root, service.name))
    if entry is None:
        left = find_marked(settings.root, service.name)
        pid = left[0].pid if left else None
        return ServiceStatus(service.name, "left behind" if left else "stopped", pid, 0, None, service.url, log)
    uptime_s = (time.time_ns() - entry.started_ns) / NS_PER_S if entry.started_ns else None
    state: str = entry.status
    if state == "running":
        state = "healthy" if is_healthy(settings, service, entry) else "not answering"
    return ServiceStatus(service.name, state, entry.pid, entry.restarts, uptime_s, service.url, log)


def _find_entry(supervisor: SupervisorRecord | None, name: str) -> ProcessRecord | None:
    entries = supervisor.processes if supervisor else ()
    return next((entry for entry in entries if entry.name == name), None)


def _start(settings: Settings, plan: Plan, console: Console) -> bool:
    """Launch the supervisor; return False where one runs already, which must have been started with these settings."""
    if not daemon.is_running(plan.home):
        n_stopped = daemon.clean_up(plan.home)
        if n_stopped:
            console.print(f"stopped {n_stopped} processes that a killed supervisor had left behind")
        _require_free_ports(settings)
        _make_folders(plan.home)
        if daemon.launch(plan):
            return True
    record = daemon.await_record(plan.home)
    if record.fingerprint != plan.fingerprint:
        raise ConfigurationError("the services run with other settings; stop them first with: ratchet down")
    console.print(f"already running (supervisor {record.pid})")
    return False


def _make_folders(home: Path) -> None:
    try:
        for name in ("mlflow/artifacts", "logs", "run"):
            (home / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{home} cannot be written ({error}); choose another with RATCHET_HOME") from error


def _require_free_ports(settings: Settings) -> None:
    for service in list_services(settings):
        if service.host and service.port and not ports.is_free(service.host, service.port):
            if daemon.is_running(settings.root):  # another `ratchet up` was faster
                return
            holder = ports.describe_holder(service.port)
            raise ConfigurationError(
                f"{service.name} cannot listen on port {service.port}: {holder} holds it; "
                f"stop that, or choose another port with {service.port_variable}"
            )


def _await_health(settings: Settings, progress: Progress, timeout_s: float) -> None:
    """Wait until every service is healthy, and give up early on one that keeps crashing."""
    deadline = time.monotonic() + timeout_s
    pending = {service: progress.add_task(service.name, total=1) for service in list_services(settings)}
    while pending:
        _settle(settings, progress, pending)
        if pending and time.monotonic() >= deadline:
            service = next(iter(pending))
            log = log_path(settings.root, service.name)
            raise UnavailableError(f"{service.name} was not healthy within {timeout_s:.0f} s; see {log}{_quote(log)}")
        time.sleep(_POLL_S if pending else 0)


def _settle(settings: Settings, progress: Progress, pending: dict[Service, TaskID]) -> None:
    """Take the services that have become healthy off the list."""
    if not daemon.is_running(settings.root):
        log = log_path(settings.root, "supervisor")
        raise UnavailableError(f"the supervisor has ended; see {log}{_quote(log)}")
    supervisor = read_state(settings.root)
    for service, line in list(pending.items()):
        entry = _find_entry(supervisor, service.name)
        if entry is None:
            continue
        if entry.restarts >= _HOPELESS_AFTER_RESTARTS:
            log = Path(entry.log)
            raise UnavailableError(
                f"{service.name} keeps ending with exit code {entry.exit_code}; see {log}{_quote(log)}"
            )
        if is_healthy(settings, service, entry):
            progress.update(line, completed=1)
            del pending[service]


def _quote(log: Path) -> str:
    words = last_words(log)
    return f": {words}" if words else ""


def _print_places(settings: Settings, console: Console, deployments: list[str]) -> None:
    for service in list_services(settings):
        if service.url:
            console.print(f"{service.name:<15} {service.url}", soft_wrap=True)
    console.print(f"{'deployed':<15} {', '.join(deployments)}", soft_wrap=True)
    console.print(f"{'logs':<15} {settings.root / 'logs'}", soft_wrap=True)
