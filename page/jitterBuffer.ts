/** How much is kept back before sound is played, in seconds. */
export interface Prebuffer {
  /** At first. */
  readonly least: number;
  /** However often the sound broke off. */
  readonly most: number;
}

export const defaultPrebuffer: Prebuffer = { least: 0.08, most: 0.64 };

/** A reply in the buffer. */
interface Reply {
  readonly id: string;
  readonly pieces: Float32Array[];
  /** Samples in `pieces` that have not been played. */
  waiting: number;
  played: number;
  ended: boolean;
}

/** What a `pull` did. */
export interface Pulled {
  /** The reply of which the first sample was played. */
  readonly began?: string;
  /** The reply of which the last sample was played. */
  readonly finished?: string;
}

/**
 * Evens out the gaps between pieces of sound that come over a network. A reply is played when so much of it has come, or
 * all of it. If it runs out before the next piece, that is an underrun: twice as much is kept back from then on.
 */
export class JitterBuffer {
  #prebuffer: number;
  readonly #most: number;
  readonly #replies: Reply[] = [];
  #isPlaying = false;
  #underruns = 0;
  /** The last sample that was played, which fades out if the sound stops. */
  #last = 0;

  /** @param rate of the samples, in Hz */
  constructor(rate: number, { least, most }: Prebuffer = defaultPrebuffer) {
    this.#prebuffer = Math.round(rate * least);
    this.#most = Math.round(rate * most);
  }

  /** How often the sound broke off amid a reply. */
  get underruns(): number {
    return this.#underruns;
  }

  /** Samples that are kept back before a reply is played. */
  get prebuffer(): number {
    return this.#prebuffer;
  }

  /** Takes a piece of a reply, which follows the replies before it. */
  push(id: string, samples: Float32Array): void {
    let reply = this.#replies.at(-1);
    if (reply?.id !== id) {
      reply = { id, pieces: [], waiting: 0, played: 0, ended: false };
      this.#replies.push(reply);
    }
    if (reply.played > 0 && reply.waiting === 0) {
      this.#underruns++;
      this.#prebuffer = Math.min(2 * this.#prebuffer, this.#most);
    }
    reply.pieces.push(samples);
    reply.waiting += samples.length;
  }

  /** Notes that nothing more of a reply will come. */
  end(id: string): void {
    const reply = this.#replies.find((other) => other.id === id);
    if (reply) reply.ended = true;
  }

  /** Drops everything. @returns the reply that was next, and the samples of it that were played */
  clear(): { readonly id: string; readonly played: number } | undefined {
    const [reply] = this.#replies;
    this.#replies.length = 0;
    this.#isPlaying = false;
    return reply && { id: reply.id, played: reply.played };
  }

  /** Fills a block with what is to be played, and silence after it. */
  pull(block: Float32Array): Pulled {
    const [reply] = this.#replies;
    if (reply && !this.#isPlaying) this.#isPlaying = reply.ended || reply.waiting >= this.#prebuffer;
    const count = reply && this.#isPlaying ? this.#take(reply, block) : 0;
    this.#fade(block, count);
    if (!reply || !this.#isPlaying) return {};
    const began = reply.played === count && count > 0 ? { began: reply.id } : {};
    if (reply.waiting > 0) return began;
    this.#isPlaying = false;
    if (!reply.ended) return began;
    this.#replies.shift();
    return { ...began, finished: reply.id };
  }

  /** Moves samples of a reply to a block. @returns how many */
  #take(reply: Reply, block: Float32Array): number {
    let count = 0;
    for (let piece = reply.pieces[0]; piece && count < block.length; piece = reply.pieces[0]) {
      const taken = piece.subarray(0, block.length - count);
      block.set(taken, count);
      count += taken.length;
      if (taken.length === piece.length) reply.pieces.shift();
      else reply.pieces[0] = piece.subarray(taken.length);
    }
    reply.waiting -= count;
    reply.played += count;
    return count;
  }

  /** Leads from the last sample to silence, without a click. */
  #fade(block: Float32Array, from: number): void {
    let last = from > 0 ? block[from - 1]! : this.#last;
    for (let i = from; i < block.length; i++) {
      last *= 0.97;
      block[i] = last;
    }
    this.#last = Math.abs(last) < 1e-4 ? 0 : last;
  }
}
