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

const qualityOf = (ort, entry) => new ort.Tensor("uint8", Uint8Array.of(entry.quality), []);

async function encode(models) {
  const { ort, task } = models;
  const pack = await models.open("pack");
  const entries = task.inputs.map((at) => models.family.inputs[at]);
  const answer = { sent: {}, packed: [], milliseconds: {} };
  const packets = [];
  for (const entry of entries) {
    const size = new ort.Tensor("int64", BigInt64Array.from(entry.size.map(BigInt)), [entry.size.length]);
    const packed = await pack.run({ latents: await models.read(entry.latents), quality: qualityOf(ort, entry), size });
    answer.packed.push(await digest(packed.packet.data));
  }
  for (const variant of task.variants) {
    const encoder = await models.open(`encoder.${variant}`);
    const told = SYMBOLS.filter((name) => encoder.outputNames.includes(name));
    const times = [];
    answer.sent[variant] = [];
    for (const entry of entries) {
      const input = await models.read(entry.input);
      const began = performance.now();
      const found = await encoder.run({ input, quality: qualityOf(ort, entry) });
      times.push(performance.now() - began);
      packets.push(found.packet.data.slice());
      const symbols = await digest(...told.map((name) => found[name].data));
      answer.sent[variant].push({ bytes: found.packet.data.length, symbols });
    }
    answer.milliseconds[variant] = median(times);
  }
  return { ...answer, packets };
}

async function decode(models, pool) {
  const { ort, task } = models;
  const unpack = await models.open("unpack");
  const told = SYMBOLS.filter((name) => unpack.outputNames.includes(name));
  const answer = { read: [], gaps: {}, milliseconds: {} };
  const packetOf = (entry) => new ort.Tensor("uint8", pool.slice(entry.offset, entry.offset + entry.bytes), [entry.bytes]);
  for (const entry of task.packets) {
    const found = await unpack.run({ packet: packetOf(entry) });
    const symbols = await digest(...told.map((name) => found[name].data));
    answer.read.push({ status: Number(found.status.data[0]), symbols });
  }
  for (const variant of task.variants) {
    const decoder = await models.open(`decoder.${variant}`);
    const times = [];
    answer.gaps[variant] = [];
    for (const entry of task.packets.filter((packet) => packet.output)) {
      const began = performance.now();
      const { output, status } = await decoder.run({ packet: packetOf(entry) });
      times.push(performance.now() - began);
      const wanted = await models.read(models.family.inputs[entry.input][`output.${variant}`]);
      answer.gaps[variant].push(status.data[0] ? -1 : gap(output, wanted));
    }
    answer.milliseconds[variant] = times.length ? median(times) : null;
  }
  return answer;
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
