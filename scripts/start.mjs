// npm start [-- options of `caracal run`]: prepares a fresh clone, then lets the model answer a spoken question about a
// photo. Steps that are up to date are skipped.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { buildAddon, buildTypeScript, installDependencies } from "./lib/build.mjs";
import { fail, needNode, root } from "./lib/steps.mjs";

needNode();
installDependencies();
buildAddon();
buildTypeScript();

const caracal = (args) =>
  spawnSync(process.execPath, [join(root, "bin/caracal.mjs"), ...args], { cwd: root, stdio: "inherit" });

const model = join(root, "models/mini");
if (!existsSync(join(model, "config.json"))) {
  mkdirSync(join(root, "models"), { recursive: true }); // synth creates the last folder only
  const { status } = caracal(["synth", model, "--preset", "mini", "--seed", "1"]);
  if (status !== 0) fail("the sample checkpoint could not be written; the reason is above");
}

mkdirSync(join(root, "out"), { recursive: true });
const options = process.argv.slice(2);
const question = ["--audio", join(root, "samples/speech.wav"), "--image", join(root, "samples/photo.jpg")];
const hasInput = options.some((a) => /^--(audio|image|video|text)\b/.test(a));
const result = caracal([
  "run",
  "--model",
  model,
  ...(hasInput ? [] : question),
  "--out",
  join(root, "out/answer.wav"),
  ...options,
]);
process.exit(result.status ?? 1);
