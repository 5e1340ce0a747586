// What browsers have and TypeScript's own declarations lack.
export {};
