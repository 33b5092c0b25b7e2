import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { freemem, totalmem } from "node:os";
import { Command } from "commander";
import { CaracalError } from "../errors.js";
import { addon } from "../native/addon.js";
import { Device } from "../tensor/tensor.js";
import { jsonOption } from "./options.js";
import { alignColumns } from "./table.js";

/** The state of one thing that the library needs or can use. */
export interface Finding {
  readonly what: string;
  readonly works: boolean;
  /** The version or size found, or the reason why it does not work and how to fix it. */
  readonly detail: string;
}

/** `caracal doctor`: says what works on this machine and why something does not. It always exits with 0. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("show what works on this machine, and why something does not")
    .addOption(jsonOption())
    .action(async ({ json }: { json?: true }) => {
      const findings = await examine();
      const rows = findings.map(({ what, works, detail }) => [works ? "ok" : "no", what, detail]);
      process.stdout.write(`${json ? JSON.stringify({ findings }, null, 2) : alignColumns(rows).join("\n")}\n`);
    });
}

async function examine(): Promise<Finding[]> {
  const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    nodeVersion(),
    ...(await backends()),
    { what: "memory", works: true, detail: `${gibibytes(freemem())} free of ${gibibytes(totalmem())}` },
    tool("ffmpeg", "compressed audio and video"),
    tool("ffprobe", "video"),
  ];
}

function nodeVersion(): Finding {
  const { engines } = createRequire(import.meta.url)("caracal/package.json") as { engines: { node: string } };
  const oldest = engines.node.replace(">=", "");
  const [[minMajor, minMinor], [major, minor]] = [oldest, process.versions.node].map((version) =>
    version.split(".").map(Number),
  ) as [[number, number], [number, number]];
  const works = major > minMajor || (major === minMajor && minor >= minMinor);
  const advice = works ? "" : `; install Node.js ${oldest} or newer`;
  return { what: "node", works, detail: `${process.version}, ${process.platform} ${process.arch}${advice}` };
}

async function backends(): Promise<Finding[]> {
  try {
    const { buildTool } = addon();
    return [
      { what: "addon", works: true, detail: `built by ${buildTool}` },
      await backend("cpu"),
      await backend("cuda"),
    ];
  } catch (error) {
    return [failure("addon", error)];
  }
}

async function backend(what: "cpu" | "cuda"): Promise<Finding> {
  try {
    await using device = await Device.open({ backend: what });
    return { what, works: true, detail: device.name.slice(what.length + 1) };
  } catch (error) {
    return failure(what, error);
  }
}

function failure(what: string, error: unknown): Finding {
  if (!(error instanceof CaracalError)) throw error;
  return { what, works: false, detail: `${error.code}: ${error.message}` };
}

function tool(name: string, use: string): Finding {
  const { status, stdout } = spawnSync(name, ["-version"], { encoding: "utf8" });
  if (status === 0) return { what: name, works: true, detail: stdout.split("\n")[0]!.split(" Copyright")[0]! };
  const detail = `not found; needed only for ${use}. Install it with: sudo apt-get install ffmpeg`;
  return { what: name, works: false, detail };
}
