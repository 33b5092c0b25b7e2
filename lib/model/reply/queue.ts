import { CaracalError } from "../../errors.js";
import type { KvCache, KvSequence } from "../language/kvCache.js";
import type { Reply } from "./reply.js";

/** The load of a model at one moment, as a service would export it. */
export interface QueueStats {
  /** Replies that wait for room in the KV cache and have not begun. */
  readonly waiting: number;
  /** Preempted replies: they wait for room to be computed again or, if unread, to be read. */
  readonly preempted: number;
  /** Replies that hold room in the KV cache. */
  readonly active: number;
  /** Active and preempted replies that pause because their events are not read. */
  readonly unread: number;
  /** Preemptions since the model was loaded. */
  readonly preemptions: number;
  /** Seconds that the reply that has waited longest for room has waited so far; 0 when none waits. */
  readonly longestWait: number;
  /**
   * Tokens of the KV cache, in whole blocks; `used` includes sequences that are not those of replies. `cached` tokens are
   * `free`, too: what ended replies have left, which later ones can reuse until the room is needed.
   */
  readonly cache: { readonly tokens: number; readonly used: number; readonly free: number; readonly cached: number };
}

/**
 * Decides which replies hold room in the KV cache. Replies are admitted in the order of their arrival, each when its
 * prompt fits. When a reply in progress needs a block and none is free, it takes the room of younger replies, the
 * youngest first: these are preempted, and wait in front of all that arrived after them.
 *
 * A reply that nobody reads pauses and keeps its room until others have to wait for room and it has been unread for
 * `unreadSeconds`; it is then preempted, and queues again when it is read.
 *
 * Everything gets its turn: the oldest reply that is read can take the room of all others, so it never stops; nobody
 * overtakes in the queue; and a reply that would not fit even alone fails as soon as that is known.
 */
export class ReplyQueue {
  readonly #cache: KvCache;
  readonly #unreadMilliseconds: number;
  #replies: Reply[] = [];
  readonly #admitted = new Set<Reply>();
  #preemptions = 0;
  /** Whether a reply could not get room at the last decisions. */
  #wanting = false;

  constructor(cache: KvCache, unreadSeconds: number) {
    this.#cache = cache;
    this.#unreadMilliseconds = 1000 * unreadSeconds;
  }

  add(reply: Reply): void {
    this.#replies.push(reply);
  }

  /** All replies in progress, oldest first. */
  get replies(): readonly Reply[] {
    return this.#replies.filter(({ settled }) => !settled.aborted);
  }

  /** The replies that hold room, in the order in which they take turns. */
  get active(): readonly Reply[] {
    return [...this.#admitted].filter(({ settled }) => !settled.aborted);
  }

  /** Admits the replies that fit, with room for all their rows, so that two partly computed ones never block each other. */
  admit(): void {
    this.#forgetEnded();
    this.#wanting = false;
    for (const reply of this.#queued()) {
      if (!this.#makeRoom(reply, reply.rows + 1 - reply.sequence.length, [])) break;
      reply.reuse();
      if (!reserved(reply, reply.rows + 1 - reply.sequence.length)) continue;
      reply.usage.wait(false);
      this.#admitted.add(reply);
    }
  }

  /**
   * Takes room for a step of every admitted reply that is ready for one, the oldest first.
   * @returns up to `maxBatch` of the replies that got room; those left out go first next time
   */
  nextBatch(maxBatch: number): Reply[] {
    this.#forgetEnded();
    const byAge = this.#replies.filter((reply) => this.#admitted.has(reply));
    const able = new Set<Reply>();
    for (const [age, reply] of byAge.entries()) {
      const ready = this.#admitted.has(reply) && !reply.paused && reply.sequence.length === reply.rows;
      if (!ready || !this.#makeRoom(reply, 1, byAge.slice(age + 1))) continue;
      if (reserved(reply, 1)) able.add(reply);
    }
    const batch = this.active.filter((reply) => able.has(reply)).slice(0, maxBatch);
    for (const reply of batch) {
      this.#admitted.delete(reply);
      this.#admitted.add(reply);
    }
    return batch;
  }

  /**
   * Takes room for rows of a sequence that is no reply's, in that of any reply.
   * @throws {CaracalError} `OUT_OF_MEMORY`
   */
  reserve(sequence: KvSequence, rows: number): void {
    this.#freeFor(sequence, () => rows, this.#replies);
    sequence.reserve(rows);
  }

  /** Milliseconds until an unread reply will give way to one that wants room; undefined when none will. */
  get untilRoom(): number | undefined {
    if (!this.#wanting) return undefined;
    const longest = Math.max(...this.active.map((reply) => (reply.paused ? unreadFor(reply) : -Infinity)));
    const left = this.#unreadMilliseconds - longest;
    return Number.isFinite(left) ? Math.max(0, left) : undefined;
  }

  stats(): QueueStats {
    const { tokens, freeTokens: free, cachedTokens: cached } = this.#cache;
    const { replies } = this;
    const count = (counts: (reply: Reply) => boolean) => replies.filter(counts).length;
    const begun = (reply: Reply) => this.#admitted.has(reply) || reply.usage.preemptions > 0;
    return {
      waiting: count((reply) => !begun(reply)),
      preempted: count((reply) => begun(reply) && !this.#admitted.has(reply)),
      active: count((reply) => this.#admitted.has(reply)),
      unread: count((reply) => begun(reply) && reply.paused),
      preemptions: this.#preemptions,
      longestWait: Math.max(0, ...replies.map(({ usage }) => usage.waiting)),
      cache: { tokens, used: tokens - free, free, cached },
    };
  }

  /** The replies that wait for room, oldest first: those that nobody reads do not. */
  #queued(): Reply[] {
    const others = this.#replies.filter((reply) => !this.#admitted.has(reply));
    for (const reply of others) reply.usage.wait(!reply.paused);
    return others.filter((reply) => !reply.paused);
  }

  #forgetEnded(): void {
    this.#replies = this.#replies.filter(({ settled }) => !settled.aborted);
    for (const reply of this.#admitted) if (reply.settled.aborted) this.#admitted.delete(reply);
  }

  /**
   * Makes room for more rows of a reply, in that of replies that were unread for too long, then of `younger` ones from
   * the end. A reply that the whole cache could not hold fails.
   * @returns whether there is room
   */
  #makeRoom(reply: Reply, rows: number, younger: readonly Reply[]): boolean {
    const { sequence } = reply;
    if (sequence.length + rows > this.#cache.tokens) {
      reply.fail(tooLong(sequence.length + rows, this.#cache.tokens));
      return false;
    }
    if (this.#freeFor(sequence, () => rows - reply.heldRows, younger)) return true;
    const waits = !reply.inConversation || this.active.some((other) => other !== reply);
    if (waits) this.#wanting = true;
    else reply.endFull(full(this.#cache.tokens)); // only conversations hold the room, its own among them: nobody will give way
    return false;
  }

  /** Frees blocks until the rows fit, those of unread replies and of `givingWay` from the end. @returns whether they do */
  #freeFor(sequence: KvSequence, rows: () => number, givingWay: readonly Reply[]): boolean {
    while (!this.#cache.fits([{ sequence, rows: rows() }])) {
      const other = this.#unread(sequence) ?? givingWay.findLast((candidate) => this.#admitted.has(candidate));
      if (!other) return false;
      other.preempt();
      this.#admitted.delete(other);
      this.#preemptions++;
    }
    return true;
  }

  /** The reply that has been unread longest, and long enough to give way to another sequence. */
  #unread(sequence: KvSequence): Reply | undefined {
    const unread = this.active.filter(
      (other) => other.sequence !== sequence && other.paused && unreadFor(other) >= this.#unreadMilliseconds,
    );
    return unread.sort((a, b) => unreadFor(b) - unreadFor(a))[0];
  }
}

/** Takes room for rows of a reply. One that cannot have them, because a sequence has a limit of its own, fails. */
function reserved(reply: Reply, rows: number): boolean {
  try {
    reply.sequence.reserve(rows);
    return true;
  } catch (error) {
    reply.fail(error);
    return false;
  }
}

const unreadFor = ({ events }: Reply) => performance.now() - events.changed;

const full = (tokens: number) =>
  new CaracalError(
    "OUT_OF_MEMORY",
    `the KV cache of ${tokens} tokens is full of conversations: end one, or load the model with a larger kvCacheTokens`,
    { tokens },
  );

function tooLong(wanted: number, tokens: number): CaracalError {
  return new CaracalError(
    "OUT_OF_MEMORY",
    `the reply and its prompt need ${wanted} tokens of the KV cache, which has ${tokens}: load the model with ` +
      "a larger kvCacheTokens, shorten the prompt, or lower maxTokens",
    { wanted, tokens },
  );
}
