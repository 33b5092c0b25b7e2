// The ways in which package managers lay the packages out, and what the loader says of those that are missing or wrong.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LoadAttempt, platform } from "../../lib/native/load.js";
import { version } from "../../lib/version.js";
import { emptyPackage, main, openRegistry, project } from "./registry.js";
import { node, packages, run } from "./support.js";

const plain = `@caracal/${platform()}`;
const other = platform() === "linux-arm64" ? "linux-x64" : "linux-arm64";

let registry: Awaited<ReturnType<typeof openRegistry>>;
beforeAll(async () => {
  const missing = packages.tarballs[`@caracal/${other}`] === undefined ? [emptyPackage(other, version)] : [];
  registry = await openRegistry([...missing, emptyPackage(plain.replace("@caracal/", ""), "0.0.1")]);
});
afterAll(() => registry.close());
const npm = (folder: string, ...args: string[]) => registry.npm(folder, ...args);
const pnpm = (folder: string, ...args: string[]) => registry.pnpm(folder, ...args);

interface Loading {
  readonly isa?: string;
  readonly code?: string;
  readonly message?: string;
  readonly attempts?: readonly LoadAttempt[];
}

/** What comes of loading the addon in a project. */
async function load(folder: string, ...args: string[]): Promise<Loading> {
  const source = `
    import { Device } from "caracal";
    try {
      const device = await Device.open({ backend: "cpu" });
      console.log(JSON.stringify({ isa: device.name }));
      device.dispose();
    } catch ({ code, message, details }) {
      console.log(JSON.stringify({ code, message, attempts: details.attempts }));
    }`;
  writeFileSync(join(folder, "load.mjs"), source);
  return JSON.parse(await node([...args, join(folder, "load.mjs")])) as Loading;
}

/** The attempts of a failure, by package. */
async function failure(folder: string, ...args: string[]) {
  const { code, message = "", attempts = [] } = await load(folder, ...args);
  expect(code).toBe("NATIVE_LOAD_FAILED");
  for (const attempt of attempts) expect(message).toContain(`\n  ${attempt.from}: ${attempt.message}`);
  return { message, outcomes: Object.fromEntries(attempts.map(({ from, outcome }) => [from, outcome])) };
}

const works = { isa: expect.stringMatching(/^cpu/) };
/** The packages that an error says to install. */
const advised = (message: string) =>
  /npm install ([^\n]*)$/
    .exec(message)![1]!
    .replace(/\bcaracal@\S+/, main)
    .split(" ");

describe("npm install", () => {
  test("--ignore-scripts: works", async () => {
    const folder = project();
    await npm(folder, main, "--ignore-scripts");
    expect(await load(folder)).toEqual(works);
  });

  test("--omit=optional: one error, whose command brings the addon", async () => {
    const folder = project();
    await npm(folder, main, "--omit=optional");
    const { message, outcomes } = await failure(folder);
    expect(outcomes).toMatchObject({ [plain]: "not installed" });
    expect(message).toContain("--omit=optional");
    await npm(folder, ...advised(message), "--omit=optional");
    expect(await load(folder)).toEqual(works);
  });

  test("for another platform: one error, whose command brings the addon", async () => {
    const folder = project();
    const [os, cpu] = other.split("-");
    await npm(folder, main, `--os=${os}`, `--cpu=${cpu}`, "--libc=glibc");
    expect(readFileSync(join(folder, `node_modules/@caracal/${other}/package.json`), "utf8")).toContain(version);
    const { message, outcomes } = await failure(folder);
    expect(outcomes).toMatchObject({ [plain]: "not installed" });
    expect(message).toContain("another platform");
    await npm(folder, ...advised(message));
    expect(await load(folder)).toEqual(works);
  });

  test("with the addon of another version in the project: caracal's own is loaded", async () => {
    const folder = project();
    await npm(folder, main, `${plain}@0.0.1`);
    expect(await load(folder)).toEqual(works);
  });

  test("with the addon of another version alone: one error, whose command brings the right one", async () => {
    const folder = project();
    await npm(folder, main, `${plain}@0.0.1`, "--omit=optional");
    const { message, outcomes } = await failure(folder);
    expect(outcomes).toMatchObject({ [plain]: "wrong version" });
    expect(message).toContain(`it has version 0.0.1, but caracal has ${version}`);
    await npm(folder, ...advised(message));
    expect(await load(folder)).toEqual(works);
  });
});

describe("a project whose addon", () => {
  /** A copy of the installed project. */
  function copy() {
    const folder = project();
    cpSync(join(packages.app, "node_modules"), join(folder, "node_modules"), {
      recursive: true,
      verbatimSymlinks: true,
    });
    return { folder, addon: join(folder, "node_modules", plain, "caracal.node") };
  }

  test("is damaged, or missing: one error says to install it again", async () => {
    const { folder, addon } = copy();
    writeFileSync(addon, "no addon");
    const { message, outcomes } = await failure(folder);
    expect(outcomes).toMatchObject({ [plain]: "cannot be loaded" });
    expect(message).toContain("Install it again on this machine");
    rmSync(addon);
    expect(await failure(folder)).toMatchObject({ outcomes: { [plain]: "cannot be loaded" } });
  });

  test("fits no platform: one error names those that do", async () => {
    const { folder } = copy();
    const riscv = 'data:text/javascript,Object.defineProperty(process,"arch",{value:"riscv64"})';
    const { message, outcomes } = await failure(folder, "--import", riscv);
    expect(outcomes).toEqual({});
    expect(message).toContain("no native addon for linux-riscv64 can be loaded");
    expect(message).toContain("only @caracal/linux-x64");
  });

  test("with CUDA kernels is damaged: the other one is loaded, and doctor says so", async () => {
    const { folder } = copy();
    const cuda = join(folder, "node_modules/@caracal/linux-x64-cuda13");
    mkdirSync(cuda, { recursive: true });
    const manifest = { name: "@caracal/linux-x64-cuda13", version, main: "caracal.node" };
    writeFileSync(join(cuda, "package.json"), JSON.stringify(manifest));
    writeFileSync(join(cuda, "caracal.node"), "nothing");
    expect(await load(folder)).toEqual(works);
    const { stdout, status } = await run(join(folder, "node_modules/.bin/caracal"), ["doctor"]);
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^no +package +@caracal\/linux-x64-cuda13: .*caracal\.node/m),
    });
  });
});

describe("pnpm add", () => {
  test.each([["isolated"], ["hoisted"]])("with node-linker=%s: works", async (linker) => {
    const folder = project();
    await pnpm(folder, main, `--config.node-linker=${linker}`);
    expect(await load(folder)).toEqual(works);
    const { status } = await run(join(folder, "node_modules/.bin/caracal"), ["doctor"]);
    expect(status).toBe(0);
  });

  test("--no-optional: one error, whose packages bring the addon", async () => {
    const folder = project();
    await pnpm(folder, main, "--no-optional");
    const { message } = await failure(folder);
    expect(message).toContain("--no-optional");
    await pnpm(folder, ...advised(message));
    expect(await load(folder)).toEqual(works);
  });
});
