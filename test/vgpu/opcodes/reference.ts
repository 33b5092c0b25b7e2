// Number formats in exact arithmetic, as IEEE 754 and the PTX ISA define them.

export interface Format {
  readonly exponent: number;
  readonly mantissa: number;
  /** If false, the highest encoding is the only NaN, and there is no infinity. */
  readonly infinity: boolean;
  readonly nan: bigint;
}

export const f16: Format = { exponent: 5, mantissa: 10, infinity: true, nan: 0x7fffn };
export const bf16: Format = { exponent: 8, mantissa: 7, infinity: true, nan: 0x7fffn };
export const tf32: Format = { exponent: 8, mantissa: 10, infinity: true, nan: 0x3ffffn };
export const f32: Format = { exponent: 8, mantissa: 23, infinity: true, nan: 0x7fffffffn };
export const f64: Format = { exponent: 11, mantissa: 52, infinity: true, nan: 0x7ff8000000000000n };
export const e4m3: Format = { exponent: 4, mantissa: 3, infinity: false, nan: 0x7fn };
export const e5m2: Format = { exponent: 5, mantissa: 2, infinity: true, nan: 0x7fn };

export type Mode = "rn" | "rz" | "rm" | "rp" | "rna";
export const modes: readonly Mode[] = ["rn", "rz", "rm", "rp"];

/** n / d with a sign, which zero has too. */
export type Real =
  | { readonly kind: "nan" }
  | { readonly kind: "inf"; readonly negative: boolean }
  | { readonly kind: "number"; readonly negative: boolean; readonly n: bigint; readonly d: bigint };

export const nan: Real = { kind: "nan" };
export const inf = (negative: boolean): Real => ({ kind: "inf", negative });
export const real = (negative: boolean, n: bigint, d = 1n): Real => ({ kind: "number", negative, n, d });
export const integer = (x: bigint): Real => real(x < 0n, x < 0n ? -x : x);

export const width = (f: Format): number => 1 + f.exponent + f.mantissa;
const bias = (f: Format): number => 2 ** (f.exponent - 1) - 1;
const length = (x: bigint): number => x.toString(2).length;

export function decode(bits: bigint, f: Format): Real {
  const m = BigInt(f.mantissa);
  const negative = ((bits >> (m + BigInt(f.exponent))) & 1n) === 1n;
  const fraction = bits & ((1n << m) - 1n);
  const exponent = Number((bits >> m) & ((1n << BigInt(f.exponent)) - 1n));
  const top = 2 ** f.exponent - 1;
  if (f.infinity && exponent === top) return fraction === 0n ? inf(negative) : nan;
  if (!f.infinity && exponent === top && fraction === (1n << m) - 1n) return nan;
  const whole = exponent === 0 ? fraction : fraction | (1n << m);
  const power = Math.max(exponent, 1) - bias(f) - f.mantissa;
  return power >= 0 ? real(negative, whole << BigInt(power)) : real(negative, whole, 1n << BigInt(-power));
}

/** The quotient rounded to an integer. */
export function rounded(n: bigint, d: bigint, negative: boolean, mode: Mode): bigint {
  const whole = n / d;
  const rest = n % d;
  const half = 2n * rest - d;
  const up =
    mode === "rn"
      ? half > 0n || (half === 0n && (whole & 1n) === 1n)
      : mode === "rna"
        ? half >= 0n
        : mode === "rm"
          ? negative && rest > 0n
          : mode === "rp"
            ? !negative && rest > 0n
            : false;
  return up ? whole + 1n : whole;
}

/** With `finite`, overflow gives the largest number. */
export function encode(x: Real, f: Format, mode: Mode = "rn", finite = false): bigint {
  if (x.kind === "nan") return f.nan;
  const m = BigInt(f.mantissa);
  const sign = x.negative ? 1n << BigInt(width(f) - 1) : 0n;
  const infinite = f.infinity ? ((1n << BigInt(f.exponent)) - 1n) << m : (1n << BigInt(width(f) - 1)) - 1n;
  if (x.kind === "inf") return sign | (finite ? infinite - 1n : infinite);
  if (x.n === 0n) return sign;
  // 2^e <= n/d < 2^(e+1)
  let e = length(x.n) - length(x.d);
  if (e >= 0 ? x.n < x.d << BigInt(e) : x.n << BigInt(-e) < x.d) e--;
  const lowest = 1 - bias(f);
  const last = Math.max(e, lowest) - f.mantissa;
  const k =
    last >= 0
      ? rounded(x.n, x.d << BigInt(last), x.negative, mode)
      : rounded(x.n << BigInt(-last), x.d, x.negative, mode);
  const bits = k < 1n << m ? k : (BigInt(last + f.mantissa - lowest + 1) << m) + (k - (1n << m));
  if (bits < infinite) return sign | bits;
  const away = mode === "rn" || mode === "rna" || mode === (x.negative ? "rm" : "rp");
  return sign | (finite || !away ? infinite - 1n : infinite);
}

export const isNan = (bits: bigint, f: Format): boolean => decode(bits, f).kind === "nan";
/** Flushes subnormals to zeros of the same sign. */
export function flush(bits: bigint, f: Format): bigint {
  const sign = bits >> BigInt(width(f) - 1);
  const rest = bits & ((1n << BigInt(width(f) - 1)) - 1n);
  return rest < 1n << BigInt(f.mantissa) ? sign << BigInt(width(f) - 1) : bits;
}
/** Clamps to [0, 1]; NaN becomes +0. */
export function saturate(bits: bigint, f: Format): bigint {
  const x = decode(bits, f);
  if (x.kind === "nan" || x.negative) return 0n;
  if (x.kind === "inf" || x.n > x.d) return BigInt(bias(f)) << BigInt(f.mantissa);
  return bits;
}
/** Turns negative numbers into +0. */
export function relu(bits: bigint, f: Format): bigint {
  const x = decode(bits, f);
  return x.kind !== "nan" && x.negative ? 0n : bits;
}

const signed = (x: Real & { kind: "number" }): bigint => (x.negative ? -x.n : x.n);

export function negated(x: Real): Real {
  return x.kind === "nan" ? x : { ...x, negative: !x.negative };
}
/** The rounding mode determines the sign of an exact zero. */
export function add(x: Real, y: Real, mode: Mode = "rn"): Real {
  if (x.kind === "nan" || y.kind === "nan") return nan;
  if (x.kind === "inf") return y.kind === "inf" && y.negative !== x.negative ? nan : x;
  if (y.kind === "inf") return y;
  const n = signed(x) * y.d + signed(y) * x.d;
  const negative = n !== 0n ? n < 0n : x.negative === y.negative ? x.negative : mode === "rm";
  return real(negative, n < 0n ? -n : n, x.d * y.d);
}
export function mul(x: Real, y: Real): Real {
  if (x.kind === "nan" || y.kind === "nan") return nan;
  const negative = x.negative !== y.negative;
  if (x.kind === "inf" || y.kind === "inf") {
    const zero = (x.kind === "number" && x.n === 0n) || (y.kind === "number" && y.n === 0n);
    return zero ? nan : inf(negative);
  }
  return real(negative, x.n * y.n, x.d * y.d);
}
export function div(x: Real, y: Real): Real {
  if (x.kind === "nan" || y.kind === "nan") return nan;
  const negative = x.negative !== y.negative;
  if (x.kind === "inf") return y.kind === "inf" ? nan : inf(negative);
  if (y.kind === "inf") return real(negative, 0n);
  if (y.n === 0n) return x.n === 0n ? nan : inf(negative);
  return real(negative, x.n * y.d, x.d * y.n);
}
/** Exact to far below the last bit of any format; below that, only whether there is a remainder matters. */
export function sqrt(x: Real): Real {
  if (x.kind === "nan" || (x.kind === "number" && x.n === 0n)) return x;
  if (x.negative) return nan;
  if (x.kind === "inf") return x;
  const scale = 1400n;
  const square = (x.n << (2n * scale)) / x.d;
  let root = 1n << BigInt(Math.ceil(length(square) / 2));
  for (;;) {
    const next = (root + square / root) >> 1n;
    if (next >= root) break;
    root = next;
  }
  const exact = root * root === square && (x.n << (2n * scale)) % x.d === 0n;
  return real(false, 2n * root + (exact ? 0n : 1n), 1n << (scale + 1n));
}

/** -1, 0 or 1; undefined if either is NaN. */
export function order(x: Real, y: Real): number | undefined {
  if (x.kind === "nan" || y.kind === "nan") return undefined;
  const key = (v: Real): [bigint, bigint] => {
    if (v.kind === "number") return [signed(v), v.d];
    return [v.kind === "inf" && v.negative ? -1n : 1n, 0n];
  };
  const [a, b] = [key(x), key(y)];
  if (b[1] === 0n && a[1] === 0n) return a[0] === b[0] ? 0 : a[0] < b[0] ? -1 : 1;
  if (a[1] === 0n) return Number(a[0]);
  if (b[1] === 0n) return -Number(b[0]);
  const left = a[0] * b[1];
  const right = b[0] * a[1];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Important encodings: zeros, subnormals, powers, ones, the largest, infinities, NaN, with both signs. */
export function edgesOf(f: Format): bigint[] {
  const m = BigInt(f.mantissa);
  const one = BigInt(bias(f)) << m;
  const top = ((1n << BigInt(f.exponent)) - 1n) << m;
  const positive = [
    0n,
    1n,
    (1n << m) - 1n,
    1n << m,
    one - 1n,
    one,
    one + 1n,
    one + (1n << (m - 1n)),
    one + (3n << m),
    top - 1n,
    top,
  ];
  return [...positive, top | (1n << (m - 1n)), ...positive.map((x) => x | (1n << BigInt(width(f) - 1)))];
}
