// The device, a worker: encodes the picture that it was given and sends the packet to the server.
//
// takes    {picture: {colours, width, height}} and {quality, number}; of numbers that wait only the last one counts
// gives    {ready}, {number, bytes, encode}, {number, png, send, answer}, {number, fault}; times in milliseconds

import * as ort from "./onnxruntime/ort.wasm.min.mjs";

const SERVER = "../v1/packets";
const PATIENCE = 60_000;
const RETRIES = 5;

let picture = null;
let wanted = null;
let busy = false;
let session = null;

onmessage = ({ data }) => {
  if (data.picture) picture = data.picture;
  else wanted = data;
  work();
};

async function work() {
  if (busy || !session) return;
  busy = true;
  while (wanted) {
    const { quality, number } = wanted;
    wanted = null;
    await once(quality, number).catch((fault) => postMessage({ number, fault: fault.message }));
  }
  busy = false;
}

async function once(quality, number) {
  const began = performance.now();
  const packet = await encode(picture, quality);
  postMessage({ number, bytes: packet.length, encode: performance.now() - began });
  postMessage({ number, ...(await send(packet, RETRIES)) });
}

async function encode({ colours, width, height }, quality) {
  const { packet } = await session.run({
    input: new ort.Tensor("uint8", colours, [height, width, 3]),
    quality: new ort.Tensor("uint8", Uint8Array.of(quality), []),
  });
  return packet.data;
}

// {png, send, answer}. A busy server says when to come again.
async function send(packet, retries) {
  const { request, ...times } = await post(packet);
  if (request.status === 200) return { png: request.response, ...times };
  if ([429, 503].includes(request.status) && retries) {
    await new Promise((wake) => setTimeout(wake, 1000 * Number(request.getResponseHeader("Retry-After") ?? 1)));
    return send(packet, retries - 1);
  }
  const { message = "" } = await request.response.text().then(JSON.parse).catch(() => ({}));
  throw new Error(`The server did not take the packet (${request.status}). ${message}`);
}

// XMLHttpRequest, because it tells when the packet has left; fetch does not.
function post(packet) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const began = performance.now();
    let sent = began;
    const unheard = () => reject(new Error("The server does not answer. Is `latentwire serve --demo` still running?"));
    request.open("POST", new URL(SERVER, import.meta.url));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Accept", "image/png");
    Object.assign(request, { responseType: "blob", timeout: PATIENCE, onerror: unheard, ontimeout: unheard });
    request.upload.onload = () => (sent = performance.now());
    request.onload = () => resolve({ request, send: sent - began, answer: performance.now() - sent });
    request.send(packet);
  });
}

// The first run of a session compiles: a small picture, so that the user's does not wait for it.
async function open() {
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const answer = await fetch("encoder.onnx");
  if (!answer.ok) throw new Error(`the server says ${answer.status}`);
  session = await ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()));
  await encode({ colours: new Uint8Array(128 * 128 * 3), width: 128, height: 128 }, 128);
}

try {
  await open();
  postMessage({ ready: true });
  work();
} catch (fault) {
  postMessage({ fault: `The encoder could not be loaded: ${fault.message}` });
}
