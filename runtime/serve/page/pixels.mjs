// Pictures as ImageData, no larger than BOUND on their longer side.

export const BOUND = 1024;

// A file that the user chose or dropped; the error's message is for the user.
export async function fromFile(file) {
  try {
    return await scaled(await createImageBitmap(file));
  } catch {
    throw new Error(`“${file.name}” is not a picture that this browser can open. JPEG, PNG and WebP are.`);
  }
}

// The frame that a camera shows.
export const fromVideo = async (video) => scaled(await createImageBitmap(video));

// What the server answered, level by level: no colour management.
export async function fromPng(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  return draw(bitmap, bitmap.width, bitmap.height);
}

async function scaled(bitmap) {
  const scale = Math.min(1, BOUND / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  if (scale === 1) return draw(bitmap, width, height);
  return draw(await createImageBitmap(bitmap, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" }), width, height);
}

// On white, where the picture is transparent.
function draw(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

// uint8 [height, width, 3], which is what the encoder takes.
export function withoutAlpha({ data }) {
  const colours = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    colours[to++] = data[from];
    colours[to++] = data[from + 1];
    colours[to++] = data[from + 2];
  }
  return colours;
}
