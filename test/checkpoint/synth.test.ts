import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../lib/checkpoint/directory.js";
import { synthesize } from "../../lib/checkpoint/synth/synthesize.js";

const root = mkdtempSync(join(tmpdir(), "caracal-synth-"));
afterAll(() => rmSync(root, { recursive: true }));

function contents(directory: string): Map<string, Buffer> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(names.map((e) => join(e.parentPath, e.name)).map((p) => [p.slice(directory.length), readFileSync(p)]));
}

describe("synthesize", () => {
  it("writes a directory that opens, the same bytes for the same seed", async () => {
    const [a, b, c] = ["a", "b", "c"].map((name) => join(root, name)) as [string, string, string];
    const result = await synthesize(a, { seed: 7 });
    await synthesize(b, { seed: 7 });
    await synthesize(c, { seed: 8 });
    const checkpoint = await openCheckpoint(a);
    expect(checkpoint.llm.tensors.get("lm_head.weight")?.shape).toEqual([1024, 64]);
    expect(result.bytes).toBeLessThan(25e6);
    const [first, same, other] = [contents(a), contents(b), contents(c)];
    expect([...same.keys()].sort()).toEqual([...first.keys()].sort());
    for (const [name, bytes] of first) expect(bytes.equals(same.get(name)!), name).toBe(true);
    const weights = [...first.keys()].filter((name) => /\.(pt|safetensors)$/.test(name));
    for (const name of weights) expect(first.get(name)!.equals(other.get(name)!), name).toBe(false);
  });
});
