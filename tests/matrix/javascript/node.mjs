// A cell in Node: node node.mjs PACKAGE encode|decode CORPUS TASKS.json ANSWERS.json PACKETS
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { work } from "./cell.mjs";

const [name, job, corpus, tasks, answers, data] = process.argv.slice(2);
const ort = await import(name);
if (ort.env) ort.env.wasm.numThreads = 1;
const files = { read: async (file) => new Uint8Array(await readFile(path.join(corpus, file))) };
const pool = job === "decode" ? new Uint8Array(await readFile(data)) : null;
const done = await work(ort.default ?? ort, files, job, JSON.parse(await readFile(tasks, "utf8")), pool);
const about = path.join(import.meta.dirname, "node_modules", name, "package.json");
const { version } = JSON.parse(await readFile(about, "utf8"));
await writeFile(answers, JSON.stringify({ onnxruntime: `${name} ${version}`, answers: done.answers }));
if (job === "encode") await writeFile(data, Buffer.concat(done.packets));
process.exit(0); // onnxruntime-web keeps a worker alive
