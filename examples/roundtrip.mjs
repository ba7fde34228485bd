// A picture to a packet and back in Node, with onnxruntime-node and nothing else. In a browser: browser/.
//
//     npm install onnxruntime-node && node roundtrip.mjs encoder.int8.onnx decoder.fp32.onnx
import { writeFile } from "node:fs/promises";
import ort from "onnxruntime-node";

const [encoder, decoder] = await Promise.all(process.argv.slice(2, 4).map((path) => ort.InferenceSession.create(path)));
const [height, width] = [256, 384];
const picture = Uint8Array.from({ length: height * width * 3 }, (_, at) => {
  const [y, x] = [Math.floor(at / 3 / width), Math.floor(at / 3) % width];
  return [Math.floor((x * 2) / 3), y, Math.floor((x + y) / 3)][at % 3];
});

const input = new ort.Tensor("uint8", picture, [height, width, 3]); // any [height, width, 1 or 3]
const quality = new ort.Tensor("uint8", Uint8Array.of(128), []);
const { packet } = await encoder.run({ input, quality });
await writeFile("picture.lw", packet.data); // send these

const { output, status } = await decoder.run({ packet });
if (status.data[0] !== 0n) throw new Error(`not a packet of this codec, or damaged: status ${status.data[0]}`);
const error = output.data.reduce((sum, value, at) => sum + (value - picture[at]) ** 2, 0) / picture.length;
console.log(`${picture.length} bytes, packet ${packet.size} bytes, mean squared error ${error.toFixed(2)}`);
