// node calls.mjs STATE: use what the client has, and fail at the first thing that is not as it should be.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { JobworkerError, bytesOf, connect, connectLocal } from "jobworker";

const [state = ""] = process.argv.slice(2);
const { address } = JSON.parse(readFileSync(`${state}/agent.json`, "utf8"));
const token = readFileSync(`${state}/local.token`, "utf8").trim();
const ca = readFileSync(`${state}/tls/ca.pem`);
/** @type {string[]} */
const states = [];
const agent = await connect(address, { token, ca, onstate: (now) => states.push(now) });
assert.equal(agent.caller.name, "local");

/**
 * @param {Promise<any>} call
 * @returns {Promise<any>}
 */
const failure = (call) => call.then(() => assert.fail("no error"), (error) => error);

// Each method of the agent is a method here.
const { methods } = /** @type {any} */ (await agent.rpc.discover());
for (const { name } of methods) {
  const [group, verb] = name.split(".");
  assert.equal(typeof (/** @type {any} */ (agent)[group][verb]), "function", name);
}

// Events come while jobs run; a program with an input, both outputs and an exit code.
const stop = new AbortController();
const seen = (async () => {
  /** @type {string[]} */
  const kinds = [];
  for await (const event of agent.events({ signal: stop.signal })) {
    if (event.kind === "event" && event.job.name === "cat") kinds.push(event.event);
    if (kinds.at(-1) === "exited") return kinds;
  }
  return kinds;
})();
await agent.agent.ping(); // after event.subscribe
const cat = agent.spawn("cat; echo oops >&2; exit 3", { name: "cat", stdin: "pipe" });
/** @type {any[]} */
const told = [];
cat.addEventListener("exit", (event) => told.push(/** @type {CustomEvent} */ (event).detail.code));
const big = "0123456789".repeat(250_000); // more than one stdin.write takes
void cat.stdin?.write("héllo\n");
void cat.stdin?.write(big);
await cat.stdin?.end("\nlast");
assert.equal(await cat.stdout.text(), `héllo\n${big}\nlast`);
assert.equal(await cat.stderr.text(), "oops\n");
const { code, signal, reason } = await cat.exited;
assert.deepEqual([code, signal, reason], [3, null, "finished"]);
assert.deepEqual(told, [3]);
assert.deepEqual(await seen, ["created", "started", "exited"]);
assert.equal(await cat.kill(), false);

// Lines, a signal, a stop, a program that is not there.
const sleeper = agent.spawn(["sh", "-c", "printf 'one\\ntwo'; sleep 600"]);
const lines = sleeper.stdout.lines();
assert.equal((await lines.next()).value, "one");
assert.equal(await sleeper.kill("SIGKILL"), true);
assert.equal((await sleeper.exited).signal, "SIGKILL");
assert.equal((await lines.next()).value, "two");
const stopped = agent.spawn(["sleep", "600"]);
assert.equal(await stopped.stop({ grace: "5s" }), true);
assert.equal((await stopped.exited).reason, "stopped");
const absent = agent.spawn(["/not/there"]);
assert.equal((await failure(absent.exited)).code, 42202);
assert.equal((await failure(absent.stdout.text())).code, 42202);

// Pages of a log, bytes that are no text, only one stream, an end that is not waited for.
const id = cat.id ?? "";
const page = await agent.log.read({ id, streams: ["stderr"], encoding: "base64", offset: 2_500_000 });
assert.deepEqual(page.records.map((record) => bytesOf(/** @type {any} */ (record)).length), [5]);
const binary = agent.spawn("printf '\\377\\376'");
for await (const piece of agent.logs((await binary.started).id)) {
  if (piece.kind === "data") assert.deepEqual([...piece.bytes], [255, 254]);
  else assert.equal(piece.kind === "end" && piece.exit?.code, 0);
}
const running = agent.spawn(["sleep", "600"]);
const { id: quiet } = await running.started;
for await (const piece of agent.logs(quiet, { follow: false })) assert.equal(piece.kind, "end");

// A loop that is left or aborted ends its subscription; a call that is aborted ends at once.
const abort = new AbortController();
const read = failure((async () => { for await (const _ of agent.logs(quiet, { signal: abort.signal })); })());
const waited = failure(agent.job.wait({ id: quiet }, { signal: abort.signal }));
await agent.agent.ping();
abort.abort();
assert.equal((await read).name, "AbortError");
assert.equal((await waited).name, "AbortError");
await running.kill("SIGKILL");

// A reader that is slow gets all of the log, in order, and holds 2 MiB of it and what was on the way.
const flood = agent.spawn("head -c 30000000 /dev/zero");
await flood.exited;
const whole = /** @type {any} */ (agent);
const { request } = whole;
let subscribed = 0;
whole.request = (/** @type {string} */ method, /** @type {any[]} */ ...more) => {
  if (method === "log.subscribe") subscribed += 1;
  return request.call(agent, method, ...more);
};
let next = 0;
for await (const piece of agent.logs(flood.id ?? "")) {
  if (piece.kind !== "data") continue;
  assert.equal(piece.offset, next);
  next = piece.end;
  await new Promise((resolve) => setTimeout(resolve, 1));
}
delete whole.request;
assert.equal(next, 30_000_000);
assert.ok(subscribed > 2, `${subscribed} subscriptions`);

// Errors: of the agent, with code and data; of the connection, with what to do.
const unknown = await failure(agent.job.status({ id: "nope" }));
assert.ok(unknown instanceof JobworkerError);
assert.deepEqual([unknown.code, unknown.data["reason"], unknown.data["job"]], [40401, "job_not_found", "nope"]);
assert.match((await failure(agent.call("job.frobnicate"))).message, /frobnicate/);
const large = await failure(agent.job.create({ spec: { shell: "x".repeat(5 << 20) } }));
assert.match(large.message, /job.create: the request has 5\d+ bytes; expected at most 4194304/);
assert.equal((await failure(connect(address, { token: "wrong", ca }))).code, 40101);
assert.equal((await failure(connect(address, { ca }))).code, 40101);
assert.match((await failure(connect(address, { token }))).message, /self-signed certificate/);
assert.match((await failure(connect("https://127.0.0.1:1", { token }))).message, /ECONNREFUSED/);
assert.match((await failure(connect(address.replace("/rpc", "/x"), { token, ca }))).message, /answered 404/);
assert.match((await failure(connectLocal(`${state}/none`))).hint, /jw agent start/);

// The session of a token that is revoked ends, and says why; nothing is tried again.
const { token: short } = await agent.token.create({ name: "short", roles: ["reader"] });
const other = await connect(address, { token: short, ca });
const ended = new Promise((resolve) => other.addEventListener("state", resolve, { once: true }));
await agent.token.revoke({ name: "short" });
await ended;
assert.equal(other.state, "closed");
assert.equal((await failure(other.agent.ping())).code, 40101);

agent.close();
assert.deepEqual(states, ["connected", "closed"]);
assert.match((await failure(agent.agent.ping())).message, /closed/);
console.log("all is well");
