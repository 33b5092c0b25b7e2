// Finds the addon: CARACAL_BINDING, else the build of a checkout, else an installed package for this platform. Nothing is
// printed, no process is started, and nothing is downloaded.
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { familySync, MUSL } from "detect-libc";
import { CaracalError } from "../errors.js";
import { version } from "../version.js";
import { checkout } from "./checkout.js";

/** Where an addon was looked for, and why it is not the one. */
export interface LoadAttempt {
  /** A package, or the path of a file. */
  readonly from: string;
  readonly outcome: "loaded" | "not installed" | "wrong version" | "cannot be loaded" | "not needed";
  /** The reason, in words. */
  readonly message: string;
}

export interface Loaded {
  readonly addon: unknown;
  /** A package, or the path of a file. */
  readonly from: string;
  /** Everything that was tried, in order; the last one was loaded. */
  readonly attempts: readonly LoadAttempt[];
}

// A bundle of CommonJS has no import.meta.url, but __filename. File tracers know a variable that is declared in this way,
// and find the packages that it is called with if their names are literals.
const load = createRequire(import.meta.url ?? __filename);

/** The packages that this version is released with. */
const packages: Readonly<Record<string, () => { readonly version: string; addon(): unknown }>> = {
  "@caracal/linux-x64": () => ({
    version: load("@caracal/linux-x64/package.json").version,
    addon: () => load("@caracal/linux-x64"),
  }),
  "@caracal/linux-x64-cuda13": () => ({
    version: load("@caracal/linux-x64-cuda13/package.json").version,
    addon: () => load("@caracal/linux-x64-cuda13"),
  }),
  "@caracal/linux-x64-musl": () => ({
    version: load("@caracal/linux-x64-musl/package.json").version,
    addon: () => load("@caracal/linux-x64-musl"),
  }),
  "@caracal/linux-arm64": () => ({
    version: load("@caracal/linux-arm64/package.json").version,
    addon: () => load("@caracal/linux-arm64"),
  }),
};

/** This platform as the packages name it, such as "linux-x64-musl". */
export function platform(): string {
  const libc = process.platform === "linux" && familySync() === MUSL ? "-musl" : "";
  return `${process.platform}-${process.arch}${libc}`;
}

/** The packages for this platform, best first. One with CUDA kernels has the kernels of the CPU as well. */
export function candidates(): string[] {
  const plain = `@caracal/${platform()}`;
  return [`${plain}-cuda13`, plain].filter((name) => Object.hasOwn(packages, name));
}

/**
 * Loads the addon.
 * @throws {CaracalError} `NATIVE_LOAD_FAILED` with `details.attempts` when none can be loaded
 */
export function loadAddon(): Loaded {
  const forced = process.env.CARACAL_BINDING;
  if (forced !== undefined) return loadFile(forced, "CARACAL_BINDING is set to");
  const built = checkout("build/Release/caracal.node");
  if (built !== undefined) return loadFile(built, "this is a checkout, whose build is");
  const attempts: LoadAttempt[] = [];
  for (const name of candidates()) {
    const { attempt, addon } = tryPackage(name);
    attempts.push(attempt);
    if (attempt.outcome === "loaded") return { addon, from: name, attempts };
  }
  const lines = attempts.map(({ from, message }) => `\n  ${from}: ${message}`);
  throw new CaracalError(
    "NATIVE_LOAD_FAILED",
    `no native addon for ${platform()} can be loaded.${lines.join("")}\n${advice(attempts).join("\n")}`,
    { platform: platform(), attempts },
  );
}

function loadFile(path: string, why: string): Loaded {
  const fail = (reason: string, cause?: unknown) => {
    const attempts: LoadAttempt[] = [{ from: path, outcome: "cannot be loaded", message: reason }];
    return new CaracalError("NATIVE_LOAD_FAILED", `${why} ${path}, ${reason}`, { path, attempts }, { cause });
  };
  const advice = "run `npm run build` in the checkout, or set CARACAL_BINDING to a caracal.node";
  if (!existsSync(path)) throw fail(`which does not exist: ${advice}`);
  if (!statSync(path).isFile()) throw fail(`which is not a regular file: ${advice}`); // loading a FIFO would never end
  try {
    const addon = load(path) as unknown;
    return { addon, from: path, attempts: [{ from: path, outcome: "loaded", message: `${why} this file` }] };
  } catch (cause) {
    throw fail(`which cannot be loaded: ${(cause as Error).message}`, cause);
  }
}

function tryPackage(name: string): { attempt: LoadAttempt; addon?: unknown } {
  const attempt = (outcome: LoadAttempt["outcome"], message: string) => ({ from: name, outcome, message });
  let found: ReturnType<(typeof packages)[string]>;
  try {
    found = packages[name]!();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND")
      return { attempt: attempt("cannot be loaded", (error as Error).message) };
    return { attempt: attempt("not installed", "it is not installed") };
  }
  if (found.version !== version)
    return { attempt: attempt("wrong version", `it has version ${found.version}, but caracal has ${version}`) };
  try {
    return { attempt: attempt("loaded", `it fits ${platform()} and version ${version}`), addon: found.addon() };
  } catch (error) {
    return { attempt: attempt("cannot be loaded", (error as Error).message) };
  }
}

/** What a user can do, by what was found. */
function advice(attempts: readonly LoadAttempt[]): string[] {
  const plain = `@caracal/${platform()}`;
  if (attempts.length === 0) {
    const known = Object.keys(packages).filter((name) => !name.includes("cuda"));
    return [
      `There is no package for this platform, only ${known.join(", ")}. Build Caracal from its sources, and set ` +
        "CARACAL_BINDING to build/Release/caracal.node.",
    ];
  }
  const wrong = attempts.find(({ outcome }) => outcome === "wrong version");
  const broken = attempts.find(({ outcome }) => outcome === "cannot be loaded");
  const steps = [];
  if (wrong) steps.push(`Install the packages in one version: npm install caracal@${version} ${wrong.from}@${version}`);
  if (broken) steps.push(repair(broken));
  if (!wrong && !broken)
    steps.push(
      `npm installs ${plain} with caracal unless optional dependencies are left out (--omit=optional, --no-optional), ` +
        "or the folder node_modules or the lock file comes from another platform. Install it by name: " +
        `npm install ${plain}@${version}`,
    );
  return steps;
}

/** What helps when the system refuses to load a package's file. */
function repair({ from, message }: LoadAttempt): string {
  if (/addons is disabled/.test(message)) return "Run node without --no-addons: Caracal's kernels are a native addon.";
  if (/GLIBC(XX)?_/.test(message))
    return "The packages need glibc 2.31 (Debian 11, Ubuntu 20.04, RHEL 9) or newer: use a newer system or image.";
  return (
    "The system refuses the file, which may be damaged or of another platform. Install it again on this machine: remove " +
    `the folder node_modules, then npm install caracal@${version} ${from}@${version}`
  );
}
