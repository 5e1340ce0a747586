/** The download of a log: one at a time, with its progress on the button, which then cancels it. */

import { download } from "./download.js";
import { counted } from "./paint.js";

export class Saving {
  /**
   * @param {import("./pages.js").Read} read
   * @param {string} name  of the file, without its extension
   * @param {{onprogress: (share: string | null) => void, onsaved: (text: string) => void,
   *   onerror: (error: any) => void}} hooks  a share of null: nothing is being saved
   */
  constructor(read, name, hooks) {
    this._read = read;
    this._name = name;
    this._hooks = hooks;
    /** @type {AbortController | null} */
    this._running = null;
  }

  close() {
    this._running?.abort();
  }

  /**
   * Save the log as a file; or stop that.
   * @param {string[] | null} streams
   */
  async toggle(streams) {
    if (this._running) {
      this._running.abort();
      return;
    }
    this._running = new AbortController();
    const { signal } = this._running;
    const { onprogress, onsaved, onerror } = this._hooks;
    const name = `${this._name}${streams?.length === 1 ? `.${streams[0]}` : ""}.log`;
    onprogress("0 %");
    try {
      const { bytes, missing } = await download(this._read, {
        name,
        streams,
        signal,
        onprogress: (share) => onprogress(`${Math.floor(share * 100)} %`),
      });
      onsaved(`saved ${counted(bytes)} bytes${missing ? `; ${counted(missing)} bytes are not in the log` : ""}`);
    } catch (error) {
      if (/** @type {any} */ (error)?.name !== "AbortError") onerror(error);
    }
    this._running = null;
    onprogress(null);
  }
}
