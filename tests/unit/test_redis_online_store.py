"""The online store on a real Redis: its failures, what survives them, and its settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ratchet.errors import ArtifactError, ConfigurationError, UnavailableError
from ratchet.features.store import OnlineStore, RedisOnlineStore, open_online_store
from ratchet.testing.online_store import make_vector, make_window, read_vector
from tests.redis_server import RedisServer

_VECTOR_KEY = "ratchet:vector:view:BTC/USDT"


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """The session's server, empty; a test may leave it killed."""
    redis_server.flush()
    yield redis_server
    redis_server.kill()
    redis_server.start()


@pytest.fixture
def store(server: RedisServer) -> Iterator[OnlineStore]:
    opened = open_online_store(server.url)
    yield opened
    opened.close()


def _write(store: OnlineStore, ts_event_ns: int = 0) -> int:
    return store.write_vectors("view", "abc", {"BTC/USDT": (ts_event_ns, 0, make_vector(ts_event_ns))})


def test_what_was_acknowledged_survives_a_kill_with_fsync_always(server: RedisServer, store: OnlineStore) -> None:
    """A killed server is unavailable at once; started again it has what it said it had, and the same store goes on."""
    with server.client() as client:
        client.config_set("appendfsync", "always")
    for turn in range(20):
        _write(store, turn)
    server.kill()
    for _ in range(2):
        with pytest.raises(UnavailableError, match="online store redis://127"):
            store.read_vectors("view", ["BTC/USDT"])
        with pytest.raises(UnavailableError, match="online store redis://127"):
            _write(store, 20)
    server.start()
    assert read_vector(store).ts_event_ns == 19
    assert _write(store, 20) == 1


def test_a_server_that_hangs_is_unavailable_within_the_timeout(server: RedisServer) -> None:
    """One attempt of 0.3 s, not a series of them; no late answer is taken for that to a later question."""
    store = open_online_store(f"{server.url}?timeout_s=0.3")
    _write(store, 1)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for call in (lambda: read_vector(store), lambda: _write(store, 2)):
            started_s = time.monotonic()
            with pytest.raises(UnavailableError):
                call()
            assert time.monotonic() - started_s < 2
    finally:
        os.kill(server.pid, signal.SIGCONT)
    later = open_online_store(server.url)
    assert read_vector(later).ts_event_ns == 1
    later.close()
    assert _write(store, 2) == 1
    store.close()


def test_a_server_that_forgot_the_script_is_told_it_again(server: RedisServer, store: OnlineStore) -> None:
    """A restart or SCRIPT FLUSH costs a round trip, not a write."""
    assert _write(store, 1) == 1
    with server.client() as client:
        client.script_flush()
    assert _write(store, 2) == 1


def test_one_key_holds_one_packed_value(server: RedisServer, store: OnlineStore) -> None:
    """A vector of 110 is one string of 4 bytes per feature, a header of 40 and the schema hash."""
    _write(store)
    store.write_windows("view", "abc", {"BTC/USDT": (0, make_window(1))}, 1)
    with server.client() as client:
        lengths = {key: client.strlen(key) for key in (_VECTOR_KEY, "ratchet:window:view:BTC/USDT")}
        assert client.dbsize() == 2
        assert client.ttl(_VECTOR_KEY) == -1
    assert lengths == {_VECTOR_KEY: 40 + 3 + 440, "ratchet:window:view:BTC/USDT": 40 + 3 + 4 * 60 * 67}


@pytest.mark.parametrize("damage", ["cut the header", "cut the values", "add to the values", "other mark", "no text"])
def test_damaged_bytes_are_named_and_the_next_write_replaces_them(
    server: RedisServer, store: OnlineStore, damage: str
) -> None:
    """Whatever is wrong with a record, reading says whose it is; a damaged header gives way to an older vector too."""
    _write(store, 5)
    with server.client() as client:
        stored = client.get(_VECTOR_KEY)
        assert isinstance(stored, bytes)
        damaged = {
            "cut the header": stored[:20],
            "cut the values": stored[:-1],
            "add to the values": stored + b"x",
            "other mark": b"RON2" + stored[4:],
            "no text": stored[:40] + b"\xff" + stored[41:],
        }
        client.set(_VECTOR_KEY, damaged[damage])
    with pytest.raises(ArtifactError, match="online vector view BTC/USDT"):
        store.read_vectors("view", ["BTC/USDT"])
    replacing_ns = 6 if "values" in damage else 4
    assert _write(store, replacing_ns) == 1
    assert read_vector(store).ts_event_ns == replacing_ns


def test_a_key_that_is_something_else_stops_the_whole_write(server: RedisServer, store: OnlineStore) -> None:
    """All symbols or none, even where the trouble is only seen by the server."""
    with server.client() as client:
        client.rpush(_VECTOR_KEY, "a list")
    vectors = {symbol: (0, 0, make_vector(1)) for symbol in ("AAA/USDT", "BTC/USDT", "ZZZ/USDT")}
    with pytest.raises(ArtifactError, match="WRONGTYPE"):
        store.write_vectors("view", "abc", vectors)
    assert store.read_vectors("view", list(vectors)) == {}


def test_a_full_server_is_unavailable_and_keeps_what_it_has(server: RedisServer, store: OnlineStore) -> None:
    """With `noeviction`, a write that does not fit is an error and no other symbol pays for it."""
    _write(store, 1)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
    with pytest.raises(UnavailableError, match="maxmemory"):
        _write(store, 2)
    assert read_vector(store).ts_event_ns == 1


def test_expiry_is_by_the_servers_clock_and_renewed_by_writes(server: RedisServer) -> None:
    """`expire_after_s` removes what nobody writes any more, however new its events are."""
    store = open_online_store(f"{server.url}?expire_after_s=60")
    _write(store, 1)
    with server.client() as client:
        assert 0 < client.pttl(_VECTOR_KEY) <= 60_000
        client.pexpire(_VECTOR_KEY, 10_000)
        _write(store, 2)
        assert client.pttl(_VECTOR_KEY) > 10_000
    store.close()
    brief = open_online_store(f"{server.url}?expire_after_s=0.05")
    _write(brief, time.time_ns())
    time.sleep(0.1)
    assert brief.read_vectors("view", ["BTC/USDT"]) == {}
    brief.close()


def test_a_socket_leads_to_the_same_database(server: RedisServer, store: OnlineStore) -> None:
    """`unix://` is the server of the same machine without TCP."""
    _write(store, 7)
    local = open_online_store(server.unix_url)
    assert read_vector(local).ts_event_ns == 7
    local.close()
    other = open_online_store(server.unix_url.replace("db=0", "db=3"))
    assert other.read_vectors("view", ["BTC/USDT"]) == {}
    other.close()


def test_a_wrong_password_is_a_wrong_setting_and_stays_out_of_the_message(server: RedisServer) -> None:
    """Trying again cannot help, and a message may be logged."""
    with server.client() as client:
        client.config_set("requirepass", "right")
    address = server.url.removeprefix("redis://")
    for url in (f"redis://:wrong-secret@{address}", f"redis://nobody:wrong-secret@{address}", server.url):
        with pytest.raises(ConfigurationError, match=rf"redis://{address}: the user or the password") as refused:
            RedisOnlineStore(url)
        assert "secret" not in str(refused.value)
    RedisOnlineStore(f"redis://:right@{address}").close()


def test_a_user_who_may_not_write_has_a_wrong_setting(server: RedisServer) -> None:
    """Rights are settings too; reading goes on."""
    with server.client() as client:
        client.acl_setuser("reader", enabled=True, passwords=["+pass"], commands=["+ping", "+mget"], keys=["*"])
    store = RedisOnlineStore(server.url.replace("redis://", "redis://reader:pass@"))
    assert store.read_vectors("view", ["BTC/USDT"]) == {}
    with pytest.raises(ConfigurationError, match="permission"):
        _write(store)
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://127.0.0.1/zero", "'zero' is not the number"),
        ("unix:///run/redis.sock?db=-1", "'-1' is not the number"),
        ("redis://127.0.0.1:99999/0", "the URL cannot be read"),
        ("redis://127.0.0.1/0?decode_responses=true", "unknown options decode_responses"),
        ("redis://:secret@127.0.0.1/0?expire_after_s=soon", "expire_after_s is a number of seconds, got 'soon'"),
        ("redis://:secret@127.0.0.1/0?expire_after_s=0", "expire_after_s is from 0.001"),
        ("redis://:secret@127.0.0.1/0?timeout_s=nan", "timeout_s is from 0.001"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(url: str, message: str) -> None:
    """Nothing is guessed, and a secret is not repeated."""
    with pytest.raises(ConfigurationError, match=message) as refused:
        open_online_store(url)
    assert "secret" not in str(refused.value)


def test_a_database_that_is_not_there_is_a_wrong_setting(server: RedisServer) -> None:
    """Redis has sixteen of them unless it was told otherwise."""
    with pytest.raises(ConfigurationError, match="out of range"):
        open_online_store(server.url.replace("/0", "/999"))


def test_a_server_that_is_not_there_is_unavailable_at_once(server: RedisServer) -> None:
    """Opening tries, so that a wrong address is seen when the server starts."""
    server.kill()
    with pytest.raises(UnavailableError, match=f"redis://127.0.0.1:{server.port}/0: "):
        open_online_store(server.url)


def test_without_the_package_the_hint_says_what_to_install() -> None:
    """Only a URL that names Redis needs the extra."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from ratchet.features.store import open_online_store\n"
        "open_online_store('redis://127.0.0.1/0')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        f"{ConfigurationError.__name__}: an online store on Redis needs `pip install ratchet[stream]`"
    )


def test_a_replica_is_unavailable_for_writing(server: RedisServer, store: OnlineStore) -> None:
    """After a failover the same address may be a replica, for a while."""
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(UnavailableError, match="read only replica"):
        _write(store)
