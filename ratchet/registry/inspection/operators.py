"""The operators a served model may use: arithmetic on tensors, and nothing that repeats, branches or makes numbers up.

An allow-list, because every new operator set brings operators that nobody here has looked at. On it is what torch
exports for networks over windows (convolution, recurrence, attention, normalisation) and what onnxruntime's
quantizers make of these. Left out on purpose:

- `Loop`, `Scan`, `If`, `SequenceMap`: a graph within the graph. `Loop` runs as often as a constant says, 10^15 times
  for example, and none of our networks needs any: recurrence is `LSTM`, `GRU` and `RNN`, whose length is that of the
  window.
- `Random*`, `Bernoulli`, `Multinomial`, `Dropout`: the same window must get the same answer.
- `Optional*`, `Sequence*`, `String*`, `Resize`, `Upsample`, `TfIdfVectorizer`, `ImageDecoder`, `NonMaxSuppression`:
  not of this trade.
- every domain but `ai.onnx` and, for quantized models, a part of `com.microsoft`: a custom operator is foreign code.

Operators whose output is as large as an operand says (`ConstantOfShape`, `Expand`, `Tile`, `Range`, `Pad`) are
allowed, since exporters use them. Where that operand is a constant, the inspecting process's limit of memory stops
those that ask for too much; from the numbers in a window it may not come at all (`ratchet.registry.inspection.sizes`).
"""

from __future__ import annotations

_ONNX_NAMES = """
    Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DequantizeLinear Div DynamicQuantizeLinear Einsum
    Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf
    IsNaN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul MatMulInteger Max
    MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape RotaryEmbedding Round ScatterElements
    ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
_MICROSOFT_NAMES = """
    BiasGelu DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul FastGelu FusedConv FusedGemm FusedMatMul Gelu
    MatMulInteger16 MatMulIntegerToFloat MatMulNBits QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
    QuantizeLinear QuickGelu
"""
_ONNX = frozenset(_ONNX_NAMES.split())
# Positions of the operands whose numbers decide the shape of an output, in every version that
# onnxruntime runs. A shape of the same size counts: it decides what a broadcast with another tensor makes, and what
# `Shape` answers.
_SIZE_OPERANDS = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
} | {name: (1,) for name in _ONNX if name.startswith("Reduce")}
_BY_DOMAIN = {"": _ONNX, "ai.onnx": _ONNX, "com.microsoft": frozenset(_MICROSOFT_NAMES.split())}


def is_allowed_domain(domain: str) -> bool:
    """Tell whether a model may import operators of a domain."""
    return domain in _BY_DOMAIN


def is_allowed_operator(domain: str, operator: str) -> bool:
    """Tell whether a model may use an operator.

    >>> is_allowed_operator("", "LSTM"), is_allowed_operator("", "Loop"), is_allowed_operator("mine", "Add")
    (True, False, False)
    """
    return operator in _BY_DOMAIN.get(domain, ())


def size_operands(operator: str) -> tuple[int, ...]:
    """Return the positions of the operands whose numbers decide the shape of an output.

    >>> size_operands("Pad"), size_operands("Add")
    ((1, 3), ())
    """
    return _SIZE_OPERANDS.get(operator, ())


def answers_shapes_only(operator: str) -> bool:
    """Tell whether an operator reads the shape of its operand and none of its numbers."""
    return operator in {"Shape", "Size"}
