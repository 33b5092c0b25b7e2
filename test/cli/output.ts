import type { Command } from "commander";
import { vi } from "vitest";

/** Runs a command and returns what it prints. Errors of commander are thrown instead of ending the process. */
export async function outputOf(command: Command, ...args: string[]): Promise<string> {
  let output = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    output += text;
    return true;
  });
  try {
    await command
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .parseAsync(args, { from: "user" });
  } finally {
    write.mockRestore();
  }
  return output;
}
