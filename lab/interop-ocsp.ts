/** Part of `npm run interop`: OpenSSL asks the OCSP responder, and what it hears is what the CRL says. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compareCrlsWithOcsp } from '../src/ca/index.ts';
import { parseCertificate, parseCrl, parsePem } from '../src/codec/index.ts';
import { type Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import type { Tenant } from './tenant.ts';

/** What the checks are made with. */
export interface OcspInterop {
  readonly tenant: Tenant;
  /** A folder for files. */
  readonly folder: string;
  /** PEM file of a certificate that may be revoked. */
  readonly victimFile: string;
  readonly openssl: (...args: readonly string[]) => Promise<string>;
}

interface CertificateRow {
  readonly serialNumber: string;
}

/** Makes the checks; the certificate of `victimFile` is revoked by them. */
export async function proveOcsp(checks: Checks, options: OcspInterop): Promise<void> {
  const { tenant, folder, victimFile, openssl } = options;
  const pem = await readFile(tenant.chainFile, 'utf8');
  const issuer = parseCertificate(parsePem(pem, 'CERTIFICATE')[0]);
  const victim = parseCertificate(parsePem(await readFile(victimFile, 'utf8'), 'CERTIFICATE')[0]);
  const ask = async (which: readonly string[], ...more: readonly string[]) =>
    await openssl(
      ...['ocsp', '-issuer', tenant.chainFile, '-CAfile', tenant.rootFile, '-verify_other', tenant.chainFile],
      ...['-url', tenant.urls.ocsp, ...which, ...more],
    );
  /** OpenSSL exits with 0 whatever the status is, but not if the signature or the nonce is wrong. */
  const demandStatus = async (status: string, which: readonly string[], ...more: readonly string[]) => {
    const text = await ask(which, ...more);
    const said = /^\S+: (good|revoked|unknown)$/m.exec(text)?.[1];
    demand(said === status, `it says ${said}: ${text.slice(0, 500)}`);
    return [said, /Reason: (\w+)/.exec(text)?.[1]].filter((word) => word !== undefined).join(', ');
  };
  const theVictim = ['-cert', victimFile];

  checks.section('OCSP');
  for (const [how, ...more] of [
    ['a nonce'],
    ['no nonce', '-no_nonce'],
    ['SHA-256 and no nonce', '-no_nonce', '-sha256'],
  ] as const) {
    // OpenSSL takes the digest for the certificates that come behind it.
    await checks.check(`openssl ocsp, with ${how}: good`, () =>
      demandStatus('good', [...more, ...theVictim]),
    );
  }
  await checks.check('… and unknown of a serial number that was never issued', () =>
    demandStatus('unknown', ['-serial', '0x0badc0de']),
  );
  const compare = async () => {
    const crl = await fetch(tenant.urls.crl);
    demand(crl.ok, `the CRL: HTTP ${crl.status}`);
    const rows = await leafgateJson<CertificateRow[]>(
      ...['ca', 'list', '--config', tenant.configs.server, '--limit', '10000'],
    );
    const serialNumbers = rows.map(({ serialNumber }) => serialNumber);
    const disagreements = await compareCrlsWithOcsp({
      issuer,
      crls: [parseCrl(new Uint8Array(await crl.arrayBuffer()))],
      serialNumbers: [...serialNumbers, '0badc0de'],
      ask: async (request) => {
        const response = await fetch(tenant.urls.ocsp, { method: 'POST', body: Uint8Array.from(request) });
        return new Uint8Array(await response.arrayBuffer());
      },
      at: new Date(),
    });
    return { disagreements, count: serialNumbers.length + 1 };
  };
  const agree = async () => {
    const { disagreements, count } = await compare();
    demand(disagreements.length === 0, JSON.stringify(disagreements));
    return `${count} serial numbers`;
  };
  await checks.check('CRL and OCSP agree about every certificate', agree);
  await checks.check('after revoking it, openssl ocsp with and without a nonce: revoked', async () => {
    await leafgate(
      ...['ca', 'revoke', victim.serialNumber, '--reason', 'keyCompromise'],
      ...['--config', tenant.configs.server],
    );
    const fresh = await demandStatus('revoked', theVictim);
    const presigned = await demandStatus('revoked', ['-no_nonce', ...theVictim]);
    demand(fresh === presigned, `${fresh}, but ${presigned}`);
    return fresh;
  });
  await checks.check('CRL and OCSP agree again', agree);
  await checks.check('GET is answered as OpenSSL encoded it, plain and with URL encoding', async () => {
    const file = join(folder, 'ocsp.request.der');
    await openssl('ocsp', '-issuer', tenant.chainFile, ...theVictim, '-no_nonce', '-reqout', file);
    const base64 = (await readFile(file)).toString('base64');
    const answerFile = join(folder, 'ocsp.response.der');
    for (const encoded of [base64, encodeURIComponent(base64)]) {
      const answer = await fetch(`${tenant.urls.ocsp}/${encoded}`);
      demand(answer.ok && answer.headers.get('etag') !== null, `HTTP ${answer.status}`);
      await writeFile(answerFile, new Uint8Array(await answer.arrayBuffer()));
      const text = await openssl(
        ...['ocsp', '-respin', answerFile, '-issuer', tenant.chainFile, ...theVictim],
        ...['-CAfile', tenant.rootFile, '-verify_other', tenant.chainFile],
      );
      demand(/: revoked$/m.test(text), text.slice(0, 500));
    }
    return 'revoked';
  });
}
