import { basename } from "node:path";
import { CaracalError, shown } from "../errors.js";
import { OmniModel } from "../model/omni.js";
import { type Problem, problemOf, Refusal } from "./errors.js";
import type { Limits } from "./limits.js";
import { Metrics } from "./metrics.js";
import { Requests } from "./requests.js";
import { SpokenReplies } from "./spokenReplies.js";

/** Whether a server can answer. */
export type ServerState = "loading" | "ready" | "draining" | "failed";

/** What the routes of a server share: the model, and what is kept between requests. */
export class Service {
  readonly limits: Limits;
  readonly requests: Requests;
  /** Real-time sessions. */
  readonly sessions: Requests;
  readonly spoken: SpokenReplies;
  readonly metrics: Metrics;
  /** Unix seconds. */
  readonly created = Math.floor(Date.now() / 1000);
  readonly #givenName: string | undefined;
  readonly #onError: (error: unknown) => void;
  #model: OmniModel | undefined;
  #failed = false;

  constructor(limits: Limits, givenName: string | undefined, onError: (error: unknown) => void) {
    this.limits = limits;
    this.requests = new Requests(limits.replies);
    this.sessions = new Requests(limits.sessions, "sessions");
    this.spoken = new SpokenReplies(limits.spokenReplies, limits.spokenSeconds);
    this.metrics = new Metrics(() => this.#model);
    this.#givenName = givenName;
    this.#onError = (error) => {
      try {
        onError(error);
      } catch {} // it has nobody to tell
    };
  }

  /** Takes the model when it is loaded. */
  async load(loading: PromiseLike<OmniModel>): Promise<void> {
    try {
      const model: unknown = await loading;
      if (model instanceof OmniModel) this.#model = model;
      else
        throw new CaracalError("INVALID_ARGUMENT", `serve: the promise gave ${shown(model)} instead of an OmniModel`);
    } catch (error) {
      this.#failed = true;
      this.#onError(error);
    }
  }

  get state(): ServerState {
    if (this.requests.draining) return "draining";
    if (this.#failed || this.#model?.disposed) return "failed";
    return this.#model ? "ready" : "loading";
  }

  /** The model's name for clients: the given one, or that of its directory. */
  get name(): string {
    return this.#givenName ?? basename(this.model.checkpoint.directory);
  }

  /** @throws {Refusal} 503 while there is none */
  get model(): OmniModel {
    if (this.#model && !this.#model.disposed) return this.#model;
    if (this.#model) throw new Refusal({ status: 503, message: "the model was disposed", code: "model_failed" });
    const message = this.#failed ? "the model could not be loaded" : "the model is being loaded";
    throw new Refusal({ status: 503, message, code: this.#failed ? "model_failed" : "model_loading" });
  }

  /** @throws {Refusal} 404 for another model, 503 */
  named(name: string): OmniModel {
    if (name === this.name) return this.model;
    const message = `there is no model ${shown(name)}: this server has ${shown(this.name)}`;
    throw new Refusal({ status: 404, message, param: "model", code: "model_not_found" });
  }

  /** What a client gets for an error. Those that are the server's fault are reported to its owner. */
  problemOf(error: unknown, clientNames?: ReadonlyMap<string, string>): Problem {
    const problem = problemOf(error, clientNames);
    if (problem.status === 500) this.#onError(error);
    return problem;
  }
}
