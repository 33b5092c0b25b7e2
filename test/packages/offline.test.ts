// The installed packages reach for no network: they run without one, and neither JavaScript nor a system call asks for it.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bare, folderWith, packages, run } from "./support.js";

const bin = join(packages.app, "node_modules/.bin/caracal");
const sample = (name: string) => join(packages.app, "node_modules/caracal/samples", name);

/** Runs what a user runs, in a folder of its own, each by the command that `through` makes of it. */
async function session(through: (args: string[]) => [string, ...string[]], env: NodeJS.ProcessEnv = {}) {
  const folder = folderWith({});
  mkdirSync(join(folder, "out"));
  const question = ["--text", "Hello!", "--image", sample("photo.jpg"), "--audio", sample("speech.wav")];
  for (const args of [
    ["doctor"],
    ["synth", join(folder, "model")],
    ["run", "--model", join(folder, "model"), ...question, "--max-tokens", "4", "--out", join(folder, "a.wav")],
    ["inspect", join(folder, "model")],
  ]) {
    const [program, ...rest] = through([bin, ...args]);
    const outcome = await run(program, rest, { cwd: folder, env: { ...bare, ...env } });
    expect(outcome, args.join(" ")).toMatchObject({ status: 0 });
  }
  expect(existsSync(join(folder, "a.wav"))).toBe(true);
  return folder;
}

const namespace = [
  ["unshare", "-n"],
  ["unshare", "-rn"],
].find(([program, ...args]) => spawnSync(program!, [...args, "true"]).status === 0);
const strace = ["/usr/bin/strace", "/bin/strace"].find((path) => spawnSync(path, ["true"]).status === 0);

describe("doctor, synth, run and inspect", () => {
  test.skipIf(namespace === undefined)("run without any network", async () => {
    const [, flag] = namespace!;
    await session((args) => ["/usr/bin/unshare", flag!, ...args]);
  });

  test("call nothing of Node.js that reaches for the network", async () => {
    const log = join(folderWith({}), "calls");
    // Each function that the modules for networks export leaves its name in a file when it is called.
    const hook = `
      import { appendFileSync, writeFileSync } from "node:fs";
      import { createRequire, syncBuiltinESMExports } from "node:module";
      const load = createRequire(import.meta.url);
      const refuse = (name) => function () {
        appendFileSync(${JSON.stringify(log)}, name + "\\n");
        throw new Error(name + " was called");
      };
      writeFileSync(${JSON.stringify(log)}, "watching\\n", { flag: "a" });
      const calls = { dns: /^(lookup|resolve|reverse)/, net: /^(connect|createConnection|createServer)/, tls: /^connect/,
        http: /^(request|get|createServer)/, https: /^(request|get)/, http2: /^connect/, dgram: /^createSocket/ };
      for (const [name, pattern] of Object.entries(calls))
        for (const key of Object.keys(load(name)).filter((key) => pattern.test(key)))
          load(name)[key] = refuse(name + "." + key);
      for (const key of Object.keys(load("dns").promises).filter((key) => calls.dns.test(key)))
        load("dns").promises[key] = refuse("dns.promises." + key);
      load("net").Socket.prototype.connect = refuse("net.Socket.connect");
      for (const key of ["fetch", "WebSocket", "EventSource"]) globalThis[key] = refuse(key);
      syncBuiltinESMExports();`;
    const file = join(folderWith({ "hook.mjs": hook }), "hook.mjs");
    await session((args) => [args[0]!, ...args.slice(1)], { NODE_OPTIONS: `--import ${file}` });
    expect(new Set(readFileSync(log, "utf8").trim().split("\n"))).toEqual(new Set(["watching"]));
    const used = folderWith({ "fetch.mjs": 'import { get } from "node:http"; get("http://127.0.0.1:9");' });
    await run("node", ["--import", file, join(used, "fetch.mjs")]);
    expect(readFileSync(log, "utf8")).toContain("http.get\n");
  });

  test.skipIf(strace === undefined)("make no system call for an internet socket", async () => {
    const traces = folderWith({});
    const options = ["-f", "-qq", "-e", "trace=socket", "-o"];
    let count = 0;
    await session((args) => [strace!, ...options, join(traces, `${count++}`), ...args]);
    const calls = readdirSync(traces).map((name) => readFileSync(join(traces, name), "utf8"));
    expect(calls).toHaveLength(4);
    expect(calls.join("")).not.toMatch(/AF_(INET|PACKET)/);
    const own = 'require("node:dgram").createSocket("udp4").bind(0, "127.0.0.1", function () { this.close(); })';
    await run(strace!, [...options, join(traces, "own"), "node", "-e", own]);
    expect(readFileSync(join(traces, "own"), "utf8")).toMatch(/AF_INET/);
  });
});
