import { Command, CommanderError } from "commander";
import { CaracalError, printable } from "../errors.js";
import { asWriteError } from "../synth/writer.js";
import { version } from "../version.js";

/** Only the requested command is imported, so that `--help` is quick. */
const commands: Readonly<Record<string, { readonly summary: string; load(): Promise<Command> }>> = {
  run: {
    summary: "answer a question of text, speech, images and videos",
    load: async () => (await import("./run.js")).runCommand(),
  },
  serve: {
    summary: "answer requests in the form of OpenAI's chat completions, over HTTP",
    load: async () => (await import("./serve.js")).serveCommand(),
  },
  synth: {
    summary: "write a complete model directory with random weights",
    load: async () => (await import("./synth.js")).synthCommand(),
  },
  slice: {
    summary: "write a smaller model directory: the first layers and experts of another one",
    load: async () => (await import("./slice.js")).sliceCommand(),
  },
  pack: {
    summary: "write a model's weights in the layout of the CPU backend, so that it loads at once",
    load: async () => (await import("./pack.js")).packCommand(),
  },
  quantize: {
    summary: "write a model directory with a quantised language model: fp8, int8 or int4",
    load: async () => (await import("./quantize.js")).quantizeCommand(),
  },
  inspect: {
    summary: "show the contents of a model directory or a file of tensors",
    load: async () => (await import("./inspect.js")).inspectCommand(),
  },
  verify: {
    summary: "run golden files through the library and compare every result",
    load: async () => (await import("./verify.js")).verifyCommand(),
  },
  // The next two live above lib, which names them only here.
  bench: {
    summary: "measure operations, CP/EP layouts and models on this machine",
    load: async () => (await import("../../bench/command.js")).benchCommand(),
  },
  vgpu: {
    summary: "read what the virtual GPU counted",
    load: async () => (await import("../../bench/counters/report.js")).vgpuCommand(),
  },
  doctor: {
    summary: "show what works on this machine, and why something does not",
    load: async () => (await import("./doctor.js")).doctorCommand(),
  },
};

async function main(args: readonly string[]): Promise<void> {
  const program = new Command("caracal")
    .description("Runs LongCat-Flash-Omni models: text, speech, images and videos in, text and speech out.")
    .version(version, "-V, --version", "show the version")
    .addHelpText("after", "\n`caracal help COMMAND` and `caracal COMMAND --help` list the options of a command.");
  const asked = args[0] === "help" ? args[1] : args[0];
  for (const [name, { summary, load }] of Object.entries(commands)) {
    if (name === asked) program.addCommand(await load());
    else program.command(name).description(summary);
  }
  throwOnExit(program);
  const isUnknown = asked !== undefined && !asked.startsWith("-") && !Object.hasOwn(commands, asked);
  // Alone, an unknown command is an error that suggests the nearest; beside `help`, it would show the general help.
  await program.parseAsync(isUnknown && asked !== "help" ? [asked] : args, { from: "user" });
}

/**
 * Lets a command throw where it would end the process, which would lose the error of an output that cannot be written.
 * Commander has printed the message then.
 */
function throwOnExit(command: Command): void {
  command.exitOverride();
  for (const part of command.commands) throwOnExit(part);
}

let isReported = false;

/** Prints an error: one line, unless the message is a list of problems; with CARACAL_DEBUG, also its stack. */
function report(error: unknown): void {
  isReported = true;
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const code = error instanceof CaracalError ? ` ${error.code}` : "";
  console.error(`error${code}: ${message.split("\n").map(printable).join("\n")}`);
  if (process.env.CARACAL_DEBUG) console.error(stack);
  process.exitCode ||= 1;
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // A command with a listener of its own cleans up first.
  if (process.stdout.listenerCount("error") > 1) return;
  // The reader of our output, such as `head`, may close it. Everything else, such as a full disk, is an error.
  if (error.code !== "EPIPE" && !isReported) report(asWriteError("standard output", error));
  process.exit();
});
await main(process.argv.slice(2)).catch((error) => {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else report(error);
});
