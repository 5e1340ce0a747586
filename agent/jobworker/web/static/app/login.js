// Log in: by what is kept of this tab, by a client certificate, by a token or by a name and a password.

import { connect } from "../client/jobworker.js";
import { errorText, field, fill, h } from "./dom.js";

// The address of the socket, below any prefix that a proxy adds; another page of this origin has another key.
const ENDPOINT = new URL("./rpc", document.baseURI).href;
const KEY = `jobworker ${new URL(".", document.baseURI).pathname}`;
const UNAUTHENTICATED = 40101;

/** @typedef {import("../client/jobworker.js").Agent} Agent */
/** @typedef {Record<string, string>} Credentials */

/** What this page logged in with; only here, unless the user keeps it in the tab. @type {Credentials} */
let credentials = {};

/** @returns {Credentials | undefined} */
function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

/** Whether a reload of this tab stays logged in. */
export function isKept() {
  return kept() !== undefined;
}

/** Whether there is anything to keep: a client certificate is the browser's. @param {Agent} agent */
export function canKeep(agent) {
  return Object.keys(secret(agent)).length > 0;
}

/**
 * Keep what this page logged in with until the tab is closed, or forget it.
 * @param {Agent} agent
 * @param {boolean} keep
 */
export function setKept(agent, keep) {
  if (keep) sessionStorage.setItem(KEY, JSON.stringify(secret(agent)));
  else sessionStorage.removeItem(KEY);
}

/** Forget everything. */
export function forget() {
  credentials = {};
  sessionStorage.removeItem(KEY);
}

/** @param {Agent} agent @returns {Credentials} */
function secret(agent) {
  return agent.secret === undefined ? credentials : { session: agent.secret };
}

/** @param {Credentials} given @returns {Promise<Agent>} */
async function logIn(given) {
  const agent = await connect(ENDPOINT, given);
  credentials = "ticket" in given ? {} : given;
  return agent;
}

/**
 * Log in without asking, if that is possible; else return why not, undefined if there was nothing to try.
 * @param {string} [ticket]
 * @returns {Promise<{agent?: Agent, error?: any}>}
 */
export async function logInQuietly(ticket) {
  const stored = kept();
  if (ticket === undefined && stored === undefined) {
    try {
      return { agent: await logIn({}) };
    } catch (error) {
      return { error: /** @type {any} */ (error).code === UNAUTHENTICATED ? undefined : error };
    }
  }
  try {
    return { agent: await logIn(ticket === undefined ? /** @type {any} */ (stored) : { ticket }) };
  } catch (error) {
    const { code } = /** @type {any} */ (error);
    if (code === UNAUTHENTICATED) sessionStorage.removeItem(KEY);
    if (code !== UNAUTHENTICATED) return { error };
    const ended = { message: "the login of this tab has ended", hint: "log in again" };
    const used = { message: "this link has expired or was used before", hint: "`jw open` makes another one" };
    return { error: ticket === undefined ? ended : used };
  }
}

/**
 * Show the form, and resolve once the user has logged in.
 * @param {HTMLElement} main
 * @param {any} error  why the page asks, if there is a reason
 * @returns {Promise<Agent>}
 */
export function logInByForm(main, error) {
  return new Promise((resolve) => {
    const token = h("input", { type: "password", name: "token", autocomplete: "off", spellcheck: "false" });
    const name = h("input", { type: "text", name: "username", autocomplete: "username", spellcheck: "false" });
    const password = h("input", { type: "password", name: "password", autocomplete: "current-password" });
    const keep = h("input", { type: "checkbox", name: "keep" });
    const trouble = h("div", null, error && errorText(error));
    const button = h("button", { class: "primary" }, "Log in");
    const submit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      /** @type {Credentials} */
      const given = token.value.trim() !== "" ? { token: token.value.trim() }
        : { username: name.value, password: password.value };
      if (!("token" in given) && given.username === "") {
        fill(trouble, errorText({ message: "token: empty; expected a token, or a name and a password" }));
        token.focus();
        return;
      }
      button.disabled = true;
      try {
        const agent = await logIn(given);
        setKept(agent, keep.checked);
        token.value = password.value = "";
        resolve(agent);
      } catch (failure) {
        fill(trouble, errorText(refusal(failure, "token" in given)));
        button.disabled = false;
        ("token" in given ? token : password).focus();
      }
    };
    document.title = "Log in · jobworker";
    fill(main, h("form", { class: "login panel", onsubmit: submit },
      h("h1", null, "Log in"),
      trouble,
      field("Token", token, "`jw token create NAME --role ROLE` prints one; `jw open` opens this page without."),
      h("fieldset", null, h("legend", null, "or a name and a password"),
        field("Name", name), field("Password", password)),
      field("Stay logged in while this tab is open", keep, "Otherwise a reload of the page asks again."),
      h("div", { class: "buttons" }, button)));
    token.focus();
  });
}

/** Return what a refusal means for the person that typed it. @param {any} failure @param {boolean} token */
function refusal(failure, token) {
  if (failure.code !== UNAUTHENTICATED) return failure;
  const hint = "`jw token list` lists the tokens, and when they expire";
  return token ? { message: "The agent knows no such token: it is not complete, has expired or was revoked.", hint }
    : { message: "The name or the password is wrong." };
}
