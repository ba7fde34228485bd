// The page: takes a picture, hands it to the device (device.mjs), shows what the server makes of its packets, and asks
// JPEG for the same (rival.mjs). Work is numbered; what belongs to an earlier picture is dropped when it arrives.

import { BOUND, fromFile, fromPng, fromVideo, withoutAlpha } from "./pixels.mjs";

const at = (id) => document.getElementById(id);
const part = (name) => new Worker(new URL(name, import.meta.url), { type: "module" });
const device = part("device.mjs");
const rival = part("rival.mjs");

const figures = new Map(); // of each number that is on its way
let original = null;
let last = 0; // the newest number
let first = Infinity; // of the picture that is shown
let shown = 0;
let ready = false;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const number = (value) => whole.format(value).replaceAll(",", "\u202f");
const fine = (value, digits) => value.toFixed(digits);
const share = (element, value) => element.style.setProperty("--share", String(value));

function say(text, again = false) {
  at("status").textContent = text;
  at("again").hidden = !again;
}

// ---- pictures

function take(image) {
  original = image;
  first = last + 1;
  figures.clear();
  const { width, height } = image;
  at("frame").classList.remove("empty");
  at("frame").style.setProperty("--width", width);
  at("frame").style.setProperty("--height", height);
  paint(at("original"), image);
  paint(at("decoded"), image);
  at("frame").classList.add("waiting"); // nothing is decoded yet
  device.postMessage({ picture: { colours: withoutAlpha(image), width, height } });
  rival.postMessage({ original: image });
  encode();
}

function paint(canvas, image) {
  Object.assign(canvas, { width: image.width, height: image.height }).getContext("2d").putImageData(image, 0, 0);
}

function encode() {
  if (!original) return;
  say(ready ? "Encoding." : "Loading the encoder.");
  device.postMessage({ quality: at("quality").valueAsNumber, number: ++last });
}

async function use(file) {
  if (!file) return;
  closeCamera();
  try {
    take(await fromFile(file));
  } catch (fault) {
    say(fault.message);
  }
}

// ---- what comes back

device.onmessage = ({ data }) => {
  if (data.ready) {
    ready = true;
    if (!original) say("Ready.");
  } else if (data.fault) {
    if (data.number === undefined || data.number >= first) say(data.fault, data.number !== undefined);
  } else if (data.number >= first) {
    if (data.png) decoded(data).catch((fault) => say(`The answer could not be drawn: ${fault.message}`));
    else encoded(data);
  }
};
device.onerror = () => say("The encoder could not be started. This page needs a browser with WebAssembly and module workers.");

function encoded({ number: which, bytes, encode: spent }) {
  figures.set(which, { bytes, encode: spent });
  const { width, height } = original;
  at("bytes").textContent = number(bytes);
  at("bytes").value = bytes;
  const rate = fine((8 * bytes) / (width * height), 2);
  const ratio = number((width * height * 3) / bytes);
  at("about").textContent = `for ${width} × ${height} pixels: ${rate} bits each, 1 to ${ratio}.`;
}

async function decoded({ number: which, png, send, answer }) {
  const began = performance.now();
  const image = await fromPng(png);
  if (which < first || which < shown) return;
  shown = which;
  paint(at("decoded"), image);
  at("frame").classList.remove("waiting");
  const found = Object.assign(figures.get(which), { send, answer, draw: performance.now() - began });
  for (const earlier of figures.keys()) if (earlier < which) figures.delete(earlier);
  clock(found);
  if (which === last) say("");
  rival.postMessage({ decoded: image, number: which });
}

function clock(found) {
  const stages = ["encode", "send", "answer", "draw"];
  for (const stage of stages) {
    at(stage).textContent = fine(found[stage], found[stage] < 10 ? 1 : 0);
    share(at(`wire-${stage}`), found[stage]);
  }
  at("total").textContent = number(stages.reduce((sum, stage) => sum + found[stage], 0));
}

rival.onmessage = ({ data: { number: which, psnr, jpeg } }) => {
  const found = figures.get(which);
  if (!found) return;
  const bytes = jpeg?.bytes;
  at("rival").textContent = jpeg ? number(bytes) : "none";
  at("rival").value = bytes ?? "";
  const longest = Math.max(found.bytes, bytes ?? 0);
  share(at("ours"), found.bytes / longest);
  share(at("theirs"), jpeg ? bytes / longest : 0);
  at("verdict").textContent = jpeg
    ? `${fine(bytes / found.bytes, 2)} times the packet, at quality ${jpeg.low} to ${jpeg.high}. Both ${fine(psnr, 1)} dB.`
    : `No quality of this browser’s JPEG comes to ${fine(psnr, 1)} dB.`;
};

// ---- the divider

const frame = at("frame");
const divider = at("divider");
const cut = () => frame.style.setProperty("--cut", String(divider.value / divider.max));

function drag(event) {
  const box = frame.getBoundingClientRect();
  divider.value = Math.round(((event.clientX - box.left) / box.width) * divider.max);
  cut();
}

frame.addEventListener("pointerdown", (event) => {
  if (!original || camera) return;
  frame.setPointerCapture(event.pointerId);
  drag(event);
});
frame.addEventListener("pointermove", (event) => frame.hasPointerCapture(event.pointerId) && drag(event));
divider.addEventListener("input", cut);

// ---- the camera

let camera = null;

async function openCamera() {
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: BOUND } } });
  } catch (fault) {
    return say(whyNoCamera(fault));
  }
  at("video").srcObject = camera;
  await at("video").play();
  frame.style.setProperty("--width", at("video").videoWidth);
  frame.style.setProperty("--height", at("video").videoHeight);
  frame.classList.remove("empty");
  showCamera(true);
  say("");
}

function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  showCamera(false);
}

function showCamera(open) {
  at("video").hidden = at("take").hidden = !open;
  at("camera").textContent = open ? "Close the camera" : "Use the camera";
  frame.classList.toggle("filming", open);
  if (!open && !original) frame.classList.add("empty");
}

function whyNoCamera({ name, message }) {
  if (name === "NotAllowedError") return "The browser does not let this page use the camera. Allow it, or choose a picture.";
  if (name === "NotFoundError") return "There is no camera here. Choose a picture instead.";
  if (name === "NotReadableError") return "The camera is in use by another program. Close it, or choose a picture.";
  return navigator.mediaDevices
    ? `The camera cannot be used: ${message}. Choose a picture instead.`
    : "Browsers give a camera only to pages from localhost or over HTTPS. Choose a picture instead.";
}

async function shoot() {
  const image = await fromVideo(at("video"));
  closeCamera();
  take(image);
}

// ---- controls

at("bound").textContent = String(BOUND);
at("quality").addEventListener("input", () => {
  at("level").value = at("quality").value;
  encode();
});
at("file").addEventListener("change", () => use(at("file").files[0]));
at("again").addEventListener("click", encode);
at("camera").addEventListener("click", () => (camera ? closeCamera() : openCamera()));
at("take").addEventListener("click", shoot);
addEventListener("dragover", (event) => {
  event.preventDefault();
  frame.classList.add("over");
});
addEventListener("dragleave", () => frame.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  frame.classList.remove("over");
  use(event.dataTransfer.files[0]);
});
at("level").value = at("quality").value; // browsers keep it over a reload
cut();
