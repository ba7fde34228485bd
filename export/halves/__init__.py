"""Encoders and decoders that are ONNX models already, from whatever framework: checked, cleaned, scaled, probed.

Nothing here needs torch. A half becomes a transform of a codec by `read_half`, `prepared` and `with_scaling`.
"""

from latentwire.export.halves.narrow import in_half_precision
from latentwire.export.halves.prepare import prepared, prepared_outputs
from latentwire.export.halves.probe import sensitivity
from latentwire.export.halves.read import read_half
from latentwire.export.halves.run import Network
from latentwire.export.halves.scale import Ends, with_scaling
from latentwire.export.halves.tensors import Tensor, inputs_of, outputs_of

__all__ = [
    "Ends",
    "Network",
    "Tensor",
    "in_half_precision",
    "inputs_of",
    "outputs_of",
    "prepared",
    "prepared_outputs",
    "read_half",
    "sensitivity",
    "with_scaling",
]
