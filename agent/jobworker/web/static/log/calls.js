/** Call the agent about one job, never more at once than it allows on a connection. */

const TOO_MANY = 42901;
const MAX_TRIES = 10;
const PAUSE_MS = 300;
const SCANS = new Set(["log.search", "log.lines"]); // the agent does one of these at a time for a caller

export class Calls {
  /** @param {any} agent @param {string} id */
  constructor(agent, id) {
    this._agent = agent;
    this._id = id;
    /** @type {Promise<any>} the scan that was called last */
    this._scan = Promise.resolve();
  }

  /**
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  call(method, params) {
    if (!SCANS.has(method)) return this._call(method, params);
    this._scan = this._scan.catch(() => {}).then(() => this._call(method, params));
    return this._scan;
  }

  /** @param {string} method @param {object} params */
  async _call(method, params) {
    for (let tries = 1; ; tries++) {
      try {
        return await this._agent.call(method, { id: this._id, ...params });
      } catch (error) {
        if (/** @type {any} */ (error)?.code !== TOO_MANY || tries === MAX_TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }
}
