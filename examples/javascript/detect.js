// Runs an exported ONNX file. All that it knows of the network stands in the contract beside the file.
//
//     node detect.js network.onnx picture.png [size]
//
// prints the detections as JSON, boxes in pixels of the picture. `size` is for files that take images of any size.

"use strict";

const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { dirname, join } = require("node:path");
const jpeg = require("jpeg-js");
const ort = require("onnxruntime-web");
const { PNG } = require("pngjs");

function readContract(path) {
  const contract = JSON.parse(readFileSync(`${path}.json`, "utf8"));
  if (contract.format !== "yolo-lightning export" || contract.version !== 1) {
    throw new Error(`${path}.json: no contract of version 1`);
  }
  if (contract.input.channels !== 3) {
    throw new Error(`the network sees ${contract.input.channels} channels, pictures have 3`);
  }
  for (const { name, sha256 } of contract.files) {
    const hash = createHash("sha256").update(readFileSync(join(dirname(path), name))).digest("hex");
    if (hash !== sha256) throw new Error(`${name}: not the file that the contract is of`);
  }
  return contract;
}

/** Width, height, and RGBA bytes. */
function readPicture(path) {
  const bytes = readFileSync(path);
  return bytes[0] === 0x89 ? PNG.sync.read(bytes) : jpeg.decode(bytes, { useTArray: true });
}

/** Half to even, as Python's `round`. */
function round(value) {
  const lower = Math.floor(value);
  if (value - lower !== 0.5) return Math.round(value);
  return lower % 2 === 0 ? lower : lower + 1;
}

/** How a picture lies on the canvas: the factor, its size there, and where its left and top edges are. */
function fit(picture, contract, size) {
  const { height, width, stride } = contract.input;
  const side = Math.ceil(size / stride) * stride;
  const most = [height ?? side, width ?? side];
  let factor = Math.min(most[0] / picture.height, most[1] / picture.width);
  if (!contract.letterbox.upscale) factor = Math.min(factor, 1);
  const inner = [picture.height, picture.width].map((length) => Math.max(1, round(length * factor)));
  // A file for any size needs no more than the next multiple of the stride.
  const free = [height, width].map((fixed, axis) =>
    fixed === null ? (most[axis] - inner[axis]) % stride : most[axis] - inner[axis],
  );
  const canvas = inner.map((length, axis) => length + free[axis]);
  return { factor, inner, canvas, top: round(free[0] / 2 - 0.1), left: round(free[1] / 2 - 0.1) };
}

/** The two nearest pixels of each place along an axis, and the weight of the second. */
function neighbours(from, to) {
  return Array.from({ length: to }, (_, place) => {
    const at = Math.min(Math.max(((place + 0.5) * from) / to - 0.5, 0), from - 1);
    const first = Math.floor(at);
    return [first, Math.min(first + 1, from - 1), at - first];
  });
}

/** The input of the file; a batch of several is filled up with padding. */
function makeInput(picture, place, contract) {
  const { channels, layout, dtype, batch } = contract.input;
  const [height, width] = place.canvas;
  const images = batch ?? 1;
  const isFloat = dtype === "float32";
  const scale = isFloat ? 255 : 1;
  const values = new (isFloat ? Float32Array : Uint8Array)(images * channels * height * width);
  values.fill(contract.letterbox.value / scale);
  const rows = neighbours(picture.height, place.inner[0]);
  const columns = neighbours(picture.width, place.inner[1]);
  const pixel = (row, column, channel) => picture.data[4 * (row * picture.width + column) + channel];
  rows.forEach(([upper, lower, down], row) => {
    columns.forEach(([left, right, across], column) => {
      const y = row + place.top;
      const x = column + place.left;
      for (let channel = 0; channel < channels; channel++) {
        const above = pixel(upper, left, channel) * (1 - across) + pixel(upper, right, channel) * across;
        const below = pixel(lower, left, channel) * (1 - across) + pixel(lower, right, channel) * across;
        const index = layout === "NCHW" ? (channel * height + y) * width + x : (y * width + x) * channels + channel;
        values[index] = Math.round(above * (1 - down) + below * down) / scale;
      }
    });
  });
  const shape = layout === "NCHW" ? [images, channels, height, width] : [images, height, width, channels];
  return new ort.Tensor(dtype, values, shape);
}

function overlap(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(a) + area(b) - width * height);
}

/** Rows above the confidence, each of its best class, without those that a better one of the class suppresses. */
function readRows({ data, dims }, thresholds) {
  const found = [];
  for (let start = 0; start < dims[1] * dims[2]; start += dims[2]) {
    const [x, y, width, height, objectness] = data.subarray(start, start + 5);
    if (objectness <= thresholds.confidence) continue;
    const probabilities = data.subarray(start + 5, start + dims[2]);
    const probability = Math.max(...probabilities);
    const score = Math.fround(probability * objectness);
    if (score <= thresholds.confidence) continue;
    const box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
    found.push({ box, score, label: probabilities.indexOf(probability) });
  }
  const kept = [];
  for (const one of found.sort((a, b) => b.score - a.score)) {
    if (kept.length === thresholds.max_detections) break;
    const isLess = (better) => better.label === one.label && overlap(better.box, one.box) > thresholds.iou;
    if (!kept.some(isLess)) kept.push(one);
  }
  return kept;
}

/** Detections of the first image, as the file has them. */
function readDetections({ data, dims }) {
  return Array.from({ length: dims[0] }, (_, row) => [...data.subarray(7 * row, 7 * row + 7)])
    .filter(([image]) => image === 0)
    .map(([, left, top, right, bottom, score, label]) => ({ box: [left, top, right, bottom], score, label }));
}

/** A box in pixels of the picture; the middle of the picture is that of the canvas. */
function toPicture(box, picture, place) {
  const [height, width] = place.canvas;
  const lengths = [picture.width, picture.height];
  const padding = [(width - picture.width * place.factor) / 2, (height - picture.height * place.factor) / 2];
  return box.map((value, index) => {
    const axis = index % 2;
    return Math.min(Math.max((value - padding[axis]) / place.factor, 0), lengths[axis]);
  });
}

async function detect(path, picturePath, size) {
  const contract = readContract(path);
  const picture = readPicture(picturePath);
  const place = fit(picture, contract, size);
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(path)));
  const answers = await session.run({ [contract.input.name]: makeInput(picture, place, contract) });
  const answer = answers[contract.output.name];
  const found = contract.output.layout === "rows" ? readRows(answer, contract.thresholds) : readDetections(answer);
  return found.map(({ box, score, label }) => ({
    label,
    name: contract.class_names[label],
    score,
    box: toPicture(box, picture, place),
  }));
}

const [path, picturePath, size = "640"] = process.argv.slice(2);
if (!path || !picturePath) {
  console.error("usage: node detect.js network.onnx picture.png [size]");
  process.exit(2);
}
detect(path, picturePath, Number(size)).then(
  (found) => console.log(JSON.stringify(found, null, 2)),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
