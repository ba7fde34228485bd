// One cell of the matrix in JavaScript: what ../cell.py does, with whatever ONNX Runtime and files it is given.
//
// `ort` is onnxruntime-node or onnxruntime-web; `files.read(name)` gives a corpus file's bytes as Uint8Array.

const ARRAYS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };
const SYMBOLS = ["hyper_symbols", "symbols"];
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

async function digest(...arrays) {
  const parts = arrays.map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return hex(await crypto.subtle.digest("SHA-256", joined));
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

class Models {
  constructor(ort, files, index, task) {
    Object.assign(this, { ort, files, task, family: index[task.family] });
  }

  async open(name) {
    const model = await this.files.read(this.family.models[name]);
    const graphOptimizationLevel = this.task.level;
    return this.ort.InferenceSession.create(model, { graphOptimizationLevel, logSeverityLevel: 3, ...this.task.options });
  }

  async read(entry) {
    const bytes = await this.files.read(entry.file);
    return new this.ort.Tensor(entry.dtype, new ARRAYS[entry.dtype](bytes.slice().buffer), entry.shape);
  }
}

async function encode(models) {
  const { ort, task } = models;
  const encoder = await models.open(`encoder.${task.variant}`);
  const pack = await models.open("pack");
  const told = SYMBOLS.filter((name) => encoder.outputNames.includes(name));
  const answer = { sent: [], packed: [], milliseconds: [] };
  const packets = [];
  for (const at of task.inputs) {
    const entry = models.family.inputs[at];
    const quality = new ort.Tensor("uint8", Uint8Array.of(entry.quality), []);
    const input = await models.read(entry.input);
    const began = performance.now();
    const found = await encoder.run({ input, quality });
    answer.milliseconds.push(performance.now() - began);
    packets.push(found.packet.data.slice());
    answer.sent.push({ bytes: found.packet.data.length, symbols: await digest(...told.map((name) => found[name].data)) });
    const size = new ort.Tensor("int64", BigInt64Array.from(entry.size.map(BigInt)), [entry.size.length]);
    const packed = await pack.run({ latents: await models.read(entry.latents), quality, size });
    answer.packed.push(await digest(packed.packet.data));
  }
  return { ...answer, milliseconds: median(answer.milliseconds), packets };
}

async function decode(models, pool) {
  const { ort, task } = models;
  const unpack = await models.open("unpack");
  const decoder = await models.open(`decoder.${task.variant}`);
  const told = SYMBOLS.filter((name) => unpack.outputNames.includes(name));
  const answer = { read: [], milliseconds: [] };
  for (const entry of task.packets) {
    const bytes = pool.slice(entry.offset, entry.offset + entry.bytes);
    const packet = new ort.Tensor("uint8", bytes, [entry.bytes]);
    const unpacked = await unpack.run({ packet });
    const began = performance.now();
    const { output, status } = await decoder.run({ packet });
    answer.milliseconds.push(performance.now() - began);
    const line = { status: Number(unpacked.status.data[0]) || Number(status.data[0]) };
    line.symbols = await digest(...told.map((name) => unpacked[name].data));
    if (entry.reference) line.gap = gap(output, await models.read(models.family.inputs[entry.input][`output.${task.variant}`]));
    answer.read.push(line);
  }
  return { ...answer, milliseconds: median(answer.milliseconds) };
}

function gap(output, wanted) {
  if (String(output.dims) !== String(wanted.dims)) return -1;
  return output.data.reduce((worst, value, at) => Math.max(worst, Math.abs(value - wanted.data[at])), 0);
}

// All tasks of a job, one after the other: {answers, packets of all tasks}.
export async function work(ort, files, job, tasks, pool) {
  const index = JSON.parse(new TextDecoder().decode(await files.read("index.json")));
  const answers = [];
  const packets = [];
  for (const task of tasks) {
    const models = new Models(ort, files, index, task);
    const { packets: made = [], ...answer } = job === "encode" ? await encode(models) : await decode(models, pool);
    answers.push(answer);
    packets.push(...made);
  }
  return { answers, packets };
}
