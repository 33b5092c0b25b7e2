#!/usr/bin/env bash
# sharp 0.35.5 (libvips 8.18.7) reads an uncompressed YCbCr TIFF whose chroma is not subsampled without converting it: Y, Cb
# and Cr come out as red, green and blue, with colour space "srgb" and no warning. With chroma subsampled 2×2 the same
# colour comes out right, so whether a picture is readable depends on a tag that says nothing of colours.
#
# Seen with Node.js 20.20: red, which is (76, 85, 255) in YCbCr, comes out as 76,85,255 without subsampling, and as 254,0,0
# with it. Exits with 1 if the library reads them otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --no-save --no-audit --no-fund --loglevel=error sharp@0.35.5 >/dev/null
cat >run.cjs <<'JS'
const sharp = require("sharp");
const [Y, Cb, Cr] = [76, 85, 255]; // TIFF 6.0, section 21, with its default coefficients: red
// A 4×4 picture of one colour. Subsampled data has blocks of 2×2 Y, then one Cb and one Cr.
function tiff(subsampling) {
  const data = Buffer.from(subsampling === 1 ? Array(16).fill([Y, Cb, Cr]).flat() : Array(4).fill([Y, Y, Y, Y, Cb, Cr]).flat());
  const at = 256;
  const bits = 200; // the offset of BitsPerSample
  const entries = [
    [256, 4, 1, 4], // ImageWidth
    [257, 4, 1, 4], // ImageLength
    [258, 3, 3, bits], // BitsPerSample
    [259, 3, 1, 1], // Compression: none
    [262, 3, 1, 6], // PhotometricInterpretation: YCbCr
    [273, 4, 1, at], // StripOffsets
    [277, 3, 1, 3], // SamplesPerPixel
    [278, 4, 1, 4], // RowsPerStrip
    [279, 4, 1, data.length], // StripByteCounts
    [284, 3, 1, 1], // PlanarConfiguration: chunky
    [530, 3, 2, subsampling | (subsampling << 16)], // YCbCrSubSampling
  ];
  const file = Buffer.alloc(at + data.length);
  file.write("II*\0", 0, "latin1");
  file.writeUInt32LE(8, 4);
  file.writeUInt16LE(entries.length, 8);
  entries.forEach(([tag, type, count, value], i) => {
    const entry = 10 + 12 * i;
    file.writeUInt16LE(tag, entry);
    file.writeUInt16LE(type, entry + 2);
    file.writeUInt32LE(count, entry + 4);
    file.writeUInt32LE(value, entry + 8);
  });
  for (let i = 0; i < 3; i++) file.writeUInt16LE(8, bits + 2 * i);
  data.copy(file, at);
  return file;
}
async function main() {
  const seen = [];
  for (const subsampling of [1, 2]) {
    const bytes = tiff(subsampling);
    const { space } = await sharp(bytes).metadata();
    const pixels = await sharp(bytes).toColourspace("srgb").removeAlpha().raw().toBuffer();
    const pixel = [...pixels.subarray(0, 3)].join();
    console.log(`chroma subsampled ${subsampling}×${subsampling}: space ${space}, first pixel ${pixel}; red is 254,0,0`);
    seen.push(pixel);
  }
  process.exitCode = seen.join("; ") === "76,85,255; 254,0,0" ? 0 : 1;
}
main();
JS
node run.cjs
