// Programs that put accessors on prototypes. Each runs in a process of its own, whose exit says whether it was harmed.
import { expect, test } from "vitest";
import { library, printed } from "../support/printed.js";

const prelude = `
  import { Device, ops } from ${JSON.stringify(library)};
  process.on("uncaughtException", () => process.exit(70));
  const device = await Device.open({ backend: "cpu", threads: 1 });
  /** What becomes of \`run\` while \`prototype\` has this accessor. */
  async function during(prototype, name, accessor, run) {
    Object.defineProperty(prototype, name, { configurable: true, ...accessor });
    let outcome;
    try {
      outcome = await run();
    } catch (error) {
      outcome = error;
    }
    delete prototype[name];
    return outcome;
  }
  const thrown = () => { throw new Error("of the accessor"); };
`;
const outcomes = async (body: string) => JSON.parse(await printed(prelude + body));

test("a getter `then` that throws fails no read of another prototype's, and harms no later one", async () => {
  const found = await outcomes(`
    const x = device.tensor([1, 2], [2]);
    const found = [];
    for (const prototype of [ArrayBuffer.prototype, Object.prototype]) {
      for (const run of [() => x.toFloat32Array(), () => x.read(), () => device.synchronize(), () => Device.open()]) {
        const outcome = await during(prototype, "then", { get: thrown }, run);
        found.push(outcome?.message ?? (outcome instanceof Device ? "device" : outcome ? [...outcome] : null));
      }
    }
    found.push([...await x.read()]);
    console.log(JSON.stringify(found));`);
  const thrown = "of the accessor";
  expect(found).toEqual([[1, 2], [1, 2], null, "device", thrown, thrown, null, thrown, [1, 2]]);
});

test("setters that throw keep nothing from what the addon gives", async () => {
  const { found, expected } = await outcomes(`
    const opening = () => Device.open({ backend: "cuda", ordinal: 77 });
    const reading = () => ops.embedding(device.zeros([2, 4]), device.tensor([5], [1], "i32")).read();
    const calling = async () => device.zeros([1], "f9");
    // Garbage collection moves bytes from inUse to cached whenever it likes.
    const memory = () => Object.fromEntries(Object.entries(device.memory).map(([name, bytes]) => [name, typeof bytes]));
    const looking = async () => ({ ...memory(), name: (await Device.open({ backend: "cpu", threads: 2 })).name });
    const shown = (outcome) => outcome instanceof Error
      ? { name: outcome.constructor.name, code: outcome.code, message: outcome.message, details: outcome.details }
      : outcome;
    const names = ["code", "details", "argument", "expected", "actual", "position", "value", "operation"];
    const ofObjects = ["inUse", "peak", "cached", "backend", "virtual", "description", "isa", "threads", "capacity"];
    const found = [], expected = [];
    for (const run of [opening, reading, calling, looking]) {
      const plain = shown(await run().catch((error) => error));
      for (const name of [...names, ...ofObjects])
        for (const prototype of names.includes(name) ? [Object.prototype, Error.prototype] : [Object.prototype]) {
          found.push([name, shown(await during(prototype, name, { get() {}, set: thrown }, run))]);
          expected.push([name, plain]);
        }
    }
    console.log(JSON.stringify({ found, expected }));`);
  expect(found).toEqual(expected);
  expect(new Set(expected.map(([, { code }]: [string, { code?: string }]) => code)).size).toBeGreaterThan(2);
});

test("a method that throws while a chat template is sent leaves no rejection without a handler", async () => {
  const found = await outcomes(`
    const { renderTemplate } = await import(${JSON.stringify(new URL("../../dist/lib/model/prompt/chatTemplate.js", import.meta.url).href)});
    process.on("unhandledRejection", () => process.exit(71));
    const render = () => renderTemplate({ template: "Hi", tokens: {}, variables: {}, names: ["<s>"], file: "chat.jinja" });
    const { set } = Object.getPrototypeOf(Uint8Array.prototype);
    Object.getPrototypeOf(Uint8Array.prototype).set = thrown; // with which Node.js writes a message to a process
    const failed = await render().catch((error) => error.message);
    Object.getPrototypeOf(Uint8Array.prototype).set = set;
    console.log(JSON.stringify([failed, await render()]));`); // the second process ends after the first one
  expect(found).toEqual(["of the accessor", ["Hi"]]);
});
