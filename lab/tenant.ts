/** A whole tenant in one folder: two-tier PKI, secrets, and the configuration of each part. Made once, found again. */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import {
  builtInTemplates,
  type CertificateTemplate,
  createIssuing,
  createRoot,
  createRootCrl,
  type Issuer,
  type Root,
  signatureAlgorithmFor,
} from '../src/ca/index.ts';
import { buildPem, type Certificate, nameFromString } from '../src/codec/index.ts';
import { generateKeyFile, type KeyAlgorithm, type PrivateKey } from '../src/keys/index.ts';
import { hashStaticSecret } from '../src/ra/index.ts';
import { buildSelfSigned } from '../src/scep/index.ts';
import { openPkiStore } from '../src/store/index.ts';
import { issueByOperator } from './operator.ts';
import { freePort } from './ports.ts';

/** Where the parts of a lab listen, all on 127.0.0.1. */
export interface LabPorts {
  readonly edgeHttp: number;
  readonly edgeHttps: number;
  readonly tunnel: number;
  readonly server: number;
  readonly mdm: number;
}

/** A tenant on disk. */
export interface Tenant {
  readonly folder: string;
  readonly ports: LabPorts;
  readonly tenantId: string;
  /** PEM file of the root, as a device or a relying party trusts it. */
  readonly rootFile: string;
  /** PEM file of issuing CA and root. */
  readonly chainFile: string;
  /** Configuration files of the parts, by the order in which they start. */
  readonly configs: { readonly mdm: string; readonly edge: string; readonly server: string };
  readonly urls: {
    /** What a profile names: NDES's own URL, through the edge. */
    readonly scep: string;
    readonly oneTime: string;
    readonly staticSecret: string;
    /** One-time challenge first, then renewal by certificate at any time. */
    readonly renewing: string;
    readonly mdm: string;
    readonly crl: string;
    readonly ocsp: string;
  };
  /** The static secret of the lab's third endpoint. */
  readonly staticSecret: string;
}

const preferredPorts: LabPorts = {
  edgeHttp: 18080,
  edgeHttps: 18443,
  tunnel: 18444,
  server: 18081,
  mdm: 18445,
};
const HOUR_MS = 3_600_000;
const YEAR_MS = 365.25 * 24 * HOUR_MS;
/** So that certificates for devices whose clock is a day behind lie within their CA's life. */
const CA_BACKDATE_MS = 48 * HOUR_MS;
const ORGANISATION = 'O=LAB – NOT TRUSTED';

/** How a tenant is made. */
export interface TenantOptions {
  /** The well-known ports of the lab if they are free, or any free ones. */
  readonly ports: 'preferred' | 'any';
  /** Told while a tenant is made; making keys takes seconds. */
  readonly progress: (text: string) => void;
  /** Key of the issuing CA; `rsa-3072` if absent. */
  readonly issuingKey?: KeyAlgorithm;
}

/** The tenant in `folder`; made first if the folder has none. */
export async function openTenant(folder: string, options: TenantOptions): Promise<Tenant> {
  const summary = join(folder, 'tenant.json');
  if (!existsSync(summary)) await makeTenant(folder, options);
  const facts = JSON.parse(readFileSync(summary, 'utf8')) as {
    readonly ports: LabPorts;
    readonly tenantId: string;
  };
  const edge = `http://127.0.0.1:${facts.ports.edgeHttp}`;
  return {
    folder,
    ...facts,
    rootFile: join(folder, 'root.pem'),
    chainFile: join(folder, 'chain.pem'),
    configs: {
      mdm: join(folder, 'mdm', 'leafgate.yaml'),
      edge: join(folder, 'edge', 'leafgate.yaml'),
      server: join(folder, 'server', 'leafgate.yaml'),
    },
    urls: {
      scep: `${edge}/certsrv/mscep/mscep.dll`,
      oneTime: `${edge}/scep/one-time`,
      staticSecret: `${edge}/scep/static`,
      renewing: `${edge}/scep/renewing`,
      mdm: `https://127.0.0.1:${facts.ports.mdm}`,
      crl: `${edge}/crl/issuing.crl`,
      ocsp: `${edge}/ocsp`,
    },
    staticSecret: readFileSync(join(folder, 'static-secret.txt'), 'utf8').trim(),
  };
}

async function makeTenant(folder: string, options: TenantOptions): Promise<void> {
  const { progress, issuingKey: issuingAlgorithm = 'rsa-3072' } = options;
  const now = Date.now();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const ports = await choosePorts(options.ports);
  const tenantId = randomUUID();
  const base = `http://127.0.0.1:${ports.edgeHttp}`;

  progress('offline root: RSA-4096 key and certificate');
  const rootKey = await newKey(join(folder, 'offline-root'), 'root', 'rsa-4096');
  const rootCertificate = await createRoot(
    rootKey,
    nameFromString(`CN=Leafgate Lab Root CA,${ORGANISATION}`),
    {
      notBefore: toSecond(now - CA_BACKDATE_MS),
      notAfter: toSecond(now + 20 * YEAR_MS),
    },
  );
  const root: Root = { certificate: rootCertificate, key: rootKey };
  const rootCrl = await createRootCrl(root, 1, {
    thisUpdate: toSecond(now - HOUR_MS),
    nextUpdate: toSecond(now + YEAR_MS / 2),
  });

  progress(`issuing CA: ${issuingAlgorithm.toUpperCase()} key, certificate signed by the root`);
  const issuingKey = await newKey(join(folder, 'server'), 'issuing', issuingAlgorithm);
  const issuing = await createIssuing(
    root,
    issuingKey.spki,
    nameFromString(`CN=Leafgate Lab Issuing CA,${ORGANISATION}`),
    { notBefore: toSecond(now - CA_BACKDATE_MS), notAfter: toSecond(now + 10 * YEAR_MS) },
    { crlUrls: [`${base}/crl/root.crl`], caIssuersUrls: [`${base}/aia/root.crt`] },
  );
  const rootPem = pem(rootCertificate);
  const chainPem = pem(issuing) + rootPem;
  for (const place of ['', 'server', 'edge', 'mdm']) {
    writeIn(join(folder, place), 'root.pem', rootPem);
    writeIn(join(folder, place), 'chain.pem', chainPem);
  }
  writeIn(join(folder, 'server'), 'root.crl', rootCrl);
  writeIn(join(folder, 'offline-root'), 'root.pem', rootPem);

  const issuer: Issuer = {
    name: 'issuing',
    certificate: issuing,
    chain: [issuing.raw, rootCertificate.raw],
    key: issuingKey,
    signatureAlgorithm: signatureAlgorithmFor(issuingKey),
    crlUrls: [`${base}/crl/issuing.crl`],
    caIssuersUrls: [`${base}/aia/issuing.crt`],
    ocspUrls: [`${base}/ocsp`],
    crlPeriodMs: 7 * 24 * HOUR_MS,
    crlOverlapMs: 12 * HOUR_MS,
  };
  progress('edge, connector and MDM: keys and certificates');
  await issueServices(folder, issuer);
  await makePinnedIdentities(folder, now);
  const staticSecret = randomBytes(18).toString('base64url');
  writeIn(folder, 'static-secret.txt', `${staticSecret}\n`);
  writeIn(join(folder, 'server'), 'static-secret.hash', `${await hashStaticSecret(staticSecret)}\n`);
  writeIn(join(folder, 'server'), 'ra.passphrase', `${randomBytes(32).toString('base64url')}\n`);
  writeIn(join(folder, 'server'), 'ocsp.passphrase', `${randomBytes(32).toString('base64url')}\n`);
  writeIn(join(folder, 'server'), 'challenge-hash.key', `${randomBytes(32).toString('base64url')}\n`);
  const intuneSecret = `${randomBytes(24).toString('base64url')}\n`;
  writeIn(join(folder, 'server'), 'intune.secret', intuneSecret);
  writeIn(join(folder, 'mdm'), 'intune.secret', intuneSecret);
  const pfxSecret = `${randomBytes(24).toString('base64url')}\n`;
  writeIn(join(folder, 'server'), 'pfx.secret', pfxSecret);
  writeIn(join(folder, 'mdm'), 'pfx.secret', pfxSecret);
  writeConfigs(folder, ports, tenantId, issuer);
  // Written last: a folder with this file is complete.
  writeIn(folder, 'tenant.json', `${JSON.stringify({ ports, tenantId }, null, 2)}\n`);
}

function builtIn(name: string): CertificateTemplate {
  const template = builtInTemplates.find((each) => each.name === name);
  if (template === undefined) throw new Error(`there is no template ${name}`);
  return template;
}

async function choosePorts(wanted: 'preferred' | 'any'): Promise<LabPorts> {
  const chosen: Record<string, number> = {};
  for (const [part, port] of Object.entries(preferredPorts)) {
    chosen[part] = await freePort(wanted === 'preferred' ? port : undefined);
  }
  return chosen as unknown as LabPorts;
}

/**
 * The certificates of our own services, by the RA on an operator's word: they appear in the CA's list like all others. The
 * server has its RA's and its OCSP responder's issued by itself.
 */
async function issueServices(folder: string, issuer: Issuer): Promise<void> {
  const store = await openPkiStore({ sqlite: join(folder, 'server', 'data', 'pki.sqlite') });
  try {
    const services: readonly (readonly [
      part: string,
      name: string,
      template: string,
      subject: string,
      names: string[],
    ])[] = [
      [
        'edge',
        'web',
        'web-server',
        'CN=scep.lab.test',
        ['DNS:scep.lab.test', 'DNS:localhost', 'IP:127.0.0.1'],
      ],
      ['mdm', 'web', 'web-server', 'CN=mdm.lab.test', ['DNS:mdm.lab.test', 'DNS:localhost', 'IP:127.0.0.1']],
    ];
    for (const [part, name, template, subject, names] of services) {
      const key = await newKey(join(folder, part), name, 'rsa-2048');
      const certificate = await issueByOperator(
        { issuer, store },
        { template: builtIn(template), key, subject: `${subject},${ORGANISATION}`, names },
      );
      writeIn(join(folder, part), `${name}.pem`, pem(certificate) + pem(issuer.certificate));
    }
  } finally {
    await store.close();
  }
}

/**
 * Identities that are known by themselves and not by a CA. The MDM's keys for challenges are nobody else's business. The
 * two ends of the tunnel are pinned to each other: were they known by the issuing CA, whoever gets a certificate of the
 * right name from it could take the connector's place.
 */
async function makePinnedIdentities(folder: string, now: number): Promise<void> {
  const identities = [
    ['mdm', 'challenge-signer', 'challenge-signer'],
    ['mdm', 'challenge-recipient', 'challenge-recipient'],
    ['edge', 'tunnel', 'tunnel.lab.test'],
    ['server', 'connector', 'connector-1'],
  ] as const;
  for (const [part, name, commonName] of identities) {
    const key = await newKey(join(folder, part), name, 'rsa-2048');
    const certificate = await buildSelfSigned(
      {
        subject: nameFromString(`CN=${commonName}`),
        spki: key.spki,
        notBefore: toSecond(now - HOUR_MS),
        notAfter: toSecond(now + 10 * YEAR_MS),
      },
      (algorithm, data) => key.sign(algorithm, data),
    );
    writeIn(join(folder, part), `${name}.pem`, pem(certificate));
    // The other end of the tunnel gets the certificate alone.
    if (part === 'edge') writeIn(join(folder, 'server'), `${name}.pem`, pem(certificate));
    if (part === 'server') writeIn(join(folder, 'edge'), `${name}.pem`, pem(certificate));
  }
}

function writeConfigs(folder: string, ports: LabPorts, tenantId: string, issuer: Issuer): void {
  const key = (name: string) => ({ file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` });
  const identity = (name: string) => ({ certificate: `${name}.pem`, key: key(name) });
  const at = (port: number) => `127.0.0.1:${port}`;
  const appId = '11111111-2222-4333-8444-555555555555';
  const mdmUrl = `https://127.0.0.1:${ports.mdm}`;
  writeConfig(join(folder, 'mdm'), {
    mdm: {
      listen: at(ports.mdm),
      publicUrl: mdmUrl,
      ...identity('web'),
      databaseFile: 'data/mdm.sqlite',
      tenant: tenantId,
      applications: [{ appId, secret: 'file:intune.secret' }],
      pkcsConnectors: [{ name: 'connector-1', secret: 'file:pfx.secret' }],
      challengeSigner: identity('challenge-signer'),
      challengeRecipient: identity('challenge-recipient'),
    },
  });
  writeConfig(join(folder, 'edge'), {
    edge: {
      http: at(ports.edgeHttp),
      https: { listen: at(ports.edgeHttps), ...identity('web') },
      tunnel: {
        listen: at(ports.tunnel),
        ...identity('tunnel'),
        connectorCa: 'connector.pem',
        connectors: ['connector-1'],
      },
    },
  });
  const endpoint = (name: string, paths: string[], validator: object) => ({
    name,
    paths,
    issuer: issuer.name,
    template: 'client-authentication',
    validators: [validator],
  });
  writeConfig(join(folder, 'server'), {
    server: {
      listen: at(ports.server),
      dataFolder: 'data',
      serviceIdentity: 'LAB\\svc-leafgate-ra',
      issuers: [
        {
          name: issuer.name,
          certificate: 'chain.pem',
          key: key('issuing'),
          crlUrls: issuer.crlUrls,
          caIssuersUrls: issuer.caIssuersUrls,
          ocspUrls: issuer.ocspUrls,
        },
      ],
      ocsp: { passphrase: 'file:ocsp.passphrase' },
      published: [{ name: 'root', certificate: 'root.pem', crl: 'root.crl' }],
      publish: { targets: [{ name: 'folder', folder: 'published' }] },
      ra: { automatic: { passphrase: 'file:ra.passphrase' }, challengeHashKey: 'file:challenge-hash.key' },
      pfx: {
        mdm: mdmUrl,
        extraCa: 'chain.pem',
        secret: 'file:pfx.secret',
        requester: 'LAB\\svc-leafgate-pfx',
        issuer: issuer.name,
        templates: [{ name: 'client-authentication' }],
        every: '1s',
      },
      endpoints: [
        endpoint('intune', ['/certsrv/mscep/mscep.dll', '/certsrv/mscep', '/cgi-bin/pkiclient.exe'], {
          intune: {
            tenant: tenantId,
            appId,
            secret: 'file:intune.secret',
            authority: mdmUrl,
            graph: mdmUrl,
            extraCa: 'chain.pem',
          },
        }),
        endpoint('one-time', ['/scep/one-time'], { oneTime: {} }),
        endpoint('static', ['/scep/static'], { staticSecret: { hash: 'file:static-secret.hash' } }),
        // Of a template of its own: what Intune has let in is not renewed without Intune.
        {
          ...endpoint('renewing', ['/scep/renewing'], { oneTime: {} }),
          template: 'vpn-ipsec',
          renewal: { window: '36500d', challenge: 'notNeeded', revokeReplacedAfter: '2s' },
        },
        // One for each kind of device that wants something of its own.
        ...(['windows', 'apple', 'android', 'cisco', 'embedded', 'strict'] as const).map((client) => ({
          ...endpoint(client, [`/scep/${client}`], { oneTime: {} }),
          client,
        })),
      ],
    },
    connector: {
      edge: { address: at(ports.tunnel), servername: 'tunnel.lab.test', ca: 'tunnel.pem' },
      ...identity('connector'),
      target: `http://127.0.0.1:${ports.server}`,
    },
  });
}

async function newKey(folder: string, name: string, algorithm: KeyAlgorithm): Promise<PrivateKey> {
  const passphrase = randomBytes(32).toString('base64url');
  writeIn(folder, `${name}.passphrase`, `${passphrase}\n`);
  return await generateKeyFile({ path: join(folder, `${name}.key.pem`), passphrase, algorithm });
}

function writeConfig(folder: string, config: object): void {
  writeIn(folder, 'leafgate.yaml', stringify(config));
}

function writeIn(folder: string, name: string, content: string | Uint8Array): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, name), content, { mode: 0o600 });
}

function pem(certificate: Certificate): string {
  return buildPem('CERTIFICATE', certificate.raw);
}

function toSecond(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000);
}
