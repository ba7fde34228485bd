// The browser's side of browser.py, which calls these functions one after the other.
//
// A set of sessions is named by its number of threads; the values of the current input are kept between calls, and each
// model is fed those of them that it has inputs for.

const runtimes = {};
const sessions = {};
let known = {};

// Files are written anew under their names, several times a second: more often than their dates tell a cache.
const read = async (name) => (await fetch(name, { cache: "no-store" })).arrayBuffer();

// Milliseconds from the model's bytes to an open session; the first one of a set pays for the WebAssembly.
export async function open(threads, name) {
  runtimes[threads] ??= await import(`/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs?threads=${threads}`);
  runtimes[threads].env.wasm.numThreads = threads;
  const model = new Uint8Array(await read(`${name}.model`));
  const began = performance.now();
  sessions[`${name}/${threads}`] = await runtimes[threads].InferenceSession.create(model);
  return performance.now() - began;
}

// The picture of this number with the latents and the packet that Python made of it.
export async function take(at, shape, latents, quality) {
  known = {
    input: ["uint8", new Uint8Array(await read(`${at}.input`)), shape],
    quality: ["uint8", Uint8Array.of(quality), []],
    size: ["int64", BigInt64Array.from(shape.map(BigInt)), [shape.length]],
    latents: ["float32", new Float32Array(await read(`${at}.latents`)), latents],
  };
  const packet = new Uint8Array(await read(`${at}.packet`));
  known.packet = ["uint8", packet, [packet.length]];
}

// {milliseconds, the packet's SHA-256 where one is made, the largest difference from a picture where one is decoded}.
export async function run(threads, name, wanted) {
  const { [`${name}/${threads}`]: session } = sessions;
  const feed = Object.fromEntries(
    session.inputNames.map((input) => [input, new runtimes[threads].Tensor(...known[input])]),
  );
  const began = performance.now();
  const found = await session.run(feed);
  const milliseconds = performance.now() - began;
  const { packet, output } = found;
  return {
    milliseconds,
    packet: packet && (await digest(packet.data)),
    gap: output && (await gap(output.data, wanted)),
  };
}

async function digest(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

async function gap(found, wanted) {
  const expected = new Uint8Array(await read(wanted));
  if (found.length !== expected.length) return 255;
  return found.reduce((worst, value, at) => Math.max(worst, Math.abs(value - expected[at])), 0);
}
