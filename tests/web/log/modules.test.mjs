// The modules of the log view that need no document. Run by test_log_modules.py, which puts them into ./log.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { BOLD, DIM, INVERSE, ITALIC, STRIKE, UNDERLINE, cut, parse } from "./log/ansi.js";
import { styleBefore } from "./log/colours.js";
import { HELD_BYTES, LogPages, PAGE_BYTES } from "./log/pages.js";
import { BLOCK_BYTES, bytesOfRow, isMissing, rowFrom, startBefore, startOf, within } from "./log/rows.js";
import { Scale } from "./log/scale.js";

const NAMES = { bold: BOLD, dim: DIM, italic: ITALIC, underline: UNDERLINE, inverse: INVERSE, strike: STRIKE };

function named({ style: { fg, bg, flags } }) {
  const colours = [fg && (fg[0] === "#" ? fg : "f" + fg), bg && "b" + (bg[0] === "#" ? "g" + bg : bg)];
  return [...colours, ...Object.keys(NAMES).filter((name) => flags & NAMES[name])].filter(Boolean).join(" ");
}

for (const { name, bytes, page, classes } of JSON.parse(readFileSync("sanitise.json", "utf8"))) {
  test(`shown as jw shows it: ${name}`, () => {
    const data = Buffer.from(bytes, "latin1");
    const shown = data.at(-1) === 10 ? data.subarray(0, data.at(-2) === 13 ? -2 : -1) : data;
    const runs = parse(new Uint8Array(shown));
    assert.equal(runs.map(({ text }) => text).join(""), page);
    if (classes) assert.deepEqual(runs.map((run) => [run.text, named(run)]), classes);
  });
}

// A log of random lines, of both streams, with a line of 700 kB, one of 20 kB at the end of a block, and gaps.
let seed = 7;
function random(limit) {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed % limit;
}

class Log {
  constructor(dropped = 0) {
    this.parts = [];
    this.end = dropped;
    this.dropped = dropped;
    if (dropped) this.parts.push({ from: 0, to: dropped, reason: "dropped" });
  }

  write(stream, bytes) {
    this.parts.push({ offset: this.end, stream, time: "t", bytes });
    this.end += bytes.length;
  }

  lose(bytes) {
    this.parts.push({ from: this.end, to: this.end + bytes, reason: "refused" });
    this.end += bytes;
  }

  // As log.read: records from an offset on, at most max_bytes of data, a gap from where it was asked for.
  read = async ({ offset, max_bytes: most, streams }) => {
    this.reads = (this.reads ?? 0) + 1;
    const records = [];
    let next = offset;
    let [low, high] = [0, this.parts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const part = this.parts[middle];
      if ((part.to ?? part.offset + part.bytes.length) <= offset) low = middle + 1;
      else high = middle;
    }
    for (; low < this.parts.length && most > 0; low++) {
      const part = this.parts[low];
      const [from, to] = [part.from ?? part.offset, part.to ?? part.offset + part.bytes.length];
      if (part.reason) {
        records.push({ from: Math.max(from, offset), to, reason: part.reason });
      } else if (!streams || streams.includes(part.stream)) {
        const bytes = part.bytes.subarray(Math.max(0, offset - from)).subarray(0, most);
        most -= bytes.length;
        records.push({ ...part, offset: Math.max(from, offset), bytes });
        next = Math.max(from, offset) + bytes.length;
        continue;
      }
      next = to;
    }
    return { records, next: most > 0 ? this.end : next, end: this.end };
  };
}

function line(length, ...codes) {
  const bytes = new Uint8Array(length + 1).map(() => 97 + random(26));
  bytes.set(codes);
  bytes[length] = 10;
  return bytes;
}

function filled(log) {
  while (log.end < 600_000) {
    const stream = random(5) ? "stdout" : "stderr";
    const bytes = line(random(200));
    log.write(stream, random(9) ? bytes : bytes.subarray(0, -1));
  }
  log.lose(300_000);
  log.write("stdout", line(700_000));
  while (log.end < 5 * BLOCK_BYTES - 20_000) log.write("stdout", line(random(100)));
  for (let count = 0; count < 20; count++) {
    log.write("stdout", line(20_000 - random(10_000)));
    log.write(random(2) ? "stdout" : "stderr", line(16384 + random(3) - 1));
    log.write("stdout", line(random(100)));
  }
  log.write("stdout", line(50).subarray(0, -1));
  return log;
}

async function held(log, streams = null) {
  const pages = new LogPages(log.read, { streams });
  await pages.read(0, 1);
  return pages;
}

// Call until no page is missing.
async function found(pages, call) {
  for (;;) {
    const result = call();
    if (!isMissing(result)) return result;
    await new Promise((loaded) => {
      pages._onload = loaded;
      pages.want([result.missing]);
    });
    assert.ok(pages.size <= HELD_BYTES);
  }
}

async function forward(pages) {
  const rows = [];
  let row;
  for (let at = 0; (row = await found(pages, () => rowFrom(pages, at))) !== null; at = row.to) rows.push(row);
  return rows;
}

for (const [name, log] of [["a log", filled(new Log())], ["a log that dropped its begin", filled(new Log(400_000))]]) {
  test(`the same rows forward and backward, and from anywhere: ${name}`, async () => {
    const rows = await forward(await held(log));
    assert.equal(rows[0].from, 0);
    for (let n = 1; n < rows.length; n++) assert.equal(rows[n].from, rows[n - 1].to);
    assert.equal(rows.at(-1).to, log.end);
    assert.ok(rows.every((row) => row.gap || row.size <= BLOCK_BYTES + (16 << 10)));
    assert.deepEqual(rows.filter(({ gap }) => gap).map(({ gap }) => gap).at(-1), "refused");
    const pages = await held(log);
    for (let n = rows.length; n-- > 0; ) {
      const { from, to } = rows[n];
      assert.equal(await found(pages, () => startBefore(pages, to)), from);
    }
    for (let count = 0; count < 300; count++) {
      const offset = random(log.end);
      const row = rows.find(({ to }) => to > offset);
      assert.equal(await found(pages, () => startOf(pages, offset)), row.from, `offset ${offset}`);
    }
  });
}

test("rows of one stream are its lines, and what lies between is not read", async () => {
  const log = new Log();
  for (let count = 0; count < 20_000; count++) log.write("stdout", line(100));
  log.write("stderr", line(10));
  log.write("stderr", line(5).subarray(0, 3));
  for (let count = 0; count < 500; count++) log.write("stdout", line(100));
  log.write("stderr", line(20));
  for (let count = 0; count < 20_000; count++) log.write("stdout", line(100));
  const pages = await held(log, ["stderr"]);
  const rows = await forward(pages);
  assert.deepEqual(rows.map(({ size }) => size), [10, 23]);
  assert.ok(log.reads < 8, `${log.reads} reads`);
  assert.equal(bytesOfRow(rows[1]).length, 23);
  const [begin, end] = within(rows[1], rows[1].parts[1].offset, rows[1].parts[1].offset + 4);
  assert.deepEqual([begin, end], [3, 7]);
});

test("what a subscription sends is added, and no more held than the limit", async () => {
  const log = filled(new Log());
  const pages = await held(new Log());
  for (const { offset, stream, bytes, from, to, reason } of log.parts) {
    pages.append(reason ? { from, to, reason } : { offset, stream, time: "t", bytes });
  }
  for (let count = 0; count < 100; count++) {
    const bytes = line(99_999);
    pages.append({ offset: pages.end, stream: "stdout", time: "t", bytes });
    assert.ok(pages.size <= HELD_BYTES);
  }
  assert.equal(pages.end, log.end + 100 * 100_000);
  assert.ok(pages.size > HELD_BYTES / 2);
});

test("a page that grew is read on from where it ended", async () => {
  const log = new Log();
  log.write("stdout", line(1000));
  const pages = await held(log);
  assert.equal((await found(pages, () => rowFrom(pages, 0))).to, 1001);
  log.write("stdout", line(PAGE_BYTES));
  pages.grow(log.end);
  const rows = await forward(pages);
  assert.deepEqual(rows.map(({ to }) => to), [1001, 1001 + PAGE_BYTES + 1]);
});

test("a row begins with the colours that its stream has set", async () => {
  const log = new Log();
  log.write("stdout", Buffer.from("\x1b[31mred\n"));
  log.write("stderr", Buffer.from("plain\n"));
  log.write("stdout", Buffer.from("still \x1b[1mred\nand bold\n\x1b[0mplain\n"));
  const pages = await held(log);
  const rows = await forward(pages);
  const styles = rows.map((row) => parse(bytesOfRow(row), styleBefore(pages, row)).map(named).join("|"));
  assert.deepEqual(styles, ["f1", "", "f1|f1 bold", "f1 bold", ""]);
});

test("hits are cut out of the text, and half a character is never cut", () => {
  const data = new TextEncoder().encode("aé\x1b[31mneedle\x00z");
  const runs = parse(data, undefined, [[1, 3], [10, 15]]);
  assert.deepEqual(runs.map(({ text, hit }) => [text, hit]), [
    ["a", false], ["é", true], ["ne", false], ["edle", true], ["\\x00", true], ["z", false],
  ]);
  for (let limit = 0; limit < 8; limit++) {
    const text = new TextDecoder().decode(cut(new TextEncoder().encode("a€😀b"), limit));
    assert.ok(!text.includes("\ufffd"), text);
  }
});

test("a line of many colours makes no more runs than a row may have", () => {
  const data = new TextEncoder().encode("\x1b[31ma\x1b[32mb".repeat(1500));
  const runs = parse(data);
  assert.ok(runs.length <= 201, `${runs.length} runs`);
  assert.equal(runs.map(({ text }) => text).join(""), "ab".repeat(1500));
});

test("the scrollbar reaches each place, and its end the last bytes", () => {
  const scale = new Scale(1000, 1000 + 2 ** 40, 800, 0.2);
  assert.ok(scale.height <= 8_000_000);
  assert.equal(scale.offset(0), 1000);
  assert.equal(scale.offset(scale.range, 5000), 1000 + 2 ** 40 - 5000);
  for (const share of [0.1, 0.5, 0.999]) {
    const offset = Math.floor(1000 + share * 2 ** 40);
    const back = scale.offset(scale.top(offset, 5000), 5000);
    assert.ok(Math.abs(back - offset) <= 2, `${offset}: ${back}`);
  }
  assert.equal(new Scale(0, 10, 800, 0.2).offset(0), 0);
});
