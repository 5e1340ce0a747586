// The state of the page is in the fragment: `#/jobs?state=running`, `#/jobs/ID?offset=123`. A link shows the same.

/** @typedef {{path: string[], query: URLSearchParams}} Route */

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parse(hash) {
  const [path, query] = split(hash.replace(/^#/, ""));
  const names = path.split("/").filter((name) => name !== "").map(unescaped);
  return { path: names.length === 0 ? ["jobs"] : names, query: new URLSearchParams(query) };
}

/**
 * Return the fragment of a place; the labels of a filter stay readable.
 * @param {string[]} path
 * @param {URLSearchParams | Record<string, string | undefined>} [query]
 */
export function format(path, query = {}) {
  const params = query instanceof URLSearchParams ? query : new URLSearchParams();
  if (!(query instanceof URLSearchParams)) {
    for (const [name, value] of Object.entries(query)) if (value) params.append(name, value);
  }
  const text = params.toString().replaceAll("%3D", "=").replaceAll("%3A", ":");
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/**
 * Take a one-time code out of the address, before anything else can read or keep it.
 * @returns {string | undefined}
 */
export function takeTicket() {
  if (!/[#&]ticket=/.test(location.hash)) return undefined;
  const given = new URLSearchParams(location.hash.slice(1));
  const to = given.get("to") ?? "/jobs";
  history.replaceState(null, "", `#${to.startsWith("/") ? to : "/jobs"}`);
  return given.get("ticket") ?? undefined;
}

/** @param {string} hash @returns {[string, string]} */
function split(hash) {
  const at = hash.indexOf("?");
  return at === -1 ? [hash, ""] : [hash.slice(0, at), hash.slice(at + 1)];
}

/** @param {string} text */
function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
