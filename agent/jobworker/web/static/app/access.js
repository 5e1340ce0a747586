// What the caller may do, from the grants that `auth.whoami` answers: what would be refused is not offered.

/** @typedef {import("../client/jobworker.js").CallerGrant} Grant */

export class Access {
  /** @type {Grant[]} */
  #grants;

  /** @param {any} caller */
  constructor(caller) {
    this.#grants = caller.grants ?? [];
    /** The owner of the jobs that this caller creates. @type {string} */
    this.id = caller.id ?? `${caller.provider}:${caller.name}`;
  }

  /** Whether there are jobs for which the method, which only reads, is allowed. @param {string} method */
  sees(method) {
    return this.#for(method).some((grant) => grant.look !== "none");
  }

  /** @param {string} method */
  creates(method) {
    return this.#for(method).some((grant) => grant.create);
  }

  /** Whether the method is allowed for this job, which it reads. @param {string} method @param {any} job */
  reads(method, job) {
    return this.#for(method).some((grant) => this.#covers(grant, grant.look, job));
  }

  /** Whether the method is allowed for this job, which it changes. @param {string} method @param {any} job */
  controls(method, job) {
    return this.reads(method, job) && this.#for(method).some((grant) => this.#covers(grant, grant.control, job));
  }

  /** @param {Grant} grant @param {string} whose @param {any} job */
  #covers(grant, whose, job) {
    if (whose === "none" || (whose === "own" && job.owner !== this.id)) return false;
    return Object.entries(grant.labels).every(([name, pattern]) => {
      return name in job.labels && matches(pattern, job.labels[name], false);
    });
  }

  /** @param {string} method */
  #for(method) {
    return this.#grants.filter((grant) => grant.methods.some((pattern) => matches(pattern, method, true)));
  }
}

/**
 * Whether a text matches a pattern: `*` is any text, `?` any character, and with `sets` `[ab]` one of these.
 * @param {string} pattern
 * @param {string} text
 * @param {boolean} sets
 */
export function matches(pattern, text, sets) {
  const tokens = sets ? /\[!?\]?[^\]]*\]|[*?]|[^*?]/gsu : /[*?]|[^*?]/gsu;
  const source = (pattern.match(tokens) ?? []).map((token) => {
    if (token === "*") return ".*";
    if (token === "?") return ".";
    if (token.length > 2 && token.startsWith("[")) {
      const inner = token.slice(1, -1).replace(/[\\\]\[^]/g, "\\$&");
      return inner.startsWith("!") ? `[^${inner.slice(1)}]` : `[${inner}]`;
    }
    return token.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
  });
  return new RegExp(`^${source.join("")}$`, "su").test(text);
}
