import { CaracalError, type ErrorCode } from "../errors.js";

/** The fields of OpenAI's errors, and the status of the response that carries one. */
export interface Problem {
  readonly status: 400 | 401 | 403 | 404 | 413 | 426 | 429 | 500 | 501 | 503;
  readonly message: string;
  /** The field of the request that is refused. */
  readonly param?: string | null;
  readonly code: string;
}

/** A request that is not answered. It never leaves the server: clients get its `problem`. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** Refuses a field of a request, which the message then names. */
export function invalid(problem: string, param: string | null = null, code = "invalid_value"): Refusal {
  return new Refusal({ status: 400, message: param === null ? problem : `${param}: ${problem}`, param, code });
}

/**
 * What a client gets for an error of the library; all others are the server's fault (500). The messages of 400 and 501
 * are about the request, and are passed on. Those of the others may be about files and devices, and have no text here.
 */
const answers: Partial<Record<ErrorCode, Pick<Problem, "status" | "code"> & { readonly message?: string }>> = {
  INVALID_ARGUMENT: { status: 400, code: "invalid_value" },
  MEDIA_INVALID: { status: 400, code: "invalid_media" },
  UNSUPPORTED: { status: 501, code: "unsupported" },
  MISSING_TOOL: { status: 501, code: "missing_tool" },
  OUT_OF_MEMORY: { status: 503, code: "out_of_memory", message: "the server has no memory for this reply now" },
  ABORTED: { status: 503, code: "shutting_down", message: "the server is shutting down" },
  DISPOSED: { status: 503, code: "shutting_down", message: "the server is shutting down" },
};
const fault: Problem = { status: 500, code: "internal_error", message: "the server failed to answer this request" };

/** The options of `OmniModel.generate` in messages, by the names that a request has for them. */
const requestNames: Readonly<Record<string, string>> = {
  "generate: ": "",
  maxTokens: "max_completion_tokens",
  topK: "top_k",
  topP: "top_p",
  repetitionPenalty: "repetition_penalty",
  kvCacheTokens: "KV cache (--kv-tokens)",
};
const optionNames = new RegExp(Object.keys(requestNames).join("|"), "g");

/**
 * What a client gets for any error.
 * @param clientNames what the client knows the server's files as
 */
export function problemOf(error: unknown, clientNames: ReadonlyMap<string, string> = new Map()): Problem {
  if (error instanceof Refusal) return error.problem;
  if (!(error instanceof CaracalError)) return fault;
  let message = error.message.replace(optionNames, (name) => requestNames[name]!);
  for (const [file, name] of clientNames) message = message.replaceAll(file, name);
  // Prompts and replies that are too long for the limits, the model's positions or the KV cache.
  if (error.details.tokens !== undefined) return { status: 400, message, code: "context_length_exceeded" };
  return { ...fault, ...(answers[error.code] && { message, ...answers[error.code] }) };
}

const types: Partial<Record<Problem["status"], string>> = { 429: "rate_limit_error", 401: "authentication_error" };

/** A problem as OpenAI writes it. */
export function errorBody({ status, message, param = null, code }: Problem) {
  const type = types[status] ?? (status < 500 ? "invalid_request_error" : "server_error");
  return { error: { message, type, param, code } };
}

/** A problem as a response. One that passes by itself says so, which clients wait for. */
export function errorResponse(problem: Problem): Response {
  const headers: Record<string, string> = {};
  if (problem.status === 429 || problem.status === 503) headers["Retry-After"] = "1";
  if (problem.status === 401) headers["WWW-Authenticate"] = "Bearer";
  return Response.json(errorBody(problem), { status: problem.status, headers });
}
