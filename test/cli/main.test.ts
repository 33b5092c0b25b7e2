import { execFileSync, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Finding } from "../../lib/cli/doctor.js";
import { loadAudio } from "../../lib/media/audio.js";
import { scratch } from "../checkpoint/files.js";
import { tinyDirectory } from "../model/tinyModel.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { bin, engines, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const main = join(root, bin.caracal);
if (!existsSync(main)) throw new Error("these tests run the built command line: run `npm run build` first");
const directory = await tinyDirectory(3);
const bindings = scratch();
const sample = (name: string) => join(root, "samples", name);

function caracal(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", cwd: directory });
  return { status, stdout, stderr };
}

describe("caracal", () => {
  test("--help lists the commands", () => {
    const { status, stdout } = caracal("--help");
    expect(status).toBe(0);
    for (const name of ["run", "synth", "inspect", "verify", "doctor", "bench"]) expect(stdout).toContain(`  ${name}`);
    expect(caracal("help", "run").stdout).toContain("--repetition-penalty");
    expect(caracal("run", "--help").stdout).toContain("--video-with-sound");
  });

  test("errors are one line with a code", () => {
    const { status, stderr, stdout } = caracal("run", "--model", "nowhere", "--text", "Hello!");
    expect(status).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^error CHECKPOINT_INVALID: .*nowhere.*\n$/);
    expect(caracal("run", "--model", directory).stderr).toMatch(/^error INVALID_ARGUMENT: there is no question.*\n$/);
    const out = ["--out", "/nowhere/a.wav"];
    expect(caracal("run", "--model", directory, "--text", "a", ...out).stderr).toMatch(/^error IO_ERROR: .*\n$/);
    expect(caracal("run", "--model", directory, "--text", "a", "--top-k", "x").status).toBe(1);
    expect(caracal("rnu")).toMatchObject({ status: 1, stderr: expect.stringContaining("unknown command 'rnu'") });
  });

  test("an error about several files has a line for each", () => {
    const { status, stderr } = caracal("run", "--model", join(root, "samples"), "--text", "Hello!");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error CHECKPOINT_INVALID: .*samples:\n {2}- config\.json: no such file\n {2}- .*\n/);
  });

  test("--version shows the version of the package", () => {
    for (const option of ["--version", "-V"])
      expect(caracal(option)).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  });

  test("a misspelt option is found before a missing one", () => {
    for (const command of [["run"], ["bench", "model"]]) {
      const misspelt = caracal(...command, "--mdl", directory);
      expect(misspelt).toMatchObject({ status: 1, stderr: "error: unknown option '--mdl'\n(Did you mean --model?)\n" });
      const without = command[0] === "run" ? ["--text", "Hello!"] : [];
      const message = "error INVALID_ARGUMENT: there is no model: pass --model and its directory\n";
      expect(caracal(...command, ...without)).toMatchObject({ status: 1, stderr: message });
    }
  });

  test("errors name the options of the command line", () => {
    const run = (...args: string[]) => caracal("run", "--model", directory, "--no-speech", ...args).stderr;
    const photo = ["--image", sample("photo.jpg")];
    expect(run(...photo, "--max-pixels", "9")).toMatch(/the limit is 9: scale it down, or raise --max-pixels\n$/);
    expect(run("--audio", sample("speech.wav"), "--audio-seconds", "1")).toMatch(/, or raise --audio-seconds\n$/);
    expect(run("--text", "Hello! ".repeat(99), "--kv-tokens", "64")).toMatch(/; raise --kv-tokens\n$/);
    expect(run("--text", "a", "--repetition-penalty", "2")).toMatch(
      /: --repetition-penalty acts .* --top-p or --top-k, too/,
    );
    expect(run("--image", "https://a.example/b.png")).toMatch(/got a URL, .*: save it as a file, and pass that\n$/);
    expect(run("--video", sample("clip.mp4"), "--max-frames", "1")).toMatch(/raise --max-frames\n$|needs ffmpeg/);
    expect(run("--video", sample("clip.mp4"), "--max-seconds", "0.1")).toMatch(/raise --max-seconds\n$|needs ffmpeg/);
  });

  test.skipIf(!existsSync("/dev/full"))("help that cannot be written is an error", () => {
    const full = openSync("/dev/full", "w");
    for (const args of [["--help"], ["run", "--help"], ["help", "run"], ["--version"], ["bench", "ops", "--help"]]) {
      const { status, stderr } = spawnSync(process.execPath, [main, ...args], {
        stdio: ["ignore", full, "pipe"],
        encoding: "utf8",
      });
      expect([status, stderr], args.join(" ")).toEqual([
        1,
        expect.stringMatching(/^error IO_ERROR: standard output: /),
      ]);
    }
    closeSync(full);
  });

  test.each(["rnu", "rnu --help", "help rnu", "rnu --model x"])("`caracal %s` suggests the nearest command", (args) => {
    const { status, stdout, stderr } = caracal(...args.split(" "));
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toBe("error: unknown command 'rnu'\n(Did you mean run?)\n");
  });

  test.each(["run x", "synth a b", "inspect a b", "doctor x", "bench counters x", "bench ops x", "vgpu report a b"])(
    "`caracal %s` refuses the argument that it does not take",
    (args) => {
      const model = args.startsWith("run") ? ["--model", directory] : [];
      const { status, stderr } = caracal(...args.split(" "), ...model);
      expect([status, stderr]).toEqual([1, expect.stringMatching(/^error: too many arguments for/)]);
    },
  );
});

describe("caracal doctor", () => {
  const findings = (env: NodeJS.ProcessEnv = {}) => {
    const all = { ...process.env, ...env };
    const { status, stdout } = spawnSync(process.execPath, [main, "doctor", "--json"], { encoding: "utf8", env: all });
    const { works, findings } = JSON.parse(stdout) as { works: boolean; findings: Finding[] };
    return { status, works, of: (what: string) => findings.find((finding) => finding.what === what) };
  };

  test("shows what works, and exits with 0", () => {
    const { status, stdout } = caracal("doctor");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok +node +v\d+/m);
    expect(stdout).toMatch(/^ok +addon +\S+caracal\.node, built by \S+, with(out)? CUDA kernels/m);
    expect(stdout).toMatch(/^ok +cpu +(scalar|avx2|avx512), \d+ threads$/m);
    expect(stdout).toMatch(/^no +cuda +/m);
    expect(stdout).toMatch(/^ok +disk +[\d.]+ GiB free of [\d.]+ GiB at /m);
    expect(stdout).toMatch(/\nThe library can run here; .*\n$/);
    expect(stdout).not.toContain(`install Node.js ${engines.node.replace(">=", "")}`);
  });

  test("knows the C library, the compilers and ffmpeg", () => {
    const { works, of } = findings();
    expect(works).toBe(true);
    for (const what of ["glibc", "compiler", "nvcc", "ffmpeg", "ffprobe"])
      expect(of(what), what).toMatchObject({ needed: false });
  });

  test("says what a missing program is good for, and how to get it", () => {
    const { status, of } = findings({ PATH: directory, CXX: "" });
    expect(status).toBe(0);
    expect(of("ffmpeg")).toMatchObject({
      works: false,
      detail: expect.stringMatching(
        /^not found, so compressed sound and videos cannot be read; .* apt-get install ffmpeg$/,
      ),
    });
    expect(of("compiler")).toMatchObject({ works: false, detail: expect.stringMatching(/apt-get install g\+\+/) });
    expect(of("nvcc")).toMatchObject({ works: false, detail: expect.stringMatching(/^not found, .*13\.0 or newer/) });
  });

  test("exits with 1 if the addon cannot be loaded", () => {
    for (const [file, detail] of [
      ["none.node", /^NATIVE_LOAD_FAILED: .*none\.node, which does not exist: /],
      ["fifo.node", /^NATIVE_LOAD_FAILED: .*fifo\.node, which is not a regular file: /],
    ] as const) {
      const CARACAL_BINDING = join(bindings, file);
      if (file === "fifo.node") execFileSync("mkfifo", [CARACAL_BINDING]);
      const { status, works, of } = findings({ CARACAL_BINDING });
      expect([status, works]).toEqual([1, false]);
      expect(of("addon")).toMatchObject({ works: false, needed: true, detail: expect.stringMatching(detail) });
    }
  });
});

describe("caracal run", () => {
  const question = ["run", "--model", directory, "--audio", sample("speech.wav"), "--image", sample("photo.jpg")];

  test("answers in text and speech, and shows times and memory", async () => {
    const { status, stdout, stderr } = caracal(...question, "--max-tokens", "12", "--out", "answer.wav");
    expect(status).toBe(0);
    expect(stdout.trim()).not.toBe("");
    for (const stage of ["load", "preprocess", "audio encoder", "vision", "prefill", "decode", "speech decoder"])
      expect(stderr).toMatch(new RegExp(`^  ${stage} +\\d+\\.\\d\\d s`, "m"));
    expect(stderr).toMatch(/first text \d.* s, first audio \d.* s, .*peak memory \d+ MiB/);
    expect(stderr).toContain("the answer is noise and means nothing");
    expect(stderr).toContain(join(directory, "answer.wav"));
    const samples = await loadAudio(join(directory, "answer.wav"), { sampleRate: 24000 });
    const frames = Number(/^ {2}speech decoder .* (\d+) frames/m.exec(stderr)![1]);
    expect(frames).toBeGreaterThan(3);
    expect(samples.length).toBe(frames * 1440);
  });

  test("--json prints one document, and the same answer for the same seed", () => {
    const options = ["--json", "--max-tokens", "10", "--temperature", "1.5", "--top-k", "0", "--seed", "7"];
    const run = () => JSON.parse(caracal(...question, ...options).stdout);
    const [first, second] = [run(), run()];
    expect(first).toMatchObject({ reason: "length", synthetic: true, seed: 7, model: directory });
    expect(first.audio.seconds).toBeCloseTo(first.usage.stages["speech decoder"].tokens * 0.06, 6);
    expect(first.usage.steps).toBe(10);
    expect(second.text).toBe(first.text);
    const withoutTopK = options.toSpliced(options.indexOf("--top-k"), 2);
    expect(JSON.parse(caracal(...question, ...withoutTopK).stdout).text).toBe(first.text);
    const likeliest = withoutTopK.toSpliced(withoutTopK.indexOf("--temperature"), 2);
    expect(JSON.parse(caracal(...question, ...likeliest).stdout).text).not.toBe(first.text);
  });

  test("--stop ends the answer before a text", () => {
    const options = ["--json", "--no-speech", "--max-tokens", "10", "--text", "Hello"];
    const ask = (...stop: string[]) =>
      JSON.parse(caracal("run", "--model", directory, ...options, ...stop).stdout) as Record<string, unknown>;
    const { text } = ask() as { text: string };
    const stop = text.slice(3, 5);
    const expected = { reason: "stop", stopString: stop, text: text.slice(0, text.indexOf(stop)).trimEnd() };
    expect(ask("--stop", "\u{1f9ff}", stop)).toMatchObject(expected);
  });

  test("a full disk is an ordinary error", () => {
    const { status, stderr } = caracal(...question, "--max-tokens", "12", "--out", "/dev/full");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error IO_ERROR: cannot write \/dev\/full.*\n$/);
  });

  test("--no-speech writes no file", () => {
    rmSync(join(directory, "answer.wav"), { force: true });
    const { status, stderr } = caracal(
      "run",
      "--model",
      directory,
      "--text",
      "Hello!",
      "--no-speech",
      "--max-tokens",
      "5",
    );
    expect(status).toBe(0);
    expect(stderr).toContain("no speech");
    expect(existsSync(join(directory, "answer.wav"))).toBe(false);
  });

  test("what is wrong with the question is told before the model is loaded", () => {
    for (const [args, message] of [
      [["--audio", "nope.wav"], /^error IO_ERROR: cannot read nope\.wav: ENOENT/],
      [
        ["--text", "Hello!", "--top-p", "2"],
        /^error: option '--top-p <p>' argument '2' is invalid. Expected a number above 0 and at most 1/,
      ],
      [["--text", "Hello!", "--out", ""], /^error INVALID_ARGUMENT: --out takes a file, got an empty name.*\n$/],
      [["--text", "Hello!", "--out", directory], /^error IO_ERROR: cannot write .*: it is a folder\n$/],
      [["--text", "Hello!", "--out", "a.mp3"], /^error INVALID_ARGUMENT: --out writes WAV, got a\.mp3/],
    ] as [string[], RegExp][]) {
      const { status, stderr } = caracal("run", "--model", "nowhere", ...args);
      expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
    }
  });

  test.skipIf(!existsSync("/dev/full"))(
    "an output that cannot be written ends it, and any command, in one line",
    () => {
      const full = openSync("/dev/full", "w");
      try {
        for (const args of [
          ["run", "--model", directory, "--text", "Go on", "--max-tokens", "50"],
          ["run", "--model", directory, "--text", "Go on", "--max-tokens", "5", "--json"],
          ["inspect", directory],
          ["doctor", "--json"],
        ]) {
          const stdio: StdioOptions = ["ignore", full, "pipe"];
          const { status, stderr } = spawnSync(process.execPath, [main, ...args], {
            encoding: "utf8",
            cwd: directory,
            stdio,
          });
          const message =
            "error IO_ERROR: standard output: cannot be written: the disk is full; free some space or write elsewhere\n";
          expect([args[0], status, stderr]).toEqual([args[0], 1, message]);
        }
      } finally {
        closeSync(full);
      }
    },
  );

  test("a closed output ends it with 141, and leaves a WAV file that can be played", async () => {
    const out = join(directory, "closed.wav");
    const args = ["run", "--model", directory, "--text", "Go on", "--max-tokens", "100000", "--out", out];
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "ignore"] });
    const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
    while (!existsSync(out) || readFileSync(out).length < 10_000)
      await new Promise((resolve) => setTimeout(resolve, 5));
    child.stdout.destroy();
    expect(await closed).toBe(141);
    const bytes = readFileSync(out);
    expect(bytes.readUInt32LE(40)).toBe(bytes.length - 44);
  });

  test("Ctrl-C ends it cleanly, and leaves a WAV file that can be played", async () => {
    const out = join(directory, "interrupted.wav");
    const args = ["run", "--model", directory, "--text", "Go on", "--max-tokens", "100000", "--out", out];
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
    while (!existsSync(out) || readFileSync(out).length < 10_000)
      await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGINT");
    const status = await closed;
    expect([status, stderr]).toEqual([130, expect.stringMatching(/^error ABORTED: .*\n$/)]);
    const bytes = readFileSync(out);
    expect(bytes.readUInt32LE(40)).toBe(bytes.length - 44);
    expect(bytes.readUInt32LE(4)).toBe(bytes.length - 8);
  });
});

test.each([
  ["SIGINT", 130], // Ctrl-C
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s ends caracal synth cleanly, and leaves nothing behind", async (signal, expected) => {
  const out = join(directory, "unfinished");
  const child = spawn(process.execPath, [main, "synth", out, "--preset", "mini"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
  const written = () => readdirSync(directory).filter((name) => name.startsWith("unfinished"));
  while (written().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill(signal);
  const status = await closed;
  expect([status, stderr]).toEqual([expected, "error ABORTED: writing a checkpoint was aborted\n"]);
  expect(written()).toEqual([]);
});
