/**
 * `npm run interop -- radius`: relying parties that are not ours judge our certificates. FreeRADIUS (802.1X with EAP-TLS)
 * and nginx (mutual TLS) must let in the good certificate and keep out revoked, on-hold and expired ones, by CRL and by
 * OCSP.
 */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPem, type Certificate, parseCertificate, parsePem } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { privateKeyOf } from '../src/keys/index.ts';
import { openAuthorities } from '../src/parts/authorities.ts';
import { openLog, systemClock } from '../src/telemetry.ts';
import { Checks, demand } from './checks.ts';
import { leafgate } from './command.ts';
import { issueByOperator } from './operator.ts';
import { freePort } from './ports.ts';
import { startTenant } from './processes.ts';
import { openTenant, type Tenant } from './tenant.ts';
import {
  authenticate,
  ensureThirdParty,
  type RevocationCheck,
  startNginx,
  startRadius,
  type ThirdParty,
  versionsOf,
} from './third-party/index.ts';

const RADIUS_NAME = 'radius.lab.test';
/** Long enough to be issued, short enough to be waited for. */
const SHORT_LIFE_MS = 4_000;
const VISIT_MS_MAX = 10_000;

/** A client with its certificate, and what a relying party must make of it. */
interface Client {
  readonly name: string;
  readonly certificate: Certificate;
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly isWelcome: boolean;
  /** What the relying party's log must say if it is not. */
  readonly reason: RegExp;
}

/** Runs it in a folder of its own; answers the exit status. */
export async function interopRadius(folder: string): Promise<0 | 1> {
  const checks = new Checks();
  const thirdParty = await ensureThirdParty();
  const { FreeRADIUS, eapol_test, nginx, openssl } = await versionsOf(thirdParty);
  console.log(`FreeRADIUS ${FreeRADIUS}, eapol_test ${eapol_test}, nginx ${nginx}, openssl ${openssl}`);
  const tenant = await openTenant(folder, { ports: 'any', progress: (text) => console.error(`- ${text}`) });
  const running = await startTenant(tenant);
  try {
    const work = join(folder, 'relying-parties');
    await mkdir(work);
    const server = await issue(tenant, work, RADIUS_NAME, 'web-server');
    const clients = await makeClients(tenant, work);
    await prepareTrust(tenant, work);
    for (const revocation of ['crl', 'ocsp'] as const) {
      await judgeByRadius(checks, thirdParty, { tenant, work, server, clients, revocation });
      await judgeByNginx(checks, thirdParty, { tenant, work, server, clients, revocation });
    }
    await running.stop();
    const good = clients
      .filter((client) => client.isWelcome)
      .map((client) => ({ ...client, isWelcome: false }));
    checks.section('OCSP responder gone: nobody gets in');
    const setting = { tenant, work, server, clients: good, revocation: 'ocsp' } as const;
    await judgeByRadius(checks, thirdParty, { ...setting, reason: /ocsp/i });
    await judgeByNginx(checks, thirdParty, { ...setting, reason: /ocsp/i });
    return checks.conclude();
  } finally {
    await running.stop();
  }
}

/** Key and certificate by the CA, for a lifetime of its own if one is given; as files in `work`. */
async function issue(
  tenant: Tenant,
  work: string,
  name: string,
  templateName: 'client-authentication' | 'web-server',
  lifetimeMs?: number,
): Promise<{
  readonly certificate: Certificate;
  readonly certificateFile: string;
  readonly keyFile: string;
}> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { server } = readConfig(tenant.configs.server);
  if (server === undefined) throw new Error('the tenant has no server');
  const log = openLog('error', 'lab');
  const authorities = await openAuthorities(server, log, systemClock);
  try {
    const { store, issuers } = authorities;
    const [issuer] = issuers;
    if (issuer === undefined) throw new Error('the tenant has no issuing CA');
    const template = authorities.ca.template(templateName);
    const certificate = await issueByOperator(
      { issuer, store },
      {
        template: lifetimeMs === undefined ? template : { ...template, validityMs: lifetimeMs },
        key: privateKeyOf(privateKey),
        subject: `CN=${name},O=Lab`,
        names: [`DNS:${name}`],
      },
    );
    const certificateFile = join(work, `${name}.pem`);
    const keyFile = join(work, `${name}.key.pem`);
    await writeFile(
      certificateFile,
      buildPem('CERTIFICATE', certificate.raw) + buildPem('CERTIFICATE', issuer.certificate.raw),
    );
    await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    return { certificate, certificateFile, keyFile };
  } finally {
    await authorities.close();
  }
}

/** One client of each fate. */
async function makeClients(tenant: Tenant, work: string): Promise<readonly Client[]> {
  const make = async (
    name: string,
    isWelcome: boolean,
    reason: RegExp,
    lifetimeMs?: number,
  ): Promise<Client> => ({
    name,
    ...(await issue(tenant, work, name, 'client-authentication', lifetimeMs)),
    isWelcome,
    reason,
  });
  const revoked = /revoked/i;
  const expired = await make('expired', false, /expired/i, SHORT_LIFE_MS);
  const clients = [
    await make('good', true, revoked),
    await make('revoked', false, revoked),
    await make('on-hold', false, revoked),
    await make('released', true, revoked),
    expired,
  ];
  const config = ['--config', tenant.configs.server];
  const serial = (name: string) =>
    clients.find((client) => client.name === name)?.certificate.serialNumber ?? '';
  await leafgate('ca', 'revoke', serial('revoked'), '--reason', 'keyCompromise', ...config);
  for (const name of ['on-hold', 'released'])
    await leafgate('ca', 'revoke', serial(name), '--reason', 'certificateHold', ...config);
  await leafgate('ca', 'release', serial('released'), ...config);
  await sleep(Math.max(0, expired.certificate.notAfter.getTime() + 1_500 - Date.now()));
  return clients;
}

/** What a relying party is given: root and issuing CA, and the CRLs of both, as they are served at the edge. */
async function prepareTrust(tenant: Tenant, work: string): Promise<void> {
  const chain = await readFile(tenant.chainFile, 'utf8');
  const [issuing] = parsePem(chain, 'CERTIFICATE');
  demand(parseCertificate(issuing) !== undefined, 'the chain begins with the issuing CA');
  const crls = await Promise.all(
    ['issuing', 'root'].map(async (name) => {
      const answer = await fetch(`http://127.0.0.1:${tenant.ports.edgeHttp}/crl/${name}.crl`);
      demand(answer.ok, `the ${name} CRL: HTTP ${answer.status}`);
      return buildPem('X509 CRL', new Uint8Array(await answer.arrayBuffer()));
    }),
  );
  await writeFile(join(work, 'ca.pem'), chain);
  await writeFile(join(work, 'crl.pem'), crls.join(''));
  await writeFile(join(work, 'ca-and-crl.pem'), chain + crls.join(''));
}

interface Setting {
  readonly tenant: Tenant;
  readonly work: string;
  readonly server: { readonly certificateFile: string; readonly keyFile: string };
  readonly clients: readonly Client[];
  readonly revocation: RevocationCheck;
  /** What the log must say of everybody, instead of each client's own reason. */
  readonly reason?: RegExp;
}

const verb = (client: Client) => (client.isWelcome ? 'accepts' : 'refuses');

async function judgeByRadius(checks: Checks, thirdParty: ThirdParty, setting: Setting): Promise<void> {
  const { tenant, work, server, clients, revocation } = setting;
  const port = await freePort();
  const folder = join(work, `radius-${revocation}-${port}`);
  const radius = await startRadius({
    program: thirdParty.freeradius,
    folder,
    port,
    ...server,
    caFile: join(work, revocation === 'crl' ? 'ca-and-crl.pem' : 'ca.pem'),
    revocation,
  });
  try {
    checks.section(`FreeRADIUS, EAP-TLS, by ${revocation.toUpperCase()}`);
    for (const client of clients) {
      await checks.check(`${verb(client)} ${client.name}`, async () => {
        const before = (await readFile(join(folder, 'radius.log'), 'utf8')).length;
        const { accepted, log } = await authenticate({
          program: thirdParty.eapolTest,
          folder,
          port,
          identity: client.name,
          serverName: RADIUS_NAME,
          rootFile: tenant.rootFile,
          certificateFile: client.certificateFile,
          keyFile: client.keyFile,
        });
        const said = (await readFile(join(folder, 'radius.log'), 'utf8')).slice(before);
        demand(accepted === client.isWelcome, `accepted: ${accepted}; ${said}${log.slice(-800)}`);
        return reasonIn(said, client, setting.reason);
      });
    }
  } finally {
    await radius.end();
  }
}

async function judgeByNginx(checks: Checks, thirdParty: ThirdParty, setting: Setting): Promise<void> {
  const { tenant, work, server, clients, revocation } = setting;
  const port = await freePort();
  const folder = join(work, `nginx-${revocation}-${port}`);
  const nginx = await startNginx({
    program: thirdParty.nginx,
    folder,
    port,
    ...server,
    caFile: join(work, 'ca.pem'),
    crlFile: join(work, 'crl.pem'),
    revocation,
  });
  try {
    checks.section(`nginx, mutual TLS, by ${revocation.toUpperCase()}`);
    for (const client of clients) {
      await checks.check(`${verb(client)} ${client.name}`, async () => {
        const before = (await readFile(join(folder, 'error.log'), 'utf8')).length;
        const status = await visit(port, await readFile(tenant.rootFile, 'utf8'), client);
        const said = (await readFile(join(folder, 'error.log'), 'utf8')).slice(before);
        demand(status === (client.isWelcome ? 200 : 400), `HTTP ${status}; ${said}`);
        return client.isWelcome
          ? `HTTP ${status}`
          : `HTTP ${status}, ${reasonIn(said, client, setting.reason)}`;
      });
    }
  } finally {
    await nginx.end();
  }
}

/** The line of the log that says why; a refusal for another reason proves nothing. */
function reasonIn(said: string, client: Client, reason: RegExp = client.reason): string | undefined {
  if (client.isWelcome) return undefined;
  const line = said.split('\n').find((candidate) => reason.test(candidate));
  demand(line !== undefined, `refused, but not because of ${reason}: ${said}`);
  return line.replace(/^.*?(?:error|ERROR|Error)[^:]*: */, '').slice(0, 100);
}

async function visit(port: number, ca: string, client: Client): Promise<number> {
  const cert = await readFile(client.certificateFile, 'utf8');
  const key = await readFile(client.keyFile, 'utf8');
  return await new Promise((resolve, reject) => {
    const visiting = request(
      {
        host: '127.0.0.1',
        port,
        servername: RADIUS_NAME,
        ca,
        cert,
        key,
        agent: false,
        timeout: VISIT_MS_MAX,
      },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    visiting.once('timeout', () => visiting.destroy(new Error('nginx does not answer')));
    visiting.once('error', reject);
    visiting.end();
  });
}
