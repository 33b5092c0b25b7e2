// The addon of a checkout, and the one that CARACAL_BINDING names. `npm run test:packages` tests those of packages.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { candidates, loadAddon, platform } from "../../lib/native/load.js";

const built = fileURLToPath(new URL("../../build/Release/caracal.node", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "caracal-load-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
});

/** The error of loading what CARACAL_BINDING names. */
function failure(path: string) {
  vi.stubEnv("CARACAL_BINDING", path);
  try {
    loadAddon();
  } catch (error) {
    return error;
  }
  throw new Error(`${path} was loaded`);
}

test("in a checkout, its build is loaded", () => {
  vi.stubEnv("CARACAL_BINDING", undefined);
  const { addon, from, attempts } = loadAddon();
  expect(from).toBe(built);
  expect(addon).toMatchObject({ bestIsa: expect.any(String) });
  expect(attempts).toEqual([{ from: built, outcome: "loaded", message: expect.stringContaining("checkout") }]);
});

describe("CARACAL_BINDING", () => {
  test("names the addon", () => {
    vi.stubEnv("CARACAL_BINDING", built);
    expect(loadAddon()).toMatchObject({ from: built, attempts: [{ outcome: "loaded" }] });
  });

  test("names a file that does not exist: nothing else is tried", () => {
    const path = join(folder, "none.node");
    expect(failure(path)).toMatchObject({
      code: "NATIVE_LOAD_FAILED",
      message: expect.stringMatching(
        /^CARACAL_BINDING is set to .*none\.node, which does not exist: run `npm run build`/,
      ),
      details: { path, attempts: [{ from: path, outcome: "cannot be loaded" }] },
    });
  });

  test("names a file that is no addon: the reason is that of the system", () => {
    const path = join(folder, "text.node");
    writeFileSync(path, "no addon");
    const reason = expect.stringMatching(/cannot be loaded: .*(file too short|invalid ELF header)/);
    expect(failure(path)).toMatchObject({
      code: "NATIVE_LOAD_FAILED",
      message: reason,
      details: { attempts: [{ from: path, outcome: "cannot be loaded", message: reason }] },
      cause: expect.any(Error),
    });
  });
});

test("the package with CUDA kernels comes first, where there is one", () => {
  const of = (arch: string) => {
    vi.stubGlobal("process", Object.create(process, { arch: { value: arch } }));
    return candidates();
  };
  const libc = platform().endsWith("-musl") ? "-musl" : "";
  if (process.platform !== "linux") expect(candidates()).toEqual([]);
  else if (libc) expect(of("x64")).toEqual(["@caracal/linux-x64-musl"]);
  else {
    expect(of("x64")).toEqual(["@caracal/linux-x64-cuda13", "@caracal/linux-x64"]);
    expect(of("arm64")).toEqual(["@caracal/linux-arm64"]);
    expect(of("riscv64")).toEqual([]);
  }
});
