// The functions, constructors and methods of the public API that take arguments, as the built package exports them: also
// those of classes that it exports as types only, whose objects a program gets from other functions.
import { readFileSync } from "node:fs";
import { internal } from "./internal.mjs";

const indices = ["index.d.ts", "server/index.d.ts"].map(
  (file) => new URL(`../../../dist/lib/${file}`, import.meta.url),
);

const source = (fn) => Function.prototype.toString.call(fn);
const isClass = (value) => typeof value === "function" && /^class\b/.test(source(value));

/** All that the indices name and that exists when a program runs, by name. */
async function exported(caracal) {
  const found = new Map(Object.entries(caracal));
  for (const index of indices)
    for (const [, list, file] of readFileSync(index, "utf8").matchAll(/export (?:type )?\{([^}]*)\} from "([^"]+)"/g)) {
      const module = await import(new URL(file, index).href);
      for (const name of list.split(",").map((item) => item.replace(/\btype\b/, "").trim()))
        if (isClass(module[name])) found.set(name, module[name]);
    }
  return found;
}

/** `length` does not count arguments with defaults. */
const takesArguments = (fn) => !/^(?:static )?(?:async )?\*?\[?[\w.]+\]?\(\s*\)/.test(source(fn));

/** The functions of a class: their names, and how to call them on an object with arguments. */
function* functionsOf(type) {
  if (!/\bconstructor\(\s*\)/.test(source(type))) yield ["new", (_, args) => new type(...args)];
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(type)))
    if (typeof value === "function" && takesArguments(value)) yield [name, (_, args) => type[name](...args)];
  const isForeign = (prototype) => prototype === Object.prototype || prototype === Error.prototype;
  for (let prototype = type.prototype; !isForeign(prototype); prototype = Object.getPrototypeOf(prototype))
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype)))
      if (name !== "constructor" && typeof value === "function" && takesArguments(value))
        yield [name, (on, args) => on[name](...args)];
}

/** @returns the functions with their recipes, and the names of those without */
export async function api(caracal, recipes) {
  const functions = [];
  const missing = [];
  const add = (name, call, recipe) => {
    if (recipe === undefined) missing.push(name);
    else if (recipe !== internal) functions.push({ name, call, recipe });
  };
  const visit = (prefix, entries, table) => {
    for (const [name, value] of entries) {
      if (name === "ops") visit("ops.", Object.entries(value), table.ops);
      else if (isClass(value))
        for (const [method, call] of functionsOf(value)) add(`${prefix}${name}.${method}`, call, table[name]?.[method]);
      else if (typeof value === "function") add(prefix + name, (_, args) => value(...args), table[name]);
    }
  };
  visit("", await exported(caracal), recipes);
  return { functions, missing };
}
