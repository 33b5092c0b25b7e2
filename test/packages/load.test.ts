// The ways in which programs load the installed packages: modules, compilers, bundlers, tracers, threads.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { describe, expect, test } from "vitest";
import { bare, checkout, folderWith, node, packages, run, tool } from "./support.js";

const model = JSON.stringify(join(packages.app, "model"));
/** Computes on the CPU, and renders a chat template, which loads a package in another process. Prints both. */
const body = `
async function main() {
  const device = await Device.open({ backend: "cpu", threads: 1 });
  const values = await ops.clamp(device.tensor([1, -2, 3], [3]), { low: 0 }).toFloat32Array();
  const tokenizer = await OmniTokenizer.open(${model});
  const [prompt] = await tokenizer.renderChat([{ role: "user", content: "Hi" }]);
  console.log(values.join(), JSON.stringify(prompt));
  device.dispose();
}
`;
const esm = `import { Device, OmniTokenizer, ops } from "caracal";\n${body}await main();\n`;
const cjs = `const { Device, OmniTokenizer, ops } = require("caracal");\n${body}main();\n`;
const answer = '1,0,3 "USER:Hi\\n';
const canRequireModules = (process.features as { require_module?: boolean }).require_module === true;

describe("a program", () => {
  test("imports", async () => {
    expect(await node([join(folderWith({ "main.mjs": esm }), "main.mjs")])).toContain(answer);
  });

  test.skipIf(!canRequireModules)("requires, where Node.js can require modules", async () => {
    expect(await node([join(folderWith({ "main.cjs": cjs }), "main.cjs")])).toContain(answer);
  });

  test("of CommonJS imports", async () => {
    const source = `(async () => { const { Device, OmniTokenizer, ops } = await import("caracal");\n${body}main(); })();`;
    expect(await node([join(folderWith({ "main.cjs": source }), "main.cjs")])).toContain(answer);
  });

  test("in TypeScript runs in tsx", async () => {
    const folder = folderWith({ "main.mts": `${esm}const n: number = 1;\nvoid n;\n` });
    expect(await node([tool("tsx/dist/cli.mjs"), join(folder, "main.mts")])).toContain(answer);
  });

  test.each([
    ["nodenext", "nodenext"],
    ["bundler", "esnext"],
  ])("is checked by TypeScript with moduleResolution %s and skipLibCheck false", async (moduleResolution, module) => {
    const compilerOptions = {
      ...{ strict: true, noEmit: true, skipLibCheck: false, target: "es2022", lib: ["es2023", "esnext.disposable"] },
      ...{ module, moduleResolution, types: ["node"], typeRoots: [join(checkout, "node_modules/@types")] },
    };
    const config = JSON.stringify({ compilerOptions, files: ["main.mts", "mistake.mts"] });
    const mistake = 'import { Device } from "caracal";\nexport const opened = Device.open({ backend: "gpu" });\n';
    const folder = folderWith({ "main.mts": esm, "mistake.mts": mistake, "tsconfig.json": config });
    const { stdout } = await run("node", [join(checkout, "node_modules/typescript/lib/tsc.js"), "-p", folder]);
    const errors = stdout.split("\n").filter((line) => /^\S/.test(line));
    expect(errors).toEqual([expect.stringMatching(/mistake\.mts\(2,\d+\): error TS2322: Type '"gpu"'/)]);
  });

  test("is tested by the vitest of its project", async () => {
    const source = `import { expect, test } from "vitest";
      ${esm.replace("await main();", "")}
      test("main", async () => { await main(); expect(ops.clamp).toBeTypeOf("function"); });`;
    const folder = folderWith({ "main.test.js": source });
    // A project has its own vitest: this one's is the checkout's.
    const vitest = join(checkout, "node_modules/vitest");
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(vitest, join(folder, "node_modules/vitest"));
    expect(await node([join(vitest, "vitest.mjs"), "run", "--root", folder])).toContain(answer);
  });
});

/** What a bundle cannot contain: binaries, and what another process loads. */
const external = ["@caracal/*", "sharp", "@huggingface/jinja"];
const requireInModules = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** Bundles a program, and installs it with the packages that are external and theirs. */
async function bundle(bundler: "esbuild" | "rolldown", format: "esm" | "cjs", source: string) {
  const input = join(folderWith({ "main.js": source }), "main.js");
  const out = folderWith({}, packages.folder);
  const file = join(out, format === "esm" ? "main.mjs" : "main.cjs");
  const externals = external.map((pattern) => `--external:${pattern}`);
  const esbuild = ["--bundle", "--platform=node", "--minify", `--format=${format}`, `--outfile=${file}`, ...externals];
  if (format === "esm") esbuild.push(`--banner:js=${requireInModules}`);
  const rolldown = `
    import { rolldown } from ${JSON.stringify(tool("rolldown/dist/index.mjs"))};
    const [input, format, file] = process.argv.slice(2);
    const external = [/^@caracal[/]/, "sharp", "@huggingface/jinja"];
    const bundle = await rolldown({ input, platform: "node", external, onLog() {} });
    await bundle.write({ file, format, codeSplitting: false });`;
  if (bundler === "rolldown")
    await node([join(folderWith({ "bundle.mjs": rolldown }), "bundle.mjs"), input, format, file]);
  else expect(await run(tool("@esbuild/linux-x64/bin/esbuild"), [input, ...esbuild])).toMatchObject({ status: 0 });
  for (const scope of ["@caracal", "@huggingface"])
    cpSync(join(packages.app, "node_modules", scope), join(out, "node_modules", scope), { recursive: true });
  return file;
}

describe("a bundle", () => {
  const imports = esm.replace("await main()", "main()");
  test.each([
    ["esbuild", "cjs", "imports", imports],
    ["esbuild", "cjs", "requires", cjs],
    ["esbuild", "esm", "imports", imports],
    ["rolldown", "cjs", "imports", imports],
    ["rolldown", "esm", "imports", imports],
  ] as const)("of %s in format %s, which %s, needs the external packages alone", async (bundler, format, _, source) => {
    expect(await node([await bundle(bundler, format, source)])).toContain(answer);
  });

  test("without the external packages says what is missing", async () => {
    const file = await bundle("esbuild", "cjs", imports);
    rmSync(join(dirname(file), "node_modules/@huggingface"), { recursive: true });
    expect((await run("node", [file])).stderr).toMatch(/MISSING_TOOL|@huggingface\/jinja, which is not installed/);
    rmSync(join(dirname(file), "node_modules"), { recursive: true });
    expect((await run("node", [file])).stderr).toMatch(/no native addon for linux-.* can be loaded/);
  });
});

describe("a file tracer, which Next.js and serverless platforms use,", () => {
  test("finds all that a program needs: copied elsewhere, it runs", async () => {
    const folder = folderWith({ "main.mjs": esm });
    const trace = `
      import { nodeFileTrace } from ${JSON.stringify(tool("@vercel/nft/out/index.js"))};
      const { fileList } = await nodeFileTrace([process.argv[2]], { base: process.argv[3] });
      console.log(JSON.stringify([...fileList]));`;
    const tracer = join(folderWith({ "trace.mjs": trace }, packages.folder), "trace.mjs");
    const files = JSON.parse(await node([tracer, join(folder, "main.mjs"), packages.app])) as string[];
    const out = folderWith({}, packages.folder);
    for (const file of files) cpSync(join(packages.app, file), join(out, file), { recursive: true });
    expect(files.filter((file) => /^node_modules\/(@caracal|caracal\/package)/.test(file))).not.toEqual([]);
    expect(existsSync(join(out, "node_modules/caracal/package.json"))).toBe(true);
    expect(await node([join(out, folder.split(sep).at(-1)!, "main.mjs")])).toContain(answer);
  });
});

test("a program serves the web page", async () => {
  const source = `
    import { serve } from "caracal/server";
    const server = await serve(Promise.reject(new Error("no model")), { port: 0 });
    for (const path of ["/", "/page/main.js", "/page/playerWorklet.js"])
      console.log(path, (await fetch(server.url + path)).status);
    await server.close();`;
  const out = await node([join(folderWith({ "main.mjs": source }), "main.mjs")]);
  expect(out).toBe("/ 200\n/page/main.js 200\n/page/playerWorklet.js 200\n");
});

describe("threads and exits", () => {
  test("four threads compute at once, and two of them are ended amid work", async () => {
    const source = `
      import { isMainThread, parentPort, threadId, Worker } from "node:worker_threads";
      import { Device, ops } from "caracal";
      if (isMainThread) {
        const workers = Array.from({ length: 4 }, () => new Worker(new URL(import.meta.url)));
        const first = await Promise.all(workers.map((worker) => new Promise((resolve, reject) => {
          worker.once("message", resolve).once("error", reject);
        })));
        const exits = await Promise.all(workers.map((worker, i) => i < 2
          ? worker.terminate()
          : new Promise((resolve) => { worker.once("exit", resolve); worker.postMessage("stop"); })));
        console.log(JSON.stringify({ first, exits }));
      } else {
        let stopped = false;
        parentPort.once("message", () => { stopped = true; });
        const device = await Device.open({ backend: "cpu", threads: 1 });
        const x = device.tensor(new Float32Array(1 << 16).fill(-1), [1 << 16]);
        for (let i = 0; !stopped; i++) {
          const y = await device.scope(() => ops.clamp(x, { low: 2 })).toFloat32Array();
          if (i === 0) parentPort.postMessage(y[100]);
        }
        device.dispose();
      }`;
    const out = await node([join(folderWith({ "main.mjs": source }), "main.mjs")]);
    expect(JSON.parse(out)).toEqual({ first: [2, 2, 2, 2], exits: [1, 1, 0, 0] });
  });

  test("process.exit amid queued work ends with its code", async () => {
    const source = `
      import { Device, ops } from "caracal";
      const device = await Device.open({ backend: "cpu" });
      const x = device.tensor(new Float32Array(1 << 20), [1 << 20]);
      for (let i = 0; i < 200; i++) ops.clamp(x, { low: 0 });
      void ops.clamp(x, { low: 1 }).toFloat32Array();
      process.exit(7);`;
    const { status, signal, stderr } = await run("node", [join(folderWith({ "main.mjs": source }), "main.mjs")]);
    expect({ status, signal, stderr }).toEqual({ status: 7, signal: undefined, stderr: "" });
  });

  test("--no-addons: one error says to leave it out", async () => {
    const source = `
      import { Device } from "caracal";
      await Device.open({ backend: "cpu" }).catch(({ code, message, details }) =>
        console.log(JSON.stringify({ code, message, details })));`;
    const out = await node(["--no-addons", join(folderWith({ "main.mjs": source }), "main.mjs")]);
    expect(JSON.parse(out)).toMatchObject({
      code: "NATIVE_LOAD_FAILED",
      message: expect.stringContaining("Run node without --no-addons"),
      details: { attempts: expect.arrayContaining([expect.objectContaining({ outcome: "cannot be loaded" })]) },
    });
  });
});

test("the version of the packages is that of the checkout, and nothing is compiled or run on installation", () => {
  const manifest = (name: string) =>
    JSON.parse(readFileSync(join(packages.app, "node_modules", name, "package.json"), "utf8"));
  const { version } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));
  for (const name of ["caracal", ...Object.keys(packages.tarballs).filter((name) => name !== "caracal")]) {
    if (!existsSync(join(packages.app, "node_modules", name))) continue; // of another platform
    expect(manifest(name)).toMatchObject({ version });
    expect(manifest(name).scripts ?? {}).toEqual({});
  }
  expect(bare.PATH).not.toContain("/usr");
});
