"""The feature engine on Redis Streams: partitioned, crash-safe, each row once."""

from ratchet.features.streaming.redis.groups import forget_group
from ratchet.features.streaming.redis.publisher import RedisPublisher
from ratchet.features.streaming.redis.reading import PoisonMessage, read_poison, read_rows
from ratchet.features.streaming.redis.worker import RedisWorker

__all__ = ["PoisonMessage", "RedisPublisher", "RedisWorker", "forget_group", "read_poison", "read_rows"]
