/** Map offsets to the scrollbar and back. No document here. */

export const MAX_HEIGHT = 8_000_000; // pixels: browsers cap the height of an element, the lowest at 17 million

/** The height of the spacer and what its pixels mean. */
export class Scale {
  /**
   * @param {number} first  offset at the top
   * @param {number} end  of the log
   * @param {number} view  height of what is seen, in pixels
   * @param {number} perByte  pixels that a byte takes on average
   */
  constructor(first, end, view, perByte) {
    this.first = first;
    this.bytes = Math.max(0, end - first);
    this.view = view;
    this.height = Math.round(Math.min(MAX_HEIGHT, Math.max(view, this.bytes * perByte)));
  }

  /** How far one can scroll, in pixels. */
  get range() {
    return Math.max(0, this.height - this.view);
  }

  /**
   * Return the offset of the first line that is seen, for a position of the scrollbar.
   * @param {number} top
   * @param {number} [seen]  bytes that are seen at once: at the end of the scrollbar the last of them are
   */
  offset(top, seen = 0) {
    if (!this.range) return this.first;
    const share = Math.min(Math.max(top, 0), this.range) / this.range;
    return this.first + Math.floor(share * Math.max(0, this.bytes - seen));
  }

  /**
   * Return the position of the scrollbar for the offset of the first line that is seen.
   * @param {number} offset
   * @param {number} [seen]
   */
  top(offset, seen = 0) {
    const rest = this.bytes - seen;
    if (rest <= 0) return 0;
    return Math.min(1, Math.max(0, (offset - this.first) / rest)) * this.range;
  }
}
