import { inputFile, type ToolOptions, toolOutput } from "./ffmpeg.js";

/** A coded picture or piece of sound in a file. Times are in seconds on the file's own clock; NaN is unknown. */
export interface Packet {
  /** When it is shown or heard. */
  readonly pts: number;
  /** When it is decoded, in the order of the file. */
  readonly dts: number;
  readonly duration: number;
  /** Bytes. */
  readonly size: number;
  /** Where it lies in the file, in bytes. */
  readonly position: number;
  /** Whether it can be decoded without earlier ones. */
  readonly isKey: boolean;
  /** Whether it is decoded, but lies outside the part that an edit list shows. */
  readonly isHidden: boolean;
}

/**
 * Seconds by which the clock of an MPEG stream may step ahead. If it jumps further, another recording begins, or a time
 * stamp is damaged: ffmpeg, too, goes on without a pause.
 */
export const largestStep = 10;

/** A stream of a file. */
export interface Track {
  readonly path: string;
  /** The container, by ffprobe's `format_name`. */
  readonly container: string;
  /** The stream's index in the file. */
  readonly index: number;
}

/** Yields the packets of a stream in the order of the file. @throws {CaracalError} as `toolOutput` */
export async function* readPackets(track: Track, options: ToolOptions): AsyncGenerator<Packet> {
  const entries = "packet=pts_time,dts_time,duration_time,size,pos,flags";
  const input = inputFile(track.path, track.container);
  const args = ["-select_streams", `${track.index}`, "-show_entries", entries, "-of", "compact=p=0", ...input];
  for await (const line of lines(toolOutput("ffprobe", args, options))) {
    const fields: Partial<Record<string, string>> = Object.fromEntries(
      line.split("|").map((field) => field.split("=")),
    );
    const { flags = "" } = fields;
    yield {
      pts: Number(fields.pts_time), // NaN for "N/A" and undefined
      dts: Number(fields.dts_time),
      duration: Number(fields.duration_time),
      size: Number(fields.size),
      position: Number(fields.pos),
      isKey: flags.includes("K"),
      isHidden: flags.includes("D"),
    };
  }
}

/** A packet's fields take less; what is longer is none of ffprobe's. */
const longestLine = 1 << 16;

async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let pending = "";
  for await (const chunk of chunks) {
    const parts = (pending + Buffer.from(chunk).toString("latin1")).split("\n");
    pending = parts.pop()!.slice(0, longestLine);
    for (const part of parts) if (part.includes("=")) yield part;
  }
  if (pending.includes("=")) yield pending;
}
