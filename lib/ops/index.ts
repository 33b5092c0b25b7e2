export * from "./attention.js";
export * from "./audio.js";
export * from "./audioStream.js";
export * from "./linear.js";
export * from "./machine.js";
export * from "./moe.js";
export * from "./norm.js";
