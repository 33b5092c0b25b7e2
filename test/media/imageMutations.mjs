// Decodes mutated images for `argv[2]` seconds, from seed `argv[3]`, and prints how many had each outcome. It runs in a
// process of its own, so that what C libraries print is seen. It needs the compiled library.
import sharp from "sharp";
import { loadImage } from "../../dist/lib/media/image.js";

const [seconds, seed] = process.argv.slice(2).map(Number);
let state = seed >>> 0;
const random = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

const pixels = Uint8Array.from({ length: 48 * 40 * 3 }, (_, i) => (i * i) >> 5);
const raw = () => sharp(pixels, { raw: { width: 48, height: 40, channels: 3 } });
const samples = await Promise.all([
  raw().jpeg().toBuffer(),
  raw()
    .jpeg({ progressive: true })
    .withExif({ IFD0: { Software: "x" } })
    .toBuffer(),
  raw().toColourspace("cmyk").jpeg().toBuffer(),
  raw().png().toBuffer(),
  raw().png({ palette: true }).withMetadata({ orientation: 6, icc: "p3" }).toBuffer(),
  raw().toColourspace("rgb16").png({ progressive: true }).toBuffer(),
  raw().webp().toBuffer(),
  raw().webp({ lossless: true }).toBuffer(),
  raw().ensureAlpha(0.5).webp({ alphaQuality: 50 }).toBuffer(),
]);

/** Flips, overwrites, removes, repeats or cuts bytes. The first 12 bytes mostly stay, so that the format is known. */
function mutate(file) {
  let bytes = Uint8Array.from(file);
  for (let changes = 1 + random(4); changes > 0; changes--) {
    const at = random(20) === 0 ? random(12) : 12 + random(Math.min(bytes.length - 12, random(2) ? 200 : bytes.length));
    const length = 1 + random(16);
    const kind = random(8);
    if (kind < 3) bytes[at] ^= 1 << random(8);
    else if (kind < 5) bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)];
    else if (kind === 5) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    else if (kind === 6) bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    else bytes = bytes.subarray(0, Math.max(13, bytes.length - random(bytes.length >> 1)));
  }
  return bytes;
}

const outcomes = {};
for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
  const file = mutate(samples[random(samples.length)]);
  const outcome = await loadImage(file, { maxPixels: 2 ** 22 }).then(
    ({ width, height, data }) => (data.length === width * height * 3 ? "decoded" : "of a wrong length"),
    (error) => (error.name === "CaracalError" ? error.code : `${error.stack} for ${Buffer.from(file).toString("hex")}`),
  );
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
console.log(JSON.stringify(outcomes));
