"""What all processes below one prefix agree on: the number of partitions, and the feature set of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratchet.errors import BusyError, ConfigurationError, NotFoundError
from ratchet.features.streaming.redis.connection import connect, translated
from ratchet.features.streaming.redis.keys import StreamKeys

if TYPE_CHECKING:
    import redis


def agree_partitions(client: redis.Redis, keys: StreamKeys, n_partitions: int | None) -> int:
    """Return the number of partitions, which the first process to come decides.

    Raises:
        ConfigurationError: it is another number than `n_partitions`, or none was decided and none is given.
    """
    with translated(f"stream {keys.prefix}"):
        if n_partitions is not None:
            client.hsetnx(keys.config, "n_partitions", str(n_partitions))
        decided = client.hget(keys.config, "n_partitions")
    if decided is None:
        raise ConfigurationError(
            f"stream {keys.prefix} has no events yet: start the publisher first, or say n_partitions"
        )
    if n_partitions not in {None, int(decided)}:
        raise ConfigurationError(
            f"stream {keys.prefix} has {int(decided)} partitions, not {n_partitions}: "
            "use that number, or another prefix"
        )
    return int(decided)


def join_group(client: redis.Redis, keys: StreamKeys, group: str, schema_hash: str) -> None:
    """Enter a group; from now on entries are kept until it has taken them.

    A new group begins with the oldest entry that is still there.

    Raises:
        ConfigurationError: the group's state belongs to another feature set, or Redis may evict it.
    """
    _refuse_eviction(client, keys)
    field = f"schema:{group}"
    with translated(f"group {group} of {keys.prefix}"):
        client.hsetnx(keys.config, field, schema_hash)
        decided = client.hget(keys.config, field)
        if decided == schema_hash.encode():
            client.sadd(keys.groups, group)
            return
    raise ConfigurationError(
        f"group {group} of {keys.prefix} holds the state of another feature set than {schema_hash[:12]}: "
        "run the new set under another group name, or forget_group the old one"
    )


def _refuse_eviction(client: redis.Redis, keys: StreamKeys) -> None:
    with translated(f"stream {keys.prefix}"):
        policy = str(client.info("memory").get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        raise ConfigurationError(
            f"stream {keys.prefix}: a full Redis deletes any key, also this state (maxmemory-policy {policy}): "
            "set it to noeviction"
        )


def forget_group(url: str, prefix: str, group: str) -> None:
    """Delete a group's position, state, rows and poison; the events that only it had not taken can then be trimmed.

    Raises:
        NotFoundError: there is no such group.
        BusyError: a worker of the group is running.
        UnavailableError: Redis does not answer.
    """
    keys = StreamKeys(prefix)
    with connect(url) as client, translated(f"group {group} of {prefix}"):
        if not client.sismember(keys.groups, group):
            raise NotFoundError(f"stream {prefix} has no group {group}")
        partitions = range(agree_partitions(client, keys, None))
        if client.exists(*(keys.lease(group, partition) for partition in partitions)):
            raise BusyError(f"group {group} of {prefix} has a running worker: stop it first")
        pipeline = client.pipeline(transaction=True)
        pipeline.srem(keys.groups, group)
        pipeline.hdel(keys.config, f"schema:{group}")
        pipeline.delete(keys.poison(group))
        for partition in partitions:
            pipeline.delete(keys.mark(group, partition), keys.state(group, partition), keys.rows(group, partition))
            pipeline.xgroup_destroy(keys.events(partition), group)
        pipeline.execute(raise_on_error=False)  # a stream without events yet has no group to destroy
