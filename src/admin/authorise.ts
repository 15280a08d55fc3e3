/** The one place where it is decided who may do what. */
import { PkiError } from '../errors.ts';

/** What can be done by the admin API. */
export type Action =
  | 'challenge.create'
  | 'request.read'
  | 'request.decide'
  | 'certificate.read'
  | 'certificate.revoke'
  | 'audit.read'
  | 'health.read'
  | 'description.read';

/** What each role may do; what does not stand here is denied. The words are those of AD CS and Common Criteria. */
const actionsByRole = {
  'challenge-issuer': ['challenge.create', 'health.read', 'description.read'],
  'certificate-manager': [
    'request.read',
    'request.decide',
    'certificate.read',
    'certificate.revoke',
    'health.read',
    'description.read',
  ],
  auditor: ['request.read', 'certificate.read', 'audit.read', 'health.read', 'description.read'],
  monitor: ['health.read', 'description.read'],
  administrator: [
    'challenge.create',
    'request.read',
    'request.decide',
    'certificate.read',
    'certificate.revoke',
    'audit.read',
    'health.read',
    'description.read',
  ],
} as const satisfies Record<string, readonly Action[]>;

/** Name of a role. */
export type Role = keyof typeof actionsByRole;

/** All roles. */
export const roles = Object.keys(actionsByRole) as Role[];

/** Who is signed in. */
export interface Actor {
  /** As audit entries name him: `token jamf`. */
  readonly name: string;
  /** As the store has them; a word that is no role gives nothing. */
  readonly roles: readonly string[];
  /** The endpoints that he may make challenges for; all if absent. */
  readonly endpoints?: readonly string[];
}

/** Whether one of the actor's roles may do it. */
function isPermitted(actor: Actor, action: Action): boolean {
  return actor.roles.some(
    (role) =>
      Object.hasOwn(actionsByRole, role) &&
      (actionsByRole[role as Role] as readonly Action[]).includes(action),
  );
}

/**
 * Lets an actor pass who may do it, for an endpoint if one is named.
 *
 * @throws PkiError `access_denied`.
 */
export function authorise(actor: Actor, action: Action, endpoint?: string): void {
  if (!isPermitted(actor, action))
    throw new PkiError('access_denied', `${actor.name} has no role for ${action}`);
  if (endpoint !== undefined && actor.endpoints !== undefined && !actor.endpoints.includes(endpoint))
    throw new PkiError('access_denied', `${actor.name} may not do ${action} for endpoint ${endpoint}`);
}
