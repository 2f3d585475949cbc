"""Whether the numbers in a window decide how large anything in the graph becomes. Nothing is run.

A model that asks for memory only when a window holds a certain number answers every window of an inspection, and
takes the server's memory later. So the sizes in a served graph may depend on constants and on the shape of its input
and on nothing else. Where that holds for every operator of the list, all shapes depend on the input's shape only, and
therefore so does what `Shape` and `Size` answer. Of that shape the number of windows is free: a graph may still ask
for more memory when more windows come at once than the inspection tries.
"""

from __future__ import annotations

from typing import Any

from ratchet.errors import CandidateRejectedError
from ratchet.registry.inspection.operators import answers_shapes_only, size_operands
from ratchet.registry.names import MODEL_FILE


def check_sizes(graph: Any) -> None:
    """Walk from the inputs of a flat, valid graph, whose nodes stand in the order in which they can be computed.

    Raises:
        CandidateRejectedError: an operator takes the size or shape of its output from the numbers in an input.
    """
    from_windows = {value.name for value in graph.input}
    for node in graph.node:
        inputs = list(node.input)
        for position in size_operands(node.op_type):
            if position < len(inputs) and inputs[position] in from_windows:
                raise CandidateRejectedError(
                    f"{MODEL_FILE}: {node.op_type} takes a size, {inputs[position][:40]!r}, from the numbers in the "
                    "windows; export it again with sizes from constants and shapes"
                )
        if not answers_shapes_only(node.op_type) and not from_windows.isdisjoint(inputs):
            from_windows.update(name for name in node.output if name)  # "" stands for an operand left out
