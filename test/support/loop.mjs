// Plain JavaScript, since bench/eventLoop.mjs uses it too.
import koffi from "koffi";

const threadClock = 3; // CLOCK_THREAD_CPUTIME_ID of Linux
koffi.struct("timespec", { seconds: "int64", nanoseconds: "int64" });
const clockGettime = koffi.load("libc.so.6").func("int clock_gettime(int, _Out_ timespec *)");

/**
 * The milliseconds of processor time that this thread has taken: on a busy machine, waiting for a processor adds none.
 * @returns {number}
 */
export function threadTime() {
  const now = { seconds: 0, nanoseconds: 0 };
  clockGettime(threadClock, now);
  return Number(now.seconds) * 1000 + Number(now.nanoseconds) / 1e6;
}

/**
 * The longest turn of the event loop during `run`, in milliseconds of this thread's processor time.
 * @param {() => Promise<unknown>} run
 * @returns {Promise<number>}
 */
export async function longestTurn(run) {
  let longest = 0;
  let last = threadTime();
  let watches = true;
  const turn = () => {
    const now = threadTime();
    longest = Math.max(longest, now - last);
    last = now;
    if (watches) setImmediate(turn);
  };
  setImmediate(turn);
  await run();
  watches = false;
  turn();
  return longest;
}
