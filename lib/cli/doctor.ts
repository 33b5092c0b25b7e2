import { spawnSync } from "node:child_process";
import { freemem, totalmem } from "node:os";
import { Command } from "commander";
import { CaracalError } from "../errors.js";
import { addon } from "../native/addon.js";
import { Device } from "../tensor/device.js";

/** One thing that the library needs or can use. */
export interface Finding {
  readonly what: string;
  readonly works: boolean;
  /** What is there, or why it does not work and how to mend that. */
  readonly detail: string;
}

/** `caracal doctor`: what works here and why something does not; always exits 0. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("say what works on this machine, and why something does not")
    .option("--json", "print one JSON object")
    .action(async ({ json }: { json?: true }) => {
      const findings = await examine();
      if (json) {
        process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
        return;
      }
      const width = Math.max(...findings.map(({ what }) => what.length));
      for (const { what, works, detail } of findings)
        process.stdout.write(`${works ? "ok " : "no "}  ${what.padEnd(width)}  ${detail}\n`);
    });
}

async function examine(): Promise<Finding[]> {
  const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    nodeVersion(),
    ...(await backends()),
    { what: "memory", works: true, detail: `${gigabytes(freemem())} free of ${gigabytes(totalmem())}` },
    tool("ffmpeg", "compressed audio and video can be read; WAV and images need no tool"),
    tool("ffprobe", "video can be read"),
  ];
}

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const works = major > 20 || (major === 20 && minor >= 17);
  const mend = works ? "" : "; at least 20.17 is needed";
  return { what: "node", works, detail: `${process.version}, ${process.platform} ${process.arch}${mend}` };
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
    if (!(error instanceof CaracalError)) throw error;
    return [{ what: "addon", works: false, detail: `${error.code}: ${error.message}` }];
  }
}

async function backend(what: "cpu" | "cuda"): Promise<Finding> {
  try {
    await using device = await Device.open({ backend: what });
    return { what, works: true, detail: device.name.slice(what.length + 1) };
  } catch (error) {
    if (!(error instanceof CaracalError)) throw error;
    return { what, works: false, detail: `${error.code}: ${error.message}` };
  }
}

function tool(name: string, use: string): Finding {
  const { status, stdout } = spawnSync(name, ["-version"], { encoding: "utf8" });
  if (status === 0) return { what: name, works: true, detail: stdout.split("\n")[0]!.split(" Copyright")[0]! };
  return { what: name, works: false, detail: `not found (${use} with it): sudo apt-get install ffmpeg` };
}
