/** The root stays offline: a server refuses whatever of it a configuration names. */
import { isAbsolute } from 'node:path';
import { assertNotInRootFolder } from '../ca/index.ts';
import { nameToString, parseCertificate, sameOctets } from '../codec/index.ts';
import type { Config } from '../config.ts';
import { PkiError } from '../errors.ts';
import { readChain } from './identity.ts';

/**
 * Refuses a configuration that names anything in a root’s folder, or gives an issuing CA the key of a CA that is only
 * shown. That an issuing CA’s certificate is not a root’s own is checked when its key is opened.
 *
 * @throws PkiError `key_capability` naming the path or the CA.
 */
export function assertRootIsOffline(config: NonNullable<Config['server']>): void {
  assertNotInRootFolder(pathsIn(config));
  for (const { name, certificate } of config.published) {
    const shown = parseCertificate(readChain(certificate)[0]);
    for (const issuer of config.issuers) {
      const issuing = parseCertificate(readChain(issuer.certificate)[0]);
      if (!sameOctets(issuing.spki, shown.spki)) continue;
      throw new PkiError(
        'key_capability',
        `issuing CA “${issuer.name}” has the key of “${name}” (${nameToString(shown.subject)}), which is an offline root: ` +
          'let the root sign an issuing CA with a key of its own',
      );
    }
  }
}

/** Every path in a configuration, whose paths are absolute; among them what only looks like one. */
function pathsIn(value: unknown): string[] {
  if (typeof value === 'string') {
    const path = value.replace(/^file:/, '');
    return isAbsolute(path) ? [path] : [];
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(pathsIn) : [];
}
