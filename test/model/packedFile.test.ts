import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TensorEntry } from "../../lib/checkpoint/entry.js";
import type { PackedCacheNote } from "../../lib/model/packed/cache.js";
import { VisionEncoder } from "../../lib/model/vision/encoder.js";
import { loadModule } from "../../lib/model/weights.js";
import { Device } from "../../lib/tensor/tensor.js";
import { code } from "../support/errors.js";
import { library, printed } from "../support/printed.js";
import { flip, packedVision } from "./packedVision.js";
import { tinyDirectory } from "./tinyModel.js";

const directory = await tinyDirectory(4);
const source = join(directory, "vision", "vision_model.pt");
const { open, filled } = packedVision(() => device, directory, join(directory, "..", "packed"));

let device: Device;
beforeAll(async () => {
  device = await Device.open({ backend: "cpu", threads: 2 });
});
afterAll(() => device.dispose());

/** Packs matrices of one row, which is padded to the sixteen of a panel. */
async function packRows(rows: number, packedCache: string, version?: string): Promise<PackedCacheNote | undefined> {
  const path = join(directory, "..", "rows");
  writeFileSync(path, new Uint8Array(4096 * rows).fill(1));
  const entries = Array.from({ length: rows }, (_, i): TensorEntry => {
    const place = { file: path, offset: 4096 * i, byteLength: 4096, ...(version !== undefined && { version }) };
    return { name: `${i}`, dtype: "f32", shape: [1, 1024], ...place };
  });
  let note: PackedCacheNote | undefined;
  const options = { device, packedCache, onPackedCache: (n: PackedCacheNote) => (note = n) };
  const weights = await loadModule({ "": entries }, options, async (weights) => {
    for (const { name } of entries) weights.packed(name);
    await weights.settle();
    return weights;
  });
  weights.dispose();
  return note;
}

describe("a file of packed weights", () => {
  test("leaves nothing on a disk that lacks the room, gets full, or can only be read", async ({ skip }) => {
    const disk = join(directory, "..", "disk");
    mkdirSync(disk);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${1 << 20}`, "none", disk]).status !== 0) skip("it takes root");
    try {
      expect(await packRows(8, disk)).toMatchObject({ outcome: "written" });
      for (const name of readdirSync(disk)) rmSync(join(disk, name));
      const reason = expect.stringMatching(/disk has \d+ bytes left, but it needs 2097152/);
      expect(await packRows(512, disk)).toMatchObject({ outcome: "packed", reason });
      expect(await packRows(64, disk)).toMatchObject({
        outcome: "packed",
        reason: expect.stringMatching(/No space left/),
      });
      expect(readdirSync(disk)).toEqual([]);

      // A folder that can only be read.
      const { file } = await open(disk);
      expect(spawnSync("mount", ["-o", "remount,ro", disk]).status).toBe(0);
      expect(await open(disk)).toMatchObject({ file, outcome: "mapped" });
      expect(await packRows(8, disk)).toMatchObject({ outcome: "packed", reason: expect.stringMatching(/EROFS/) });
    } finally {
      // Lazily, since files are mapped until their handles are collected.
      spawnSync("umount", ["-l", disk]);
    }
  });

  test("leaves nothing where a process may not write so much", async () => {
    const limited = join(directory, "..", "limited");
    const script = `
      import { VisionEncoder, Device } from ${JSON.stringify(library)};
      const device = await Device.open({ backend: "cpu" });
      const options = { device, packedCache: ${JSON.stringify(limited)}, onPackedCache: (n) => console.log(JSON.stringify(n)) };
      (await VisionEncoder.open(${JSON.stringify(directory)}, options))[Symbol.dispose]();
      device.dispose();`;
    // In units of 512 bytes in sh, of 1024 in others.
    const found = JSON.parse(await printed(script, "ulimit -f 8; ")) as PackedCacheNote;
    expect(found).toMatchObject({ outcome: "packed", reason: expect.stringMatching(/File too large/) });
    expect(readdirSync(limited)).toEqual([]);
    expect(JSON.parse(await printed(script))).toMatchObject({ outcome: "written" });
  });

  test("is not used for a checkpoint that is another than the one whose header was read", async () => {
    const other = join(directory, "..", "versions");
    expect(await packRows(4, other)).toMatchObject({ outcome: "written" });
    await expect(packRows(4, other, "another")).rejects.toThrowError(code("IO_ERROR"));
  });

  test("leaves no memory behind when the listener of the load throws", async () => {
    await using own = await Device.open({ backend: "cpu", threads: 1 });
    const folder = join(directory, "..", "throwing");
    const load = async (packedCache: string, mayThrow: boolean) => {
      const outcomes: string[] = [];
      const onPackedCache = ({ outcome }: PackedCacheNote) => {
        outcomes.push(outcome);
        if (mayThrow) throw new RangeError("of the listener");
      };
      const options = { device: own, packedCache, onPackedCache };
      const loaded = VisionEncoder.open(directory, options).then((encoder) => encoder.dispose());
      if (mayThrow) await expect(loaded).rejects.toThrowError(RangeError);
      else await loaded;
      await own.synchronize(); // a job releases its tensors just after it has answered
      return { outcomes, bytes: own.memory.inUse };
    };
    writeFileSync(join(directory, "..", "no folder"), "");
    const nowhere = join(directory, "..", "no folder", "packed");
    const { bytes } = await load(nowhere, false);
    expect(await load(nowhere, true)).toEqual({ outcomes: ["packed"], bytes });
    expect(await load(folder, true)).toEqual({ outcomes: ["written"], bytes });
    expect(await load(folder, true)).toEqual({ outcomes: ["mapped"], bytes });
  });

  test("is as secret as the checkpoint", async () => {
    const other = join(directory, "..", "secret");
    try {
      for (const mode of [0o640, 0o600]) {
        chmodSync(source, mode);
        const { file, outcome } = await open(other);
        expect([outcome, statSync(file).mode & 0o777]).toEqual(["written", mode & ~process.umask()]);
        rmSync(other, { recursive: true });
      }
    } finally {
      chmodSync(source, 0o644);
    }
  });

  test.each<[link: string, make: (from: string, to: string) => void, reason: RegExp]>([
    ["symbolic link", symlinkSync, /ELOOP/],
    ["hard link", linkSync, /somebody else/],
  ])("is not written through a %s to another file", async (_, link, reason) => {
    const file = await filled();
    const victim = join(directory, "..", "victim");
    writeFileSync(victim, "precious");
    rmSync(file);
    link(victim, `${file}.part`);
    expect(await open()).toMatchObject({ outcome: "packed", reason: expect.stringMatching(reason) });
    expect(readFileSync(victim, "utf8")).toBe("precious");
    rmSync(`${file}.part`);
    rmSync(victim);
  });

  test("is used only if it belongs to who may write the checkpoint", async ({ skip }) => {
    if (process.getuid?.() !== 0) skip("it takes root");
    const file = await filled();
    const other = 12345;
    chownSync(file, other, other);
    const reason = expect.stringMatching(/belongs to user 12345/);
    expect(await open()).toMatchObject({ outcome: "written", reason });
    chownSync(file, other, other);
    chownSync(source, other, other);
    expect(await open()).toMatchObject({ outcome: "mapped" });
    chownSync(source, 0, 0);
    rmSync(file);
    writeFileSync(`${file}.part`, "");
    chownSync(`${file}.part`, other, other);
    expect(await open()).toMatchObject({ outcome: "packed", reason: expect.stringMatching(/somebody else/) });
    rmSync(`${file}.part`);

    // A note of theirs that says that a changed checkpoint is the one that was packed.
    await filled();
    flip(source, statSync(source).size >> 1);
    const seen = JSON.parse(readFileSync(`${file}.seen`, "utf8"));
    const { size, ino, mtimeNs, ctimeNs } = statSync(source, { bigint: true });
    seen.identities[0] = { size: `${size}`, ino: `${ino}`, mtimeNs: `${mtimeNs}`, ctimeNs: `${ctimeNs}` };
    writeFileSync(`${file}.seen`, JSON.stringify(seen));
    chownSync(`${file}.seen`, other, other);
    expect(await open()).toMatchObject({ outcome: "written", reason: expect.stringMatching(/changed since/) });
    flip(source, statSync(source).size >> 1);
  });
});
