/**
 * `npm run interop`: third-party SCEP clients enrol over the edge, and third-party tools read everything that the CA
 * made. `npm run interop -- radius`: relying parties judge certificates. Nothing is skipped: a client that cannot be had is a failure.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { buildPem, parseSignedData } from '../src/codec/index.ts';
import { Checks, demand } from './checks.ts';
import { leafgateJson } from './command.ts';
import { proveOurClient } from './interop-micromdm.ts';
import { proveOcsp } from './interop-ocsp.ts';
import { interopRadius } from './interop-radius.ts';
import { startTenant } from './processes.ts';
import { openTenant, type Tenant } from './tenant.ts';
import {
  clients,
  type EnrolmentResult,
  ensureThirdParty,
  type ThirdParty,
  versionsOf,
  zlint,
} from './third-party/index.ts';
import { runToSuccess } from './third-party/program.ts';

/** The client that encrypts with single DES whatever the server offers; it gets endpoints of its own. */
const LEGACY_CLIENT = 'micromdm scepclient';
const OPENSSL_TIMEOUT_MS = 20_000;

interface AuditRow {
  readonly code: string;
  readonly detail: Readonly<Record<string, string>>;
}

/** Adds endpoints that take single DES: what an administrator does for old gear. */
async function addLegacyEndpoints(tenant: Tenant): Promise<void> {
  const config = parse(await readFile(tenant.configs.server, 'utf8')) as {
    server: { endpoints: { name: string; paths: string[]; dangerAllowSingleDes?: boolean }[] };
  };
  for (const name of ['one-time', 'static']) {
    const model = config.server.endpoints.find((endpoint) => endpoint.name === name);
    if (model === undefined) throw new Error(`the lab has no endpoint ${name}`);
    config.server.endpoints.push({
      ...structuredClone(model),
      name: `${name}-legacy`,
      paths: [`/scep/${name}-legacy`],
      dangerAllowSingleDes: true,
    });
  }
  await writeFile(tenant.configs.server, stringify(config), { mode: 0o600 });
}

async function openssl(thirdParty: ThirdParty, ...args: readonly string[]): Promise<string> {
  return await runToSuccess({ program: thirdParty.openssl, args, timeoutMs: OPENSSL_TIMEOUT_MS });
}

async function fetchBytes(url: string): Promise<Buffer> {
  const answer = await fetch(url);
  demand(answer.ok, `${url} answers ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

async function run(folder: string): Promise<0 | 1> {
  const checks = new Checks();
  const thirdParty = await ensureThirdParty();
  console.log(
    Object.entries(await versionsOf(thirdParty))
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
  const tenant = await openTenant(folder, { ports: 'any', progress: (text) => console.error(`- ${text}`) });
  await addLegacyEndpoints(tenant);
  const running = await startTenant(tenant);
  try {
    const edge = `http://127.0.0.1:${tenant.ports.edgeHttp}`;
    const caCertificatesPem = splitPem(await readFile(tenant.chainFile, 'utf8'));
    const made: { readonly name: string; readonly file: string }[] = [];
    let count = 0;

    const enrol = async (client: string, path: string, challenge: string): Promise<EnrolmentResult> => {
      const perform = clients[client];
      if (perform === undefined) throw new Error(`there is no client ${client}`);
      count += 1;
      return await perform(thirdParty, {
        url: `${edge}${path}`,
        workFolder: join(folder, 'clients', String(count)),
        challenge,
        commonName: `interop-${count}`,
        ...(client === LEGACY_CLIENT ? {} : { dnsName: `interop-${count}.lab.test` }),
        caCertificatesPem,
      });
    };
    const oneTime = async (endpoint: string): Promise<string> => {
      const { challenge } = await leafgateJson<{ challenge: string }>(
        ...[
          'challenge',
          'create',
          endpoint,
          '--config',
          tenant.configs.server,
          '--device',
          `interop-${count + 1}`,
        ],
      );
      return challenge;
    };
    /** A refusal proves something only if the server refused, and for the expected reason. */
    const demandRefused = async (result: EnrolmentResult, code: string) => {
      demand(!result.ok, 'a certificate was issued');
      const [newest] = await leafgateJson<AuditRow[]>(
        ...[
          'audit',
          'list',
          '--config',
          tenant.configs.server,
          '--event',
          'enrolment.refused',
          '--limit',
          '1',
        ],
      );
      demand(
        newest?.code === code,
        `the audit list says ${newest?.code}; the client: ${result.log.slice(-600)}`,
      );
      return `refused, ${code}`;
    };

    for (const client of Object.keys(clients)) {
      checks.section(client);
      const suffix = client === LEGACY_CLIENT ? '-legacy' : '';
      for (const kind of ['one-time', 'static'] as const) {
        const path = `/scep/${kind}${suffix}`;
        await checks.check(
          `enrols with ${kind === 'static' ? 'the static secret' : 'a one-time challenge'}`,
          async () => {
            const challenge = kind === 'static' ? tenant.staticSecret : await oneTime(`${kind}${suffix}`);
            const result = await enrol(client, path, challenge);
            if (!result.ok) throw new Error(result.log.slice(-2000));
            const file = join(folder, `${client.replaceAll(' ', '-')}-${kind}.pem`);
            await writeFile(file, result.certificatePem);
            made.push({ name: `${client}, ${kind}`, file });
            return (await openssl(thirdParty, 'x509', '-in', file, '-noout', '-subject', '-serial'))
              .trim()
              .replace('\n', ', ');
          },
        );
        await checks.check(
          `is refused with a wrong ${kind === 'static' ? 'secret' : 'challenge'}`,
          async () => demandRefused(await enrol(client, path, 'not-the-challenge'), 'challenge_unknown'),
        );
      }
    }
    await checks.check(`${LEGACY_CLIENT} is refused where single DES is not allowed`, async () =>
      demandRefused(await enrol(LEGACY_CLIENT, '/scep/static', tenant.staticSecret), 'algorithm_refused'),
    );

    checks.section('third-party eyes');
    const crlFiles: string[] = [];
    for (const name of ['issuing', 'root']) {
      await checks.check(`openssl verifies the ${name} CRL; zlint finds no error`, async () => {
        const file = join(folder, `${name}.crl.pem`);
        const pem = buildPem('X509 CRL', await fetchBytes(`${edge}/crl/${name}.crl`));
        await writeFile(file, pem);
        crlFiles.push(file);
        await openssl(thirdParty, 'crl', '-in', file, '-noout', '-CAfile', tenant.chainFile);
        return await lint(thirdParty, pem);
      });
      await checks.check(
        `openssl reads the ${name} certificate from its AIA URL; zlint finds no error`,
        async () => {
          const pem = buildPem('CERTIFICATE', await fetchBytes(`${edge}/aia/${name}.crt`));
          const file = join(folder, `${name}.aia.pem`);
          await writeFile(file, pem);
          await openssl(thirdParty, 'x509', '-in', file, '-noout', '-text');
          return await lint(thirdParty, pem);
        },
      );
    }
    for (const { name, file } of made) {
      await checks.check(
        `openssl verifies leaf, chain and revocation: ${name}; zlint finds no error`,
        async () => {
          await openssl(
            thirdParty,
            ...[
              'verify',
              '-x509_strict',
              '-purpose',
              'sslclient',
              '-crl_check_all',
              '-CAfile',
              tenant.rootFile,
            ],
            ...['-untrusted', tenant.chainFile, ...crlFiles.flatMap((crl) => ['-CRLfile', crl]), file],
          );
          return await lint(thirdParty, await readFile(file, 'utf8'));
        },
      );
    }
    for (const [part, name] of [
      ['edge', 'web'],
      ['mdm', 'web'],
    ] as const) {
      await checks.check(`openssl verifies and zlint accepts the ${part}’s ${name} certificate`, async () => {
        const file = join(folder, part, `${name}.pem`);
        await openssl(
          thirdParty,
          ...['verify', '-x509_strict', '-CAfile', tenant.rootFile, '-untrusted', tenant.chainFile, file],
        );
        return await lint(thirdParty, splitPem(await readFile(file, 'utf8'))[0] ?? '');
      });
    }
    await checks.check('openssl verifies and zlint accepts the RA’s certificates, as served', async () => {
      const url = `${tenant.urls.scep}/pkiclient.exe?operation=GetCACert&message=default`;
      const [signing, encryption] = parseSignedData(await fetchBytes(url)).certificates;
      const reports: string[] = [];
      for (const certificate of [signing, encryption]) {
        demand(certificate !== undefined, 'GetCACert has no two certificates');
        const text = buildPem('CERTIFICATE', certificate.raw);
        const file = join(folder, 'ra.pem');
        await writeFile(file, text);
        await openssl(
          thirdParty,
          ...['verify', '-x509_strict', '-CAfile', tenant.rootFile, '-untrusted', tenant.chainFile, file],
        );
        reports.push(await lint(thirdParty, text));
      }
      return reports.join('; ');
    });
    await checks.check('openssl reads GetCACert as PKCS #7', async () => {
      const file = join(folder, 'getcacert.p7');
      await writeFile(
        file,
        await fetchBytes(`${tenant.urls.scep}/pkiclient.exe?operation=GetCACert&message=default`),
      );
      const text = await openssl(
        thirdParty,
        'pkcs7',
        '-inform',
        'DER',
        '-in',
        file,
        '-print_certs',
        '-noout',
      );
      const certificates = text.split('\n').filter((line) => line.startsWith('subject')).length;
      demand(certificates === 4, `${certificates} certificates`);
      return `${certificates} certificates`;
    });
    const victim = made.at(-1);
    if (victim === undefined) throw new Error('no client has a certificate');
    await proveOcsp(checks, {
      tenant,
      folder,
      victimFile: victim.file,
      openssl: (...args) => openssl(thirdParty, ...args),
    });
    await proveOurClient(checks, { thirdParty, folder });
    return checks.conclude();
  } finally {
    await running.stop();
  }
}

async function lint(thirdParty: ThirdParty, pem: string): Promise<string> {
  const report = await zlint(thirdParty, pem);
  demand(report.rulesApplied > 0, 'zlint applied no rule');
  demand(
    report.faults.length === 0,
    report.faults.map(({ name, details }) => `${name} ${details}`).join('; '),
  );
  const remarks = report.remarks.map(({ name }) => name).join(', ');
  return `${report.rulesApplied} rules${remarks === '' ? '' : `, remarks: ${remarks}`}`;
}

function splitPem(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? [];
}

const folder = await mkdtemp(join(tmpdir(), 'leafgate-interop-'));
try {
  const [, , what = 'scep'] = process.argv;
  const runs: Readonly<Record<string, (folder: string) => Promise<0 | 1>>> = {
    scep: run,
    radius: interopRadius,
  };
  const chosen = runs[what];
  if (chosen === undefined)
    throw new Error(`there is no interop run “${what}”: ${Object.keys(runs).join(', ')}`);
  process.exitCode = await chosen(folder);
} finally {
  await rm(folder, { recursive: true, force: true });
}
