import { invalid, quote } from "./file.js";

const maxDepth = 64;

/**
 * `JSON.parse` for files that may be hostile. It also refuses duplicate keys, of which `JSON.parse` silently keeps
 * the last (two readers of one file could then disagree about where a tensor lies), and deep nesting, which would
 * overflow the stack of whoever prints it. Throws `CHECKPOINT_INVALID` that names `file`.
 */
export function parseJson(text: string, file: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(file, `not JSON: ${quote((error as Error).message)}`, error);
  }
  const fault = findFault(text);
  if (fault !== undefined) throw invalid(file, fault);
  return value;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is wrong with `text`, which must be valid JSON. */
function findFault(text: string): string | undefined {
  const open: Set<string>[] = []; // the keys of each object, and an empty set for each list, around position i
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{" || char === "[") {
      if (open.push(new Set()) > maxDepth) return `nested deeper than ${maxDepth} levels`;
    } else if (char === "}" || char === "]") {
      open.pop();
    } else if (char === '"') {
      const end = endOfString(text, i);
      if (isKey(text, end)) {
        const key = JSON.parse(text.slice(i, end)) as string;
        const keys = open.at(-1)!;
        if (keys.has(key)) return `the key ${quote(key)} is given twice`;
        keys.add(key);
      }
      i = end - 1;
    }
  }
  return undefined;
}

function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i + 1;
}

/** In valid JSON a string is a key exactly when a colon follows it. */
function isKey(text: string, end: number): boolean {
  let i = end;
  while (" \t\r\n".includes(text[i] ?? "x")) i++;
  return text[i] === ":";
}
