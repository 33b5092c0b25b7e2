import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { idleTime } from "../idle.js";
import type { Command, EngineOptions, Message, Reply } from "./engine.js";

const engineNames = { caracal: "Caracal", llamaCpp: "llama.cpp" };

/** The file that runs in the process. */
export type EngineName = keyof typeof engineNames;

/** A reply, and what else the machine did meanwhile. */
export interface Answer extends Reply {
  /** Time that the machine's cores were busy with other programs or taken away, in core-milliseconds. */
  readonly others: number;
  /** All the time of the machine's cores meanwhile, in core-milliseconds. */
  readonly cores: number;
}

/** An engine in a process of its own. */
export class EngineProcess implements AsyncDisposable {
  readonly #name: EngineName;
  readonly #child: ChildProcess;

  constructor(name: EngineName, options: EngineOptions) {
    this.#name = name;
    const file = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
    this.#child = fork(file, [JSON.stringify(options)], { execArgv: [] });
  }

  /** Sends a command and waits for its result. @throws {Error} when the process fails or ends */
  async ask(command: Command): Promise<Answer> {
    const [start, idle] = [performance.now(), idleTime()];
    const message = await this.#answer(command);
    if ("error" in message) throw this.#failed(message.error);
    const cores = (performance.now() - start) * cpus().length;
    const others = Math.max(0, cores - (idleTime() - idle) - message.processCpu);
    return { ...message, others, cores };
  }

  async #answer(command: Command): Promise<Message> {
    const settled = new AbortController();
    try {
      const ended = once(this.#child, "exit", settled).then(([code, signal]) => {
        throw this.#failed(`its process ended: ${signal ?? `exit code ${code}`}`);
      });
      this.#child.send(command);
      const [message] = await Promise.race([once(this.#child, "message", settled), ended]);
      return message as Message;
    } finally {
      settled.abort();
    }
  }

  #failed(reason: string): Error {
    return new Error(`${engineNames[this.#name]}: ${reason}`);
  }

  /** Ends the process, also while it works. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
