/**
 * `npm run interop`: third-party SCEP clients enrol over the edge, and third-party tools read everything that the CA
 * made. `npm run interop -- radius`: relying parties judge certificates. Nothing is skipped: a client that cannot be had is a failure.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { buildPem, parseSignedData } from '../src/codec/index.ts';
import { Checks, demand } from './checks.ts';
import { runInFolder } from './in-folder.ts';
import { Matrix, matrixEndpoints } from './interop-matrix.ts';
import { type ForeignServerResults, proveOurClient } from './interop-micromdm.ts';
import { proveOcsp } from './interop-ocsp.ts';
import { provePkcs12 } from './interop-pkcs12.ts';
import { interopRadius } from './interop-radius.ts';
import { startTenant } from './processes.ts';
import { openTenant, type Tenant } from './tenant.ts';
import { ensureThirdParty, type ThirdParty, versionsOf, zlint } from './third-party/index.ts';
import { runToSuccess } from './third-party/program.ts';

const PAGE = join(import.meta.dirname, '..', 'docs', 'interop.md');
const OPENSSL_TIMEOUT_MS = 20_000;

/** Adds the endpoints of the matrix, and beside each one that takes single DES: what is done for old gear. */
async function addEndpoints(tenant: Tenant): Promise<void> {
  type Endpoint = { name: string; paths: string[]; template: string; dangerAllowSingleDes?: boolean };
  const config = parse(await readFile(tenant.configs.server, 'utf8')) as {
    server: { endpoints: Endpoint[]; templates?: object[] };
  };
  const { server } = config;
  server.templates = [
    ...(server.templates ?? []),
    { name: 'any-key', extend: 'client-authentication', keyAlgorithms: ['rsa', 'P-256', 'P-384'] },
  ];
  for (const endpoint of matrixEndpoints) {
    const model =
      server.endpoints.find(({ name }) => name === endpoint.name) ??
      server.endpoints.find(({ name }) => name === 'one-time');
    if (model === undefined) throw new Error('the lab has no endpoint one-time');
    server.endpoints = server.endpoints.filter(({ name }) => name !== endpoint.name);
    for (const suffix of ['', '-legacy']) {
      const name = `${endpoint.name}${suffix}`;
      server.endpoints.push({
        ...structuredClone(model),
        ...structuredClone(endpoint),
        name,
        paths: [`/scep/${name}`],
        template: 'any-key',
        ...(suffix === '' ? {} : { dangerAllowSingleDes: true }),
      });
    }
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
  const versions = await versionsOf(thirdParty);
  console.log(
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
  const tenant = await openTenant(folder, { ports: 'any', progress: (text) => console.error(`- ${text}`) });
  await addEndpoints(tenant);
  const running = await startTenant(tenant);
  try {
    const edge = `http://127.0.0.1:${tenant.ports.edgeHttp}`;
    const caCertificatesPem = splitPem(await readFile(tenant.chainFile, 'utf8'));
    const matrix = new Matrix(checks, { tenant, folder, thirdParty, caCertificatesPem });
    await matrix.run();
    await matrix.close();
    const { made } = matrix;
    const atMicromdm = await proveOurClient(checks, { thirdParty, folder });

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
    await provePkcs12(checks, folder, (...args) => openssl(thirdParty, ...args));
    await proveOcsp(checks, {
      tenant,
      folder,
      victimFile: victim.file,
      openssl: (...args) => openssl(thirdParty, ...args),
    });
    const status = checks.conclude();
    if (status === 0) {
      await writeFile(PAGE, interopPage(matrix.table(versions), atMicromdm, versions));
      console.log(`docs/interop.md is written`);
    }
    return status;
  } finally {
    await running.stop();
  }
}

/** The page that a run with no failure leaves behind. */
function interopPage(
  table: string,
  atMicromdm: ForeignServerResults,
  versions: Readonly<Record<string, string>>,
): string {
  return `<!-- Written by \`npm run interop\`; do not edit. -->
# Clients that enrol

\`npm run interop\` takes every client below through every operation over the edge, on Debian 12, and writes this page if
nothing failed. What stands in the table is what the clients sent, as recorded on their way; a dash means that it was not tried.

${table}

- *message*: digest of the message, content cipher and key transport of its envelope, as the client chose them. The answer has
  the same; to a key on a curve it is encrypted under the challenge.
- *poll to approval*: at an endpoint where a certificate manager approves; the last message before the certificate.
- *renew*: at an endpoint that takes the old certificate for a proof (\`renewal\`, no challenge).
- Each certificate has the subject, the subjectAltName and the kind of key that the client was told to ask for.
- *wrong challenge*: the server's reason, from its audit list. The same client is refused with a wrong static secret.
- Single DES is taken at endpoints with \`dangerAllowSingleDes\` alone; micromdm's client has nothing else.

\`leafgate scep\` has been through GetCert and GetCRL as well, and through other digests, ciphers and OAEP than the table has.
OpenSSL verifies each certificate with its chain and revocation, and zlint ${versions.zlint} finds no error in it.

## Our client at another server

\`leafgate scep\` at micromdm's scepserver ${versions['micromdm scepserver']}:

| operation | |
|---|---|
${Object.entries(atMicromdm)
  .map(([operation, result]) => `| ${operation} | ${result} |`)
  .join('\n')}
`;
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

await runInFolder('leafgate-interop-', (folder) => {
  const [, , what = 'scep'] = process.argv;
  const runs: Readonly<Record<string, (folder: string) => Promise<0 | 1>>> = {
    scep: run,
    radius: interopRadius,
  };
  const chosen = runs[what];
  if (chosen === undefined)
    throw new Error(`there is no interop run “${what}”: ${Object.keys(runs).join(', ')}`);
  return chosen(folder);
});
