// A worker that asks this browser's JPEG for the same error.
//
// takes    {original} and {decoded, number}, both ImageData; of numbers that wait only the last one counts
// gives    {number, psnr, jpeg: null or {bytes, low, high}}: bytes between those of the two neighbouring qualities

let original = null;
let latest = 0;

onmessage = ({ data }) => {
  if (data.original) original = data.original;
  else search(data.decoded, data.number);
};

async function search(decoded, number) {
  latest = number;
  const source = original;
  const target = psnr(source, decoded);
  const tries = new Map();
  const at = async (quality) => {
    if (!tries.has(quality)) tries.set(quality, await compressed(source, quality));
    return tries.get(quality);
  };
  let [low, high] = [0, 100];
  if ((await at(low)).psnr > target || (await at(high)).psnr < target) return postMessage({ number, psnr: target, jpeg: null });
  while (high - low > 1) {
    if (number !== latest) return; // another picture, or another quality
    const middle = (low + high) >> 1;
    if ((await at(middle)).psnr < target) low = middle;
    else high = middle;
  }
  postMessage({ number, psnr: target, jpeg: { low, high, bytes: between(await at(low), await at(high), target) } });
}

// Bytes at an error between two, linear in their logarithm.
function between(below, above, target) {
  const share = above.psnr > below.psnr ? (target - below.psnr) / (above.psnr - below.psnr) : 1;
  return Math.round(below.bytes ** (1 - share) * above.bytes ** share);
}

async function compressed(source, quality) {
  const canvas = new OffscreenCanvas(source.width, source.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.putImageData(source, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: quality / 100 });
  context.drawImage(await createImageBitmap(blob, { colorSpaceConversion: "none" }), 0, 0);
  return { bytes: blob.size, psnr: psnr(source, context.getImageData(0, 0, source.width, source.height)) };
}

// Decibels over red, green and blue together.
function psnr({ data: wanted }, { data: found }) {
  let sum = 0;
  for (let at = 0; at < wanted.length; at++) sum += at % 4 < 3 ? (wanted[at] - found[at]) ** 2 : 0;
  return 10 * Math.log10((255 * 255) / Math.max(sum / ((wanted.length / 4) * 3), 1e-9));
}
