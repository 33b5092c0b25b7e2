export * from "./norm.js";
