import assert from 'node:assert/strict';
import { constants, createPrivateKey, privateDecrypt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { certificates, keys, rootPem, tlsServer } from '../../test/support/mdm-fixture.ts';
import { buildPkcs12, thumbprintOf } from '../codec/index.ts';
import { type GraphAccess, type ImportedPfx, importPfx } from './graph-import.ts';

const password = 'Import-1 ~!';
const pfx = await buildPkcs12({
  privateKey: createPrivateKey(keys.tls.pem).export({ format: 'der', type: 'pkcs8' }),
  certificate: certificates.tls,
  chain: [],
  password,
  form: 'legacy',
});
const importedAt = new Date('2026-03-01T12:00:00Z');
const imported: ImportedPfx = {
  pfx,
  password,
  userPrincipalName: 'ada@example.com',
  intendedPurpose: 'smimeEncryption',
  providerName: 'Microsoft Software Key Storage Provider',
  keyName: 'PFXEncryptionKey',
  publicKey: keys.recipient.spki,
  importedAt,
};

interface Seen {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

let server: Server;
let access: GraphAccess;
let seen: Seen[];
/** What Graph answers next; 201 when there is nothing. */
let answers: { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }[];

before(async () => {
  server = createServer(tlsServer, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8');
      seen.push({ path: request.url ?? '', headers: request.headers, body });
      if (request.url?.endsWith('/token') === true) {
        const isRight = new URLSearchParams(body).get('client_secret') === 'app-secret';
        response.writeHead(isRight ? 200 : 401, { 'content-type': 'application/json' });
        response.end(
          JSON.stringify(
            isRight
              ? { access_token: 'granted' }
              : { error: 'invalid_client', error_description: 'AADSTS7000215' },
          ),
        );
        return;
      }
      const answer = answers.shift() ?? { status: 201, body: '{}' };
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
      response.end(answer.body ?? '');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  access = {
    graph: `${url}/`,
    authority: url,
    tenant: 'contoso.example',
    appId: 'app',
    secret: 'app-secret',
    extraCa: rootPem,
  };
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  seen = [];
  answers = [];
});

describe('nothing is imported', () => {
  const rows: [name: string, changes: Partial<ImportedPfx>, code: string][] = [
    ['under a wrong password', { password: 'Import-1' }, 'pkcs12_password'],
    ['under a password that importers encode differently', { password: 'Paßwort' }, 'request_malformed'],
    ['that is no PFX', { pfx: Buffer.from('MZ') }, 'pkcs12_malformed'],
  ];
  for (const [name, changes, code] of rows) {
    test(name, async () => {
      await assert.rejects(importPfx({ ...imported, ...changes }, access), { code });
      assert.deepEqual(seen, [], 'nothing was sent');
    });
  }

  test('with another secret of the app registration', async () => {
    await assert.rejects(importPfx(imported, { ...access, secret: 'other' }), {
      code: 'token_refused',
      message: /HTTP 401: invalid_client, AADSTS7000215/,
    });
    assert.equal(seen.length, 1);
  });

  test('that Graph refuses: its own words are in the message', async () => {
    answers = [{ status: 400, body: JSON.stringify({ error: { code: 'BadRequest', message: 'keyName' } }) }];
    await assert.rejects(importPfx(imported, access), {
      code: 'import_refused',
      message: /BadRequest, keyName/,
    });
    answers = [{ status: 404, body: '<html>' }];
    await assert.rejects(importPfx(imported, access), { code: 'server_answer' });
  });
});

test('the PFX goes to Graph as its importer sends it', async () => {
  // Busy first: it is sent again after the pause that Graph asks for.
  answers = [{ status: 429, headers: { 'retry-after': '0' } }];
  const certificate = await importPfx(imported, access);
  assert.equal(thumbprintOf(certificate.raw), thumbprintOf(certificates.tls.raw));
  const [token, busy, sent] = seen;
  assert.ok(token !== undefined && busy !== undefined && sent !== undefined);
  assert.equal(token.path, '/contoso.example/oauth2/v2.0/token');
  assert.deepEqual(Object.fromEntries(new URLSearchParams(token.body)), {
    grant_type: 'client_credentials',
    client_id: 'app',
    client_secret: 'app-secret',
    scope: `${access.graph}.default`,
  });
  assert.equal(sent.path, '/beta/deviceManagement/userPfxCertificates');
  assert.equal(sent.headers.authorization, 'Bearer granted');
  assert.equal(busy.body, sent.body);
  const { encryptedPfxPassword, ...rest } = JSON.parse(sent.body);
  assert.deepEqual(rest, {
    '@odata.type': '#microsoft.graph.userPFXCertificate',
    thumbprint: thumbprintOf(certificates.tls.raw).toLowerCase(),
    intendedPurpose: 'smimeEncryption',
    userPrincipalName: 'ada@example.com',
    startDateTime: certificates.tls.notBefore.toISOString(),
    expirationDateTime: certificates.tls.notAfter.toISOString(),
    createdDateTime: importedAt.toISOString(),
    lastModifiedDateTime: importedAt.toISOString(),
    providerName: 'Microsoft Software Key Storage Provider',
    keyName: 'PFXEncryptionKey',
    paddingScheme: 'oaepSha512',
    encryptedPfxBlob: Buffer.from(pfx).toString('base64'),
  });
  const opened = privateDecrypt(
    { key: keys.recipient.pem, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha512' },
    Buffer.from(encryptedPfxPassword, 'base64'),
  );
  assert.equal(opened.toString('ascii'), password);
  assert.equal(sent.body.includes(password), false);
});
