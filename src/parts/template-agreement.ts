/** Whether a profile of the built-in MDM asks for what the CA's template gives. */
import { resolveTemplates } from '../ca/index.ts';
import type { SubjectAltNameType } from '../ca/template.ts';
import type { Profile } from '../mdm/index.ts';
import { validityMs } from '../mdm/index.ts';
import type { ServerConfig } from './authorities.ts';

/** Intune's words for names, and those of templates. */
const sanTypes = {
  domainNameService: 'dNSName',
  emailAddress: 'rfc822Name',
  userPrincipalName: 'userPrincipalName',
  universalResourceIdentifier: 'uniformResourceIdentifier',
} as const satisfies Record<string, SubjectAltNameType>;

/**
 * What a profile asks for and the template of its endpoint does not give; empty if they agree, or if the profile leads to no
 * endpoint of this server. A usage that is dropped beside one that stays is none: profiles of Intune's making often ask for
 * both.
 */
export function disagreementsOf(
  profile: Profile,
  server: Pick<ServerConfig, 'endpoints' | 'templates'>,
): string[] {
  if (profile.kind === 'trustedCertificate' || profile.kind === 'importedPfx') return [];
  const { templates } = resolveTemplates(server.templates);
  const named = new Set(
    profile.kind === 'pkcs'
      ? [profile.certificateTemplateName]
      : profile.scepServerUrls.flatMap((url) => templateBehind(url, server)),
  );
  return templates
    .filter(({ name }) => named.has(name))
    .flatMap((template) => {
      const faults: string[] = [];
      const report = (field: string, why: string) =>
        faults.push(`${field}: the profile and template “${template.name}” disagree: ${why}`);
      if (!profile.keyUsage.some((usage) => template.keyUsage.includes(usage))) {
        report('keyUsage', `it gives ${template.keyUsage.join(', ')}`);
      }
      for (const { name, objectIdentifier } of profile.extendedKeyUsages) {
        if (!template.extKeyUsage.includes(objectIdentifier)) {
          report('extendedKeyUsages', `it does not give ${name} (${objectIdentifier})`);
        }
      }
      if (!template.keyAlgorithms.includes('rsa')) report('keySize', 'it certifies no RSA keys');
      else if (profile.keySize < template.rsaBitsMin) {
        report('keySize', `it wants ${template.rsaBitsMin} bits`);
      }
      // A year is 366 days there and 365 here; a day's difference is nobody's mistake.
      if (profile.kind === 'scep' && validityMs(profile) > template.validityMs * (366 / 365)) {
        report('certificateValidityPeriodValue', 'its certificates do not live so long');
      }
      for (const { sanType } of profile.customSubjectAlternativeNames) {
        if (!template.subjectAltNameTypes.includes(sanTypes[sanType])) {
          report('customSubjectAlternativeNames', `it takes no ${sanType}`);
        }
      }
      return faults;
    });
}

/** Name of the template of the endpoint that a URL leads to; whatever stands before it keeps the path. */
function templateBehind(url: string, server: Pick<ServerConfig, 'endpoints'>): string[] {
  const { pathname } = new URL(url);
  return server.endpoints
    .filter(({ paths }) => paths.some((path) => pathname === path || pathname.startsWith(`${path}/`)))
    .map(({ template }) => template);
}
