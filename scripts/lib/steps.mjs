// Helpers of the scripts: they run commands, look for tools, and find out what is up to date.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** Prints a message and exits with 1. */
export function fail(message) {
  console.error(`caracal: ${message}`);
  process.exit(1);
}

/** Fails if the version of Node.js is older than `engines` in package.json. */
export function needNode(version = process.versions.node) {
  const { engines } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const oldest = engines.node.replace(">=", "");
  const [[minMajor, minMinor], [major, minor]] = [oldest, version].map((text) => text.split(".").map(Number));
  if (major > minMajor || (major === minMajor && minor >= minMinor)) return;
  fail(`Node.js ${version} is too old: ${oldest} or newer is needed. Install it from https://nodejs.org`);
}

const install = { debian: "sudo apt-get install", fedora: "sudo dnf install" };
const tools = {
  "c++": { candidates: ["g++", "c++", "clang++"], debian: "g++", fedora: "gcc-c++", why: "a C++20 compiler" },
  make: { candidates: ["make"], debian: "make", fedora: "make", why: "make" },
  python3: {
    candidates: ["python3", "python"],
    debian: "python3",
    fedora: "python3",
    why: "Python 3 (node-gyp runs on it)",
  },
  cmake: { candidates: ["cmake"], debian: "cmake", fedora: "cmake", why: "CMake" },
};

/** Fails if a tool is missing, with the command that installs it. */
export function needTool(name) {
  if (name === "nvcc") {
    if (spawnSync("nvcc", ["--version"], { stdio: "ignore" }).status === 0) return;
    fail(
      "nvcc is not on the PATH: install the CUDA toolkit 13.0 or newer, https://developer.nvidia.com/cuda-downloads",
    );
  }
  const { candidates, debian, fedora, why } = tools[name];
  if (name === "c++" && process.env.CXX) return;
  if (candidates.some((c) => spawnSync(c, ["--version"], { stdio: "ignore" }).status === 0)) return;
  fail(`${why} is missing. Install it with: ${install.debian} ${debian}   (Fedora: ${install.fedora} ${fedora})`);
}

/** Runs a command. Its output is shown only if it fails, or with CARACAL_VERBOSE=1. */
export function run(label, command, args, env = {}) {
  const start = Date.now();
  const verbose = process.env.CARACAL_VERBOSE === "1";
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: verbose ? "inherit" : ["ignore", "pipe", "pipe"],
    maxBuffer: 1 << 28,
  });
  if (result.status === 0) {
    console.error(`caracal: ${label} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
    return;
  }
  if (!verbose) process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? result.error ?? ""}`);
  fail(`${label} failed; the output is above. Command: ${command} ${args.join(" ")}`);
}

/**
 * Runs a command and returns what it prints. If it fails, so does the script, with the command's output; with `mayFail`,
 * the result is undefined.
 */
export function command(program, args, { cwd = root, env = {}, mayFail = false } = {}) {
  const options = { cwd, env: { ...process.env, ...env }, encoding: "utf8", maxBuffer: 1 << 28 };
  const { status, stdout, stderr, error } = spawnSync(program, args, options);
  if (status === 0) return stdout;
  if (mayFail) return undefined;
  process.stderr.write(`${stdout ?? ""}${stderr ?? ""}${error ?? ""}`);
  return fail(`the command failed; its output is above: ${program} ${args.join(" ")}`);
}

/** The latest modification time of the files in the given paths, in ms. */
export function newest(...paths) {
  let time = 0;
  for (const path of paths.map((p) => join(root, p)).filter(existsSync)) {
    const stat = statSync(path);
    time = Math.max(time, stat.isDirectory() ? 0 : stat.mtimeMs);
    if (stat.isDirectory())
      for (const e of readdirSync(path)) time = Math.max(time, newest(join(path, e).slice(root.length)));
  }
  return time;
}

/** Whether `output` exists and is not older than the files in `inputs`. */
export function upToDate(output, ...inputs) {
  const path = join(root, output);
  return existsSync(path) && statSync(path).mtimeMs >= newest(...inputs);
}

/** Writes a file unless it already has these contents, so that its dependents stay up to date. */
export function writeIfChanged(path, contents) {
  const file = join(root, path);
  if (!existsSync(file) || readFileSync(file, "utf8") !== contents) writeFileSync(file, contents);
}
