/** What libvips leaves aside in a TIFF file, or takes for something else. */
export interface TiffLayout {
  /** Whether samples are YCbCr of full resolution, which libvips gives as if they were RGB. */
  readonly isPlainYcbcr: boolean;
  /** Whether the sample behind the colours has no meaning. libvips takes it for opacity. */
  readonly hasSpareSample: boolean;
}

const tags = { compression: 259, colours: 262, extraSamples: 338, subsampling: 530 };
const ycbcr = 6;
/** The old and the new coding of JPEG, which libvips decodes to RGB. */
const jpegs = [6, 7];

/** Reads the layout of a file's first image. Nothing is known of a damaged file, which libvips refuses. */
export function tiffLayout(bytes: Uint8Array): TiffLayout {
  const values = directory(bytes);
  const { compression, colours, extraSamples, subsampling } = tags;
  const isFull = values.get(subsampling)?.every((factor) => factor === 1) ?? false;
  return {
    isPlainYcbcr: isFull && values.get(colours)?.[0] === ycbcr && !jpegs.includes(values.get(compression)?.[0] ?? 1),
    hasSpareSample: values.get(extraSamples)?.[0] === 0,
  };
}

/** The tags of the first directory whose values are whole numbers and lie within their entry. */
function directory(bytes: Uint8Array): Map<number, number[]> {
  const values = new Map<number, number[]>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isLittle = bytes[0] === 0x49; // "II", otherwise "MM"
  const short = (at: number) => view.getUint16(at, isLittle);
  const integers = [null, null, null, short, (at: number) => view.getUint32(at, isLittle)];
  try {
    const isBig = short(2) === 43; // BigTIFF, with numbers of 64 bits
    const offset = (at: number) => (isBig ? Number(view.getBigUint64(at, isLittle)) : view.getUint32(at, isLittle));
    const start = offset(isBig ? 8 : 4);
    const count = Math.min(isBig ? offset(start) : short(start), 4096);
    const [entryBytes, valueAt] = isBig ? [20, 12] : [12, 8];
    for (let at = start + (isBig ? 8 : 2), i = 0; i < count; i++, at += entryBytes) {
      const type = short(at + 2);
      const read = integers[type];
      const [length, width] = [offset(at + 4), type === 3 ? 2 : 4];
      if (!read || length * width > entryBytes - valueAt) continue;
      values.set(
        short(at),
        Array.from({ length }, (_, k) => read(at + valueAt + k * width)),
      );
    }
  } catch {
    // An offset beyond the end.
  }
  return values;
}
