import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { benchCommand } from "../../bench/command.js";
import { commandsIn, openTable, replaceTable } from "../../bench/document.js";
import { commandLine, output } from "../../bench/output.js";
import { code } from "../support/errors.js";

const folder = mkdtempSync(join(tmpdir(), "bench-document-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (text: string): string => {
  const path = join(folder, "document.md");
  writeFileSync(path, text);
  return path;
};

const document = `# Title

<!-- table: caracal bench ops --device cpu -->
| old |
<!-- end of table -->

Between.

<!-- table: caracal bench ops -->

| other |

<!-- end of table -->
After.
`;

describe("a table in a document", () => {
  test("is replaced, and nothing else is", () => {
    const replaced = replaceTable(document, "caracal bench ops --device cpu", "| $& new |\n");
    expect(replaced).toBe(document.replace("| old |", () => "\n| $& new |\n"));
    expect(replaceTable(replaced, "caracal bench ops --device cpu", "| $& new |")).toBe(replaced);
  });

  test("needs exactly one place, marked by its own command", () => {
    const twice = `${document}${document}`;
    for (const [text, command] of [
      [document, "caracal bench moe"],
      [document, "caracal bench"],
      [twice, "caracal bench ops"],
      ["<!-- table: a -->\nno end", "a"],
    ] as const)
      expect(() => replaceTable(text, command, "")).toThrowError(code("INVALID_ARGUMENT"));
    expect(() => replaceTable(document, "caracal bench moe", "")).toThrowError(/<!-- table: caracal bench moe -->/);
  });

  test("is written to the file as it is by then", async () => {
    const path = file(document);
    const write = await openTable(path, "caracal bench ops");
    writeFileSync(path, document.replace("Between", "Edited"));
    await write("| new |\n");
    expect(readFileSync(path, "utf8")).toBe(document.replace("Between", "Edited").replace("| other |", "| new |"));
  });

  test("is looked for before anything is measured", async () => {
    await expect(openTable(file(document), "caracal bench moe")).rejects.toThrowError(code("INVALID_ARGUMENT"));
    await expect(openTable(join(folder, "none.md"), "a")).rejects.toThrowError(code("IO_ERROR"));
  });
});

describe("the command of a table", () => {
  /** Parses the arguments of a benchmark and does `act` in its place. */
  async function parse(args: readonly string[], act: (command: Command) => void | Promise<void>): Promise<void> {
    const bench = benchCommand();
    for (const command of bench.commands) command.action((...all: unknown[]) => act(all.at(-1) as Command));
    await new Command("caracal").addCommand(bench).parseAsync(["bench", ...args], { from: "user" });
  }

  async function commandOf(...args: string[]): Promise<string> {
    let line = "";
    await parse(args, (command) => {
      line = commandLine(command);
    });
    return line;
  }

  test("has the options that were given, in one order, but for those of the output", async () => {
    expect(await commandOf("ops")).toBe("caracal bench ops");
    expect(await commandOf("ops", "--write", "x", "--no-peer", "--device", "cpu", "--markdown")).toBe(
      "caracal bench ops --device cpu --no-peer",
    );
    expect(await commandOf("moe", "--scale", "1", "--ep", "64,8", "--seed", "2", "--json")).toBe(
      "caracal bench moe --ep 64,8 --scale 1 --seed 2",
    );
  });

  test("is where a benchmark writes its results, with machine and command", async () => {
    async function* results() {
      yield { cell: 12 };
    }
    const stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    onTestFinished(() => stderr.mockRestore());
    const path = file("<!-- table: caracal bench ops --threads 3 -->\n<!-- end of table -->\n");
    await parse(["ops", "--threads", "3", "--write", path], async (command) => {
      await output(command, {
        total: 1,
        run: results,
        line: ({ cell }) => `${cell}`,
        summarise: (all) => ({
          note: "a note",
          json: {},
          tables: [{ header: ["head"], rows: all.map(({ cell }) => [cell]) }],
        }),
      });
    });
    expect(stderr).toHaveBeenCalledWith("[1/1] 12\n");
    expect(readFileSync(path, "utf8")).toBe(`<!-- table: caracal bench ops --threads 3 -->

\`caracal bench ops --threads 3\`: a note

| head |
| ---: |
|   12 |

<!-- end of table -->
`);
  });

  test("of every place in docs/benchmarks.md gives itself, so that its benchmark finds the place", async () => {
    const commands = commandsIn(readFileSync(new URL("../../docs/benchmarks.md", import.meta.url), "utf8"));
    expect(commands).toContain("node bench/vgpu.mjs");
    expect(new Set(commands).size).toBe(commands.length);
    const prefix = "caracal bench ";
    const ours = commands.filter((command) => command.startsWith(prefix));
    expect(ours.length).toBeGreaterThan(5);
    for (const command of ours) expect(await commandOf(...command.slice(prefix.length).split(" "))).toBe(command);
  });
});
