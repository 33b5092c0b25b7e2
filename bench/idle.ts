import { cpus } from "node:os";

/** Milliseconds that the machine's cores were idle, together, since it started. */
export const idleTime = (): number => cpus().reduce((sum, { times }) => sum + times.idle, 0);
