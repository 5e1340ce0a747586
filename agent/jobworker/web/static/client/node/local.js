// Find the agent that runs on a state folder of this host.

import { access, constants, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

import { ConnectionFailed } from "../errors.js";

/** Return the state folder of this user. */
function stateFolder() {
  const { JOBWORKER_HOME, XDG_STATE_HOME } = process.env;
  if (JOBWORKER_HOME) return JOBWORKER_HOME;
  if (process.getuid?.() === 0) return "/var/lib/jobworker";
  return join(XDG_STATE_HOME || join(homedir(), ".local", "state"), "jobworker");
}

/**
 * Return the address of the agent on a state folder, and what to log in with.
 * @param {string} [folder]
 * @returns {Promise<import("../jobworker.js").Endpoint>}
 */
export async function localEndpoint(folder = stateFolder()) {
  try {
    const { address, socket } = JSON.parse(await readFile(join(folder, "agent.json"), "utf8"));
    if (socket && (await isOpen(socket))) return { url: `unix://${socket}` };
    const token = (await readFile(join(folder, "local.token"), "utf8")).trim();
    return { url: address, token, ca: await readFile(join(folder, "tls", "ca.pem")).catch(() => undefined) };
  } catch (cause) {
    throw new ConnectionFailed(`no agent can be found on ${folder}: ${/** @type {Error} */ (cause).message}`, {
      cause,
      hint: "start it with `jw agent start`, or set JOBWORKER_HOME to its state folder",
    });
  }
}

/** @param {string} path */
function isOpen(path) {
  return access(path, constants.R_OK | constants.W_OK).then(() => true, () => false);
}
