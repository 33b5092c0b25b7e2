// The call of a number, for all who need to know it.
import { addon } from "../../dist/lib/native/addon.js";
import { functionContracts, functionRecipes } from "./functions.mjs";
import { mutate } from "./mutate.mjs";
import { Random } from "./random.mjs";
import { recipes } from "./recipes.mjs";

const { operations } = addon().contracts();
const missing = operations.filter(({ name }) => !recipes[name]).map(({ name }) => name);
if (missing.length > 0) throw new Error(`operations without a recipe in test/fuzz: ${missing.join(", ")}`);

/** The call of this number, what its contract says, and the random numbers that follow. */
export function drawn(seed, number, cuda) {
  const r = new Random(seed, number);
  const contract = r.chance(0.15) ? r.pick(...functionContracts) : r.pick(...operations);
  const { args, outputs, allowed, run } = (contract.positional ? functionRecipes : recipes)[contract.name](r);
  const layer = run && r.chance(0.4) ? "ops" : "addon";
  for (const name of Object.keys(args)) if (args[name] === undefined) delete args[name];
  const call = { operation: contract.name, layer, args: structuredClone(args), outputs, allowed, mutations: [], cuda };
  Object.defineProperty(call, "run", { value: run }); // not part of the description
  if (r.chance(0.65)) mutate(r, call, contract);
  return { r, contract, call };
}
