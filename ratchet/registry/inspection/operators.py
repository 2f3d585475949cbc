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

Operators whose output is as large as a constant says (`ConstantOfShape`, `Expand`, `Tile`, `Range`, `Pad`) are
allowed, since exporters use them; the inspecting process's limit of memory stops those that ask for too much.
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
