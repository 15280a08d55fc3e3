/** The doors of the SCEP server: they translate HTTP, and nothing else. */
export * from './ocsp.ts';
export * from './repository.ts';
export * from './scep.ts';
export * from './server.ts';
