// Made by docs/generate.py of the types of the agent: run it after a change of a type.

/** @type {Record<string, string[]>} */
export const METHODS = {
  agent: ["drain", "garbage", "gc", "health", "info", "ping", "restart", "shutdown", "undrain"],
  audit: ["list"],
  auth: ["login", "logout", "ticket", "whoami"],
  event: ["subscribe", "unsubscribe"],
  job: ["create", "delete", "explain", "list", "pause", "resize", "resume", "run", "signal", "start", "stats", "status", "stop", "update", "wait"],
  log: ["lines", "read", "search", "sizes", "subscribe", "unsubscribe"],
  plugin: ["list"],
  rpc: ["discover"],
  screen: ["read"],
  session: ["end", "list"],
  stdin: ["claim", "close", "release", "write"],
  token: ["create", "list", "renew", "revoke"],
};
