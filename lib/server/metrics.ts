import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { OmniModel } from "../model/omni.js";
import type { ReplyUsage } from "../model/reply/usage.js";
import { RealtimeMetrics } from "./realtime/realtimeMetrics.js";

/** Seconds, from a cached answer to a long reply. */
const buckets = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300];

/** Milliseconds between two measurements of the event loop, which Node.js counts as delay. */
const resolution = 10;

/** Values of a gauge, by those of its label. */
type Values = Readonly<Record<string, number>>;

/** What a monitoring system collects of a server, in a registry of its own. */
export class Metrics {
  readonly registry = new Registry();
  readonly realtime = new RealtimeMetrics(this.registry);
  readonly #delay = monitorEventLoopDelay({ resolution });
  readonly #registers = [this.registry];

  readonly #requests = new Counter({
    name: "caracal_http_requests_total",
    help: "Requests that have ended, by route and status; 499: the client left before the end of its response",
    labelNames: ["route", "status"] as const,
    registers: this.#registers,
  });
  readonly #durations = new Histogram({
    name: "caracal_http_request_duration_seconds",
    help: "From the head of a request to the end of its response",
    labelNames: ["route"] as const,
    buckets,
    registers: this.#registers,
  });
  readonly #firstToken = new Histogram({
    name: "caracal_time_to_first_token_seconds",
    help: "From the head of a request to the first text or speech of its reply",
    buckets,
    registers: this.#registers,
  });
  readonly #promptTokens = this.#sum("caracal_prompt_tokens_total", "Tokens of prompts, once for each choice");
  readonly #cachedTokens = this.#sum("caracal_cached_prompt_tokens_total", "Those of prompts that were not computed");
  readonly #completionTokens = this.#sum("caracal_completion_tokens_total", "Steps of the language model in replies");
  readonly #audioIn = this.#sum("caracal_audio_input_seconds_total", "Seconds of sound in prompts");
  readonly #audioOut = this.#sum("caracal_audio_output_seconds_total", "Seconds of speech in replies");

  /** @param model the model once it is loaded */
  constructor(model: () => OmniModel | undefined) {
    this.#delay.enable();
    const delay = "Delay of the event loop since the last collection, in seconds";
    this.#gauge("caracal_event_loop_delay_seconds", delay, "quantile", () => this.#delays());
    this.#gauge("caracal_process_memory_bytes", "Memory of the process", "kind", () => {
      const { rss, heapUsed } = process.memoryUsage();
      return { resident: rss, heap: heapUsed };
    });
    const ofModel = (name: string, help: string, label: string | null, values: (model: OmniModel) => Values) =>
      this.#gauge(name, help, label, () => {
        const loaded = model();
        return loaded ? values(loaded) : {};
      });
    const replies = "Replies in progress, by what they do; unread ones are active or preempted, too";
    ofModel("caracal_replies", replies, "state", (loaded) => {
      const { preparing, waiting, active, preempted, unread } = loaded.stats();
      return { preparing, waiting, active, preempted, unread };
    });
    ofModel("caracal_kv_cache_tokens", "Tokens of the KV cache; cached ones are free, too", "state", (loaded) => {
      const { used, free, cached } = loaded.stats().cache;
      return { used, free, cached };
    });
    const wait = "Seconds that a reply has waited longest for room in the KV cache";
    ofModel("caracal_longest_wait_seconds", wait, null, (loaded) => ({ all: loaded.stats().longestWait }));
    const preemptions = "Preemptions of replies since the model was loaded";
    ofModel("caracal_preemptions", preemptions, null, (loaded) => ({ all: loaded.stats().preemptions }));
    const memory = "Memory of the model's device that is in use";
    ofModel("caracal_device_memory_bytes", memory, null, (loaded) => ({ all: loaded.device.memory.inUse }));
  }

  /** Counts a request that has ended. */
  request(route: string, status: number, seconds: number): void {
    this.#requests.inc({ route, status });
    this.#durations.observe({ route }, seconds);
  }

  /** Notes when the first text or speech of a request came. */
  firstToken(seconds: number): void {
    this.#firstToken.observe(seconds);
  }

  /** Adds what a reply took. */
  reply({ promptTokens, cachedTokens, steps, audioSeconds, stages }: ReplyUsage): void {
    this.#promptTokens.inc(promptTokens);
    this.#cachedTokens.inc(cachedTokens);
    this.#completionTokens.inc(steps);
    this.#audioIn.inc(stages["audio encoder"].audioSeconds);
    this.#audioOut.inc(audioSeconds);
  }

  /** Ends the measurement of the event loop. */
  stop(): void {
    this.#delay.disable();
  }

  #sum(name: string, help: string): Counter {
    return new Counter({ name, help, registers: this.#registers });
  }

  /** A gauge with one value for each value of a label, or, without a label, a single one. */
  #gauge(name: string, help: string, label: string | null, values: () => Values): void {
    const labelNames = label === null ? [] : [label];
    new Gauge({
      name,
      help,
      labelNames,
      registers: this.#registers,
      collect() {
        for (const [key, value] of Object.entries(values())) this.set(label === null ? {} : { [label]: key }, value);
      },
    });
  }

  #delays(): Values {
    const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - resolution / 1000);
    const values = { 0.5: this.#delay.percentile(50), 0.99: this.#delay.percentile(99), 1: this.#delay.max };
    this.#delay.reset();
    return Object.fromEntries(Object.entries(values).map(([quantile, value]) => [quantile, seconds(value)]));
  }
}
