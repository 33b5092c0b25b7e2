import { setTimeout } from "node:timers/promises";

/** What a microphone delivers at once, in seconds. */
export const packetSeconds = 0.02;

/**
 * Calls `next` every 20 ms with the time at which the microphone has heard the packet, until it returns false. Packets that
 * are late do not delay those after them. Times in seconds of `now`.
 * @returns the largest delay
 */
export async function everyPacket(now: () => number, next: (time: number) => boolean): Promise<number> {
  const start = now();
  let worst = 0;
  for (let packet = 1; ; packet++) {
    const due = start + packet * packetSeconds;
    for (let early = due - now(); early > 0; early = due - now()) await setTimeout(1000 * early); // it may be early itself
    worst = Math.max(worst, now() - due);
    if (!next(due)) return worst;
  }
}
