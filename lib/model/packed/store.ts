import { createHash } from "node:crypto";
import type { NativeArray } from "../../tensor/tensor.js";

/** Where a loader takes packed weights from instead of packing them, or leaves those that it packed. */
export interface PackedStore {
  /** The weight of this name; undefined when the loader has to pack it. The caller disposes it. */
  find(name: string): NativeArray | undefined;
  /** Takes note of a weight that was packed. */
  keep(name: string, weight: NativeArray): void;
  /** Called when all weights kept so far are packed. A store may take their memory: nothing uses them any more. */
  settle(): Promise<void>;
}

/**
 * The name of a packed weight in a store; that of experts has a digest of all their names, which are hundreds.
 * @param form whatever else than the tensors of these names decides what is packed
 */
export function packedName(names: readonly string[], form: unknown): string {
  const how = JSON.stringify(form);
  if (names.length === 1) return `${names[0]} ${how}`;
  const digest = createHash("sha256").update(JSON.stringify(names)).digest("hex").slice(0, 32);
  return `${names[0]} and ${names.length - 1} more, ${digest} ${how}`;
}
