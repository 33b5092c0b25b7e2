// Every program in examples/ and on the first pages runs, against the compiled library, as its users run it.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test, vi } from "vitest";
import { tinyDirectory } from "./model/tinyModel.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const examples = fileURLToPath(new URL("../examples", import.meta.url));
const model = await tinyDirectory(3);
const folder = mkdtempSync(join(tmpdir(), "caracal-examples-"));
afterAll(() => rmSync(folder, { recursive: true }));

function run(name: string, args: string[] = [], input: string | Buffer = "", programs = examples): string {
  const options = { encoding: "utf8", input, cwd: folder, timeout: 100_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(programs, name), ...args], options);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** A server of the model, on a port of its own. */
async function served() {
  const command = [join(root, "bin/caracal.mjs"), "serve", "--model", model, "--port", "0"];
  const server = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  for await (const text of server.stdout) {
    out += text;
    if (out.includes("ready")) break;
  }
  return { url: out.match(/http:\S+/)![0], [Symbol.asyncDispose]: async () => void server.kill("SIGKILL") };
}

const samples = fileURLToPath(new URL("../samples", import.meta.url));

const tests: Readonly<Record<string, () => void | Promise<void>>> = {
  "tensors.mjs": () => {
    const out = run("tensors.mjs");
    expect(out).toMatch(/^result: f32 \[4, 256\]$/m);
    expect(out).toMatch(/^row 0: (-?0\.\d+, ){4}…$/m);
    expect(out).toMatch(/^refused: SHAPE_MISMATCH: linear: w must have shape/m);
  },
  "graph.mjs": () => {
    const values = run("graph.mjs")
      .match(/(?<=… )\S+/g)!
      .map(Number);
    // x + x² at 31/32, and a residual branch that RMSNorm makes independent of the scale
    const base = [1, 2, 3].map((scale) => (scale * 31) / 32 + ((scale * 31) / 32) ** 2);
    const branches = values.map((value, i) => value - base[i]!);
    expect(branches).toHaveLength(3);
    for (const branch of branches) expect(branch).toBeCloseTo(branches[0]!, 3);
    expect(branches[0]).toBeGreaterThan(0.01);
  },
  "speech-decoder.mjs": () => {
    const file = join(folder, "speech.wav");
    expect(run("speech-decoder.mjs", [model, file])).toMatch(/: 23040 samples at 24000 Hz, in 14 pieces$/m);
    expect(readFileSync(file).toString("latin1", 8, 12)).toBe("WAVE");
  },
  "spoken.mjs": () => {
    const file = join(folder, "answer.pcm");
    const out = run("spoken.mjs", [model, join(samples, "photo.jpg"), join(samples, "speech.wav"), file]);
    const [, seconds] = out.match(/^(\d+\.\d+) s of speech, ended by (?:stop|length)$/m)!;
    expect(Number(seconds)).toBeGreaterThan(0.1);
    expect(readFileSync(file).length / 2 / 24000).toBeCloseTo(Number(seconds), 2);
  },
  "live.mjs": () => {
    const file = join(folder, "answers.wav");
    const pcm = readFileSync(join(samples, "speech.wav")).subarray(44);
    const floats = Float32Array.from({ length: pcm.length >> 1 }, (_, i) => pcm.readInt16LE(2 * i) / 32768);
    const out = run("live.mjs", [model, file], Buffer.from(floats.buffer));
    expect(out).toMatch(/^speech from 0\.\d\d s on\na turn until \d+\.\d\d s\nitem_2: .* \(\d+\.\d\d s\)$/m);
    expect(readFileSync(file).toString("latin1", 8, 12)).toBe("WAVE");
  },
  "service.mjs": async () => {
    const service = spawn(process.execPath, [join(examples, "service.mjs"), model, "0"], { stdio: "pipe" });
    try {
      const [started] = await once(service.stdout, "data");
      const url = `http://localhost:${/\d+$/m.exec(String(started))![0]}`;
      const ask = (body: string) => fetch(`${url}/reply`, { method: "POST", body });
      const metrics = async () => {
        const text = await (await fetch(`${url}/metrics`)).text();
        return Object.fromEntries(Array.from(text.matchAll(/^caracal_(\w+) (\S+)$/gm), ([, k, v]) => [k, Number(v)]));
      };

      const lines = (await (await ask('{"text": "Hello!"}')).text()).trim().split("\n");
      const events = lines.map((line) => JSON.parse(line));
      expect(events.at(-1)).toMatchObject({ type: "end", reason: "stop" });
      expect(events.at(-1).text).toBe(events.map(({ type, text }) => (type === "text" ? text : "")).join(""));

      for (const body of ["", "null", '{"text": 5}', JSON.stringify({ text: "x".repeat(2 ** 20) })])
        expect((await ask(body)).status).toBe(400);
      expect((await fetch(url)).status).toBe(404);

      // A client that leaves ends its reply, which would have had 512 steps.
      const leaving = new AbortController();
      const left = await fetch(`${url}/reply`, { method: "POST", body: '{"text": "x"}', signal: leaving.signal });
      await left.body!.getReader().read();
      leaving.abort();
      const ended = { left: 1, active: 0, cacheUsed: 0 };
      await vi.waitFor(async () => expect(await metrics()).toMatchObject(ended), 60_000);
      expect(await metrics()).toMatchObject({ answered: 1, failed: 4 });

      // One that is being answered is answered to the end.
      const last = await ask('{"text": "Hello!"}');
      service.kill("SIGTERM");
      expect(await last.text()).toContain('"type":"end"');
      expect(await once(service, "exit")).toEqual([0, null]);
    } finally {
      service.kill("SIGKILL");
    }
  },
  "chat.mjs": () => {
    const out = run("chat.mjs", [model], "Hello!\nHow are you?\n");
    expect(out).toContain("The weights are random");
    expect(out.match(/^> ./gm)).toHaveLength(2); // two answers
  },
  "chat-client.mjs": async () => {
    await using server = await served();
    expect(run("chat-client.mjs", [server.url], "Hello!\nHow are you?\n").match(/^> ./gm)).toHaveLength(2); // two answers
  },
  "voice-client.mjs": async () => {
    await using server = await served();
    const pcm = readFileSync(join(samples, "speech.wav")).subarray(44);
    const at24kHz = Buffer.alloc(3 * (pcm.length >> 2) * 2);
    for (let i = 0; i < at24kHz.length / 2; i++)
      at24kHz.writeInt16LE(pcm.readInt16LE(2 * Math.floor((i * 2) / 3)), 2 * i);
    const program = [join(examples, "voice-client.mjs"), server.url.replace("http", "ws")];
    const { status, stdout, stderr } = spawnSync(process.execPath, program, { input: at24kHz, timeout: 100_000 });
    expect(String(stderr)).toMatch(/^\(you speak\)\n> .+\n/);
    expect(status).toBe(0);
    expect(stdout.length / 2 / 24000).toBeGreaterThan(0.5);
  },
  "workers.mjs": () => {
    const lines = run("workers.mjs").trim().split("\n");
    const bands = lines.map((line) =>
      line
        .match(/^(\d+) Hz: 98 frames, mel band (\d+) is/)!
        .slice(1)
        .map(Number),
    );
    expect(bands.map(([hertz]) => hertz!).sort((a, b) => a - b)).toEqual([220, 440, 880, 1760]);
    const mel = (hertz: number) => Math.log(1 + hertz / 700);
    const expected = (hertz: number) => (81 * (mel(hertz) - mel(20))) / (mel(8000) - mel(20)) - 1; // 80 bands
    for (const [hertz, band] of bands) expect(Math.abs(band! - expected(hertz!))).toBeLessThan(1);
  },
};

test.each(Object.entries(tests))("%s", (_, check) => check());

test("every example is tested", () => {
  expect(Object.keys(tests).sort()).toEqual(readdirSync(examples).sort());
});

describe("the programs of a page, in a folder where the package and a model are installed", () => {
  for (const path of ["node_modules", "models"]) mkdirSync(join(folder, path));
  symlinkSync(root, join(folder, "node_modules/caracal"));
  symlinkSync(model, join(folder, "models/mini"));

  test.each([
    ["README.md", [/^Float32Array\(1024\) \[\n(?:.*\n)+\]\n.+/]],
    ["docs/getting-started.md", [/ Float32Array\(4\) \[ 2, 4, 6, 8 \]$/m, /./]],
  ])("%s", (page, outputs) => {
    const programs = Array.from(
      readFileSync(join(root, page), "utf8").matchAll(/^```ts\n(.*?)^```/gms),
      ([, code]) => code!,
    );
    expect(programs).toHaveLength(outputs.length);
    for (const [i, code] of programs.entries()) {
      writeFileSync(join(folder, "program.mjs"), code);
      expect(run("program.mjs", [], "", folder)).toMatch(outputs[i]!);
    }
  });
});
