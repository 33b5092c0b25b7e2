// Mutated images are decoded or refused, and nothing is printed. CARACAL_FUZZ_SECONDS makes it run for longer, then from
// a seed of the clock, which the title of a failure names.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const seconds = Number(process.env.CARACAL_FUZZ_SECONDS ?? 1.5);
const seed = process.env.CARACAL_FUZZ_SECONDS === undefined ? 1 : Date.now() % 2 ** 32;
const built = existsSync(fileURLToPath(new URL("../../dist/lib/media/image.js", import.meta.url)));

it.skipIf(!built)(
  `mutated images, seed ${seed}, are decoded or refused as MEDIA_INVALID (needs dist/)`,
  { timeout: 60_000 + seconds * 1000 },
  async () => {
    const script = fileURLToPath(new URL("./imageMutations.mjs", import.meta.url));
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, `${seconds}`, `${seed}`]);
    expect(stderr).toBe("");
    const outcomes = JSON.parse(stdout);
    expect(Object.keys(outcomes).sort()).toEqual(["MEDIA_INVALID", "decoded"]);
    expect(outcomes.decoded).toBeGreaterThan(0);
  },
);
