// For programs that are checked without the types of Node.js.

export declare class NodeSocket {
  constructor(address: string, protocols: string[], tls?: { ca?: unknown; cert?: unknown; key?: unknown });
}
