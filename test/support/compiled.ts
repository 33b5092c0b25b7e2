// Compiles C++ that needs no GPU and no addon, so that tests can call the backends' pure functions.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi, { type LibraryHandle } from "koffi";

/** The shared library of one C++ source, which may include the headers of native/. */
export function compiled(source: URL): LibraryHandle {
  const folder = mkdtempSync(join(tmpdir(), "caracal-test-"));
  const library = join(folder, "test.so");
  const native = fileURLToPath(new URL("../../native", import.meta.url));
  const flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-I", native];
  execFileSync(process.env.CXX ?? "c++", [...flags, "-o", library, fileURLToPath(source)], { stdio: "pipe" });
  const lib = koffi.load(library);
  rmSync(folder, { recursive: true });
  return lib;
}
