// The flavours of the addon, one per folder in packages/, whose package.json says what the flavour runs on.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./steps.mjs";

/** Megabytes that a packed flavour may have. */
const budgets = { cpu: 6, cuda: 25 };

/** All flavours: name, npm package, cpu, libc, the oldest glibc, the release of CUDA, the size budget in bytes. */
export function flavours() {
  return readdirSync(join(root, "packages"))
    .sort()
    .map((name) => {
      const manifest = JSON.parse(readFileSync(join(root, "packages", name, "package.json"), "utf8"));
      const { glibc, cuda } = manifest.config;
      return {
        name,
        package: manifest.name,
        manifest,
        cpu: manifest.cpu[0],
        libc: manifest.libc[0],
        glibc: glibc?.replace(">=", ""),
        cuda,
        budget: (cuda ? budgets.cuda : budgets.cpu) * 1e6,
      };
    });
}
