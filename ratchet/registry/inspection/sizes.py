"""Whether the numbers in a window, or a jump in their number, decide how large anything becomes. Nothing is run.

A model that asks for memory only when a window holds a certain number answers every window of an inspection, and
takes the server's memory later. So the sizes in a served graph may depend on constants and on the shape of its input
and on nothing else. Where that holds for every operator of the list, all shapes depend on the input's shape only, and
therefore so does what `Shape` and `Size` answer. Of that shape the number of windows is free: a size may grow with it
by sums and products, which the largest batch of the inspection shows, but not jump, as a comparison would make it.

The one operator that ends a process by itself is an integer division: the least integer divided by minus one.
"""

from __future__ import annotations

from typing import Any

from ratchet.errors import CandidateRejectedError
from ratchet.registry.inspection.operators import answers_shapes_only, size_operands
from ratchet.registry.names import MODEL_FILE

_GROWING = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Expand",
        "Gather",
        "Identity",
        "Mul",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Squeeze",
        "Unsqueeze",
    }
)
"""Operators through which a size grows steadily with the number of windows."""


def check_sizes(model: Any) -> None:
    """Walk from the inputs of a flat, valid graph, whose nodes stand in the order in which they can be computed.

    Raises:
        CandidateRejectedError: an operator takes the size or shape of its output from the numbers in an input, or by a
            jump from the number of windows; or whole numbers are divided by a number from an input.
    """
    from_windows = {value.name for value in model.graph.input}
    from_shapes: set[str] = set()
    jumping: set[str] = set()
    integers = _integers(model)
    for node in model.graph.node:
        inputs, outputs = [name for name in node.input if name], [name for name in node.output if name]
        for position in size_operands(node.op_type):
            _refuse_size(node, position, from_windows, jumping)
        if node.op_type == "Div" and node.input[1] in from_windows and not integers.isdisjoint(outputs):
            raise _refusal("Div divides whole numbers by a number from the windows; export it again in floating point")
        if answers_shapes_only(node.op_type):
            from_shapes.update(outputs)
            continue
        if not from_windows.isdisjoint(inputs):
            from_windows.update(outputs)
        if not from_shapes.isdisjoint(inputs):
            from_shapes.update(outputs)
            if node.op_type not in _GROWING or not jumping.isdisjoint(inputs):
                jumping.update(outputs)


def _refuse_size(node: Any, position: int, from_windows: set[str], jumping: set[str]) -> None:
    operand = node.input[position] if position < len(node.input) else ""
    if operand and operand in from_windows:
        raise _refusal(
            f"{node.op_type} takes a size, {operand[:40]!r}, from the numbers in the windows; export it again with "
            "sizes from constants and shapes"
        )
    if operand and operand in jumping:
        raise _refusal(
            f"{node.op_type} takes a size, {operand[:40]!r}, that can jump with the number of windows; export it again "
            "with sizes that are sums and products of the shape"
        )


def _integers(model: Any) -> set[str]:
    """Return the names that may hold whole numbers: all but those that are known to be of another kind."""
    import onnx  # noqa: PLC0415 - heavy, and only the inspecting process needs it

    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = onnx.TensorProto
    real = {kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE, kinds.BOOL}
    known = {
        value.name for value in (*inferred.value_info, *inferred.output) if value.type.tensor_type.elem_type in real
    }
    made = {name for node in model.graph.node for name in node.output}
    return made - known


def _refusal(reason: str) -> CandidateRejectedError:
    return CandidateRejectedError(f"{MODEL_FILE}: {reason}")
