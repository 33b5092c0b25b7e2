// The mutants that the mutation tester derives from a source.
import { expect, test } from "vitest";

const { mutantsOf, opcodesWithout } = await import(new URL("mutants.mjs", import.meta.url).href);

interface Mutant {
  readonly name: string;
  readonly line: number;
  readonly change: string;
  readonly text: string;
}

const source = `#include <cstdint>
namespace vgpu {
// a + b
struct Add {
  static int apply(int a, int b) { return a + b; }
};
int limit(int x) {
  if (x < 0) return 0;
  count(x);
  return x;
}
Handler choose(Type t) { return t == Type::u32 ? run<Add> : run<Sub>; }
void decode(Decoding& i) { i.run(choose(i.type())); }
void sub(Decoding& i) { i.run(run_sub); }
std::span<const Opcode> opcodes() {
  static const Opcode table[] = {{"add", decode}, {"sub", sub}};
  return table;
}
}
`;
const mutants: readonly Mutant[] = mutantsOf(source);

test("computations are mutated, and tables and decoders are not", () => {
  expect(new Set(mutants.map((m) => m.name))).toEqual(new Set(["Add", "limit"]));
  expect(mutants.map((m) => `${m.line}: ${m.change}`)).toEqual([
    "5: return a + b → return {}",
    "5: + → -",
    "8: (x < 0) → (!(x < 0))",
    "8: < → <=",
    "8: 0 → (0 + 1)",
    "8: 0 → (0 + 1)",
    "9: count(x) → nothing",
    "10: return x → return {}",
  ]);
});

test("a mutant differs from the source only in its change", () => {
  const sum = mutants.find((m) => m.change === "+ → -");
  expect(sum?.text).toBe(source.replace("return a + b", "return a - b"));
});

test("opcodes without a mutated definition are listed", () => {
  expect(opcodesWithout(source, new Set(["Add"]))).toEqual(["sub"]);
  expect(opcodesWithout(source, new Set())).toEqual(["add", "sub"]);
});
