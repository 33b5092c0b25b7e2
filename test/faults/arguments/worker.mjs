// Calls every function of the public API with hostile values in every place of valid arguments. A call must return, or
// throw a CaracalError or what the code of the caller threw; docs/reliability.md promises it. Prints every other outcome.
//   node test/faults/arguments/worker.mjs FOLDER [NAME]
// FOLDER/call holds the name of the current call, where it is found if the process dies or hangs; NAME selects functions
// by a part of their names. Needs the compiled library (npx tsc).
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import * as caracal from "caracal";
import * as server from "caracal/server";
import { api } from "./api.mjs";
import { recipes } from "./recipes.mjs";
import { at, derived, hostile, paths, replaced, thrown } from "./values.mjs";
import { openWorld } from "./world.mjs";

const [folder, only = ""] = process.argv.slice(2);
/** Milliseconds, longer than any valid call takes. */
const limit = 20_000;

const world = await openWorld(folder);
const { functions, missing } = await api({ ...caracal, ...server }, recipes(world));
const values = Object.entries(hostile(world));
const current = openSync(join(folder, "call"), "w");
const findings = missing.map((name) => `${name} has no recipe in test/faults/arguments/recipes.mjs`);
let calls = 0;

/** Settles as the call does, and as the iteration of what it gives. Frees what it gives. */
async function complete(call, on, args) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it does not settle within ${limit} ms`)), limit);
  });
  const work = async () => {
    const result = await call(on, args);
    const ends = !(result instanceof caracal.LiveSession); // that one goes on until somebody disposes it
    if (ends && typeof result?.[Symbol.asyncIterator] === "function") for await (const _ of result);
    if (result !== on && !world.kept.has(result)) await free(result);
  };
  try {
    await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function free(result) {
  if (typeof result?.[Symbol.dispose] === "function") result[Symbol.dispose]();
  else if (typeof result?.[Symbol.asyncDispose] === "function") await result[Symbol.asyncDispose]();
  else if (typeof result === "object") caracal.disposeAll(result);
}

const isAllowed = (error) =>
  error === thrown || (error instanceof caracal.CaracalError && Object.hasOwn(caracal.errorCodes, error.code));

/** Calls a function with the arguments of its recipe, changed. */
async function run({ name, call, recipe }, what, change, allowed = isAllowed) {
  writeSync(current, `${name}(${what})`.padEnd(200), 0);
  calls++;
  try {
    const { on, args } = recipe();
    await complete(call, on, change(args));
  } catch (error) {
    if (!allowed(error)) findings.push(`${name}(${what}): ${error?.stack ?? String(error)}`);
  } finally {
    world.clear();
  }
}

for (const fn of functions.filter(({ name }) => name.includes(only))) {
  const { args } = fn.recipe();
  world.clear();
  const isValid = () => false; // the recipe itself must work
  await run(fn, "its recipe", (own) => own, isValid);
  for (let count = 0; count < args.length; count++) await run(fn, `${count} arguments`, (own) => own.slice(0, count));
  for (const path of paths(args)) {
    const place = path.join(".");
    for (const [text, value] of values) await run(fn, `${place}: ${text}`, (own) => replaced(own, path, value));
    for (const [text, make] of Object.entries(derived))
      await run(fn, `${place}: ${text}`, (own) => replaced(own, path, make(at(own, path))));
  }
}
for (const finding of findings) console.log(finding);
console.log(`${calls} calls of ${functions.length} functions, ${findings.length} findings`);
process.exit(findings.length > 0 ? 1 : 0); // a hostile signal may keep the process alive
