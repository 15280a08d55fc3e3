/** `npm run demo`: the lab in a temporary folder, then proof that its certificate is of use and that abuse is refused. */
import { execFile } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Device, Identity } from '../src/agent/index.ts';
import { buildPem, commonNameOf, nameFromString, thumbprintOf } from '../src/codec/index.ts';
import { privateKeyOf } from '../src/keys/index.ts';
import { buildSelfSigned } from '../src/scep/index.ts';
import { Checks, demand } from './checks.ts';
import { leafgateJson } from './command.ts';
import { asMdmAdministrator, deviceNamed } from './fleet.ts';
import { aim, fire, newKey, type Order, orderFor, relabel, type Shot, serverAuthToo } from './hostile.ts';
import { openMutualTlsService, visit } from './relying-party.ts';
import { bringUp } from './start.ts';
import type { Tenant } from './tenant.ts';

interface CertificateRow {
  readonly serialNumber: string;
  readonly subject: string;
  readonly requester: string;
  readonly device: string;
  readonly status: string;
}

interface AuditRow {
  readonly event: string;
  readonly code: string;
  readonly reference: string;
  readonly text: string;
  readonly detail: Readonly<Record<string, string>>;
}

/** The edge reports what it refused every two seconds. */
const EDGE_REPORT_MS_MAX = 15_000;

/** Runs the demo; answers the exit status. */
export async function runDemo(): Promise<0 | 1> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-demo-'));
  try {
    const { tenant, running } = await bringUp(folder, 'any');
    try {
      const checks = new Checks();
      const device = await deviceNamed(tenant, 'laptop-1');
      const [identity] = await device.identities();
      if (identity === undefined) throw new Error('the first device has no certificate');
      await proveUse(checks, tenant, identity);
      await proveRefusal(checks, tenant, device);
      await proveRenewal(checks, tenant);
      return checks.conclude();
    } finally {
      await running.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function certificates(tenant: Tenant): Promise<CertificateRow[]> {
  return await leafgateJson<CertificateRow[]>(
    'ca',
    'list',
    '--config',
    tenant.configs.server,
    '--limit',
    '1000',
  );
}

// --- use ---------------------------------------------------------------------------------------------------------

async function proveUse(checks: Checks, tenant: Tenant, identity: Identity): Promise<void> {
  const { certificate, chain } = identity;
  const name = commonNameOf(certificate.subject) ?? '';
  const leafPem = buildPem('CERTIFICATE', certificate.raw);
  const chainPem = chain.map((one) => buildPem('CERTIFICATE', one.raw)).join('');
  const crls = await Promise.all(['issuing', 'root'].map((ca) => fetchCrl(tenant, ca)));

  checks.section('Use');
  await checks.check('openssl verify accepts leaf and chain under the root, with both CRLs', async () => {
    const write = async (file: string, text: string) => {
      await writeFile(join(tenant.folder, file), text);
      return join(tenant.folder, file);
    };
    const { stdout } = await promisify(execFile)('openssl', [
      ...['verify', '-x509_strict', '-purpose', 'sslclient', '-crl_check_all', '-CAfile', tenant.rootFile],
      ...[
        '-CRLfile',
        await write('crls.pem', crls.join('')),
        '-untrusted',
        await write('device-chain.pem', chainPem),
      ],
      await write('device.pem', leafPem),
    ]);
    return stdout.trim().split(': ').at(-1);
  });
  await checks.check(
    'openssl ocsp hears that it is good, from a responder that the CA appointed',
    async () => {
      const { stdout } = await promisify(execFile)('openssl', [
        ...['ocsp', '-url', tenant.urls.ocsp, '-CAfile', tenant.rootFile, '-verify_other', tenant.chainFile],
        ...['-issuer', tenant.chainFile, '-cert', join(tenant.folder, 'device.pem')],
      ]);
      const [, status] = /: (good|revoked|unknown)$/m.exec(stdout) ?? [];
      demand(status === 'good', stdout);
      return status;
    },
  );
  const service = await openMutualTlsService({
    cert: await readFile(join(tenant.folder, 'edge', 'web.pem'), 'utf8'),
    key: await clearKey(join(tenant.folder, 'edge', 'web')),
    ca: await readFile(tenant.rootFile, 'utf8'),
    crl: crls,
    names: [name],
  });
  try {
    await checks.check('a mutual-TLS service accepts the device by name', async () => {
      const answer = await visit(service, tenant.rootFile, {
        cert: leafPem + chainPem,
        key: await readFile(identity.keyPath, 'utf8'),
        passphrase: (await readFile(identity.keyPassphrasePath, 'utf8')).trimEnd(),
      });
      demand(answer.status === 200, `it answered ${answer.status}`);
      return answer.body;
    });
    await checks.check(
      '… and refuses a stranger, who has a certificate of the same name from a CA of his own',
      async () => {
        const stranger = await visit(service, tenant.rootFile, await strangerNamed(name)).then(
          (answer) => `HTTP ${answer.status}`,
          (cause: NodeJS.ErrnoException) => cause.code ?? cause.message,
        );
        demand(!stranger.startsWith('HTTP'), `it answered ${stranger}`);
        return stranger;
      },
    );
  } finally {
    await service.close();
  }
  await checks.check('the CA’s list shows the certificate with requester and device', async () => {
    const row = (await certificates(tenant)).find(
      ({ serialNumber }) => serialNumber === certificate.serialNumber,
    );
    demand(row !== undefined && row.status === 'issued', 'it is not in the list');
    demand(
      row.requester === 'LAB\\svc-leafgate-ra' && row.device === name,
      `${row.requester}, ${row.device}`,
    );
    return `${row.requester}, ${row.device}`;
  });
}

async function fetchCrl(tenant: Tenant, ca: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${tenant.ports.edgeHttp}/crl/${ca}.crl`);
  if (!answer.ok) throw new Error(`the ${ca} CRL: HTTP ${answer.status}`);
  return buildPem('X509 CRL', new Uint8Array(await answer.arrayBuffer()));
}

async function clearKey(path: string): Promise<string> {
  const passphrase = (await readFile(`${path}.passphrase`, 'utf8')).trimEnd();
  const key = createPrivateKey({ key: await readFile(`${path}.key.pem`, 'utf8'), passphrase });
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** A self-signed certificate with somebody else's name. */
async function strangerNamed(name: string): Promise<{ cert: string; key: string }> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = privateKeyOf(privateKey);
  const certificate = await buildSelfSigned(
    {
      subject: nameFromString(`CN=${name},O=LAB`),
      spki: key.spki,
      notBefore: new Date(Date.now() - 3_600_000),
      notAfter: new Date(Date.now() + 3_600_000),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return {
    cert: buildPem('CERTIFICATE', certificate.raw),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

// --- refusal -----------------------------------------------------------------------------------------------------

async function proveRefusal(checks: Checks, tenant: Tenant, device: Device): Promise<void> {
  const other = await deviceNamed(tenant, 'laptop-2');
  const key = newKey();
  const changed = async (change: (order: Order) => Partial<Order>, signingKey = key): Promise<Shot> => {
    const order = await orderFor(tenant, device);
    return await aim(tenant, { ...order, ...change(order) }, signingKey);
  };

  checks.section('Refusal: each with its own reason in the audit list, and no certificate issued');
  const refusals: readonly (readonly [title: string, code: string, shot: () => Promise<Shot>])[] = [
    [
      'another device’s challenge',
      'challenge_foreign',
      async () => {
        const { challenge } = await orderFor(tenant, device);
        return await aim(tenant, { ...(await orderFor(tenant, other)), challenge }, key);
      },
    ],
    [
      'a changed subject',
      'subject_mismatch',
      () => changed(() => ({ subject: 'CN=domain-controller,O=LAB' })),
    ],
    [
      'a changed subject alternative name',
      'san_mismatch',
      () =>
        changed(() => ({ subjectAltName: [{ type: 'userPrincipalName', value: 'administrator@lab.test' }] })),
    ],
    ['a larger extended key usage', 'eku_mismatch', () => changed(() => ({ extKeyUsage: serverAuthToo }))],
    ['a smaller key', 'key_size_mismatch', () => changed(() => ({}), newKey(1024))],
    [
      'an expired challenge',
      'challenge_expired',
      async () => aim(tenant, await orderFor(tenant, device, 61), key),
    ],
    [
      'a challenge used twice, the second time with another key',
      'challenge_reused',
      async () => {
        const order = await orderFor(tenant, other);
        const first = await fire(tenant, await aim(tenant, order, newKey()));
        demand(first.pkiStatus === 'SUCCESS', 'the first use of the challenge was refused');
        return await aim(tenant, order, newKey());
      },
    ],
    [
      'a device that is not enrolled any more',
      'device_unknown',
      async () => {
        const gone = await deviceNamed(tenant, 'laptop-3');
        const order = await orderFor(tenant, gone);
        await asMdmAdministrator(tenant, (mdm) =>
          mdm.setDeviceState(gone.folder.identity.deviceId, 'retired'),
        );
        return await aim(tenant, order, key);
      },
    ],
    [
      'a device that never was: a challenge of its own making',
      'challenge_invalid',
      () => changed(() => ({ challenge: Buffer.from('let me in').toString('base64') })),
    ],
    [
      'a message type that is not PKCSReq',
      'message_type_unsupported',
      async () => relabel(tenant, await changed(() => ({})), key, 'UpdateReq'),
    ],
  ];
  for (const [title, code, build] of refusals) {
    await checks.check(title, async () => {
      const shot = await build();
      const before = (await certificates(tenant)).length;
      const answer = await fire(tenant, shot);
      demand(answer.pkiStatus === 'FAILURE', `it was answered ${answer.pkiStatus}`);
      demand((await certificates(tenant)).length === before, 'a certificate was issued');
      const reference = /LG-\w+/.exec(answer.failInfoText ?? '')?.[0] ?? '';
      const [entry] = await auditBy(tenant, '--reference', reference);
      demand(entry?.code === code, `the audit list says ${entry?.code}`);
      return `${entry.code}, ${answer.failInfo}, ${reference}: ${entry.detail.detail ?? entry.text}`;
    });
  }
  await checks.check('a request to the SCEP server’s admin path through the edge', async () => {
    const before = (await certificates(tenant)).length;
    const answer = await fetch(tenant.urls.scep.replace('/mscep/mscep.dll', '/mscep_admin/'));
    const reference = /LG-\w+/.exec(await answer.text())?.[0] ?? '';
    demand(answer.status === 404, `HTTP ${answer.status}`);
    const entry = await untilAudited(tenant, reference);
    demand(entry?.event === 'edge.refused' && entry.code === 'path_denied', 'it is not in the audit list');
    demand((await certificates(tenant)).length === before, 'a certificate was issued');
    return `${entry.code}, HTTP 404, ${reference}: ${entry.text}`;
  });

  checks.section('Repetition');
  await checks.check('the same request sent twice gets the same certificate', async () => {
    const shot = await aim(tenant, await orderFor(tenant, other), newKey());
    const [first, second] = [await fire(tenant, shot), await fire(tenant, shot)];
    demand(first.pkiStatus === 'SUCCESS' && second.pkiStatus === 'SUCCESS', 'it was refused');
    const thumbprints = [first, second].map((answer) =>
      thumbprintOf(answer.certificates[0]?.raw ?? Uint8Array.of()),
    );
    demand(thumbprints[0] === thumbprints[1], 'two certificates');
    return thumbprints[0];
  });
}

// --- renewal -----------------------------------------------------------------------------------------------------

/** The replaced certificate is revoked by the next housekeeping after its delay. */
const REPLACED_MS_MAX = 20_000;

async function proveRenewal(checks: Checks, tenant: Tenant): Promise<void> {
  const [folder, old] = [join(tenant.folder, 'router'), join(tenant.folder, 'router-old')];
  let first = '';

  checks.section('Renewal by the old certificate, at an endpoint that is configured for it');
  await checks.check('leafgate scep enrol, with a one-time challenge', async () => {
    const { challenge } = await leafgateJson<{ readonly challenge: string }>(
      ...['challenge', 'create', 'renewing', '--config', tenant.configs.server],
    );
    const enrolled = await leafgateJson<CertificateRow>(
      ...['scep', 'enrol', tenant.urls.renewing, '--subject', 'CN=router-1,O=LAB', '--folder', folder],
      ...['--root', tenant.rootFile, '--danger-challenge', challenge],
    );
    first = enrolled.serialNumber;
    await cp(folder, old, { recursive: true });
    return first;
  });
  await checks.check('leafgate scep renew: a new key, the old certificate, and no challenge', async () => {
    const { serialNumber } = await leafgateJson<CertificateRow>('scep', 'renew', '--folder', folder);
    demand(serialNumber !== first, 'it is the old certificate');
    return serialNumber;
  });
  await checks.check('the replaced certificate is revoked after its delay', async () => {
    const record = async () =>
      (await certificates(tenant)).find(({ serialNumber }) => serialNumber === first)?.status;
    for (let waitedMs = 0; (await record()) !== 'revoked'; waitedMs += 500) {
      demand(waitedMs < REPLACED_MS_MAX, `it is ${await record()} still`);
      await sleep(500);
    }
    return 'superseded';
  });
  await checks.check('… and renews nothing any more', async () => {
    const refused = await leafgateJson('scep', 'renew', '--folder', old).then(
      () => '',
      (cause: Error) => cause.message,
    );
    const [reference] = /LG-\w+/.exec(refused) ?? [];
    demand(reference !== undefined, refused);
    const [entry] = await auditBy(tenant, '--reference', reference);
    demand(entry?.code === 'renewal_revoked', `the audit list says ${entry?.code}`);
    return `${entry.code}, ${reference}`;
  });
}

async function auditBy(tenant: Tenant, ...filter: readonly string[]): Promise<AuditRow[]> {
  return await leafgateJson<AuditRow[]>('audit', 'list', '--config', tenant.configs.server, ...filter);
}

/** The edge's own refusals reach the audit list with its next report. */
async function untilAudited(tenant: Tenant, reference: string): Promise<AuditRow | undefined> {
  for (let waitedMs = 0; waitedMs < EDGE_REPORT_MS_MAX; waitedMs += 500) {
    const [entry] = await auditBy(tenant, '--reference', reference);
    if (entry !== undefined) return entry;
    await sleep(500);
  }
  return undefined;
}
