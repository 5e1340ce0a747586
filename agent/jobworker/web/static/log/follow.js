/**
 * Know how far a log goes while its job writes. A subscription brings what a slow job writes; of a fast one only the
 * end is read now and then, so that no byte is sent that nobody will see.
 */

const BUSY_BYTES = 128 << 10; // in BUSY_MS: then the subscription ends, and the end is read
const BUSY_MS = 250;
const CALM_BYTES = 16 << 10; // between two reads: so many times CALM_READS, and it is subscribed to again
const CALM_READS = 5;
const EAGER_MS = 100; // between two reads while the end is shown
const LAZY_MS = 1000; // and while it is not

export class Follow {
  /**
   * @param {any} agent
   * @param {string} id
   * @param {import("./pages.js").LogPages} pages
   * @param {{eager: () => boolean, ongrow: () => void, onend: (end: any) => void}} hooks  `eager`: the end is shown
   */
  constructor(agent, id, pages, hooks) {
    this._agent = agent;
    this._id = id;
    this._pages = pages;
    this._hooks = hooks;
    this._stop = new AbortController();
    /** @type {() => void} */
    this._wake = () => {};
    this.ended = false;
  }

  close() {
    this._stop.abort();
    this._wake();
  }

  /** Read the end now: it has come into view. */
  hurry() {
    this._wake();
  }

  async run() {
    while (!this._stop.signal.aborted && !this.ended) {
      try {
        await this._subscribed();
        if (!this.ended) await this._read();
      } catch {
        await this._pause(LAZY_MS); // the client reconnects by itself; the page shows that
      }
    }
  }

  /** Add what a subscription sends, until that is too much. */
  async _subscribed() {
    const [signal, pages] = [this._stop.signal, this._pages];
    const streams = pages.streams ?? undefined;
    let [began, bytes] = [performance.now(), 0];
    for await (const piece of this._agent.logs(this._id, { offset: pages.end, streams, follow: true, signal })) {
      if (piece.kind === "end") {
        this.ended = true;
        pages.grow(piece.offset);
        this._hooks.onend(piece);
        return;
      }
      pages.append(piece);
      this._hooks.ongrow();
      const now = performance.now();
      if (now - began > BUSY_MS) [began, bytes] = [now, 0];
      bytes += piece.kind === "data" ? piece.bytes.length : 0;
      if (bytes > BUSY_BYTES) return;
    }
  }

  /** Read where the end is, until it moves slowly again. */
  async _read() {
    const pages = this._pages;
    for (let calm = 0; calm < CALM_READS && !this._stop.signal.aborted; ) {
      await this._pause(this._hooks.eager() ? EAGER_MS : LAZY_MS);
      const before = pages.end;
      await pages.read(before, 1);
      calm = pages.end - before < CALM_BYTES ? calm + 1 : 0;
      if (pages.end > before) this._hooks.ongrow();
    }
  }

  /** @param {number} ms */
  _pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), ms);
      this._wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }
}
