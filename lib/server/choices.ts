import type { GenerateEvent } from "../model/reply/events.js";
import type { Generation } from "../model/reply/generation.js";

/** An event of one of several replies to the same prompt. */
export interface ChoiceEvent {
  readonly index: number;
  readonly event: GenerateEvent;
}

/**
 * The events of several replies as they come, no more than one of each ahead, so that replies whose events are not read
 * pause. Ends all of them when one fails, or when the iteration is left.
 */
export async function* choiceEvents(generations: readonly Generation[]): AsyncGenerator<ChoiceEvent, void> {
  const pending = new Map<number, Promise<{ index: number; result: IteratorResult<GenerateEvent> }>>();
  const take = (index: number) => {
    const next = generations[index]!.next().then((result) => ({ index, result }));
    next.catch(() => {}); // it may fail while nobody waits for it: the race below will say so
    pending.set(index, next);
  };
  for (const index of generations.keys()) take(index);
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      pending.delete(index);
      if (result.done) continue;
      yield { index, event: result.value };
      take(index); // behind the others, which therefore get their turns
    }
  } finally {
    for (const generation of generations) void generation.return();
  }
}
