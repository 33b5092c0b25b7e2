import { spawn } from "node:child_process";

/** The compiled library, for modules that `printed` runs. */
export const library: string = new URL("../../dist/lib/index.js", import.meta.url).href;

/** What a module prints. @param before commands of the shell that starts it */
export function printed(script: string, before = ""): Promise<string> {
  const command = `${before}exec "$0" --input-type=module -e "$1"`;
  const child = spawn("sh", ["-c", command, process.execPath, script], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  return new Promise((resolve, reject) =>
    child.on("close", (status) => (status === 0 ? resolve(text) : reject(new Error(`exit status ${status}`)))),
  );
}
