/** How the samples of a TIFF file are meant. */
export interface TiffFields {
  /** The tag PhotometricInterpretation: 0 and 1 grey, 2 RGB, 5 CMYK, 6 YCbCr, 8 Lab. */
  readonly colours: number;
  /** Per pixel. */
  readonly samples: number;
  /** Whether each sample has a plane of its own. */
  readonly isPlanar?: boolean;
  /** The tag ExtraSamples: what the samples behind the colours mean, 0 nothing, 1 opacity, multiplied, 2 opacity. */
  readonly extra?: readonly number[];
  /** Factors of the chroma's resolution. */
  readonly subsampling?: readonly [number, number];
  /** Whether it is a BigTIFF, with numbers of 64 bits. */
  readonly isBig?: boolean;
  readonly isBigEndian?: boolean;
}

export type Samples =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** The tag SampleFormat. */
const formatOf = (data: Samples) =>
  /^Float/.test(data.constructor.name) ? 3 : /^Int/.test(data.constructor.name) ? 2 : 1;

/** An uncompressed TIFF file of one strip, or one per plane. The samples' type gives their size and format. */
export function tiffFile([width, height]: readonly [number, number], fields: TiffFields, data: Samples): Buffer {
  const { colours, samples, isPlanar = false, extra, subsampling, isBig = false, isBigEndian = false } = fields;
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (isBigEndian && data.BYTES_PER_ELEMENT === 2) bytes.swap16();
  const [short, long] = [3, 4];
  const planes = isPlanar ? samples : 1;
  const dataAt = 1024;
  const planeBytes = bytes.length / planes;
  const entries: [tag: number, type: number, values: number[]][] = [
    [256, long, [width]],
    [257, long, [height]],
    [258, short, Array(samples).fill(8 * data.BYTES_PER_ELEMENT)],
    [259, short, [1]],
    [262, short, [colours]],
    [273, long, Array.from({ length: planes }, (_, i) => dataAt + i * planeBytes)],
    [277, short, [samples]],
    [278, long, [height]],
    [279, long, Array(planes).fill(planeBytes)],
    [284, short, [isPlanar ? 2 : 1]],
    ...(extra === undefined ? [] : [[338, short, [...extra]] as [number, number, number[]]]),
    [339, short, Array(samples).fill(formatOf(data))],
    ...(subsampling ? [[530, short, [...subsampling]] as [number, number, number[]]] : []),
  ];
  const file = Buffer.alloc(dataAt + bytes.length);
  const view = new DataView(file.buffer, file.byteOffset);
  const u16 = (value: number, at: number) => view.setUint16(at, value, !isBigEndian);
  const u32 = (value: number, at: number) => view.setUint32(at, value, !isBigEndian);
  const offset = (value: number, at: number) =>
    isBig ? view.setBigUint64(at, BigInt(value), !isBigEndian) : u32(value, at);
  file.write(isBigEndian ? "MM" : "II");
  u16(isBig ? 43 : 42, 2);
  if (isBig) u16(8, 4);
  const start = isBig ? 16 : 8;
  offset(start, isBig ? 8 : 4);
  if (isBig) offset(entries.length, start);
  else u16(entries.length, start);
  const [entryBytes, valueAt] = isBig ? [20, 12] : [12, 8];
  let free = 512;
  for (const [i, [tag, type, values]] of entries.entries()) {
    const at = start + (isBig ? 8 : 2) + i * entryBytes;
    u16(tag, at);
    u16(type, at + 2);
    offset(values.length, at + 4);
    const size = type === short ? 2 : 4;
    const fits = values.length * size <= entryBytes - valueAt;
    if (!fits) offset(free, at + valueAt);
    const to = fits ? at + valueAt : free;
    for (const [k, value] of values.entries()) (type === short ? u16 : u32)(value, to + k * size);
    if (!fits) free += values.length * size;
  }
  file.set(bytes, dataAt);
  return file;
}
