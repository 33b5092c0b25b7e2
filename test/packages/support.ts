// What tests of the packages share. `npm run test:packages` says in CARACAL_TEST_PACKAGES where everything is.
import { type ExecFileOptions, execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

interface Packages {
  /** A folder outside the checkout, which is removed at the end. */
  readonly folder: string;
  /** A project below it where the packages are installed, with a model directory `model`. */
  readonly app: string;
  /** The tarball of each package, by name. */
  readonly tarballs: Readonly<Record<string, string>>;
  /** The flavours that were built for a release; none if the checkout's own build is tested. */
  readonly release: readonly string[];
  /** The oldest system that each release flavour runs on. */
  readonly systems: Readonly<Record<string, { readonly root: string; readonly node: string }>>;
  /** A folder with programs of others in node_modules. */
  readonly tools: string;
  /** npm's command line. */
  readonly npm: string;
  /** The environment of a user: a PATH with Node.js and a shell alone, HOME, and the settings of the network. */
  readonly env: NodeJS.ProcessEnv;
}

const given = process.env.CARACAL_TEST_PACKAGES;
if (!given) throw new Error("these tests need packages: run `npm run test:packages`");
export const packages = JSON.parse(given) as Packages;
export const checkout = fileURLToPath(new URL("../..", import.meta.url));
export const tool = (path: string) => join(packages.tools, "node_modules", path);

/** The environment of a user who has no compiler. */
export const bare = packages.env;

export interface Outcome {
  readonly status: number | string | null;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program in the environment of a user. */
export function run(program: string, args: readonly string[], options: ExecFileOptions = {}): Promise<Outcome> {
  const settings = { env: bare, encoding: "utf8" as const, maxBuffer: 1 << 26, ...options };
  return new Promise((resolve) => {
    execFile(program, args, settings, (error, stdout, stderr) =>
      resolve({
        status: error ? (error.code ?? null) : 0,
        signal: error?.signal ?? undefined,
        stdout: String(stdout),
        stderr: String(stderr),
      }),
    );
  });
}

/** Runs Node.js, and returns what it prints. */
export async function node(args: readonly string[], options: ExecFileOptions = {}): Promise<string> {
  const { status, stdout, stderr, signal } = await run("node", args, options);
  if (status !== 0) throw new Error(`node ${args.join(" ")} ended with ${status ?? signal}: ${stderr}${stdout}`);
  return stdout;
}

/** A new folder with these files; in the project with the packages, unless another parent is given. */
export function folderWith(files: Readonly<Record<string, string>>, parent = packages.app): string {
  const folder = mkdtempSync(join(parent, "test-"));
  for (const [name, contents] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), contents);
  }
  return folder;
}
