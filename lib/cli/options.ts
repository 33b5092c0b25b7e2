import { InvalidArgumentError, Option } from "commander";

/** Parses a finite number. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}

/** Parses a whole number. */
export function parseInteger(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value)) throw new InvalidArgumentError("Expected a whole number.");
  return value;
}

/** Parses a whole number of at least 1. */
export function parsePositive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("Expected a positive whole number.");
  return value;
}

/** A parser of comma-separated values, each of which `parse` takes. */
export function listOf<T>(parse: (text: string) => T): (text: string) => T[] {
  return (text) => text.split(",").map(parse);
}

export const deviceOption = () =>
  new Option("--device <backend>", "where to compute").choices(["auto", "cpu", "cuda"]).default("auto");

export const activationsOption = () =>
  new Option("--activations <dtype>", "dtype of values between operations").choices(["f32", "bf16"]).default("f32");

export const strictOption = () => new Option("--strict", "refuse a model with tensors that the library does not know");

export const jsonOption = () => new Option("--json", "print one JSON document, and no progress");
