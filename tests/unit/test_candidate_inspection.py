"""What the inspector lets pass, what it says to what it refuses, and what it cannot be made to do."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from ratchet.errors import ArtifactError, CandidateRejectedError, ConfigurationError, InputError
from ratchet.registry.golden import parse_golden
from ratchet.registry.inspection import CandidateInspector, InspectionLimits, child, process
from ratchet.registry.inspection.formats import check_content, check_names_and_sizes
from ratchet.registry.inspection.operators import is_allowed_operator
from ratchet.registry.inspection.order import Order
from tests.hostile_models import (
    N_FEATURES,
    WINDOW,
    candidate,
    edited,
    endless_products,
    golden,
    golden_windows,
    honest_model,
    metadata,
    torch_archive,
)

HONEST = honest_model()
BARE = {"model.onnx": HONEST, "golden.json": golden(HONEST)}


def _state_dict() -> bytes:
    """What torch itself writes of a state dict, buffers, types and `_metadata` included."""
    import torch  # noqa: PLC0415 - slow to import, and only here

    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 2)).half()
    content = OrderedDict(layers.state_dict(), extra=torch.arange(3), flag=torch.tensor(True))
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _safetensors(header: dict[str, Any], n_bytes: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n_bytes)


def _tensor(start: int, end: int, *shape: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


def test_an_honest_candidate_with_every_kind_of_file_passes() -> None:
    """All formats that are accepted, at once; torch's own file is one of them."""
    beside = {
        "model.pt": _state_dict(),
        "weights.safetensors": _safetensors({"a": _tensor(0, 8, 2), "__metadata__": {"format": "pt"}}, 8),
        "metrics.json": b'{"accuracy": 0.5}',
        "card.md": "# Übersicht".encode(),
        "card.html": b"<p>card</p>",
        "folds.csv": b"fold,accuracy\n1,0.5\n",
        "curve.png": b"\x89PNG\r\n\x1a\n...",
        "rows.parquet": b"PAR1....PAR1",
    }
    CandidateInspector()("btc", candidate(HONEST) | beside, metadata())


def test_a_quantized_model_passes(tmp_path: Path) -> None:
    """What onnxruntime's quantizer makes of the LSTM, with operators of its own domain."""
    (tmp_path / "model.onnx").write_bytes(HONEST)
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    quantized = (tmp_path / "int8.onnx").read_bytes()
    assert b"DynamicQuantizeLSTM" in quantized
    CandidateInspector()("btc", candidate(quantized), metadata())


@pytest.mark.slow
def test_the_networks_we_export_pass(tmp_path: Path) -> None:
    """The default network through the exporter of the retrain flow."""
    from models.factory import create_model  # noqa: PLC0415 - torch is slow to import, and only here
    from models.optimization.onnx import export_to_onnx  # noqa: PLC0415

    windows = np.random.default_rng(0).normal(size=(64, WINDOW, N_FEATURES)).astype(np.float32)
    network = create_model("hybrid_cnn_lstm", n_features=N_FEATURES, window=WINDOW)
    export_to_onnx(network, tmp_path / "model.onnx", example_windows=windows)
    CandidateInspector()("btc", candidate((tmp_path / "model.onnx").read_bytes()), metadata())


def test_bytes_with_the_mark_of_another_format_are_read_as_onnx() -> None:
    """A file that onnxruntime would take for its own format by four bytes is judged, and loaded, as what it is."""
    marked = b"\x12\x06xxORTM" + edited(HONEST, lambda model: model.ClearField("producer_name"))
    assert marked[4:8] == b"ORTM"
    assert onnx.load_model_from_string(marked).producer_name == "xxORTM"
    CandidateInspector()("btc", BARE | {"model.onnx": marked}, metadata())


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"golden.json": b"{}"}, "model.onnx: missing"),
        ({"model.onnx": HONEST}, "golden.json: missing"),
        (BARE | {"../card.md": b"hello"}, "a plain name"),
        (BARE | {"card.MD": b"hello"}, "not a kind of file that is accepted; store .*model.onnx"),
        (BARE | {"weights.pt": b""}, "not a kind of file"),
        (BARE | {f"{i}.md": b"" for i in range(63)}, "65 files; at most 64"),
        (BARE | {f"{i}.md": bytes(32 << 20) for i in range(2)}, "bytes together; at most"),
    ],
)
def test_what_can_be_told_from_outside_is_refused_without_a_process(files: dict[str, bytes], says: str) -> None:
    """Names and sizes, in no time."""
    with pytest.raises(CandidateRejectedError, match=says):
        check_names_and_sizes(files, InspectionLimits())


@pytest.mark.parametrize(
    ("filename", "content", "says"),
    [
        ("a.json", b"{'a': 1}", "not JSON"),
        ("a.json", b'{"a": Infinity}', "Infinity is not JSON"),
        ("a.json", b"\xff\xff", "not JSON"),
        ("a.md", b"\xff", "not UTF-8"),
        ("a.md", "ü".encode()[:1], "not UTF-8"),
        ("a.csv", b"a\0b", "zero bytes"),
        ("a.png", b"GIF89a", "not a PNG"),
        ("a.parquet", b"PAR1", "not a Parquet"),
        ("a.safetensors", b"", "no possible length"),
        ("a.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "no possible length"),
        ("a.safetensors", _safetensors({"a": _tensor(0, 8, 3)}, 8), "malformed"),
        ("a.safetensors", _safetensors({"a": _tensor(0, 8, -2)}, 8), "malformed"),
        ("a.safetensors", _safetensors({"a": _tensor(0, 8, 2), "b": _tensor(4, 12, 2)}, 12), "overlap"),
        ("a.safetensors", _safetensors({"a": _tensor(0, 8, 2)}, 12), "describes 8 bytes"),
        ("model.pt", torch_archive(b"\x80\x02cbuiltins\neval\n."), "'builtins eval', which could run code"),
        ("model.pt", torch_archive(b"\x80\x02ctorch\nload\n."), "'torch load'"),
        ("model.pt", torch_archive(b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n."), "uses INST"),
        ("model.pt", torch_archive(b"\x80\x02\x82\x01."), "uses EXT1"),
        ("model.pt", torch_archive(b"\x80\x02}."[:-1]), "malformed"),
        ("model.pt", torch_archive(b"\x80\x02}.cos\nsystem\n."), "something stands after its pickle"),
        ("model.pt", b"#!/bin/sh\n" + torch_archive(b"\x80\x02}."), "before or after the archive|not a file"),
        ("model.pt", torch_archive(b"\x80\x02}.") + b"more", "before or after the archive|do not end|not a file"),
        ("model.pt", torch_archive(b"\x80\x02}.", {"../../x": b""}), "does not belong"),
        ("model.pt", torch_archive(b"\x80\x02}.", {"other/data.pkl": b"\x80\x02}."}), "needs one small data.pkl"),
        ("model.pt", torch_archive(b"\x80\x02}." + bytes(1 << 18)), "needs one small data.pkl"),
        ("model.pt", b"PK\x05\x06" + bytes(18), "needs one small data.pkl"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(filename: str, content: bytes, says: str) -> None:
    """Each format is checked for what it must hold, without loading it."""
    with pytest.raises(CandidateRejectedError, match=says) as caught:
        check_content(filename, content)
    assert "\n" not in str(caught.value)


def test_a_state_dict_of_torch_passes_and_one_byte_of_code_does_not() -> None:
    """The scan knows what torch writes, and nothing more."""
    content = _state_dict()
    check_content("model.pt", content)
    renamed = content.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9")
    assert renamed != content
    with pytest.raises(CandidateRejectedError, match=r"CRC|_rebuild_tensor_v9"):
        check_content("model.pt", renamed)


def test_operators_are_those_of_the_list_only() -> None:
    """Every name on the list exists, and nothing on it holds a graph, draws numbers or handles text."""
    schemas = {schema.name: schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    allowed = {name: schema for name, schema in schemas.items() if is_allowed_operator("", name)}
    assert len(allowed) > 100
    graphs = {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}
    assert not [name for name, schema in allowed.items() if {a.type for a in schema.attributes.values()} & graphs]
    assert not [name for name in allowed if name.startswith(("Random", "String", "Sequence", "Optional"))]
    assert not is_allowed_operator("ai.onnx.ml", "TreeEnsemble")
    assert not is_allowed_operator("com.microsoft", "Loop")
    assert is_allowed_operator("com.microsoft", "DynamicQuantizeLSTM")


def test_metadata_are_judged_first() -> None:
    """Malformed metadata or names are the caller's error, and cost no process."""
    with pytest.raises(InputError, match="metadata window: missing"):
        CandidateInspector()("btc", BARE, {key: value for key, value in metadata().items() if key != "window"})
    with pytest.raises(InputError, match="model name"):
        CandidateInspector()("../btc", BARE, metadata())


def test_the_process_is_ended_when_its_time_is_over() -> None:
    """By the clock on the wall or by the seconds of computing, whichever comes first; nothing of it stays."""
    hostile = BARE | {"model.onnx": edited(HONEST, endless_products())}
    before = set(_children())  # servers of other tests
    started = time.monotonic()
    with pytest.raises(CandidateRejectedError, match=r"btc: not inspected within 1\.5 s"):
        CandidateInspector(InspectionLimits(wall_s=1.5))("btc", hostile, metadata())
    assert time.monotonic() - started < 4
    with pytest.raises(CandidateRejectedError, match="ended by SIGXCPU after 2 s of computing"):
        CandidateInspector(InspectionLimits(cpu_s=2, wall_s=60))("btc", hostile, metadata())
    assert set(_children()) <= before


def test_too_little_memory_is_a_refusal_not_a_crash() -> None:
    """Where not even the libraries fit, the candidate is refused and the caller lives on."""
    with pytest.raises(CandidateRejectedError, match="btc: "):
        CandidateInspector(InspectionLimits(memory_bytes=200 << 20))("btc", BARE, metadata())


def test_the_process_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the caller's environment reaches it, and no file descriptor of the caller's."""
    monkeypatch.setenv("RATCHET_SECRET", "hunter2")
    monkeypatch.setenv("LD_PRELOAD_NOT_OURS", "x")
    monkeypatch.setattr(process, "_MODULE", "tests.unit.inspection_spy")
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        order = Order(window=1, n_features=1, sizes={}, limits=InspectionLimits())
        verdict = process.inspect_in_child(order, {})
    finally:
        os.close(leak)
    seen = json.loads(verdict.reason)
    assert set(seen["environment"]) <= {
        "PYTHONPATH",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "LC_CTYPE",
    }
    assert seen["folder"] == []
    assert seen["descriptors"] == [0, 1, 2]
    assert seen["session"] == seen["process"]


def test_a_missing_package_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime nothing is refused: the error says what to install."""
    monkeypatch.setitem(sys.modules, "onnx", None)  # what an import of a package that is not there comes to
    monkeypatch.setattr("ratchet.registry.inspection.inspector.inspect_in_child", child.inspect)
    with pytest.raises(ConfigurationError, match="needs onnx: pip install"):
        CandidateInspector()("btc", BARE, metadata())


def test_golden_answers_are_read_from_bytes() -> None:
    """The same as what was written; anything else is named."""
    found = parse_golden(BARE["golden.json"])
    np.testing.assert_array_equal(found.windows, golden_windows())
    for content, says in ((b"[]", "malformed"), (b'{"windows": [[[1]], [[2]]], "p_up": [0.5]}', "are needed")):
        with pytest.raises(ArtifactError, match=says):
            parse_golden(content)


def _children() -> list[str]:
    found = Path("/proc/self/task").glob("*/children")
    return [pid for path in found for pid in path.read_text().split()]
