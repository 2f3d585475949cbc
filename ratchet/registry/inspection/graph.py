"""What the ONNX file says, read as data: operators, weights, inputs and outputs. Nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ratchet.errors import CandidateRejectedError
from ratchet.registry.inspection.operators import is_allowed_domain, is_allowed_operator
from ratchet.registry.inspection.sizes import check_sizes
from ratchet.registry.metadata import INPUT_NAME, OUTPUT_NAME
from ratchet.registry.names import MODEL_FILE

_MAX_DEPTH = 32


def check_graph(content: bytes, window: int, n_features: int) -> None:
    """Check a model file as data, before any runtime sees it.

    Raises:
        CandidateRejectedError: it is no valid ONNX model, keeps data outside the file, uses an operator that is not
            on the list, holds a weight that is not finite, maps anything but `windows` (batch, window, n_features)
            to `p_up` (batch,), or makes a size depend on the numbers in a window.
    """
    model = _parse(content)
    messages = list(_messages(model, 0))
    for kind, check in _CHECKS.items():
        for message in messages:
            if message.DESCRIPTOR.name == kind:
                check(message)
    _check_parts(model)
    _check_valid(model)  # only now: the checker opens the files that external data name
    _check_ends(model.graph, window, n_features)
    check_sizes(model)  # only now: the nodes of a valid graph are in order, and it has one input


def _parse(content: bytes) -> Any:
    import onnx  # noqa: PLC0415 - heavy, and only the inspecting process needs it

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises an error of its own, which would have to be imported
        raise _refusal(f"not an ONNX model: {_line(error)}; export it again") from error


def _messages(message: Any, depth: int) -> Iterator[Any]:
    """Yield a message and all within it, however deep: no place is forgotten because nobody thought of it."""
    from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with onnx

    if depth > _MAX_DEPTH:
        raise _refusal("nested too deeply; export it again without graphs in graphs")
    if len(UnknownFieldSet(message)):
        raise _refusal(f"{message.DESCRIPTOR.name} holds fields that ONNX does not define; export it again")
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner, depth + 1)


def _check_tensor(tensor: Any) -> None:
    import onnx  # noqa: PLC0415

    if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
        raise _refusal(f"{_label(tensor)} keeps its data in another file; export with external_data=False")
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise _refusal(f"{_label(tensor)} cannot be read: {_line(error)}") from error
    if values.dtype.kind not in "biu" and not _is_finite(values):
        raise _refusal(f"{_label(tensor)} holds numbers that are not finite; the training diverged")


def _is_finite(values: np.ndarray[Any, Any]) -> bool:
    return values.dtype.kind not in "OSU" and bool(np.isfinite(values.astype(np.float64)).all())


def _check_attribute(attribute: Any) -> None:
    if attribute.HasField("g") or len(attribute.graphs):
        raise _refusal(f"attribute {attribute.name[:40]!r} is a graph within the graph; export it flat")
    if not np.isfinite([attribute.f, *attribute.floats]).all():
        raise _refusal(f"attribute {attribute.name[:40]!r} is not finite; the export is broken")


def _check_operator(node: Any) -> None:
    if not is_allowed_operator(node.domain, node.op_type):
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise _refusal(f"operator {name[:80]} is not on the list; see ratchet/registry/inspection/operators.py")


def _check_parts(model: Any) -> None:
    foreign = [opset.domain for opset in model.opset_import if not is_allowed_domain(opset.domain)]
    if foreign:
        raise _refusal(f"operators of the domain {foreign[0][:40]!r} are not accepted")
    for what, found in (
        ("functions of its own", model.functions),
        ("training information", model.training_info),
        ("sparse weights", model.graph.sparse_initializer),
    ):
        if len(found):
            raise _refusal(f"it holds {what}; export for inference, with dense weights and functions inlined")


def _check_valid(model: Any) -> None:
    import onnx  # noqa: PLC0415

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise _refusal(f"not a valid ONNX model: {_line(error)}") from error


def _check_ends(graph: Any, window: int, n_features: int) -> None:
    for what, found, name, sizes in (
        ("input", graph.input, INPUT_NAME, [None, window, n_features]),
        ("output", graph.output, OUTPUT_NAME, [None]),
    ):
        ends = [_end(value) for value in found]
        if ends != [(name, "float32", sizes)]:
            shown = ", ".join(f"{end[0][:40]} {end[1]} {end[2]}" for end in ends[:4]) or "none"
            raise _refusal(
                f"its {what}s are {shown}; exactly one is needed: {name} float32 {sizes}, where None is a free size"
            )


def _end(value: Any) -> tuple[str, str, list[int | None]]:
    import onnx  # noqa: PLC0415

    tensor = value.type.tensor_type
    is_float = value.type.HasField("tensor_type") and tensor.elem_type == onnx.TensorProto.FLOAT
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
    return value.name, "float32" if is_float else "of another type", sizes


def _label(tensor: Any) -> str:
    return f"tensor {tensor.name[:60]!r}" if tensor.name else "a tensor"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _refusal(reason: str) -> CandidateRejectedError:
    return CandidateRejectedError(f"{MODEL_FILE}: {reason}")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "TensorProto": _check_tensor,
    "AttributeProto": _check_attribute,
    "NodeProto": _check_operator,
}
