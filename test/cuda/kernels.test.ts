// The embedded kernels: the PTX that the virtual GPU executes is the PTX that ships, and no kernel spills registers.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

interface Resources {
  readonly registers: number;
  readonly spilled: number;
  readonly shared: number;
}
const script = new URL("../../scripts/lib/kernels.mjs", import.meta.url);
const {
  resourcesOf,
  usable,
}: { resourcesOf(output: string): Record<string, Resources>; usable(version?: string): boolean } = await import(
  script.href
);
const folder = fileURLToPath(new URL("../../build/kernels/", import.meta.url));
const names = existsSync(folder) ? readdirSync(folder) : [];
const ptx = names.filter((name) => name.endsWith(".ptx"));

describe.skipIf(ptx.length === 0)(`kernels${ptx.length ? "" : " (skipped: the build had no nvcc)"}`, () => {
  const addon = readFileSync(new URL("../../build/Release/caracal.node", import.meta.url));
  test.each(ptx)("the addon contains %s byte by byte, without paths of the build", (name) => {
    const text = readFileSync(folder + name);
    expect(addon.includes(text)).toBe(true);
    expect(text.includes(fileURLToPath(new URL("../../native/", import.meta.url)))).toBe(false);
  });
  test.each(names.filter((name) => name.endsWith(".json")))(
    "%s has the resources of every kernel, and none spills",
    (name) => {
      const found: Record<string, Resources> = JSON.parse(readFileSync(folder + name, "utf8"));
      const text = readFileSync(`${folder}${name.split(".")[0]}.ptx`, "utf8");
      const kernels = Array.from(text.matchAll(/\.entry (\w+)/g), ([, kernel]) => kernel!);
      expect(kernels.length).toBeGreaterThan(0);
      for (const kernel of kernels) {
        const { registers } = found[kernel] ?? { registers: 0 };
        expect({ kernel, registers, usable: registers > 0 && registers <= 255 }).toMatchObject({ usable: true });
      }
      expect(Object.entries(found).filter(([, { spilled }]) => spilled > 0)).toEqual([]);
    },
  );
});

test("nvcc is used only if it is new enough", () => {
  expect(usable("Cuda compilation tools, release 13.0, V13.0.88")).toBe(true);
  expect(usable("Cuda compilation tools, release 12.4, V12.4.131")).toBe(false);
  expect(usable(undefined)).toBe(false);
});

test("the output of ptxas is parsed", () => {
  const said = `ptxas info    : Compiling entry function 'k' for 'sm_80'
ptxas info    : Function properties for k
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 26 registers, used 1 barriers, 128 bytes smem, 402 bytes cmem[0]
ptxas info    : Function properties for called
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'l' for 'sm_80'
ptxas info    : Function properties for l
    0 bytes stack frame, 0 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 9 registers, 360 bytes cmem[0]
`;
  expect(resourcesOf(said)).toEqual({
    k: { registers: 26, spilled: 16, shared: 128 },
    called: { registers: 0, spilled: 0, shared: 0 },
    l: { registers: 9, spilled: 24, shared: 0 },
  });
});
