// Compiles single C++ sources at test time.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi, { type LibraryHandle } from "koffi";

/** Compiles a C++ source, which may include the headers of native/, and loads the shared library. */
export function loadCompiled<T>(source: URL, load: (library: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "caracal-test-"));
  const library = join(folder, "test.so");
  const native = fileURLToPath(new URL("../../native", import.meta.url));
  const flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-I", native];
  try {
    execFileSync(process.env.CXX ?? "c++", [...flags, "-o", library, fileURLToPath(source)], { stdio: "pipe" });
    return load(library);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A C++ source as a library whose functions tests can call. It must need neither a GPU nor the addon. */
export const compiled = (source: URL): LibraryHandle => loadCompiled(source, (library) => koffi.load(library));
