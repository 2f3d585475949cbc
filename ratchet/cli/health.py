"""Whether a service of `ratchet up` does its work: servers answer, the worker is known to Prefect."""

from __future__ import annotations

from datetime import datetime

from ratchet.cli.plan import ProcessRecord
from ratchet.cli.services import WORK_POOL, Service, prefect_api_url, worker_name
from ratchet.cli.web import answers, call_json
from ratchet.clock import NS_PER_S
from ratchet.errors import NotFoundError, UnavailableError
from ratchet.settings import Settings


def is_healthy(settings: Settings, service: Service, entry: ProcessRecord) -> bool:
    """Return whether a supervised process runs and answers; the worker: has reported to Prefect since its start."""
    if entry.status != "running" or entry.started_ns is None:
        return False
    if service.health_url:
        return answers(service.health_url)
    return _has_registered(settings, entry.started_ns)


def _has_registered(settings: Settings, since_ns: int) -> bool:
    """Return whether Prefect knows our worker as online and has heard from it since it was started."""
    try:
        workers = call_json(f"{prefect_api_url(settings)}/work_pools/{WORK_POOL}/workers/filter", {})
    except (NotFoundError, UnavailableError):
        return False
    return any(
        entry["name"] == worker_name()
        and entry["status"] == "ONLINE"
        and datetime.fromisoformat(entry["last_heartbeat_time"]).timestamp() * NS_PER_S >= since_ns
        for entry in workers
    )
