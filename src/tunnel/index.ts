/** Carries bytes over one outbound connection, understands none of them. */
export { type AllowRule, type DenialReason, defaultAllowRules, judgeRequest } from './allow-list.ts';
export { type Connector, type ConnectorOptions, openConnector } from './connector.ts';
export { type Edge, type EdgeOptions, openEdge } from './edge.ts';
export type { Refusal, RefusalReason } from './refusals.ts';
export type { Listen, TlsIdentity } from './sockets.ts';
