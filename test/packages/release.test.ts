// The flavours of a release, each on the oldest system that it promises to run on, without a compiler. `npm run pack` builds
// them; without it these tests are skipped.
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { main, openRegistry, project } from "./registry.js";
import { bare, checkout, folderWith, type Outcome, packages, run } from "./support.js";

const { release, systems } = packages;
const without = (flavour: string) => !release.includes(flavour);
const golden = join(checkout, "test/golden");
const goldenFiles = readdirSync(golden)
  .filter((name) => /\.safetensors$|^preprocess\.json$/.test(name))
  .map((name) => join(golden, name));

let registry: Awaited<ReturnType<typeof openRegistry>>;
beforeAll(async () => {
  registry = await openRegistry();
});
afterAll(() => registry.close());

/** What a run of the command prints that depends on the weights and the question alone. */
async function answer(command: (...args: string[]) => Promise<Outcome>, model: string): Promise<string> {
  expect(await command("synth", model)).toMatchObject({ status: 0 });
  const args = ["run", "--model", model, "--text", "Hello!", "--max-tokens", "8", "--no-speech", "--json"];
  const { status, stdout, stderr } = await command(...args);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const { text } = JSON.parse(stdout) as { text: string };
  expect(text).toMatch(/\w/);
  return text;
}

/** The text of the checkout's own build. */
const expected = () => {
  const caracal = (...args: string[]) => run("node", [join(checkout, "bin/caracal.mjs"), ...args]);
  return answer(caracal, join(folderWith({}), "model"));
};

/** A project inside a root, and the command in it. */
async function inRoot(root: string, program: string, ...options: string[]) {
  const folder = project();
  await registry.npm(folder, main, ...options);
  const inside = `/${basename(folder)}`;
  cpSync(folder, join(root, inside), { recursive: true });
  for (const file of goldenFiles) cpSync(file, join(root, inside, basename(file)));
  const command = `${inside}/node_modules/caracal/bin/caracal.mjs`;
  return {
    inside,
    golden: goldenFiles.map((file) => `${inside}/${basename(file)}`),
    caracal: (...args: string[]) => run("/usr/sbin/chroot", [root, program, command, ...args]),
    remove: () => rmSync(join(root, inside), { recursive: true }),
  };
}

const isRoot = process.getuid?.() === 0;

describe.skipIf(without("linux-x64") || !isRoot)("linux-x64 in Debian 11, by chroot", () => {
  const { root = "" } = systems["linux-x64"] ?? {};
  let at: Awaited<ReturnType<typeof inRoot>>;
  beforeAll(async () => {
    at = await inRoot(root, "/usr/bin/node");
  });
  afterAll(() => at.remove());

  test("doctor finds all that is needed", async () => {
    const { status, stdout } = await at.caracal("doctor");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok +glibc +2\.31$/m);
    expect(stdout).toMatch(/^ok +addon +@caracal\/linux-x64, /m);
    expect(stdout).toMatch(/^no +compiler /m);
  });

  test("a model gives the answer that the checkout's build gives", async () => {
    expect(await answer(at.caracal, `${at.inside}/model`)).toBe(await expected());
  });

  test("the golden files pass", async () => {
    const { status, stdout } = await at.caracal("verify", ...at.golden);
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/: all pass\n$/) });
  });

  test("an addon that needs a newer C library: one error says what system is needed", async () => {
    const source = join(folderWith({ "new.c": "extern void dlopen(); void* napi = dlopen;\n" }), "new.c");
    const addon = join(root, at.inside, "node_modules/@caracal/linux-x64/caracal.node");
    rmSync(addon);
    execFileSync("cc", ["-shared", "-fPIC", "-w", "-o", addon, source]);
    const { status, stdout } = await at.caracal("doctor");
    expect({ status, stdout }).toEqual({
      status: 1,
      stdout: expect.stringMatching(/NATIVE_LOAD_FAILED.*GLIBC_2\.34.*need glibc 2\.31 \(Debian 11/s),
    });
  });
});

describe.skipIf(without("linux-x64-musl") || !isRoot)("linux-x64-musl in a root with musl and Bun, by chroot", () => {
  let at: Awaited<ReturnType<typeof inRoot>>;
  beforeAll(async () => {
    at = await inRoot(systems["linux-x64-musl"]?.root ?? "", "/usr/bin/bun", "--os=linux", "--cpu=x64", "--libc=musl");
  });
  afterAll(() => at.remove());

  test("doctor finds the C library and the addon, and survives the error of the missing driver", async () => {
    const { status, stdout } = await at.caracal("doctor");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok +musl /m);
    expect(stdout).toMatch(/^ok +addon +@caracal\/linux-x64-musl, /m);
    expect(stdout).toMatch(/^no +cuda +NO_DRIVER: /m);
  });

  test("a model gives the answer that the checkout's build gives", async () => {
    expect(await answer(at.caracal, `${at.inside}/model`)).toBe(await expected());
  });

  test("the golden files pass", async () => {
    const { status, stdout } = await at.caracal("verify", ...at.golden);
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/: all pass\n$/) });
  });
});

describe.skipIf(without("linux-arm64"))("linux-arm64 on Debian 11's libraries, by qemu", () => {
  const { root = "", node = "" } = systems["linux-arm64"] ?? {};
  let folder = "";
  const caracal = (...args: string[]) =>
    run("/usr/bin/qemu-aarch64", ["-L", root, node, join(folder, "node_modules/caracal/bin/caracal.mjs"), ...args]);

  beforeAll(async () => {
    folder = project();
    await registry.npm(folder, main, "--os=linux", "--cpu=arm64", "--libc=glibc");
  });

  test("the golden files pass on NEON kernels", async () => {
    const { status, stdout } = await caracal("verify", ...goldenFiles);
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/on cpu neon, .*: all pass\n$/) });
  });

  test("a model answers", async () => {
    expect(await answer(caracal, join(folder, "model"))).not.toBe("");
  });
});

describe.skipIf(without("linux-x64-cuda13"))("linux-x64-cuda13 on the virtual GPU", () => {
  const env = { ...bare, CARACAL_CUDA_LIBRARY: join(checkout, "build/Release/libcaracal_vgpu.so") };
  let bin = "";
  beforeAll(async () => {
    const folder = project();
    await registry.npm(folder, main, "@caracal/linux-x64-cuda13");
    bin = join(folder, "node_modules/.bin/caracal");
  });

  test("is loaded in place of linux-x64, and needs no GPU for the CPU", async () => {
    const { status, stdout } = await run(bin, ["doctor"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok +addon +@caracal\/linux-x64-cuda13, built by \S+, with CUDA kernels$/m);
    expect(stdout).toMatch(/^ok +cpu /m);
  });

  test("golden files pass", async () => {
    const files = ["omni_audio_heads", "longcat_flash"].map((name) => join(golden, `${name}.safetensors`));
    const { status, stdout } = await run(bin, ["verify", "--device", "cuda", ...files], { env });
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/on cuda .*: all pass\n$/) });
  });
});
