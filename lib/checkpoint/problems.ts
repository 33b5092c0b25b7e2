import { CaracalError, printable } from "../errors.js";

/** A `CHECKPOINT_INVALID` for `file`. `problem` says what was expected, what was found and how to fix it. */
export function invalid(file: string, problem: string, cause?: unknown): CaracalError {
  return new CaracalError("CHECKPOINT_INVALID", `${file}: ${problem}`, { file, problem }, { cause });
}

/** @throws {CaracalError} `CHECKPOINT_INVALID` that lists all `problems`, also in `details`, unless there are none */
export function throwProblems(problems: readonly string[], file: string): void {
  if (problems.length === 0) return;
  const lines = problems.length === 1 ? ` ${problems[0]}` : problems.map((problem) => `\n  - ${problem}`).join("");
  throw new CaracalError("CHECKPOINT_INVALID", `${file}:${lines}`, { file, problems });
}

/** A string from a file, for use in a message: quoted, escaped, and cut short, since a hostile file may make it long. */
export function quote(text: string): string {
  return printable(JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text));
}

/** `1 tensor`, `2 tensors`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
