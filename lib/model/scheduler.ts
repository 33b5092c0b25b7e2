import type { Activations } from "../ops/call.js";
import { concatRows } from "../ops/rows.js";
import { repetitionPenalty, sample } from "../ops/sampling.js";
import type { Tensor } from "../tensor/tensor.js";
import type { AudioHeads } from "./audioHeads.js";
import type { OmniEmbedding } from "./embedding.js";
import type { Llm } from "./llm.js";
import type { Reply } from "./reply.js";

export interface SchedulerOptions {
  /** Prompt rows in one pass. Default 512. */
  readonly prefillChunk?: number | undefined;
  /** Replies in one step. Default 16. */
  readonly maxBatch?: number | undefined;
}

/** Prompt rows of one reply in a pass. */
interface Slice {
  readonly reply: Reply;
  readonly from: number;
  readonly to: number;
}

/** Steps that the repetition penalty of text looks back. */
const textWindow = 30;

/**
 * Runs the replies that are being made on one language model: in turns, one pass over prompts (packed, a chunk at a
 * time) and one step for all replies that can go on. A reply whose events nobody takes pauses; the others do not.
 * Replies that the cache has no room for wait until others end.
 */
export class Scheduler {
  /** Made but not admitted: the cache has no room for their prompts yet. */
  #waiting: Reply[] = [];
  #active: Reply[] = [];
  #running = false;
  readonly #prefillChunk: number;
  readonly #maxBatch: number;

  constructor(
    private readonly llm: Llm,
    private readonly embedding: OmniEmbedding,
    private readonly heads: AudioHeads,
    options: SchedulerOptions = {},
  ) {
    this.#prefillChunk = options.prefillChunk ?? 512;
    this.#maxBatch = options.maxBatch ?? 16;
  }

  add(reply: Reply): void {
    this.#waiting.push(reply);
    reply.settled.addEventListener("abort", () => this.wake());
    this.wake();
  }

  /** Goes on, if there is something to do: call it when a reply may have become able to. */
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
    await Promise.resolve(); // whoever woke us finishes first
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
      this.#running = pass.length + batch.length > 0; // in the same breath as that decision: no wake is lost
    }
  }

  /** Takes the cache's room for whole prompts, in order, so that two half-read ones never block each other. */
  #admit(): void {
    for (;;) {
      const reply = this.#waiting[0];
      if (!reply) return;
      const rows = reply.prompt.shape[0]! + 1;
      const fits = this.llm.cache.fits([{ sequence: reply.sequence, rows }]);
      if (!fits && this.#active.length > 0) return;
      this.#waiting.shift();
      try {
        reply.sequence.reserve(rows);
        this.#active.push(reply);
      } catch (error) {
        reply.fail(error); // nothing will make room
      }
    }
  }

  #nextPass(): Slice[] {
    const pass: Slice[] = [];
    let room = this.#prefillChunk;
    for (const reply of this.#active) {
      const from = reply.prefilled;
      const to = Math.min(from + room, reply.prompt.shape[0]!);
      if (to > from) pass.push({ reply, from, to });
      room -= to - from;
    }
    return pass;
  }

  /** Replies that can take a step now. When none can for want of room, one goes on, and fails. */
  #nextBatch(prefilling: boolean): Reply[] {
    const inReply = this.#active.filter((r) => !r.settled.aborted && r.prefilled === r.prompt.shape[0]);
    const ready = inReply.filter((reply) => !reply.paused);
    const batch: Reply[] = [];
    for (const reply of ready) {
      if (batch.length === this.#maxBatch) break;
      if (this.llm.cache.fits([...batch, reply].map(({ sequence }) => ({ sequence, rows: 1 })))) batch.push(reply);
    }
    const someoneWillMakeRoom = prefilling || inReply.length > ready.length;
    if (batch.length === 0 && ready.length > 0 && !someoneWillMakeRoom) return [ready.at(-1)!];
    // Those left out come first next time.
    this.#active = [...this.#active.filter((reply) => !batch.includes(reply)), ...batch];
    return batch;
  }

  async #prefill(pass: readonly Slice[]): Promise<void> {
    const start = performance.now();
    const abort = allAborted(pass.map(({ reply }) => reply.settled));
    const extensions = pass.map(({ reply: { sequence, prompt }, from, to }) => {
      return { sequence, embeddings: prompt.slice(from, to) };
    });
    try {
      using hidden = await this.llm.forward(extensions, { signal: abort.signal });
      await this.#computed(hidden.ready()); // an error shows here, not in steps of other replies
      for (const { reply, from, to } of pass) {
        reply.prefilled = to;
        reply.usage.add("prefill", performance.now() - start, to - from);
        reply.events.push({ type: "stage", stage: "prefill", done: to, total: reply.prompt.shape[0]! });
      }
      const last = pass.map(({ reply, to }, row) => ({ reply, row, ends: to === reply.prompt.shape[0] }));
      const ending = last.filter(({ reply, ends }) => ends && !reply.settled.aborted);
      if (ending.length === 0) return;
      using rows = this.llm.device.scope(() => concatRows(ending.map(({ row }) => hidden.slice(row, row + 1))));
      await this.#choose(
        rows as Tensor<Activations>,
        ending.map(({ reply }) => reply),
        performance.now(),
      );
    } finally {
      abort.release();
      for (const { embeddings } of extensions) embeddings.dispose();
    }
  }

  async #step(replies: readonly Reply[]): Promise<void> {
    const start = performance.now();
    using hidden = this.llm.device.scope(() => {
      const x = this.embedding.step(replies.map(({ next }) => next));
      return this.llm.decode(
        replies.map(({ sequence }) => sequence),
        x,
      );
    });
    await this.#choose(hidden, replies, start);
  }

  /** What the language model computed. When that failed, what it computes next for others must not fail with it. */
  async #computed<T>(result: Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (error) {
      this.llm.recover();
      throw error;
    }
  }

  /** Chooses the ids that follow hidden states [replies, hidden size], and gives them to the replies. */
  async #choose(hidden: Tensor<Activations>, replies: readonly Reply[], start: number): Promise<void> {
    const { text, codes } = this.llm.device.scope(() => ({
      text: replies.some((reply) => reply.writes) ? [chooseText(this.llm.logits(hidden), replies)] : [],
      codes: replies.some((reply) => reply.speaks) ? this.heads.step(hidden, codecHistories(replies, this.heads)) : [],
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

const readAll = (tensors: readonly Tensor<"i32">[]) => Promise.all(tensors.map((tensor) => tensor.read()));

function codecHistories(replies: readonly Reply[], { books }: AudioHeads): (readonly number[])[][] {
  return Array.from({ length: books }, (_, book) => replies.map((reply) => reply.codecHistory(book)));
}

/** One text id per row: the likeliest, or drawn. Penalised are only rows that draw, as published. */
function chooseText(logits: Tensor<"f32", readonly [number, number]>, replies: readonly Reply[]): Tensor<"i32"> {
  const samplings = replies.map(({ sampling }) => sampling);
  const draws = samplings.map(({ temperature, topK }) => temperature > 0 && topK !== 1);
  const penalties = samplings.map(({ repetitionPenalty: penalty }, row) => (draws[row] ? penalty : 1));
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
    temperature: samplings.map(({ temperature }, row) => (draws[row] ? temperature : 0)),
    topK: samplings.map(({ topK }) => topK),
    topP: samplings.map(({ topP }) => topP),
    seed: samplings.map(({ seed }) => seed),
    step: replies.map(({ usage }) => usage.steps),
  });
}

/** Runs `work`; an error ends the replies that it was for, and nothing else. */
async function failing(replies: readonly Reply[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    for (const reply of replies) reply.fail(error);
  }
}

/** A signal that is aborted once all of `signals` are, until it is released. */
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
