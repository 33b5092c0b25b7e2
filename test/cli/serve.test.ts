// The command, as users run it: it listens, answers, and follows signals.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type OpenAI from "openai";
import { expect, onTestFinished, test } from "vitest";
import { tinyDirectory } from "../model/tinyModel.js";

const main = fileURLToPath(new URL("../../bin/caracal.mjs", import.meta.url));
const directory = await tinyDirectory(3);
const request = { model: "small", messages: [{ role: "user", content: "Hello!" }], max_tokens: 100 };

/** Starts the command on a free port. Resolves when it is ready. */
async function started(args: string[] = [], env: NodeJS.ProcessEnv = {}) {
  const command = [main, "serve", "--model", directory, "--port", "0", "--name", "small", ...args];
  const child: ChildProcess = spawn(process.execPath, command, { stdio: "pipe", env: { ...process.env, ...env } });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stderr = "";
  child.stderr!.on("data", (text) => {
    stderr += text;
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const { value } = await lines.next();
  const [, url] = /^listening on (http:\S+)$/.exec(value)!;
  expect((await lines.next()).value).toBe("ready");
  const ask = (fields: object, headers: Record<string, string> = {}) =>
    fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ ...request, ...fields }), headers });
  return { child, ask, stderr: () => stderr };
}

test("it answers, and a signal lets the reply in progress end", async () => {
  const { child, ask, stderr } = await started();
  const response = await ask({ stream: true, temperature: 2, seed: 1 });
  expect(response.status).toBe(200);
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  expect(await response.text()).toContain("data: [DONE]");
  expect(await exit).toEqual([0, null]);
  expect(stderr()).toBe("waiting for the replies in progress\n");
});

test("a second signal ends it at once", async () => {
  const { child, ask } = await started(["--drain-seconds", "1000"]);
  const response = await ask({ stream: true, temperature: 2, seed: 1, max_tokens: 4000, n: 4 });
  const exit = once(child, "exit");
  child.kill("SIGINT");
  await once(child.stderr!, "data");
  child.kill("SIGINT");
  expect(await exit).toEqual([null, "SIGINT"]);
  await expect(response.text()).rejects.toThrow("terminated");
});

test("its key comes from the environment, and without one it warns those whom others reach", async () => {
  const { ask } = await started([], { CARACAL_API_KEY: "sk-right" });
  expect((await ask({ max_tokens: 1 })).status).toBe(401);
  expect((await ask({ max_tokens: 1 }, { authorization: "Bearer sk-right" })).status).toBe(200);
  const { stderr } = await started(["--host", "0.0.0.0", "--no-vision", "--no-audio", "--no-speech"]);
  expect(stderr()).toBe("warning: everybody who reaches 0.0.0.0 can use the model: pass --api-key\n");
});

test.each([
  [[], 64],
  [["--no-prefix-cache"], 0],
])("with %j it finds these tokens of a prompt in the cache the second time", async (args, tokens) => {
  const { ask } = await started(args);
  const fields = { messages: [{ role: "user", content: "a ".repeat(90) }], max_tokens: 1 };
  await (await ask(fields)).text();
  const { usage } = (await (await ask(fields)).json()) as OpenAI.ChatCompletion;
  expect(usage!.prompt_tokens_details!.cached_tokens).toBe(tokens);
});

test.each([
  [["--tls-cert", "a"], /^error INVALID_ARGUMENT: --tls-cert and --tls-key go together\n$/],
  [["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], /^error IO_ERROR: cannot read \/nowhere: ENOENT.*\n$/],
  [["--model", join(directory, "no")], /^error CHECKPOINT_INVALID: .*\/no: no such file\n$/],
  [["--api-key", "two words"], /^error INVALID_ARGUMENT: serve: apiKey must be /],
  [["--max-choices", "0"], /^error: option '--max-choices <n>' argument '0' is invalid/],
])("%j is an error of one line", (args, message) => {
  const command = [main, "serve", "--model", directory, "--port", "0", ...args];
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: "utf8" });
  expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
});
