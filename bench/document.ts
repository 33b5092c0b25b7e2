// Tables in a document, each between two comments of which the first names the command that writes it:
//   <!-- table: caracal bench ops --device cpu -->
//   …
//   <!-- end of table -->
import { readFile, writeFile } from "node:fs/promises";
import { CaracalError } from "../lib/errors.js";

const table = /^<!-- table: (.+) -->\n([\s\S]*?)^<!-- end of table -->$/gm;

/** The commands whose tables a document holds, in order. */
export const commandsIn = (document: string): string[] => Array.from(document.matchAll(table), (match) => match[1]!);

/**
 * Replaces the table of a command.
 * @throws {CaracalError} `INVALID_ARGUMENT` when the document has no marked place for it, or several
 */
export function replaceTable(document: string, command: string, text: string): string {
  const places = commandsIn(document).filter((marked) => marked === command).length;
  if (places !== 1)
    throw new CaracalError(
      "INVALID_ARGUMENT",
      `expected one place for the table of \`${command}\`, found ${places}: ` +
        `put <!-- table: ${command} --> and <!-- end of table --> on lines of their own where it belongs`,
      { command, places },
    );
  return document.replace(table, (place, marked: string) =>
    marked === command ? `<!-- table: ${command} -->\n\n${text.trim()}\n\n<!-- end of table -->` : place,
  );
}

/**
 * Opens a document for the table of a command, so that a missing place shows before the benchmark runs.
 * @returns the function that writes the table
 * @throws {CaracalError} as `replaceTable`; `IO_ERROR` when the file cannot be read
 */
export async function openTable(file: string, command: string): Promise<(text: string) => Promise<void>> {
  replaceTable(await readDocument(file), command, "");
  return async (text) => await writeFile(file, replaceTable(await readDocument(file), command, text));
}

/** @throws {CaracalError} `IO_ERROR` when the file cannot be read */
export async function readDocument(file: string): Promise<string> {
  return await readFile(file, "utf8").catch((cause: Error) => {
    throw new CaracalError("IO_ERROR", `${file} cannot be read: ${cause.message}`, { file }, { cause });
  });
}
