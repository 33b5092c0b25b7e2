import cliProgress from "cli-progress"; // a CommonJS module, whose `Format` is no named export

/**
 * A progress bar in one line of a terminal. It draws nothing if it is not `enabled` or the stream is no terminal, and
 * it leaves the cursor and line wrapping alone, so that killing the process cannot leave the terminal in disorder.
 */
export class ProgressBar {
  readonly #bar: cliProgress.SingleBar;
  #enabled: boolean;

  constructor(enabled: boolean, stream: NodeJS.WritableStream = process.stderr) {
    this.#enabled = enabled;
    this.#bar = new cliProgress.SingleBar({
      format: (options, { progress, maxWidth }, { label }) => {
        const line = `${label} [${cliProgress.Format.BarFormat(progress, options)}] ${Math.round(100 * progress)} %`;
        return line.slice(0, maxWidth - 1);
      },
      barsize: 20,
      clearOnComplete: true,
      linewrap: true,
      stream,
    });
  }

  /** Draws the bar: `done` of `total` of the work called `label`. */
  show(label: string, done: number, total: number): void {
    if (!this.#enabled) return;
    if (!this.#bar.isActive) this.#bar.start(total, done, { label });
    this.#bar.setTotal(total);
    this.#bar.update(done, { label });
  }

  /** Removes the bar until it is shown again. */
  clear(): void {
    this.#bar.stop();
  }

  /** Removes the bar for good. */
  end(): void {
    this.clear();
    this.#enabled = false;
  }
}
