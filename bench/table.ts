/** A cell. Numbers are aligned right, text left. */
export type Cell = string | number | undefined;

/** Aligned columns for a terminal; with `markdown`, a Markdown table. `undefined` prints as a dash. */
export function formatTable(header: readonly string[], rows: readonly (readonly Cell[])[], markdown = false): string {
  const text = rows.map((row) => row.map(format));
  const numeric = header.map((_, c) => rows.every((row) => typeof row[c] !== "string"));
  const width = header.map((h, c) => Math.max(h.length, ...text.map((row) => row[c]!.length)));
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, c) => (numeric[c] ? cell.padStart(width[c]!) : cell.padEnd(width[c]!)));
    return markdown ? `| ${padded.join(" | ")} |` : padded.join("  ").trimEnd();
  };
  const rule = width.map((w, c) => (markdown && numeric[c] ? `${"-".repeat(w - 1)}:` : "-".repeat(w)));
  return [line(header), line(rule), ...text.map(line)].join("\n");
}

function format(cell: Cell): string {
  if (cell === undefined || (typeof cell === "number" && !Number.isFinite(cell))) return "–";
  if (typeof cell === "string") return cell;
  if (Number.isInteger(cell)) return String(cell);
  const a = Math.abs(cell);
  return cell.toFixed(a >= 100 ? 0 : a >= 10 ? 1 : a >= 0.1 ? 2 : 3);
}
