/** An error of a call, or of the connection: then `code` is 0. */
export class JobworkerError extends Error {
  /**
   * @param {string} message
   * @param {{code?: number, data?: Record<string, any>, hint?: string, cause?: unknown}} [more]
   */
  constructor(message, { code = 0, data = {}, hint = "", cause } = {}) {
    super(message, { cause });
    this.name = "JobworkerError";
    /** Of the agent, as in docs/reference/errors.md. */
    this.code = code;
    /** Further members of the error: `reason`, `retryable` and what belongs to the code. */
    this.data = data;
    /** What the user can do next. */
    this.hint = hint;
  }
}

/** No agent answers at the address, or the connection was lost; `sent`: the agent may carry the call out. */
export class ConnectionFailed extends JobworkerError {
  /**
   * @param {string} message
   * @param {{sent?: boolean, hint?: string, cause?: unknown}} [more]
   */
  constructor(message, { sent = false, hint = "", cause } = {}) {
    super(message, { hint, cause });
    this.name = "ConnectionFailed";
    this.sent = sent;
  }
}

/**
 * Return the error for the `error` member of an answer.
 * @param {any} error
 * @returns {JobworkerError}
 */
export function fromAnswer(error) {
  const { hint = "", ...data } = error.data ?? {};
  return new JobworkerError(String(error.message), { code: error.code, data, hint });
}

/** Codes after which other credentials are needed. */
const REFUSED = new Set([40101, 40102, 40301]);

/**
 * Return whether another attempt to connect is of no use.
 * @param {unknown} error
 */
export function isRefusal(error) {
  return error instanceof JobworkerError && REFUSED.has(error.code);
}
