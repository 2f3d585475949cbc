"""Where the model server finds the newest features; free of pandas."""

from ratchet.features.store.memory_store import MemoryOnlineStore
from ratchet.features.store.online import OnlineStore, OnlineVector, OnlineWindow
from ratchet.features.store.opening import open_online_store
from ratchet.features.store.redis_store import RedisOnlineStore
from ratchet.features.store.sqlite_store import SqliteOnlineStore

__all__ = [
    "MemoryOnlineStore",
    "OnlineStore",
    "OnlineVector",
    "OnlineWindow",
    "RedisOnlineStore",
    "SqliteOnlineStore",
    "open_online_store",
]
