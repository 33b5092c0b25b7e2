import { concatRows } from "../../ops/rows.js";
import { repetitionPenalty, sample } from "../../ops/sampling.js";
import type { Llm } from "../language/llm.js";
import { nextPass, type Slice } from "../language/passes.js";
import type { OmniEmbedding } from "../prompt/embedding.js";
import type { AudioHeads } from "../speech/heads.js";
import type { Ids, Logits, Rows } from "../types.js";
import { type Reply, textWindow } from "./reply.js";

export interface SchedulerOptions {
  /** Most prompt rows per pass. Default 512. */
  readonly prefillChunk?: number | undefined;
  /** Most replies per step. Default 16. */
  readonly maxBatch?: number | undefined;
}
/** @internal */
export const schedulerOptions = { prefillChunk: true, maxBatch: true } satisfies Record<keyof SchedulerOptions, true>;

/** A reply with its part of a pass over prompts. */
interface ReplySlice extends Slice {
  readonly reply: Reply;
}

/**
 * Runs the replies in progress on one language model, alternating between one pass over prompts (packed, a chunk at a
 * time) and one step for all replies that can advance. A reply whose events are not taken pauses without holding up the
 * others. Replies that do not fit in the cache wait until others end.
 */
export class Scheduler {
  readonly #llm: Llm;
  readonly #embedding: OmniEmbedding;
  readonly #heads: AudioHeads;
  readonly #prefillChunk: number;
  readonly #maxBatch: number;
  /** Not yet admitted: the cache has no room for their prompts. */
  #waiting: Reply[] = [];
  #active: Reply[] = [];
  #running = false;

  constructor(llm: Llm, embedding: OmniEmbedding, heads: AudioHeads, options: SchedulerOptions = {}) {
    this.#llm = llm;
    this.#embedding = embedding;
    this.#heads = heads;
    this.#prefillChunk = options.prefillChunk ?? 512;
    this.#maxBatch = options.maxBatch ?? 16;
  }

  add(reply: Reply): void {
    this.#waiting.push(reply);
    reply.settled.addEventListener("abort", () => this.wake());
    this.wake();
  }

  /** Resumes the loop. Call whenever a reply may have become runnable. */
  wake(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  /** Fails every reply. */
  failAll(error: unknown): void {
    for (const reply of [...this.#waiting, ...this.#active]) reply.fail(error);
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // lets the caller of wake() finish first
    while (this.#running) {
      this.#waiting = this.#waiting.filter((reply) => !reply.settled.aborted);
      this.#active = this.#active.filter((reply) => !reply.settled.aborted);
      this.#admit();
      const pass = this.#nextPass();
      if (pass.length > 0)
        await failing(
          pass.map(({ reply }) => reply),
          () => this.#prefill(pass),
        );
      const batch = this.#nextBatch(pass.length > 0);
      if (batch.length > 0) await failing(batch, () => this.#step(batch));
      this.#running = pass.length + batch.length > 0; // set synchronously after the decision, so no wake is lost
    }
  }

  /** Reserves cache space for whole prompts, in order, so that two partial prompts never block each other. */
  #admit(): void {
    for (;;) {
      const reply = this.#waiting[0];
      if (!reply) return;
      const rows = reply.prompt.shape[0] + 1;
      const fits = this.#llm.cache.fits([{ sequence: reply.sequence, rows }]);
      if (!fits && this.#active.length > 0) return;
      this.#waiting.shift();
      try {
        reply.sequence.reserve(rows);
        this.#active.push(reply);
      } catch (error) {
        reply.fail(error); // no other reply will make room
      }
    }
  }

  #nextPass(): ReplySlice[] {
    const prompts = this.#active.map(({ prompt, prefilled }) => ({ length: prompt.shape[0], done: prefilled }));
    return nextPass(prompts, this.#prefillChunk).map((slice) => ({ ...slice, reply: this.#active[slice.index]! }));
  }

  /** Replies that can take a step now. If none can for lack of space, one of them is run, and fails. */
  #nextBatch(prefilling: boolean): Reply[] {
    const decoding = this.#active.filter((r) => !r.settled.aborted && r.prefilled === r.prompt.shape[0]);
    const ready = decoding.filter((reply) => !reply.paused);
    const batch: Reply[] = [];
    for (const reply of ready) {
      if (batch.length === this.#maxBatch) break;
      if (this.#llm.cache.fits([...batch, reply].map(({ sequence }) => ({ sequence, rows: 1 })))) batch.push(reply);
    }
    const spaceMayFree = prefilling || decoding.length > ready.length;
    if (batch.length === 0 && ready.length > 0 && !spaceMayFree) return [ready.at(-1)!];
    // Replies left out go first next time.
    this.#active = [...this.#active.filter((reply) => !batch.includes(reply)), ...batch];
    return batch;
  }

  async #prefill(pass: readonly ReplySlice[]): Promise<void> {
    const start = performance.now();
    const abort = allAborted(pass.map(({ reply }) => reply.settled));
    const extensions = pass.map(({ reply: { sequence, prompt }, from, to }) => {
      return { sequence, embeddings: prompt.slice(from, to) };
    });
    try {
      using hidden = await this.#llm.forward(extensions, { signal: abort.signal });
      await this.#computed(hidden.ready()); // so that an error surfaces here, not in steps of other replies
      for (const { reply, from, to } of pass) {
        reply.prefilled = to;
        reply.usage.add("prefill", performance.now() - start, to - from);
        reply.events.push({ type: "stage", stage: "prefill", done: to, total: reply.prompt.shape[0] });
      }
      const ending = [...pass.entries()].filter(([, { reply, last }]) => last && !reply.settled.aborted);
      if (ending.length === 0) return;
      using rows = this.#llm.device.scope(() => concatRows(ending.map(([row]) => hidden.slice(row, row + 1))));
      await this.#choose(
        rows,
        ending.map(([, { reply }]) => reply),
        performance.now(),
      );
    } finally {
      abort.release();
      for (const { embeddings } of extensions) embeddings.dispose();
    }
  }

  async #step(replies: readonly Reply[]): Promise<void> {
    const start = performance.now();
    using hidden = this.#llm.device.scope(() => {
      const x = this.#embedding.step(replies.map(({ next }) => next));
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
    const { text, codes } = this.#llm.device.scope(() => ({
      text: replies.some((reply) => reply.writes) ? [chooseText(this.#llm.logits(hidden), replies)] : [],
      codes: replies.some((reply) => reply.speaks) ? heads.step(hidden, codecHistories(replies, heads.books)) : [],
    }));
    try {
      const [textIds, codecIds] = await this.#computed(Promise.all([readAll(text), readAll(codes)]));
      replies.forEach((reply, row) => {
        if (reply.settled.aborted) return;
        reply.usage.decode(start);
        reply.take(
          textIds[0]?.[row] ?? -1,
          codecIds.map((ids) => ids[row]!),
        );
      });
    } finally {
      for (const tensor of [...text, ...codes]) tensor.dispose();
    }
  }
}

const readAll = (tensors: readonly Ids[]) => Promise.all(tensors.map((tensor) => tensor.read()));

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

/** Runs `work`; an error ends only the replies it was for. */
async function failing(replies: readonly Reply[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    for (const reply of replies) reply.fail(error);
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
