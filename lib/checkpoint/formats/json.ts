import { invalid, quote } from "../problems.js";

const maxDepth = 64;

/**
 * `JSON.parse` for files that may be hostile. It also refuses duplicate keys, of which `JSON.parse` silently keeps
 * the last (two readers of one file could then disagree about where a tensor is), and deep nesting, which would
 * overflow the stack when the value is printed.
 * @throws {CaracalError} `CHECKPOINT_INVALID` when `text` is not such JSON; the message names `file`
 */
export function parseJson(text: string, file: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(file, `not JSON: ${quote((error as Error).message)}`, error);
  }
  const problem = findProblem(text);
  if (problem !== undefined) throw invalid(file, problem);
  return value;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The first duplicate key or excessive nesting in `text`, which must be valid JSON. */
function findProblem(text: string): string | undefined {
  const open: Set<string>[] = []; // for each object or list around position i, the keys seen so far (none for a list)
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
        if (keys.has(key)) return `duplicate key ${quote(key)}`;
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

/** In valid JSON, a string is a key exactly when a colon follows it. */
function isKey(text: string, end: number): boolean {
  let i = end;
  while (" \t\r\n".includes(text[i] ?? "x")) i++;
  return text[i] === ":";
}
