"""Closing runs whose process crashed, so that nothing stays RUNNING for ever."""

from __future__ import annotations

from ratchet.clock import NS_PER_S, Clock
from ratchet.errors import NotFoundError
from ratchet.tracking.mlflow_delivery import HEARTBEAT_TAG, RUN_KEY_TAG, MlflowDelivery
from ratchet.tracking.owner import is_alive, owner_from_tags, this_host
from ratchet.tracking.spool import Spool, run_ended

DEFAULT_SILENCE_S = 3_600.0
_NS_PER_MS = 1_000_000


def reap_here(spool: Spool, clock: Clock) -> list[str]:
    """Close the spool's runs whose process was on this host and is gone, without asking MLflow.

    A process is gone when no process has its pid, or the one that has it started at another time or after a reboot.

    Returns:
        The spool's ids of the runs that were closed as KILLED, parents and children.

    Raises:
        UnavailableError: the spool cannot be read or written.
    """
    host = this_host()
    dead = [run.run_id for run in spool.running() if run.owner.host == host and not is_alive(run.owner)]
    if dead:
        spool.apply([change for run_id in dead for change in run_ended(run_id, "KILLED", _ms(clock))])
    return dead


def reap(
    spool: Spool, delivery: MlflowDelivery, clock: Clock, *, max_silence_s: float = DEFAULT_SILENCE_S
) -> list[str]:
    """Close the runs of crashed processes, those of other homes and hosts included.

    A run of this host is closed when its process is gone, one of another host when its heartbeat is older than
    `max_silence_s`. Runs that were not started through a spool are left alone.

    Returns:
        The ids that the runs were started with.

    Raises:
        UnavailableError: MLflow or the spool does not answer; runs of this spool and host are closed all the same.
    """
    closed = reap_here(spool, clock)
    now_ns = clock.now_ns()
    for mlflow_run_id, tags in delivery.running().items():
        if not _is_abandoned(tags, now_ns, max_silence_s) or tags[RUN_KEY_TAG] in closed:
            continue
        try:
            run = spool.run(tags[RUN_KEY_TAG])
        except NotFoundError:
            delivery.end(mlflow_run_id, "KILLED", _ms(clock))
        else:
            if run.status != "RUNNING":  # its end waits to be delivered
                continue
            spool.apply(run_ended(run.run_id, "KILLED", _ms(clock)))
        closed.append(tags[RUN_KEY_TAG])
    return closed


def _is_abandoned(tags: dict[str, str], now_ns: int, max_silence_s: float) -> bool:
    owner = owner_from_tags(tags)
    if owner is not None and owner.host == this_host():
        return not is_alive(owner)
    heartbeat = tags.get(HEARTBEAT_TAG, "")
    return heartbeat.isdecimal() and now_ns - int(heartbeat) > max_silence_s * NS_PER_S


def _ms(clock: Clock) -> int:
    return clock.now_ns() // _NS_PER_MS
