// The page: log in, the header, and the view that the fragment of the address names.

import { fill, h, setText } from "./dom.js";
import { title } from "./format.js";
import { showJob } from "./job.js";
import { showJobs } from "./jobs.js";
import { canKeep, forget, isKept, logInByForm, logInQuietly, setKept } from "./login.js";
import { Notices, Status } from "./notices.js";
import { parse, takeTicket } from "./route.js";
import { showRun } from "./run.js";
import { Session } from "./session.js";

const BACK_MILLISECONDS = 4000; // for which "connected again" is shown

/**
 * @typedef {{close: () => void, job?: string, change?: (route: import("./route.js").Route) => boolean}} View
 *   `change` takes another fragment of the same view; false: it cannot
 */

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const main = byId("main");
const line = byId("line");
const notices = new Notices(byId("notices"));
const status = new Status(byId("status"));

/** @type {Session | undefined} */
let session;
/** @type {View | undefined} */
let view;

/** Show the view of the address. @param {boolean} [first] */
function show(first = false) {
  if (session === undefined) return;
  const route = parse(location.hash);
  if (view?.change?.(route)) return;
  view?.close();
  main.replaceChildren();
  view = open(session, route);
  for (const menu of document.querySelectorAll("details.menu")) menu.removeAttribute("open");
  for (const link of document.querySelectorAll("header nav a")) {
    const here = route.path.length === 1 && link.getAttribute("href") === `#/${route.path[0]}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** @param {Session} session @param {import("./route.js").Route} route @returns {View} */
function open(session, route) {
  const [kind, id] = route.path;
  const place = { main, session, route, report: (/** @type {string} */ text) => status.report(text) };
  if (kind === "jobs" && id !== undefined) return showJob(place, id);
  if (kind === "jobs") return showJobs(place);
  if (kind === "run") return showRun(place);
  fill(main, h("h1", null, "There is no such view"), h("p", null, h("a", { href: "#/jobs" }, "All jobs")));
  return { close() {} };
}

/** @param {Session} session */
function header(session) {
  const { agent } = session;
  const keep = h("input", {
    type: "checkbox", checked: isKept(), id: "keep",
    onchange: () => setKept(agent, keep.checked),
  });
  const roles = (agent.caller.roles ?? []).join(", ") || "no role";
  const links = [
    session.access.sees("job.list") && h("a", { href: "#/jobs" }, "Jobs"),
    session.access.creates("job.create") && h("a", { href: "#/run" }, "Run a job"),
  ];
  const menu = h("details", { class: "menu" },
    h("summary", null, agent.caller.name),
    h("div", { class: "panel" },
      h("p", null, `${session.access.id} (${roles})`),
      canKeep(agent) && h("div", { class: "field check" }, keep,
        h("label", { htmlFor: "keep" }, "Stay logged in while this tab is open")),
      h("button", { onclick: logOut }, "Log out")));
  menu.addEventListener("focusout", (event) => {
    const to = /** @type {Node | null} */ (event.relatedTarget);
    if (to !== null && !menu.contains(to)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  fill(byId("bar"), h("nav", { "aria-label": "Main" }, links), menu);
}

/** @param {Session} current */
function watch(current) {
  const { agent } = current;
  current.addEventListener("jobs", (event) => {
    notices.add(/** @type {CustomEvent} */ (event).detail.events, view?.job);
    const last = /** @type {CustomEvent} */ (event).detail.events.at(-1);
    if (last && view?.job === undefined) status.report(`${title(last.job)}: ${last.event.replace("_", " ")}`);
  });
  current.addEventListener("access", () => {
    compare(current);
    header(current);
  });
  agent.addEventListener("state", () => {
    if (session !== current) return; // logged out meanwhile
    if (agent.state === "reconnecting") showLine("The connection is lost. Reconnecting…", "bad");
    if (agent.state === "connected") {
      showLine("Connected again.", "good");
      setTimeout(() => { if (line.textContent === "Connected again.") showLine("", ""); }, BACK_MILLISECONDS);
    }
    if (agent.state === "closed" && agent.reason !== undefined) void start(agent.reason);
  });
}

/** Compare the version of the agent with that of this page. @param {Session} session */
function compare(session) {
  const own = document.querySelector("meta[name=version]")?.getAttribute("content");
  const theirs = session.info.version;
  const other = theirs !== undefined && theirs !== own;
  byId("version").hidden = !other;
  if (other) setText(byId("version-text"), `The agent is version ${theirs}, this page is of ${own}.`);
}

/** @param {string} text @param {string} kind */
function showLine(text, kind) {
  setText(line, text);
  line.className = kind;
}

async function logOut() {
  const current = /** @type {Session} */ (session);
  session = undefined;
  forget();
  try {
    // Only a session of a page outlives its connection.
    if (current.agent.secret !== undefined) await current.agent.call("auth.logout");
  } catch {
    // An agent that cannot be reached forgets the session when its time is over.
  }
  current.close();
  await start();
}

/** Log in and show the page; `error`: why it was logged out. @param {any} [error] */
async function start(error) {
  view?.close();
  session?.close();
  view = session = undefined;
  showLine("", "");
  byId("bar").replaceChildren();
  let agent;
  if (error === undefined && !loggedOut) ({ agent, error } = await logInQuietly(takeTicket()));
  loggedOut = true;
  agent ??= await logInByForm(main, error);
  session = await Session.open(agent);
  header(session);
  compare(session);
  watch(session);
  show(true);
}

let loggedOut = false; // after that a client certificate does not log in again by itself
addEventListener("hashchange", () => {
  if (/[#&]ticket=/.test(location.hash)) location.reload();
  else show();
});
document.addEventListener("pointerdown", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(/** @type {Node} */ (event.target))) menu.removeAttribute("open");
  }
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
byId("reload").addEventListener("click", () => location.reload());
void start();
