import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { library, printed } from "../support/printed.js";

/** Makes a cgroup with a limit of memory, in one that has it too; undefined where that is not allowed. */
function cgroupOf(limit: number): { readonly cgroup: string; readonly inner: string } | undefined {
  const first = existsSync("/sys/fs/cgroup/memory/cgroup.procs");
  const cgroup = join(first ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup", `caracal-test-${process.pid}`);
  const inner = join(cgroup, "inner");
  try {
    mkdirSync(inner, { recursive: true });
    writeFileSync(join(cgroup, first ? "memory.limit_in_bytes" : "memory.max"), `${limit}`);
    return { cgroup, inner };
  } catch {
    for (const folder of [inner, cgroup]) if (existsSync(folder)) rmdirSync(folder);
    return undefined;
  }
}

test("a CPU device has the memory that the cgroups around its own have", async ({ skip }) => {
  const limit = 1 << 30;
  const made = cgroupOf(limit);
  if (!made) return skip("no cgroup can be made here");
  const script = `
    import { Device } from ${JSON.stringify(library)};
    const { devices } = await Device.list();
    console.log(devices.find(({ backend }) => backend === "cpu").memory);`;
  try {
    expect(Number(await printed(script))).toBeGreaterThan(limit);
    expect(Number(await printed(script, `echo $$ > ${made.inner}/cgroup.procs; `))).toBe(limit);
  } finally {
    rmdirSync(made.inner);
    rmdirSync(made.cgroup);
  }
});
