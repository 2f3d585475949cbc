"""An honest candidate, and ways to spoil one, as an attacker, a broken disk or a diverged training would."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ratchet.data.atomic import sha256_bytes
from ratchet.data.seal import seal_digest
from ratchet.registry.evidence import judged_digest
from ratchet.registry.metadata import Signature

WINDOW, N_FEATURES, HIDDEN = 8, 5, 16
OPSET = 20
SCHEMA_HASH = "5c" * 32
SECRET = 77.7
_LOOPS = 10**15
_HUGE = 40_000_000_000  # float32 values: 160 GB

Files = dict[str, bytes]
Spoil = Callable[[Any], None]


def honest_model(seed: int = 0, *, hidden: int = HIDDEN) -> bytes:
    """An LSTM over standardised, clipped windows, then a linear layer and a sigmoid."""
    generator = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(generator.normal(scale=0.3, size=shape).astype(np.float32), name)

    def numbers(name: str, values: Sequence[int]) -> Any:
        return numpy_helper.from_array(np.array(values, dtype=np.int64), name)

    nodes = [
        helper.make_node("Sub", ["windows", "mean"], ["centred"]),
        helper.make_node("Clip", ["centred", "low", "high"], ["clipped"]),
        helper.make_node("Transpose", ["clipped"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "w", "r", "b"], ["", "state"], hidden_size=hidden),
        helper.make_node("Squeeze", ["state", "first"], ["flat"]),
        helper.make_node("Gemm", ["flat", "logit.weight", "logit.bias"], ["logits"]),
        helper.make_node("Squeeze", ["logits", "second"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p_up"]),
    ]
    initializers = [
        weights("mean", N_FEATURES),
        numpy_helper.from_array(np.array(-5, dtype=np.float32), "low"),
        numpy_helper.from_array(np.array(5, dtype=np.float32), "high"),
        weights("w", 1, 4 * hidden, N_FEATURES),
        weights("r", 1, 4 * hidden, hidden),
        weights("b", 1, 8 * hidden),
        weights("logit.weight", hidden, 1),
        weights("logit.bias", 1),
        numbers("first", [0]),
        numbers("second", [1]),
    ]
    graph = helper.make_graph(
        nodes,
        "honest",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["batch", WINDOW, N_FEATURES])],
        [helper.make_tensor_value_info("p_up", TensorProto.FLOAT, ["batch"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def answers(content: bytes, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime itself answers, (batch,)."""
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    p_up: NDArray[np.float32] = session.run(None, {"windows": windows})[0]
    return p_up


def golden_windows() -> NDArray[np.float32]:
    """The windows whose answers are registered, (3, time, feature)."""
    return np.random.default_rng(7).normal(size=(3, WINDOW, N_FEATURES)).astype(np.float32)


def golden(content: bytes) -> bytes:
    """golden.json of a model."""
    windows = golden_windows()
    return json.dumps({"windows": windows.tolist(), "p_up": answers(content, windows).tolist()}).encode()


def gate_report(content: bytes) -> bytes:
    """A sealed approval of one model file."""
    report = {
        "verdict": "approve",
        "model": "btc",
        "model_digest": sha256_bytes(content),
        "judged": judged_digest(metadata()),
        "champion": None,
        "criteria": [{"name": "accuracy_over_baseline", "status": "passed", "reason": "It beats the rule."}],
        "policy": {"policy": "significant"},
        "window": {"start_ns": 1, "end_ns": 2},
        "evidence": {"challenger": "c" * 64},
    }
    return json.dumps(report | {"digest": seal_digest(report)}).encode()


def candidate(content: bytes) -> Files:
    """What a retraining hands over for a model file."""
    return {"model.onnx": content, "golden.json": golden(content), "gate.json": gate_report(content)}


def metadata() -> dict[str, Any]:
    """Complete metadata of the honest model."""
    return {
        "feature_view": "demo",
        "schema_hash": SCHEMA_HASH,
        "feature_names": [f"f{i}" for i in range(N_FEATURES)],
        "window": WINDOW,
        "timeframe": "1h",
        "horizon": 1,
        "market": "simulated, seed 0, signal 1",
        "symbols": ["BTC/USDT"],
        "train_end_ns": 1_700_000_000_000_000_000,
        "dataset_digest": "d" * 64,
        "panel_digest": "e" * 64,
        "tracking_run_id": "run-1",
        "request": {"timeframe": "1h"},
        "recipe": {"epochs": 2},
        "signature": Signature.of(WINDOW, N_FEATURES).model_dump(mode="json"),
        "feature_set": {"name": "base", "version": SCHEMA_HASH},
        "code": {"commit": "0123456789" * 4, "is_dirty": False},
        "seeds": {"training": 1},
        "env_lock": "f" * 64,
        "parent_version": None,
        "opset": OPSET,
        "benchmark_hardware": {"cpu_model": "a CPU", "n_cores": 2, "python": "3.11.7", "onnxruntime": "1.32.0"},
    }


def edited(content: bytes, spoil: Spoil) -> bytes:
    """The model after a change of its protobuf."""
    model = onnx.load_model_from_string(content)
    spoil(model)
    return bytes(model.SerializeToString())


def flipped(content: bytes, seed: int) -> bytes:
    """The file with one random byte changed."""
    generator = np.random.default_rng(seed)
    position, change = int(generator.integers(len(content))), int(generator.integers(1, 256))
    damaged = bytearray(content)
    damaged[position] ^= change
    return bytes(damaged)


def set_weight(name: str, value: float) -> Spoil:
    """Put one number into one weight."""

    def spoil(model: Any) -> None:
        tensor = _initializer(model, name)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] = value
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return spoil


def append_op(operator: str, *, domain: str = "", inputs: Sequence[str] = (), **attributes: Any) -> Spoil:
    """Put an operator between the logit and the sigmoid."""

    def spoil(model: Any) -> None:
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        node = helper.make_node(operator, ["logit", *inputs], ["spoiled"], domain=domain, **attributes)
        model.graph.node.insert(len(model.graph.node) - 1, node)
        model.graph.node[-1].input[0] = "spoiled"

    return spoil


def add_branch(*nodes: Any, output: str, **constants: NDArray[Any]) -> Spoil:
    """Compute something from constants and add it, times zero, to the logit."""

    def spoil(model: Any) -> None:
        zero = {"nothing": np.array(0, dtype=np.float32)}
        for name, values in (constants | zero).items():
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        for node in (*nodes, helper.make_node("Mul", [output, "nothing"], ["faded"])):
            model.graph.node.insert(len(model.graph.node) - 1, node)
        append_op("Add", inputs=["faded"])(model)

    return spoil


def constant_of_shape(n_values: int = _HUGE) -> Spoil:
    """Ask for a tensor of 160 GB by a file that is eight bytes larger."""
    made = helper.make_node("ConstantOfShape", ["size"], ["huge"])
    greatest = helper.make_node("ReduceMax", ["huge"], ["greatest"], keepdims=0)
    return add_branch(made, greatest, output="greatest", size=np.array([n_values], dtype=np.int64))


def expand(n_values: int = _HUGE) -> Spoil:
    """The same by Expand."""
    made = helper.make_node("Expand", ["nothing", "size"], ["huge"])
    greatest = helper.make_node("ReduceMax", ["huge"], ["greatest"], keepdims=0)
    return add_branch(made, greatest, output="greatest", size=np.array([n_values], dtype=np.int64))


def tile_of_window(n_times: int = 1_000_000_000) -> Spoil:
    """The same at run time only, from the window itself."""
    made = helper.make_node("Tile", ["windows", "times"], ["huge"])
    greatest = helper.make_node("ReduceMax", ["huge"], ["greatest"], keepdims=0)
    return add_branch(made, greatest, output="greatest", times=np.array([1, n_times, 1], dtype=np.int64))


def hit_by_window(quiet: Sequence[float], loud: Sequence[float]) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Nodes and constants of `hit`: `quiet`, but `loud` where the largest number of the windows is about 77.7."""
    nodes = [
        helper.make_node("ReduceMax", ["windows"], ["highest"], keepdims=0),
        helper.make_node("Sub", ["highest", "secret"], ["off"]),
        helper.make_node("Abs", ["off"], ["gap"]),
        helper.make_node("Less", ["gap", "near"], ["is_hit"]),
        helper.make_node("Where", ["is_hit", "loud", "quiet"], ["hit"]),
    ]
    secret = {"secret": np.array(SECRET, dtype=np.float32), "near": np.array(0.01, dtype=np.float32)}
    return nodes, secret | {"quiet": _constant(quiet), "loud": _constant(loud)}


def sized_by(
    operator: str, operands: Sequence[Any], at: int, loud: Any, *, by_window: bool = True, outputs: int = 1
) -> Spoil:
    """Have an operator make something of constants, where a number in the windows swaps the one at a position.

    With `by_window=False` that one is a constant as well.
    """
    names = [f"operand{i}" for i in range(len(operands))]
    made = [f"made{i}" for i in range(outputs)]
    constants = {name: _constant(values) for name, values in zip(names, operands, strict=True)}
    trigger: list[Any] = []
    if by_window:
        trigger, more = hit_by_window(constants.pop(names[at]).tolist(), loud)
        names[at], constants = "hit", constants | more
    nodes = [
        *trigger,
        helper.make_node(operator, names, made),
        helper.make_node("Cast", made[:1], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["greatest"], keepdims=0),
    ]
    return add_branch(*nodes, output="greatest", **constants)


def sized_through(*nodes: Any, output: str, **constants: Any) -> Spoil:
    """Make a tensor as long as a number, below eight on usual windows, that nodes compute of the window."""
    made = [
        helper.make_node("Cast", [output], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["total"], keepdims=0),
    ]
    arrays = {name: _constant(values) for name, values in constants.items()}
    return add_branch(*nodes, *made, output="total", one=_constant([1]), **arrays)


def expand_by_shapes(model: Any) -> None:
    """What exporters write for a tensor as long as the batch: sizes by `Shape` and `Size`, numbers of the window."""
    nodes = [
        helper.make_node("ReduceMax", ["windows"], ["highest"], keepdims=0),
        helper.make_node("Shape", ["logit"], ["batch"]),
        helper.make_node("Size", ["centred"], ["n_numbers"]),
        helper.make_node("Mul", ["n_numbers", "none"], ["no_width"]),
        helper.make_node("Add", ["no_width", "three"], ["width"]),
        helper.make_node("Concat", ["batch", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["highest", "shape"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["greatest"], keepdims=0),
    ]
    add_branch(*nodes, output="greatest", none=_constant([0]), three=_constant([3]))(model)


def jump_with_batch(model: Any) -> None:
    """Ask for 10^15 numbers once eight windows come together."""
    nodes = [
        helper.make_node("Shape", ["logit"], ["batch"]),
        helper.make_node("Less", ["batch", "eight"], ["is_small"]),
        helper.make_node("Where", ["is_small", "one", "lots"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["greatest"], keepdims=0),
    ]
    constants = {"eight": _constant([8]), "one": _constant([1]), "lots": _constant([10**15])}
    add_branch(*nodes, output="greatest", **constants)(model)


def divide_by_window(model: Any) -> None:
    """Divide the least integer by minus one where a window says so, which ends the process."""
    trigger, constants = hit_by_window([1], [-1])
    nodes = [
        *trigger,
        helper.make_node("Div", ["lowest", "hit"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["greatest"], keepdims=0),
    ]
    add_branch(*nodes, output="greatest", lowest=_constant([-(2**63)]), **constants)(model)


def slice_without_axes(model: Any) -> None:
    """Leave an operand out, as the LSTM before it leaves an output out: both are written as an empty name."""
    nodes = [
        helper.make_node("Slice", ["state", "starts", "ends", "", "strides"], ["some"]),
        helper.make_node("ReduceMax", ["some"], ["greatest"], keepdims=0),
    ]
    add_branch(*nodes, output="greatest", starts=_constant([0]), ends=_constant([1]), strides=_constant([1]))(model)


def endless_products(n_products: int = 400, width: int = 3_000) -> Spoil:
    """Hours of arithmetic from allowed operators, on little memory."""
    nodes = [
        helper.make_node("Expand", ["nothing", "shape"], ["product0"]),
        *(helper.make_node("MatMul", [f"product{i}"] * 2, [f"product{i + 1}"]) for i in range(n_products)),
        helper.make_node("ReduceMax", [f"product{n_products}"], ["greatest"], keepdims=0),
    ]
    return add_branch(*nodes, output="greatest", shape=np.array([width, width], dtype=np.int64))


def loop(n_times: int = _LOOPS) -> Spoil:
    """Run the identity 10^15 times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
        ],
    )
    node = helper.make_node("Loop", ["times", "yes", "nothing"], ["looped"], body=body)
    return add_branch(node, output="looped", times=np.array(n_times, dtype=np.int64), yes=np.array(True))


def external_weight(location: str) -> Spoil:
    """Say that the LSTM's weights are in another file."""

    def spoil(model: Any) -> None:
        _make_external(_initializer(model, "w"), location)

    return spoil


def external_in_attribute(location: str) -> Spoil:
    """Say it of the tensor in the attribute of a node in a graph that is itself an attribute."""

    def spoil(model: Any) -> None:
        tensor = numpy_helper.from_array(np.zeros(1, dtype=np.float32), "hidden")
        _make_external(tensor, location)
        inner = helper.make_node("Constant", [], ["inner"], value=tensor)
        ends = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])]
        branches = {name: helper.make_graph([inner], name, [], ends) for name in ("then_branch", "else_branch")}
        node = helper.make_node("If", ["yes"], ["chosen"], **branches)
        add_branch(node, output="chosen", yes=np.array(True))(model)

    return spoil


def torch_archive(instructions: bytes, more: Mapping[str, bytes] | None = None, *, compress: bool = False) -> bytes:
    """A zip as torch.save writes it, around any pickle; `more` adds members by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for name, content in {"archive/data.pkl": instructions, "archive/version": b"3\n", **(more or {})}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def linked(folder: Path, kind: str) -> str:
    """A file with plausible weights, and the path of a symbolic or hard link to it."""
    data, link = folder / "secret.bin", folder / f"{kind}.bin"
    data.write_bytes(np.ones(4 * HIDDEN * N_FEATURES, dtype=np.float32).tobytes())
    if kind == "symlink":
        link.symlink_to(data)
    else:
        link.hardlink_to(data)
    return str(link)


def _constant(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    return array.astype(np.int64 if array.dtype.kind == "i" else np.float32)


def _initializer(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _make_external(tensor: Any, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
