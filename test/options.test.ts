import { describe, expect, test } from "vitest";
import {
  checkedFloats,
  checkedIntegers,
  checkedList,
  checkedObjects,
  checkOption,
  checkOptionNames,
  checkOptions,
  checkPath,
  checkSignal,
  nativeSignal,
  onAbort,
  oneOf,
  optional,
  plainView,
  positiveInteger,
  positiveNumber,
  refuseName,
  wholeNumber,
} from "../lib/options.js";
import { code } from "./support/errors.js";
import { DuckSignal, foreignController } from "./support/signals.js";

interface Options {
  threads?: number;
  backend?: string;
}
const known = { threads: true, backend: true };

describe("a list", () => {
  test("is copied by index, whatever its iterator and methods are", () => {
    const endless = function* () {
      for (;;) yield 1;
    };
    const list = Object.assign([1, 2], { [Symbol.iterator]: endless, entries: endless, map: endless });
    expect(checkedList("f", "list", list)).toEqual([1, 2]);
    expect(checkedIntegers("f", "list", list)).toEqual([1, 2]);
    const refused = expect.objectContaining({
      message: expect.stringMatching(/^f: list\[1\] must be an object, got 2/),
    });
    const objects = Object.assign([{}, 2], { entries: endless });
    expect(() => checkedObjects("f", "list", objects as object[], "an object")).toThrow(refused);
  });

  test("is refused for its length before an element is read", () => {
    const unread = new Proxy([1, 2, 3], {
      get: (list, key) => (key === "length" ? list.length : expect.unreachable()),
    });
    expect(() => checkedList("f", "list", unread, "a list", 2)).toThrow(/list must be a list, at most 2 long/);
  });

  test("of a TypedArray's heir is a plain view of the same memory", () => {
    class Heir extends Float32Array {
      static get [Symbol.species]() {
        return Object as never;
      }
    }
    const values = new Heir([1, 2, 3]);
    Object.defineProperties(values, { length: { value: 2 ** 40 }, buffer: { value: null }, byteOffset: { value: -1 } });
    const view = checkedFloats("f", "samples", values);
    values[1] = 5;
    expect([Object.getPrototypeOf(view) === Float32Array.prototype, ...view]).toEqual([true, 1, 5, 3]);
    expect(plainView(values, Float64Array)).toBeUndefined();
    expect(plainView(new Proxy(values, {}), Float32Array)).toBeUndefined();
    structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
    expect(() => checkedFloats("f", "samples", view)).toThrow(/samples must be a Float32Array of values in /);
  });
});

describe("a long name", () => {
  test("is not compared with the known ones, and cut in the message", () => {
    const name = "threads".repeat(2 ** 22); // comparing would take hours
    const cut = `"${"threads".repeat(12).slice(0, 80)}"… (29360128 characters)`;
    expect(() => refuseName("f", name, ["threads"])).toThrow(
      expect.objectContaining({ message: `f has no option ${cut}: it takes threads` }),
    );
    expect(() => checkPath("f", "path", "/x".repeat(2 ** 20))).toThrow(/at most 65536 long, and has no NUL, got "\/x/);
  });
});

describe("option names", () => {
  test("known ones pass, in any number, undefined ones included", () => {
    checkOptionNames<Options>("f", undefined, known);
    checkOptionNames<Options>("f", {}, known);
    checkOptionNames<Options>("f", { threads: 1, backend: "cpu" }, known);
  });

  test("a misspelt one is refused with the nearest", () => {
    const misspelt = { theads: 1 } as Options;
    expect(() => checkOptionNames("Device.open", misspelt, known)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: 'Device.open has no option "theads": did you mean "threads"? It takes threads, backend',
        details: { option: "theads", nearest: "threads", known: ["threads", "backend"] },
      }),
    );
  });

  test.each([
    ["stop", ["topK", "topP", "seed"], undefined],
    ["verbose", ["threads", "backend"], undefined],
    ["e", ["experts"], undefined],
    ["toString", ["threads"], undefined],
    ["", ["seed"], undefined],
    ["topk", ["topP", "topK"], "topK"],
    ["form", ["bias", "from"], "from"],
    ["merge", ["range", "mergeSize"], "mergeSize"],
    ["epsilon", ["axis", "eps"], "eps"],
  ])("%j among %j is taken for %j", (name, among, nearest) => {
    const list = among.join(", ");
    const advice = nearest ? `did you mean "${nearest}"? It takes ${list}` : `it takes ${list}`;
    const message = `f has no option "${name}": ${advice}`;
    const details = { option: name, nearest, known: among };
    expect(() => refuseName("f", name, among)).toThrow(expect.objectContaining({ message, details }));
    expect(() => refuseName("f", name, [])).toThrow(`f has no option "${name}": it takes no options`);
  });

  test("a message can call the names fields", () => {
    expect(() => checkOptionNames("part 0", { theads: 1 } as Options, known, "field")).toThrow(
      expect.objectContaining({
        message: 'part 0 has no field "theads": did you mean "threads"? It takes threads, backend',
        details: { field: "theads", nearest: "threads", known: ["threads", "backend"] },
      }),
    );
  });

  test("a name of any length makes a short message", () => {
    const long = { ["x".repeat(140_000)]: 1 } as Options;
    expect(() => checkOptionNames("f", long, known)).toThrow(
      /^f has no option "x{80}"… \(140000 characters\): it takes threads, backend$/,
    );
  });

  test("what is no object, or has elements, is refused", () => {
    const withElements = [[], [{ threads: 1 }], new Array(2), new Float32Array(2), Buffer.from("ab"), Object("ab")];
    for (const options of [null, 5, "fast", true, ...withElements]) {
      expect(() => checkOptionNames<Options>("f", options as never, known)).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(/^f: options must be an object, got /),
        }),
      );
    }
  });

  test("names that every object has are no options", () => {
    const hostile = JSON.parse('{"toString": 1}') as Options;
    expect(() => checkOptionNames("f", hostile, known)).toThrow(/"toString"/);
  });
});

describe("option values", () => {
  const accepts = (rule: typeof positiveInteger) => {
    const values = [1, 0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, "1", null, undefined, true, 1n, [1]];
    return values.filter((value) => rule.accepts(value));
  };

  test("each rule takes its values only", () => {
    expect(accepts(positiveInteger)).toEqual([1]);
    expect(accepts(wholeNumber)).toEqual([1, 0]);
    expect(accepts(positiveNumber)).toEqual([1, 0.5]);
    expect(accepts(oneOf(true, 0))).toEqual([0, true]);
    expect(accepts(optional(positiveInteger))).toEqual([1, undefined]);
  });

  test("the message names the function, the option, what it takes and what came", () => {
    const rules = { threads: optional(positiveInteger), backend: oneOf("cpu", "cuda") };
    checkOptions<Options>("f", { backend: "cpu" }, rules);
    expect(() => checkOptions<Options>("f", { backend: "cpu", threads: -1 }, rules)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: "f: threads must be a positive integer, got -1",
        details: { argument: "threads", expected: "a positive integer", actual: "-1" },
      }),
    );
    expect(() => checkOptions<Options>("f", {}, rules)).toThrow(/backend must be "cpu" or "cuda", got undefined$/);
    expect(() => checkOptions<Options>("f", undefined, rules)).toThrow(/backend must be/);
    expect(() => checkOptions("f", { thread: 1 } as Options, rules)).toThrow(/mean "threads"/);
  });

  test.each([
    ["3", 'got "3"'],
    ["x".repeat(1000), `got "${"x".repeat(80)}"… (1000 characters)`],
    [Object.create(null), "got an empty object"],
    [Symbol("s"), "got Symbol(s)"],
    [() => 1, "got a function"],
    [[1, 2], "got a list of 2"],
  ])("values of every type can be shown", (value, shown) => {
    const check = () => checkOption("f", "n", value, positiveInteger);
    expect(check).toThrow(expect.objectContaining({ message: `f: n must be a positive integer, ${shown}` }));
  });
});

describe("signals", () => {
  const known = { signal: true, threads: true };
  interface WithSignal {
    signal?: AbortSignal;
    threads?: number;
  }

  test("every bag with a signal is checked for one", () => {
    for (const signal of [undefined, AbortSignal.abort(), new DuckSignal(), foreignController().signal])
      checkOptionNames<WithSignal>("f", { signal: signal as AbortSignal }, known);
    const wrong = [
      new AbortController(),
      "stop",
      1,
      null,
      {},
      { aborted: false },
      Object.create(AbortSignal.prototype),
    ];
    for (const signal of wrong)
      expect(() => checkOptionNames<WithSignal>("f", { signal: signal as AbortSignal }, known)).toThrowError(
        code("INVALID_ARGUMENT"),
      );
    expect(() => checkSignal("generate", new AbortController())).toThrow(
      "generate: signal must be an AbortSignal, such as the `signal` of the controller, got an object of class AbortController",
    );
  });

  test("a listener is called at an abort and not after its end, even if a signal cannot remove it", () => {
    const throwing = Object.assign(new DuckSignal(), {
      removeEventListener() {
        throw new TypeError("not a function");
      },
    });
    const foreign = foreignController();
    const own = new AbortController();
    for (const [signal, abort] of [
      [new DuckSignal(), (duck: DuckSignal) => duck.abort()],
      [throwing, (duck: DuckSignal) => duck.abort()],
      [foreign.signal, () => foreign.abort()],
      [own.signal, () => own.abort()],
    ] as [AbortSignal, (signal: unknown) => void][]) {
      let calls = 0;
      onAbort(signal, () => calls++);
      const end = onAbort(signal, () => {
        calls += 100;
      });
      end();
      abort(signal);
      expect(calls).toBe(1);
    }
    onAbort(undefined, () => {})();
  });

  test("a signal of another class is followed by a native one", () => {
    const own = new AbortController().signal;
    expect(nativeSignal(own)).toBe(own);
    for (const early of [true, false]) {
      const duck = new DuckSignal();
      const foreign = foreignController();
      const abort = () => {
        duck.abort("enough");
        foreign.abort("enough");
      };
      if (early) abort();
      const followers = [duck as unknown as AbortSignal, foreign.signal].map(nativeSignal);
      expect(followers.every((signal) => signal instanceof AbortSignal)).toBe(true);
      expect(followers.map(({ aborted }) => aborted)).toEqual([early, early]);
      if (!early) abort();
      expect(followers.map(({ aborted, reason }) => [aborted, reason])).toEqual([
        [true, "enough"],
        [true, "enough"],
      ]);
    }
  });
});
