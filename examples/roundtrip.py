"""A picture to a packet and back with nothing but NumPy and ONNX Runtime.

python roundtrip.py encoder.int8.onnx decoder.fp32.onnx
"""

import sys

import numpy as np
import onnxruntime

encoder, decoder = (onnxruntime.InferenceSession(path) for path in sys.argv[1:])
y, x = np.mgrid[:256, :384]
picture = np.stack([x * 2 // 3, y, (x + y) // 3], axis=2).astype(np.uint8)  # any uint8 [height, width, 1 or 3]

(packet,) = encoder.run(["packet"], {"input": picture, "quality": np.array(128, np.uint8)})
packet.tofile("picture.lw")  # uint8 [bytes]: send these

output, status = decoder.run(["output", "status"], {"packet": packet})
assert status == 0, f"not a packet of this codec, or damaged: status {status}"
error = np.square(output.astype(float) - picture).mean()
print(f"{picture.nbytes} bytes, packet {packet.size} bytes, mean squared error {error:.2f}")
