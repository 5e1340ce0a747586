// For programs that are checked without the types of Node.js.

import type { Endpoint } from "../jobworker.js";

export declare function localEndpoint(folder?: string): Promise<Endpoint>;
