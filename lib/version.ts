// What package.json says too: a bundle does not have it.
/** The version of this package. */
export const version = "0.1.0";
/** The oldest version of Node.js that it runs on. */
export const oldestNode = "20.17";
