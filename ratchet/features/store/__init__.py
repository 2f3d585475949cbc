"""Where the model server finds the newest feature windows; free of pandas."""

from ratchet.features.store.online import OnlineStore, OnlineWindow, SqliteOnlineStore

__all__ = ["OnlineStore", "OnlineWindow", "SqliteOnlineStore"]
