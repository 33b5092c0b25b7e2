// A registry for the packages, and what npm and pnpm install from it.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkout, folderWith, node, packages, tool } from "./support.js";

const script = new URL("../../scripts/lib/registry.mjs", import.meta.url);
const { serveRegistry }: { serveRegistry(files: string[]): Promise<{ origin: string; server: { close(): void } }> } =
  await import(script.href);

const { caracal, ...flavours } = packages.tarballs;
/** The tarball of the main package. */
export const main = caracal!;

/** The package of a flavour as it would be in another version, or for another platform: without an addon. */
export function emptyPackage(flavour: string, version: string): string {
  const manifest = JSON.parse(readFileSync(join(checkout, "packages", flavour, "package.json"), "utf8"));
  const file = `${flavour}-${version}.tgz`;
  const contents = { "package/package.json": JSON.stringify({ ...manifest, version }), "package/caracal.node": "" };
  const folder = folderWith(contents, packages.folder);
  execFileSync("tar", ["-czf", file, "package"], { cwd: folder });
  return join(folder, file);
}

/** Serves the packages and others. Its functions install into a folder, with the options of the command. */
export async function openRegistry(others: readonly string[] = []) {
  const { origin, server } = await serveRegistry([...Object.values(flavours), ...others]);
  const scope = `--@caracal:registry=${origin}`;
  const folders = ["store", "cache", "state"].map(
    (name) => `--config.${name}-dir=${join(packages.folder, `pnpm-${name}`)}`,
  );
  return {
    npm: (folder: string, ...args: string[]) =>
      node([packages.npm, "install", "--no-audit", "--no-fund", "--prefer-offline", scope, ...args], { cwd: folder }),
    pnpm: (folder: string, ...args: string[]) =>
      node([tool("pnpm/bin/pnpm.cjs"), "add", scope, ...folders, ...args], { cwd: folder }),
    close: () => server.close(),
  };
}

/** An empty project. */
export const project = () => folderWith({ "package.json": '{ "private": true }' }, packages.folder);
