/** The parts of a configuration at work, put together from everything else. */
export { startMdm } from './mdm.ts';
export type { Part } from './part.ts';
export { startServer } from './server.ts';
export { startConnector, startEdge } from './tunnel.ts';
export type { WorkerReport } from './workers.ts';
