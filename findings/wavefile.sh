#!/usr/bin/env bash
# wavefile 11.0.0 does not read the SubFormat of WAVE_FORMAT_EXTENSIBLE, the header that ffmpeg writes for pcm_f32le: any
# coding but integers comes out as integers of its bits, without an error. Floats and mu-law become noise.
#
# Seen with Node.js 20.20: the float samples 0, 0.25, -0.25, 1 come out as 0, 1048576000, -1098907648, 1065353216, and the
# mu-law bytes of 0, 32124, -32124 as 255, 128, 0. Exits with 1 if the library reads them otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --no-save --no-audit --no-fund --loglevel=error wavefile@11.0.0 >/dev/null
cat >run.cjs <<'JS'
const { WaveFile } = require("wavefile");
  const guid = "000000001000800000aa00389b71"; // follows the tag in the SubFormat of WAVE_FORMAT_EXTENSIBLE
  function wav(subFormat, bits, data) {
    const header = Buffer.alloc(68);
    header.write("RIFF", 0);
    header.writeUInt32LE(60 + data.length, 4);
    header.write("WAVEfmt ", 8);
    header.writeUInt32LE(40, 16);
    header.writeUInt16LE(0xfffe, 20);
    header.writeUInt16LE(1, 22);
    header.writeUInt32LE(16000, 24);
    header.writeUInt32LE(2000 * bits, 28);
    header.writeUInt16LE(bits / 8, 32);
    header.writeUInt16LE(bits, 34);
    header.writeUInt16LE(22, 36);
    header.writeUInt16LE(bits, 38);
    header.writeUInt32LE(4, 40);
    header.writeUInt16LE(subFormat, 44);
    header.write(guid, 46, "hex");
    header.write("data", 60);
    header.writeUInt32LE(data.length, 64);
    return Buffer.concat([header, data]);
  }
  const results = [];
  function show(coding, bytes, right) {
    const file = new WaveFile();
    file.fromBuffer(bytes);
    const got = [...file.getSamples(true, Float64Array)].join(", ");
    results.push(got);
    console.log(`extensible ${coding}: bit depth "${file.bitDepth}", samples ${got}; the file holds ${right}`);
  }
  const floats = Float32Array.of(0, 0.25, -0.25, 1);
  show("float", wav(3, 32, Buffer.from(floats.buffer)), floats.join(", "));
  show("mu-law", wav(7, 8, Buffer.from([0xff, 0x80, 0x00])), "0, 32124, -32124");
const seen = ["0, 1048576000, -1098907648, 1065353216", "255, 128, 0"];
process.exit(String(results) === String(seen) ? 0 : 1);
JS
node run.cjs
