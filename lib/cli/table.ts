import { printable } from "../errors.js";

/** A cell of a table. Numbers are aligned right and text left; `undefined` prints as a dash. */
export type Cell = string | number | undefined;

/** Lines of a table for a terminal, or of a Markdown table. */
export function formatTable(header: readonly string[], rows: readonly (readonly Cell[])[], markdown = false): string {
  const text = [header, ...rows.map((row) => row.map(format))].map((row) => row.map(printable));
  const isRight = (column: number) => rows.every((row) => typeof row[column] !== "string");
  const widths = columnWidths(text);
  const rule = widths.map((w, c) => (markdown && isRight(c) ? `${"-".repeat(w - 1)}:` : "-".repeat(w)));
  const [head, ...body] = text.map((row) => pad(row, widths, isRight));
  return [head!, rule, ...body]
    .map((row) => (markdown ? `| ${row.join(" | ")} |` : row.join("  ").trimEnd()))
    .join("\n");
}

/** Lines with their cells padded to the width of the column. Columns in `right` are aligned right, the others left. */
export function alignColumns(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const text = rows.map((row) => row.map(printable));
  const widths = columnWidths(text);
  return text.map((row) =>
    pad(row, widths, (column) => right.includes(column))
      .join("  ")
      .trimEnd(),
  );
}

function columnWidths(rows: readonly (readonly string[])[]): number[] {
  return (rows[0] ?? []).map((_, column) => rows.reduce((width, row) => Math.max(width, row[column]!.length), 0));
}

function pad(row: readonly string[], widths: readonly number[], isRight: (column: number) => boolean): string[] {
  return row.map((cell, c) => (isRight(c) ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)));
}

function format(cell: Cell): string {
  if (cell === undefined || (typeof cell === "number" && !Number.isFinite(cell))) return "–";
  if (typeof cell === "string") return cell;
  if (Number.isInteger(cell)) return String(cell);
  const magnitude = Math.abs(cell);
  return cell.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : magnitude >= 0.1 ? 2 : 3);
}
