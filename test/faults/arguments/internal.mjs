/** What TypeScript does not let a program call, and the error class, whose objects the library makes. */
export const internal = "internal";
