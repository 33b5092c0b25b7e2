/**
 * The server, which programs import as `caracal/server`: those that serve nothing need not load what it stands on.
 * @module caracal/server
 */
export type { ServerLimits } from "./limits.js";
export { OmniServer } from "./omniServer.js";
export { type ServeOptions, serve } from "./serve.js";
export type { ServerState } from "./service.js";
