/**
 * What Microsoft publishes about the nodes that we write: formats, values and which are required, in the references of
 * the ClientCertificateInstall CSP (SCEP, PFXCertInstall) and the RootCATrustedCertificates CSP.
 */

/** A node's rule. */
export interface NodeRule {
  /** `Format` of the SyncML item (OMA DM meta information); absent for a node that is executed. */
  readonly format?: 'node' | 'int' | 'chr' | 'bool' | 'b64';
  readonly presence: 'required' | 'optional';
  readonly verb: 'Add' | 'Exec';
  readonly fits?: RegExp;
  /** Another node without which this value is nothing. */
  readonly needs?: { readonly value: string; readonly node: string };
}

/** A node with a value, as it is sent. */
export interface NodeValue {
  readonly verb: 'Add' | 'Exec' | 'Delete';
  readonly path: string;
  readonly format?: string;
  readonly data?: string;
}

const add = (
  presence: NodeRule['presence'],
  format: NonNullable<NodeRule['format']>,
  fits?: RegExp,
): NodeRule => ({ verb: 'Add', presence, format, ...(fits === undefined ? {} : { fits }) });

const oids = /^\d+(\.\d+)+(\+\d+(\.\d+)+)*$/;
const base64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** Rules by the name of the node below its UniqueID; the empty name is the UniqueID itself. */
export const nodeRules = {
  scep: {
    '': add('required', 'node'),
    'Install/ServerURL': add('required', 'chr', /^https?:\/\/[^;\s]+(;https?:\/\/[^;\s]+)*$/),
    'Install/Challenge': add('required', 'chr', base64),
    'Install/EKUMapping': add('required', 'chr', oids),
    // At least 0x20 (keyEncipherment) or 0x80 (digitalSignature); there are no others that a profile can ask for.
    'Install/KeyUsage': add('required', 'int', /^(32|128|160)$/),
    'Install/SubjectName': add('required', 'chr', /./s),
    'Install/KeyProtection': {
      ...add('optional', 'int', /^[1-4]$/),
      needs: { value: '4', node: 'Install/ContainerName' },
    },
    'Install/ContainerName': add('optional', 'chr', /./s),
    'Install/CustomTextToShowInPrompt': add('optional', 'chr'),
    'Install/AADKeyIdentifierList': add('optional', 'chr'),
    'Install/TemplateName': add('optional', 'chr'),
    'Install/RetryDelay': add('optional', 'int', /^[1-9]\d*$/),
    'Install/RetryCount': add('optional', 'int', /^([0-9]|[12][0-9]|30)$/),
    'Install/KeyLength': add('required', 'int', /^(1024|2048|4096)$/),
    'Install/HashAlgorithm': add('required', 'chr', /^SHA-[123](\+SHA-[123])*$/),
    'Install/CAThumbprint': add('required', 'chr', /^[0-9A-Fa-f]{40}$/),
    'Install/SubjectAlternativeNames': add('optional', 'chr', /^\d+\+[^;+]+(;\d+\+[^;+]+)*$/),
    'Install/ValidPeriod': add('optional', 'chr', /^(Days|Months|Years)$/),
    'Install/ValidPeriodUnits': add('optional', 'int', /^\d+$/),
    // Microsoft: the last of the atomic block.
    'Install/Enroll': { verb: 'Exec', presence: 'required' },
  },
  pfx: {
    KeyLocation: {
      ...add('required', 'int', /^[1-4]$/),
      needs: { value: '4', node: 'ContainerName' },
    },
    ContainerName: add('optional', 'chr', /./s),
    PFXCertPassword: add('optional', 'chr', /./s),
    PFXCertPasswordEncryptionType: {
      ...add('optional', 'int', /^[012]$/),
      needs: { value: '2', node: 'PFXCertPasswordEncryptionStore' },
    },
    PFXCertPasswordEncryptionStore: add('optional', 'chr', /./s),
    // `true` is for KeyLocation 3 alone, and never ours.
    PFXKeyExportable: add('optional', 'bool', /^false$/),
    // The description framework calls it `bin`; Microsoft's own example sends base64 as `chr`. Adding it begins the installation: whatever it needs stands before it.
    PFXCertBlob: add('required', 'chr', base64),
  },
  root: {
    // No line feeds, no other characters between.
    EncodedCertificate: add('required', 'b64', base64),
  },
} as const satisfies Record<string, Readonly<Record<string, NodeRule>>>;

const bases: readonly (readonly [kind: keyof typeof nodeRules, pattern: RegExp])[] = [
  ['scep', /^\.\/(?:Device|User)\/Vendor\/MSFT\/ClientCertificateInstall\/SCEP\/[A-Za-z0-9-]+(?:\/|$)/],
  [
    'pfx',
    /^\.\/(?:Device|User)\/Vendor\/MSFT\/ClientCertificateInstall\/PFXCertInstall\/[A-Za-z0-9-]+(?:\/|$)/,
  ],
  // RootCATrustedCertificates CSP: there is no root store of a user.
  [
    'root',
    /^\.\/(?:Device\/Vendor\/MSFT\/RootCATrustedCertificates\/(?:Root|CA)|User\/Vendor\/MSFT\/RootCATrustedCertificates\/CA)\/[0-9A-F]{40}\//,
  ],
];

/** What breaks Microsoft's rules in the nodes of one installation, in their order; empty if nothing does. */
export function faultsOfNodes(nodes: readonly NodeValue[]): string[] {
  const first = nodes[0];
  const [kind, pattern] = bases.find(([, base]) => base.test(first?.path ?? '')) ?? [];
  if (first === undefined || kind === undefined || pattern === undefined)
    return [`${first?.path ?? 'nothing'}: not a node that is known here`];
  const base = pattern.exec(first.path)?.[0].replace(/\/$/, '') ?? '';
  const rules: Readonly<Record<string, NodeRule>> = nodeRules[kind];
  const faults: string[] = [];
  const seen: string[] = [];
  const has = (name: string) => nodes.some(({ path }) => path === `${base}/${name}`);
  for (const node of nodes) {
    const name = node.path === base ? '' : node.path.slice(base.length + 1);
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined || !node.path.startsWith(base)) faults.push(`${node.path}: not a node`);
    else if (seen.includes(name)) faults.push(`${name}: twice`);
    else if (rule.verb !== node.verb) faults.push(`${name}: takes ${rule.verb}`);
    else if (rule.format !== node.format) faults.push(`${name}: of format ${rule.format ?? 'none'}`);
    else if (rule.fits !== undefined && !rule.fits.test(node.data ?? ''))
      faults.push(`${name}: not of the form ${rule.fits.source}`);
    else if (rule.needs !== undefined && rule.needs.value === node.data && !has(rule.needs.node))
      faults.push(`${name}: ${node.data} needs ${rule.needs.node}`);
    seen.push(name);
  }
  for (const [name, rule] of Object.entries(rules))
    if (rule.presence === 'required' && !seen.includes(name)) faults.push(`${name || 'UniqueID'}: required`);
  const last = { scep: 'Install/Enroll', pfx: 'PFXCertBlob', root: 'EncodedCertificate' }[kind];
  if (seen.includes(last) && seen.at(-1) !== last) faults.push(`${last}: must be the last`);
  return faults;
}
