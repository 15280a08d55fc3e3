/** The parts of a configuration at work, put together from everything else. */

export type {
  CrlHealth,
  IssuerHealth,
  OcspSignerHealth,
  RaHealth,
  ServerHealth,
  TargetHealth,
} from './health.ts';
export { startMdm } from './mdm.ts';
export type { Part } from './part.ts';
export { type ServerPart, startServer } from './server.ts';
export { startConnector, startEdge } from './tunnel.ts';
export { COUNTS_MESSAGE, type WorkerReport } from './workers.ts';
