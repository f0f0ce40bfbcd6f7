// Runs one ONNX model in ONNX Runtime Web (WebAssembly, as in a browser) and prints its embedding.
//
//   node run.mjs CASE.json
//
// CASE.json: {"model": path, "output": name (default "embedding"),
//             "inputs": {name: {"type": "float64|float32|int64|string", "dims": [...], "data": [...]}}}
// JSON has neither NaN nor 64-bit integers: a null is NaN, and int64 values are written as strings.
// Prints {"dims": [...], "data": [...]}; a value that is not finite is printed as its name, a string.

import { readFile } from "node:fs/promises";
import process from "node:process";

import * as ort from "onnxruntime-web";

const floats = (make) => (data) => make.from(data, (value) => (value === null ? NaN : Number(value)));

const ARRAYS = {
  float64: floats(Float64Array),
  float32: floats(Float32Array),
  int64: (data) => BigInt64Array.from(data, BigInt),
  string: (data) => data,
};

function tensor(name, { type, dims, data }) {
  const make = ARRAYS[type];
  if (make === undefined) {
    throw new Error(`input '${name}': type must be one of ${Object.keys(ARRAYS).join(", ")}, found ${type}`);
  }
  return new ort.Tensor(type, make(data), dims);
}

async function run({ model, output = "embedding", inputs }) {
  const session = await ort.InferenceSession.create(await readFile(model), { executionProviders: ["wasm"] });
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, tensor(name, input)]));
  const { dims, data } = (await session.run(feeds, [output]))[output];
  return { dims, data: Array.from(data, (value) => (Number.isFinite(value) ? value : String(value))) };
}

const [casePath] = process.argv.slice(2);
if (casePath === undefined) {
  console.error("usage: node run.mjs CASE.json");
  process.exit(2);
}
// One thread: workers would only add start-up time to a test of a few rows.
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
try {
  process.stdout.write(`${JSON.stringify(await run(JSON.parse(await readFile(casePath, "utf8"))))}\n`);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
