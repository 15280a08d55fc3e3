/** The doors of the SCEP server: they translate HTTP, and nothing else. */
export type { EndpointLimits, Rate } from './limits.ts';
export * from './ocsp.ts';
export * from './repository.ts';
export * from './scep.ts';
export * from './server.ts';
