"""Starts the model server: `python -m serving.launcher [--host H] [--port P] [--home FOLDER]`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from ratchet.errors import RatchetError
from ratchet.settings import load_settings, silence_telemetry

KEEP_ALIVE_S = 75
STOP_WITHIN_S = 10


def main(host: str | None = None, port: int | None = None, home: Path | None = None) -> None:
    """Run the model server until SIGTERM or SIGINT; requests in flight are still answered.

    Args:
        host: address to bind to; None: the settings'.
        port: port to listen on; None: the settings'.
        home: folder of the artefacts; None: the settings'.

    Raises:
        ConfigurationError: a setting is wrong.
        RatchetError: the folder of the artefacts cannot be used.
    """
    silence_telemetry(os.environ)
    if home is not None:
        os.environ["RATCHET_HOME"] = str(home)  # BentoML makes the service without arguments, from the environment
    serving = load_settings().serving
    bind_to = host or serving.host
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    from serving.guard import HostGuard  # noqa: PLC0415 - telemetry must be off before BentoML is imported
    from serving.service import asgi_app, open_serving  # noqa: PLC0415

    with open_serving():
        pass  # what is wrong with the settings is said in one line here, and not as a failed start-up
    uvicorn.run(
        HostGuard(asgi_app(), bind_to),
        host=bind_to,
        port=port or serving.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )


def _exit(_: int, __: FrameType | None) -> None:
    """Leave with status 0: before uvicorn listens for signals, and after it has shut down."""
    raise SystemExit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving.launcher", description="Run the model server.")
    parser.add_argument("--host", help="address to bind to; default: RATCHET_SERVING__HOST or 127.0.0.1")
    parser.add_argument("--port", type=int, help="port to listen on; default: RATCHET_SERVING__PORT or 8001")
    parser.add_argument("--home", type=Path, help="folder of the artefacts; default: RATCHET_HOME or var")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        main(**vars(_arguments()))
    except RatchetError as error:
        sys.exit(f"error: {error}")
