import { spawnSync } from "node:child_process";
import { statfsSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { Command } from "commander";
import { familySync, versionSync } from "detect-libc";
import { CaracalError } from "../errors.js";
import { loadedAddon } from "../native/addon.js";
import { candidates, type LoadAttempt } from "../native/load.js";
import { Device } from "../tensor/tensor.js";
import { oldestNode, version } from "../version.js";
import { jsonOption } from "./options.js";
import { alignColumns } from "./table.js";

/** The state of one thing that the library needs or can use. */
export interface Finding {
  readonly what: string;
  readonly works: boolean;
  /** Whether nothing of the library runs without it. */
  readonly needed: boolean;
  /** The version or size found, or the reason why it does not work and how to fix it. */
  readonly detail: string;
}

/** `caracal doctor`: says what works on this machine and why something does not. Exits with 1 if the library cannot run. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("show what works on this machine, and why something does not; exit code 1 if the library cannot run")
    .addOption(jsonOption())
    .action(async ({ json }: { json?: true }) => {
      const findings = await examine();
      const broken = findings.filter(({ works, needed }) => needed && !works).map(({ what }) => what);
      if (broken.length > 0) process.exitCode = 1;
      const verdict =
        broken.length > 0
          ? `The library cannot run here: ${broken.join(" and ")} must work first.`
          : "The library can run here; what is marked with `no` is optional.";
      const rows = findings.map(({ what, works, detail }) => [works ? "ok" : "no", what, detail]);
      const text = json
        ? JSON.stringify({ works: broken.length === 0, findings }, null, 2)
        : [...alignColumns(rows), verdict].join("\n");
      process.stdout.write(`${text}\n`);
    });
}

const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

async function examine(): Promise<Finding[]> {
  const optional = { works: true, needed: false };
  return [
    nodeVersion(),
    ...cLibrary(),
    ...(await backends()),
    { what: "memory", ...optional, detail: `${gibibytes(freemem())} free of ${gibibytes(totalmem())}` },
    disk(process.cwd()),
    ffmpegTool("ffmpeg", "compressed sound and videos"),
    ffmpegTool("ffprobe", "compressed sound and videos"),
    compiler(),
    nvcc(),
  ];
}

function nodeVersion(): Finding {
  const oldest = oldestNode;
  const [[minMajor, minMinor], [major, minor]] = [oldest, process.versions.node].map((version) =>
    version.split(".").map(Number),
  ) as [[number, number], [number, number]];
  const works = major > minMajor || (major === minMajor && minor >= minMinor);
  const advice = works ? "" : `; install Node.js ${oldest} or newer`;
  return {
    what: "node",
    works,
    needed: true,
    detail: `${process.version}, ${process.platform} ${process.arch}${advice}`,
  };
}

/** The C library that the process runs with. */
function cLibrary(): Finding[] {
  if (process.platform !== "linux") return [];
  const detail = versionSync() ?? "of an unknown version";
  return [{ what: familySync() ?? "C library", works: true, needed: false, detail }];
}

async function backends(): Promise<Finding[]> {
  try {
    const { addon, from, attempts } = loadedAddon();
    const kernels = addon.cudaKernels > 0 ? "with CUDA kernels" : `without CUDA kernels: ${kernelsFrom(from)}`;
    return [
      ...packages(attempts),
      { what: "addon", works: true, needed: true, detail: `${from}, built by ${addon.buildTool}, ${kernels}` },
      { ...(await backend("cpu")), needed: true },
      await backend("cuda"),
    ];
  } catch (error) {
    return [{ ...failure("addon", error), needed: true }];
  }
}

/** The command that brings CUDA kernels to an addon without them. */
function kernelsFrom(from: string): string {
  if (!from.startsWith("@caracal/")) return "`npm run build -- --cuda` compiles them";
  const [best = from] = candidates();
  return best === from ? "none exist for this platform" : `\`npm install ${best}@${version}\` brings them`;
}

/** The packages that were passed over. */
function packages(attempts: readonly LoadAttempt[]): Finding[] {
  return attempts
    .filter(({ outcome }) => outcome !== "loaded")
    .map(({ from, message }) => ({ what: "package", works: false, needed: false, detail: `${from}: ${message}` }));
}

async function backend(what: "cpu" | "cuda"): Promise<Finding> {
  try {
    await using device = await Device.open({ backend: what });
    return { what, works: true, needed: false, detail: device.name.slice(what.length + 1) };
  } catch (error) {
    return failure(what, error);
  }
}

function failure(what: string, error: unknown): Finding {
  if (!(error instanceof CaracalError)) throw error;
  return { what, works: false, needed: false, detail: `${error.code}: ${error.message}` };
}

function disk(folder: string): Finding {
  const { bavail, blocks, bsize } = statfsSync(folder);
  const detail = `${gibibytes(bavail * bsize)} free of ${gibibytes(blocks * bsize)} at ${folder}`;
  return { what: "disk", works: true, needed: false, detail };
}

/** What a program prints about its version; undefined if it cannot be run. */
function versionOf(program: string, option: string): string | undefined {
  const { status, stdout } = spawnSync(program, [option], { encoding: "utf8" });
  return status === 0 ? stdout : undefined;
}

function ffmpegTool(what: string, use: string): Finding {
  const version = versionOf(what, "-version");
  const detail =
    version?.split(/\n| Copyright/)[0] ??
    `not found, so ${use} cannot be read; everything else can. Install it with: sudo apt-get install ffmpeg`;
  return { what, works: version !== undefined, needed: false, detail };
}

function compiler(): Finding {
  for (const program of [process.env.CXX, "g++", "c++", "clang++"]) {
    const version = program && versionOf(program, "--version");
    if (version) return { what: "compiler", works: true, needed: false, detail: version.split("\n")[0]! };
  }
  const detail = "not found, so the addon cannot be built here. Install it with: sudo apt-get install g++ make python3";
  return { what: "compiler", works: false, needed: false, detail };
}

function nvcc(): Finding {
  const version = versionOf("nvcc", "--version");
  const [, release = "of an unknown version"] = /release ([\d.]+)/.exec(version ?? "") ?? [];
  const works = Number.parseInt(release, 10) >= 13;
  const found = version === undefined ? "not found" : `release ${release}`;
  const advice = works
    ? ""
    : ", so CUDA kernels cannot be built here: that needs release 13.0 or newer of the CUDA toolkit on the PATH, " +
      "https://developer.nvidia.com/cuda-downloads";
  return { what: "nvcc", works, needed: false, detail: `${found}${advice}` };
}
