/** RFC 8894 as pure functions, for server and client: no I/O, no clock, and nonces come as arguments. */
export * from './capabilities.ts';
export * from './client.ts';
export * from './message.ts';
export * from './next-ca.ts';
export * from './profiles.ts';
export * from './recipient.ts';
export * from './server.ts';
export * from './transport.ts';
export * from './weak-algorithms.ts';
