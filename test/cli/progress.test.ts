import { Writable } from "node:stream";
import { describe, expect, test } from "vitest";
import { ProgressBar } from "../../lib/cli/progress.js";

/** A stream that remembers what was written to it. */
function terminal({ isTTY = true, columns = 80 } = {}) {
  let written = "";
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written += chunk;
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY, columns }), written: () => written };
}

describe("the progress bar", () => {
  test("shows label and percentage, and leaves an empty line behind", () => {
    const { stream, written } = terminal();
    const bar = new ProgressBar(true, stream);
    bar.show("loading vision", 1, 4);
    expect(written()).toContain("loading vision [=====---------------] 25 %");
    bar.show("loading audio", 6, 8);
    bar.clear();
    expect(written()).toContain("loading audio [===============-----] 75 %");
    expect(written().endsWith("\u001b[1G\u001b[2K")).toBe(true); // to the first column, and clear the line
  });

  test("is cut to the width of the terminal, and changes no terminal modes", () => {
    const { stream, written } = terminal({ columns: 20 });
    const bar = new ProgressBar(true, stream);
    bar.show("a label that is longer than a line", 1, 2);
    bar.end();
    expect(written()).toContain("a label that is lon");
    expect(written()).not.toContain("a label that is long");
    expect(written()).not.toContain("\u001b[?");
  });

  test("can be shown again once it was cleared, but not once it was ended", () => {
    const { stream, written } = terminal();
    const bar = new ProgressBar(true, stream);
    bar.show("first", 1, 2);
    bar.clear();
    bar.show("second", 1, 2);
    bar.end();
    bar.show("third", 1, 2);
    bar.clear();
    expect(written()).toMatch(/first[\s\S]*second/);
    expect(written()).not.toContain("third");
  });

  test.each([
    ["it is disabled", false, true],
    ["the stream is no terminal", true, false],
  ])("draws nothing if %s", (_, enabled, isTTY) => {
    const { stream, written } = terminal({ isTTY });
    const bar = new ProgressBar(enabled, stream);
    bar.show("loading", 1, 2);
    bar.end();
    expect(written()).toBe("");
  });
});
