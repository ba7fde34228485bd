// A picture to a packet and back in a browser, with onnxruntime-web and nothing else. README.md beside this folder says
// what lies where. Of what onnxruntime-web brings, take ort.wasm: its other builds lack operators of the entropy coder.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const at = (id) => document.getElementById(id);
const say = (text) => (at("said").textContent = text);

// uint8 [height, width, 3] of an image file.
async function read(file) {
  const image = await createImageBitmap(file);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const colours = Uint8Array.from({ length: (data.length / 4) * 3 }, (_, k) => data[Math.floor(k / 3) * 4 + (k % 3)]);
  return new ort.Tensor("uint8", colours, [image.height, image.width, 3]);
}

function show({ data, dims: [height, width] }) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    image.data.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
    image.data[pixel * 4 + 3] = 255;
  }
  Object.assign(at("decoded"), { width, height }).getContext("2d").putImageData(image, 0, 0);
}

async function roundtrip(file) {
  const input = await read(file);
  const quality = new ort.Tensor("uint8", Uint8Array.of(at("quality").valueAsNumber), []);
  const began = performance.now();
  const { packet } = await encoder.run({ input, quality }); // packet.data: send these bytes
  const encoded = performance.now();
  const { output, status } = await decoder.run({ packet });
  const decoded = performance.now();
  if (status.data[0] !== 0n) throw new Error(`not a packet of this codec, or damaged: status ${status.data[0]}`);
  show(output);
  Object.assign(at("packet"), { href: URL.createObjectURL(new Blob([packet.data])), hidden: false });
  const times = `encoded in ${Math.round(encoded - began)} ms, decoded in ${Math.round(decoded - encoded)} ms`;
  say(`${input.size} bytes, packet ${packet.size} bytes, ${times}`);
}

// One after the other: a session runs one picture at a time.
let last = Promise.resolve();
function enqueue(file) {
  say("Working.");
  last = last.then(() => roundtrip(file)).catch((fault) => say(`${file.name}: ${fault.message}`));
}

at("file").addEventListener("change", (event) => event.target.files[0] && enqueue(event.target.files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) enqueue(event.dataTransfer.files[0]);
});

ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1; // see ../README.md
const open = (path) => ort.InferenceSession.create(path);
const [encoder, decoder] = [await open("encoder.onnx"), await open("decoder.onnx")];
say("Ready.");
