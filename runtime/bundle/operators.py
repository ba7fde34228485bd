"""The operators that a codec's model may be made of: those of ONNX that compute, end, and touch nothing but tensors.

Not only those of our own exports, since families of others have other layers. Left out are loops whose number of turns
is a number in the graph (`Loop`, `SequenceMap`) and branches, which no codec has (`If`); sequences, optionals, texts;
random numbers, which make no packet twice; decoders of image files; losses of training. `Scan`
stays: the entropy coder is one, and it takes as many turns as its input has rows. Of other domains there is none: some
of their operators read files or call out (`com.microsoft.EPContext`).
"""

from __future__ import annotations

DOMAINS = ("", "ai.onnx")

_KINDS = {
    "numbers": (
        "Abs Acos Acosh Add Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor "
        "Cast CastLike Ceil Celu Clip Cos Cosh CumProd CumSum Div Elu Erf Exp Floor Gelu HardSigmoid "
        "HardSwish Hardmax LeakyRelu Log LogSoftmax Max Mean Min Mish Mod Mul Neg PRelu Pow Reciprocal Relu "
        "Round Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh "
        "ThresholdedRelu"
    ),
    "comparisons": ("And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor"),
    "over axes": (
        "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceSum ReduceSumSquare TopK"
    ),
    "layers": (
        "AffineGrid Attention AveragePool BatchNormalization CausalConvWithState Conv ConvInteger "
        "ConvTranspose DeformConv Einsum GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample "
        "GroupNormalization InstanceNormalization LRN LSTM LayerNormalization LinearAttention LpNormalization "
        "LpPool MatMul MatMulInteger MaxPool MaxRoiPool MaxUnpool MeanVarianceNormalization RMSNormalization "
        "RNN RoiAlign RotaryEmbedding"
    ),
    "int8": ("DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul QuantizeLinear"),
    "shapes and places": (
        "CenterCropPad Col2Im Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten "
        "Gather GatherElements GatherND Identity NonZero OneHot Pad Range Reshape Resize ReverseSequence "
        "Scatter ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze TensorScatter Tile "
        "Transpose Trilu Unique Unsqueeze Upsample"
    ),
    "signals": ("BlackmanWindow DFT Det HammingWindow HannWindow MelWeightMatrix STFT"),
    "the entropy coder": ("Scan"),
}
OPERATORS = frozenset(name for names in _KINDS.values() for name in names.split())
