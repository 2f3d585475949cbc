"""The staged rollout through the real server."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from ratchet.client import ModelServerClient
from ratchet.clock import SystemClock
from ratchet.registry import ModelVersion
from ratchet.registry.golden import Golden, read_golden
from ratchet.rollout.report import RolloutReport, Verdict
from ratchet.rollout.served import ServedModels
from ratchet.rollout.staged import deploy_model
from tests.serving.workshop import Workshop, free_port, running, tiny_onnx, window

pytestmark = pytest.mark.engine


def _deploy(workshop: Workshop, served: ServedModels, version: ModelVersion, golden: Golden) -> RolloutReport:
    return deploy_model(
        workshop.registry,
        served,
        version,
        golden=golden,
        clock=SystemClock(),
        actor="test",
        sleep=time.sleep,
        wait_s=5.0,
    )


def test_good_versions_roll_out_and_bad_ones_go_back(workshop: Workshop) -> None:
    """Two reach production; one that answers wrongly and one that the server cannot load do not, and nobody notices."""
    workshop.publish("BTC/USDT", window(1))
    with running(workshop.home, poll_interval_s="3600") as server, ModelServerClient(server.url) as client:
        for bias, number in ((0.0, "v1.0.0"), (0.5, "v1.1.0")):
            good = workshop.register("alpha", tiny_onnx(bias), ["BTC/USDT"])
            report = _deploy(workshop, client, good, read_golden(workshop.registry, good))
            assert report.verdict is Verdict.PROMOTE, report
            assert client.predict("BTC/USDT").version == number

        wrong = workshop.register("alpha", tiny_onnx(1.0), ["BTC/USDT"])
        report = _deploy(workshop, client, wrong, Golden(np.stack([window(1)]), np.array([0.123])))
        assert report.verdict is Verdict.ROLLBACK

        lies = json.dumps({"windows": [window(1).tolist()], "p_up": [0.123]}).encode()
        refused = workshop.register("alpha", tiny_onnx(), ["BTC/USDT"], golden_bytes=lies)
        report = _deploy(workshop, client, refused, read_golden(workshop.registry, refused))
        assert report.verdict is Verdict.ROLLBACK
        assert "differs from its golden answers" in report.reason

        assert client.predict("BTC/USDT").version == "v1.1.0"
        assert client.reload().failures == ()
        assert client.is_healthy()


def test_without_a_server_nothing_is_promoted(workshop: Workshop) -> None:
    """The version waits in staging and production stays empty."""
    version = workshop.register("alpha", tiny_onnx(), ["BTC/USDT"])
    with ModelServerClient(f"http://127.0.0.1:{free_port()}") as client:
        report = deploy_model(
            workshop.registry,
            client,
            version,
            golden=read_golden(workshop.registry, version),
            clock=SystemClock(),
            actor="test",
            sleep=time.sleep,
            wait_s=0.3,
        )
    assert report.verdict is Verdict.HOLD
    assert "start it with: ratchet serve" in report.reason
    assert workshop.registry.get_model("alpha", "staging").version == version.version
