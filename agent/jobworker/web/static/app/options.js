// A line as `jw run` takes it, read as a spec. Options that concern `jw` alone, as --detach, are taken and ignored.

import { split } from "./words.js";

/**
 * What an option does with the spec; `flag`: it takes no value.
 * @typedef {{flag?: boolean, set: (spec: any, value: string, name: string) => void}} Option
 */

/** @param {string[]} path @param {(value: string, name: string) => any} [read] @returns {Option} */
const value = (path, read = (text) => text) => ({
  set: (spec, text, name) => { within(spec, path)[path[path.length - 1]] = read(text, name); },
});
/** @param {string[]} path @param {any} given @returns {Option} */
const flag = (path, given) => ({
  flag: true,
  set: (spec) => { within(spec, path)[path[path.length - 1]] = given; },
});
/** @param {string[]} path @param {(value: string, name: string) => any} [read] @returns {Option} */
const pair = (path, read = (text) => text) => ({
  set: (spec, text, name) => {
    const [key, given] = parted(text, name);
    within(spec, [...path, ""])[key] = read(given, name);
  },
});
/** @type {Option} */
const ignored = { flag: true, set: () => {} };
/** @type {Option} */
const ignoredValue = { set: () => {} };
/** @param {string} why @param {boolean} [isFlag] @returns {Option} */
const refused = (why, isFlag) => ({ flag: isFlag, set: (_, __, name) => { throw new Error(`${name}: ${why}`); } });

/** @type {Record<string, Option>} */
const OPTIONS = {
  "-e --env": {
    set: (spec, text, name) => {
      if (!text.includes("=")) throw new Error(`${name}: ${text}; expected K=V: a page has no environment`);
      pair(["env"]).set(spec, text, name);
    },
  },
  "--env-file": refused("a page reads no files; expected --env K=V"),
  "-w --cwd --workdir": value(["cwd"]),
  "-u --user": {
    set: (spec, text) => {
      const [user, group] = text.split(/:(.*)/s);
      if (user) spec.user = user;
      if (group) spec.group = group;
    },
  },
  "--umask": value(["umask"]),
  "--nice": value(["nice"], whole),
  "--rlimit --ulimit": pair(["rlimits"], (text) => {
    const [soft, hard] = text.split(/:(.*)/s);
    return hard === undefined ? amount(soft) : { soft: amount(soft), hard: amount(hard) };
  }),
  "--name": value(["name"]),
  "-l --label": pair(["labels"]),
  "--timeout": value(["timeout"], (text) => (text === "none" ? null : duration(text))),
  "--idle-timeout": value(["idle_timeout"], duration),
  "--timeout-policy": {
    set: (spec, text, name) => {
      const [policy, ...options] = split(text);
      const given = options.map((option) => parted(option, name)).map(([key, one]) => [key, json(one)]);
      (spec.timeout_policies ??= []).push({ policy, options: Object.fromEntries(given) });
    },
  },
  "--stop-strategy": value(["stop", "strategy"]),
  "--stop-option": pair(["stop", "options"], json),
  "--stop-signal": value(["stop", "signal"]),
  "--grace --stop-timeout": value(["stop", "grace"], duration),
  "--log-max": value(["log", "max_bytes"], amount),
  "--log-keep": value(["log", "keep"]),
  "--on-bound": value(["log", "on_bound"]),
  "--on-full": value(["log", "on_full"]),
  "-m --memory": value(["limits", "memory"], amount),
  "--cpus": value(["limits", "cpus"], number),
  "--pids --pids-limit": value(["limits", "pids"], whole),
  "--io-read": { set: (spec, text, name) => rate(spec, "io_read", text, name) },
  "--io-write": { set: (spec, text, name) => rate(spec, "io_write", text, name) },
  "--pid-namespace": flag(["pid_namespace"], true),
  "--no-pid-namespace": flag(["pid_namespace"], false),
  "--private-tmp": flag(["private_tmp"], true),
  "--no-private-tmp": flag(["private_tmp"], false),
  "--no-network": flag(["sandbox", "network"], false),
  "--no-userns": flag(["sandbox", "userns"], false),
  "--write": { set: (spec, text) => { ((spec.sandbox ??= {}).write ??= []).push(text); } },
  "--executor": value(["executor", "name"]),
  "-X --executor-option": pair(["executor", "options"], json),
  "-i --interactive --stdin": flag(["stdin"], "pipe"),
  "-t --tty": flag(["tty"], true),
  "--shell": flag(["shell"], true),
  "-d --detach --raw -q --quiet --json --stdin-close-on-disconnect": ignored,
  "--detach-keys --key": ignoredValue,
  "--rm": refused("a page may be closed before the job ends; delete the job afterwards", true),
};
/** By each of its names. @type {Map<string, Option>} */
const BY_NAME = new Map(Object.entries(OPTIONS).flatMap(([names, option]) => {
  return names.split(" ").map((name) => /** @type {[string, Option]} */ ([name, option]));
}));

/**
 * Return the spec of a line: `jw run --name build -- make test`, or only options and a command.
 * @param {string} line
 * @returns {any}
 */
export function readLine(line) {
  const words = split(line);
  if (words[0] === "jw") words.shift();
  if (words[0] === "run") words.shift();
  /** @type {any} */
  const spec = {};
  let word;
  while ((word = words[0])?.startsWith("-") && word !== "-") {
    words.shift();
    if (word === "--") break;
    for (const [name, given] of named(word)) {
      const option = BY_NAME.get(name);
      if (option === undefined) throw new Error(`${name}: unknown; expected an option of \`jw run\``);
      if (option.flag && given !== undefined) throw new Error(`${name}: takes no value`);
      const text = option.flag ? "" : given ?? words.shift();
      if (text === undefined) throw new Error(`${name}: expected a value after it`);
      option.set(spec, text, name);
    }
  }
  if (words.length === 0) throw new Error("no command; expected one after the options");
  if (spec.shell) spec.shell = words.join(" ");
  else spec.argv = words;
  return spec;
}

/**
 * Yield the options of a word: `--name=x`, `-it`, `-lapp=web`.
 * @param {string} word
 * @returns {Generator<[string, string | undefined]>}
 */
function* named(word) {
  if (word.startsWith("--")) {
    const [name, given] = word.split(/=(.*)/s);
    yield [name, given];
    return;
  }
  for (let at = 1; at < word.length; at += 1) {
    const name = `-${word[at]}`;
    const rest = word.slice(at + 1);
    if (BY_NAME.get(name)?.flag !== true && rest !== "") {
      yield [name, rest];
      return;
    }
    yield [name, undefined];
  }
}

/** Return the object that holds the last name of a path. @param {any} spec @param {string[]} path */
function within(spec, path) {
  return path.slice(0, -1).reduce((object, name) => (object[name] ??= {}), spec);
}

/** @param {string} text @param {string} name @returns {[string, string]} */
function parted(text, name) {
  const at = text.indexOf("=");
  if (at < 1) throw new Error(`${name}: ${text}; expected K=V`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** @param {any} spec @param {string} kind @param {string} text @param {string} name */
function rate(spec, kind, text, name) {
  spec.limits ??= {};
  if (!text.includes("=")) spec.limits[kind] = amount(text);
  else {
    const [device, given] = parted(text, name);
    const before = typeof spec.limits[kind] === "object" ? spec.limits[kind] : {};
    spec.limits[kind] = { ...before, [device]: amount(given) };
  }
}

/** Return a number, or the text unchanged: the agent checks it. @param {string} text */
export function amount(text) {
  return /^\d+$/.test(text) ? Number(text) : text;
}

/** Likewise for durations, which may have a fraction. @param {string} text */
export function duration(text) {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

/** @param {string} text @param {string} name */
function number(text, name) {
  if (text.trim() === "" || Number.isNaN(Number(text))) throw new Error(`${name}: ${text}; expected a number`);
  return Number(text);
}

/** @param {string} text @param {string} name */
function whole(text, name) {
  if (!/^-?\d+$/.test(text)) throw new Error(`${name}: ${text}; expected a whole number`);
  return Number(text);
}

/** @param {string} text */
function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
