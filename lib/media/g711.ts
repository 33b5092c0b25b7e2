// ITU-T G.711: a byte for each sample of 13 or 14 bits, with a sign, 3 bits of exponent and 4 of mantissa.

/** The values of A-law: every other bit is inverted. */
export const aLaw = Float32Array.from({ length: 256 }, (_, code) => {
  const bits = code ^ 0x55;
  const exponent = (bits >> 4) & 7;
  const mantissa = ((bits & 15) << 4) + 8;
  const magnitude = exponent === 0 ? mantissa : (mantissa + 256) << (exponent - 1);
  return (bits & 128 ? magnitude : -magnitude) / 2 ** 15;
});

/** The values of µ-law: as A-law, with a bias of 33 steps, and all bits inverted. */
export const muLaw = Float32Array.from({ length: 256 }, (_, code) => {
  const bits = ~code;
  const magnitude = ((((bits & 15) << 3) + 132) << ((bits >> 4) & 7)) - 132;
  return (bits & 128 ? -magnitude : magnitude) / 2 ** 15;
});

/** Samples in [−1, 1] as A-law, clipped. */
export function encodeALaw(samples: Float32Array): Uint8Array {
  return Uint8Array.from(samples, (sample) => {
    const value = integer(sample);
    const magnitude = Math.min(value < 0 ? -value - 1 : value, 32767); // 0 is positive, -1 the first negative value
    const exponent = Math.max(0, 24 - Math.clz32(magnitude | 255));
    const mantissa = (magnitude >> (exponent < 2 ? 4 : exponent + 3)) & 15;
    return ((value < 0 ? 0 : 128) | (exponent << 4) | mantissa) ^ 0x55;
  });
}

/** Samples in [−1, 1] as µ-law, clipped. */
export function encodeMuLaw(samples: Float32Array): Uint8Array {
  return Uint8Array.from(samples, (sample) => {
    const value = integer(sample);
    const magnitude = Math.min(Math.abs(value), 32635) + 132; // at least 132, which has 8 bits
    const exponent = 24 - Math.clz32(magnitude);
    const mantissa = (magnitude >> (exponent + 3)) & 15;
    return ~((value < 0 ? 128 : 0) | (exponent << 4) | mantissa);
  });
}

/** A sample of 16 bits. */
const integer = (sample: number) => Math.round(Math.min(1, Math.max(-1, sample)) * 32767);
