import { CaracalError } from "../../errors.js";
import { concatRows } from "../../ops/rows.js";
import { repetitionPenalty, sample } from "../../ops/sampling.js";
import { type OptionRule, optional, positiveInteger } from "../../options.js";
import type { DType } from "../../tensor/dtype.js";
import { disposeAll, type Tensor } from "../../tensor/tensor.js";
import { Turns } from "../../turns.js";
import type { KvSequence } from "../language/kvCache.js";
import type { Llm } from "../language/llm.js";
import { nextPass, type Slice } from "../language/passes.js";
import type { OmniEmbedding } from "../prompt/embedding.js";
import type { AudioHeads } from "../speech/heads.js";
import type { Ids, Logits, Rows } from "../types.js";
import { Continuation, type PrefillTask } from "./continuation.js";
import { logProbabilitySteps, type TokenLogProbability } from "./logProbabilities.js";
import { type QueueStats, ReplyQueue } from "./queue.js";
import { Reply, textWindow } from "./reply.js";

/** How the replies of a model share its steps. */
export interface SchedulerOptions {
  /** Most prompt rows per pass. Default 512. */
  readonly prefillChunk?: number | undefined;
  /** Most replies per step. Default 16. */
  readonly maxBatch?: number | undefined;
  /**
   * Seconds for which a reply that nobody reads keeps its room in the KV cache while other replies wait for room; 0: not
   * at all, `Infinity`: for ever. It goes on when it is read again. Default 10.
   */
  readonly unreadSeconds?: number | undefined;
}
/** @internal */
export const schedulerOptions = {
  prefillChunk: optional(positiveInteger),
  maxBatch: optional(positiveInteger),
  unreadSeconds: optional({
    accepts: (value) => typeof value === "number" && value >= 0,
    expected: "a number of seconds from 0",
  }),
} satisfies Record<keyof SchedulerOptions, OptionRule>;

/** Most generated rows per pass that computes them again: in that form of the attention a row takes much memory. */
const maxRecomputedRows = 64;
/** The longest time that `setTimeout` takes, in milliseconds. */
const maxTimeout = 2 ** 31 - 1;

/** A task with its part of a pass over rows. */
interface TaskSlice<T extends PrefillTask = PrefillTask> extends Slice {
  readonly task: T;
}

/**
 * Runs the replies in progress on one language model. It alternates between one pass over prompts (packed, a chunk at a
 * time), one over generated rows that preempted replies have lost, and one step for all replies that can advance. A
 * reply whose events are not taken pauses without holding up the others. `ReplyQueue` decides who holds room in the
 * cache.
 */
export class Scheduler {
  readonly #llm: Llm;
  readonly #embedding: OmniEmbedding;
  readonly #heads: AudioHeads | null;
  readonly #prefillChunk: number;
  readonly #maxBatch: number;
  readonly #queue: ReplyQueue;
  #continuations: Continuation[] = [];
  #running = false;
  /** Whether something may have become runnable since the last decisions. */
  #woken = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param heads null: no reply speaks */
  constructor(llm: Llm, embedding: OmniEmbedding, heads: AudioHeads | null, options: SchedulerOptions = {}) {
    const { prefillChunk = 512, maxBatch = 16, unreadSeconds = 10 } = options;
    this.#llm = llm;
    this.#embedding = embedding;
    this.#heads = heads;
    this.#prefillChunk = prefillChunk;
    this.#maxBatch = maxBatch;
    this.#queue = new ReplyQueue(llm.cache, unreadSeconds);
    llm.cache.blocks.onFreed = () => this.wake(); // sequences of other code make room, too
  }

  add(reply: Reply): void {
    this.#checkPositions(reply);
    this.#queue.add(reply);
    reply.settled.addEventListener("abort", () => this.wake());
    this.wake();
  }

  /**
   * Appends embeddings `[T, hidden size]`, which it disposes, to the sequence of a conversation. They go before the prompts
   * of replies, and may take the room of any reply. One call at a time for each sequence.
   * @throws {CaracalError} `OUT_OF_MEMORY` when the cache is full of conversations, `INVALID_ARGUMENT` when the sequence
   *   becomes longer than the model's positions, `ABORTED`
   */
  append(sequence: KvSequence, embeddings: Rows, signal: AbortSignal): Promise<void> {
    const continuation = new Continuation(embeddings, sequence, signal);
    this.#checkPositions(continuation);
    this.#continuations.push(continuation);
    continuation.settled.addEventListener("abort", () => this.wake());
    this.wake();
    return continuation.done;
  }

  /** Resumes the loop. Call whenever a reply may have become runnable. */
  wake(): void {
    this.#woken = true;
    if (!this.#running) void this.#run();
  }

  stats(): QueueStats {
    return this.#queue.stats();
  }

  async #run(): Promise<void> {
    this.#running = true;
    clearTimeout(this.#timer);
    await Promise.resolve(); // lets the caller of wake() finish first
    while (this.#woken) {
      this.#woken = false;
      const continuations = this.#continue();
      this.#queue.admit();
      for (const reply of this.#queue.active) reply.reuse(); // what was computed for others since it was admitted
      const prompts = promptPass([...continuations, ...this.#queue.active], this.#prefillChunk);
      if (prompts.length > 0) await failing(tasksOf(prompts), () => this.#prefill(prompts));
      const lost = recomputingPass(this.#queue.active, Math.min(this.#prefillChunk, maxRecomputedRows));
      if (lost.length > 0) await failing(tasksOf(lost), () => this.#recompute(lost));
      const batch = this.#queue.nextBatch(this.#maxBatch);
      if (batch.length > 0) await failing(batch, () => this.#step(batch));
      if (prompts.length + lost.length + batch.length > 0) this.#woken = true;
    }
    this.#running = false; // in the same turn as the last decisions, so no wake is lost
    const delay = this.#queue.untilRoom;
    if (delay !== undefined) this.#timer = setTimeout(() => this.wake(), Math.min(Math.ceil(delay), maxTimeout));
  }

  /** Fails a task that is longer than the model's positions, before a pass does for all of its tasks. */
  #checkPositions(task: PrefillTask): void {
    const { max_position_embeddings: limit } = this.#llm.config;
    const tokens = task.base + task.prompt.shape[0];
    if (tokens <= limit) return;
    const message = `the conversation has ${tokens} tokens, the model ${limit} positions: begin another one`;
    task.fail(new CaracalError("INVALID_ARGUMENT", message, { tokens, limit }));
  }

  /** The conversations that go on, each with room for its new rows. */
  #continue(): readonly Continuation[] {
    this.#continuations = this.#continuations.filter(({ settled }) => !settled.aborted);
    for (const task of this.#continuations) {
      const missing = task.base + task.prompt.shape[0] - task.sequence.length;
      try {
        this.#queue.reserve(task.sequence, missing);
      } catch (error) {
        task.fail(error);
      }
    }
    return this.#continuations.filter(({ settled }) => !settled.aborted);
  }

  async #prefill(pass: readonly TaskSlice[]): Promise<void> {
    const start = performance.now();
    const embeddings = pass.map(({ task: { prompt }, from, to }) => prompt.slice(from, to));
    using hidden = await this.#forward(pass, embeddings, "prefill");
    for (const { task, from, to } of pass) task.prefill(from, to, performance.now() - start);
    const ending = pass.flatMap(({ task, last }, row) =>
      last && task instanceof Reply && task.next === null && !task.settled.aborted ? [{ reply: task, row }] : [],
    );
    if (ending.length === 0) return;
    using rows = this.#llm.device.scope(() => concatRows(ending.map(({ row }) => hidden.slice(row, row + 1))));
    await this.#choose(
      rows,
      ending.map(({ reply }) => reply),
      performance.now(),
    );
  }

  /** Computes generated rows that were lost; what followed from them is known. */
  async #recompute(pass: readonly TaskSlice<Reply>[]): Promise<void> {
    const start = performance.now();
    const embeddings = pass.map(({ task: { steps }, from, to }) => this.#embedding.step(steps.slice(from, to)));
    using _ = await this.#forward(pass, embeddings, "decode");
    for (const { task, from, to } of pass) task.recompute(to - from, performance.now() - start);
  }

  /** Appends rows to sequences, and disposes their embeddings. */
  async #forward(pass: readonly TaskSlice[], embeddings: readonly Rows[], mode: "prefill" | "decode"): Promise<Rows> {
    const abort = allAborted(pass.map(({ task }) => task.settled));
    const extensions = pass.map(({ task: { sequence } }, i) => ({ sequence, embeddings: embeddings[i]! }));
    let hidden: Rows | undefined;
    try {
      hidden = await this.#llm.forward(extensions, { signal: abort.signal, mode });
      await this.#computed(hidden.ready()); // so that an error surfaces here, not in steps of other replies
      return hidden;
    } catch (error) {
      hidden?.dispose();
      throw error;
    } finally {
      abort.release();
      disposeAll(embeddings);
    }
  }

  async #step(replies: readonly Reply[]): Promise<void> {
    const start = performance.now();
    using hidden = this.#llm.device.scope(() => {
      const x = this.#embedding.step(replies.map(({ next }) => next!));
      return this.#llm.decode(
        replies.map(({ sequence }) => sequence),
        x,
      );
    });
    await this.#choose(hidden, replies, start);
  }

  /** Awaits results of the language model. If they fail, later results for other replies must not fail with them. */
  async #computed<T>(result: Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (error) {
      this.#llm.recover();
      throw error;
    }
  }

  /** Samples the ids that follow hidden states `[replies, hidden size]`, and passes them to the replies. */
  async #choose(hidden: Rows, replies: readonly Reply[], start: number): Promise<void> {
    const heads = this.#heads;
    const { text, codes, wanted } = this.#llm.device.scope(() => {
      const logits = replies.some((reply) => reply.writes) ? this.#llm.logits(hidden) : undefined;
      return {
        text: logits ? [chooseText(logits, replies)] : [],
        codes:
          heads && replies.some((reply) => reply.speaks)
            ? heads.step(hidden, codecHistories(replies, heads.books))
            : [],
        wanted: logits ? wantedLogits(logits, replies) : [],
      };
    });
    try {
      const reads = [readAll(text), readAll(codes), readAll(wanted.map((want) => want.logits))] as const;
      const [textIds, codecIds, rows] = await this.#computed(Promise.all(reads));
      const probabilities = await logProbabilities(wanted, rows, textIds[0]);
      replies.forEach((reply, row) => {
        if (reply.settled.aborted) return;
        reply.usage.decode(start);
        reply.take(
          textIds[0]?.[row] ?? -1,
          codecIds.map((ids) => ids[row]!),
          probabilities.get(row) ?? null,
        );
      });
    } finally {
      disposeAll([text, codes, wanted]);
    }
  }
}

/** The next rows of prompts. */
function promptPass(tasks: readonly PrefillTask[], maxRows: number): TaskSlice[] {
  const prompts = tasks.map(({ prompt: { shape }, sequence, base }) => {
    return { length: shape[0], done: Math.min(sequence.length - base, shape[0]) };
  });
  return nextPass(prompts, maxRows).map((slice) => ({ ...slice, task: tasks[slice.index]! }));
}

/** The next generated rows that preempted replies have lost; `from` and `to` count steps. */
function recomputingPass(replies: readonly Reply[], maxRows: number): TaskSlice<Reply>[] {
  const promptEnd = ({ base, prompt }: Reply) => base + prompt.shape[0];
  const behind = replies.filter((reply) => reply.sequence.length >= promptEnd(reply));
  const steps = behind.map((reply) => {
    return { length: reply.steps.length, done: reply.sequence.length - promptEnd(reply) };
  });
  return nextPass(steps, maxRows).map((slice) => ({ ...slice, task: behind[slice.index]! }));
}

const tasksOf = (pass: readonly TaskSlice[]) => pass.map(({ task }) => task);

const readAll = <D extends DType>(tensors: readonly Tensor<D>[]) => Promise.all(tensors.map((tensor) => tensor.read()));

/** The logits of a row whose reply wants log-probabilities, `[1, vocabulary]`. */
interface WantedLogits {
  readonly row: number;
  /** The number of likeliest tokens to report. */
  readonly count: number;
  readonly logits: Logits;
}

function wantedLogits(logits: Logits, replies: readonly Reply[]): WantedLogits[] {
  return replies.flatMap(({ logProbabilities: count }, row) =>
    count === null ? [] : [{ row, count, logits: logits.slice(row, row + 1) }],
  );
}

/** The log-probabilities of the text ids of rows that want them, by row. */
async function logProbabilities(
  wanted: readonly WantedLogits[],
  rows: readonly Float32Array[],
  textIds: Int32Array | undefined,
): Promise<Map<number, TokenLogProbability>> {
  const found = new Map<number, TokenLogProbability>();
  const turns = new Turns("computing log-probabilities");
  for (const [i, { row, count }] of wanted.entries())
    found.set(row, await turns.during(logProbabilitySteps(rows[i]!, textIds![row]!, count)));
  return found;
}

function codecHistories(replies: readonly Reply[], books: number): (readonly number[])[][] {
  return Array.from({ length: books }, (_, book) => replies.map((reply) => reply.codecHistory(book)));
}

/** One text id per row: the likeliest, or sampled. Only sampled rows are penalised, as in the published code. */
function chooseText(logits: Logits, replies: readonly Reply[]): Ids {
  const samplings = replies.map(({ sampling }) => sampling);
  const samples = samplings.map(({ temperature, topK }) => temperature > 0 && topK !== 1);
  const penalties = samplings.map(({ repetitionPenalty: penalty }, row) => (samples[row] ? penalty : 1));
  let penalised = logits;
  for (const penalty of new Set(penalties)) {
    if (penalty === 1) continue;
    const history = new Int32Array(replies.length * textWindow).fill(-1);
    replies.forEach(({ textHistory }, row) => {
      if (penalties[row] === penalty) history.set(textHistory.slice(-textWindow), row * textWindow);
    });
    const rows = logits.device.tensor(history, [replies.length, textWindow], "i32");
    penalised = repetitionPenalty(penalised, rows, penalty);
  }
  return sample(penalised, {
    temperature: samplings.map(({ temperature }, row) => (samples[row] ? temperature : 0)),
    topK: samplings.map(({ topK }) => topK),
    topP: samplings.map(({ topP }) => topP),
    seed: samplings.map(({ seed }) => seed),
    step: replies.map(({ usage }) => usage.steps),
  });
}

/** Runs `work`; an error ends only the tasks it was for. */
async function failing(tasks: readonly PrefillTask[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    for (const task of tasks) task.fail(error);
  }
}

/** A signal that is aborted once all of `signals` are aborted, until it is released. */
function allAborted(signals: readonly AbortSignal[]): { signal: AbortSignal; release(): void } {
  const all = new AbortController();
  const check = () => {
    if (signals.every((signal) => signal.aborted)) all.abort();
  };
  for (const signal of signals) signal.addEventListener("abort", check);
  return {
    signal: all.signal,
    release: () => {
      for (const signal of signals) signal.removeEventListener("abort", check);
    },
  };
}
