// node follow.mjs STATE JOB: print when half of 20 MB was read, and the sha256 of all in the end.
import { createHash } from "node:crypto";

import { connectLocal } from "jobworker";

const [state, job] = process.argv.slice(2);
const agent = await connectLocal(state, { onstate: (now) => console.log(`state ${now}`) });
const hash = createHash("sha256");
let next = 0;
for await (const piece of agent.logs(job)) {
  if (piece.kind === "data") {
    if (piece.offset !== next) console.log(`byte ${piece.offset} came after ${next}`);
    next = piece.end;
    hash.update(piece.bytes);
    if (piece.offset < 10_000_000 && next >= 10_000_000) console.log("half");
  } else {
    console.log(JSON.stringify(piece));
  }
}
console.log(`sha256 ${hash.digest("hex")}`);
agent.close();
