import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { certificates, inDays, keys } from '../../test/support/authorities-fixture.ts';
import { createRoot, createRootFolder } from '../ca/index.ts';
import { buildPem, type Certificate, nameFromString } from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { openAuthorities, type ServerConfig } from './authorities.ts';
import { assertRootIsOffline } from './root-offline.ts';

let folder: string;
const validity = { notBefore: inDays(-1), notAfter: inDays(1000) };
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-offline-'));
  mkdirSync(join(folder, 'offline', 'inner'), { recursive: true });
  const root = await createRootFolder({
    folder: join(folder, 'offline'),
    key: keys.root,
    reference: { file: 'root-1.key.pem' },
    subject: nameFromString('CN=Test Root,O=Test'),
    validity,
    urls: { crlUrls: ['http://pki.test/r.crl'], caIssuersUrls: ['http://pki.test/r.crt'] },
    clock: systemClock,
  });
  root.close();
  const write = (name: string, ...list: readonly Certificate[]) =>
    writeFileSync(join(folder, name), list.map(({ raw }) => buildPem('CERTIFICATE', raw)).join(''));
  write('chain.pem', certificates.issuing, certificates.root);
  write('root.pem', certificates.root);
  write('same-key.pem', await createRoot(keys.issuing, nameFromString('CN=Some Root'), validity));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A configuration with some words replaced. */
function configWith(changes: Readonly<Record<string, string>> = {}): ServerConfig {
  const key = (name: string) => `{ file: ${name}.key.pem, passphrase: 'file:${name}.passphrase' }`;
  let text = `
server:
  listen: 127.0.0.1:0
  dataFolder: data
  issuers:
    - name: issuing
      certificate: chain.pem
      key: ${key('issuing')}
      crlUrls: ['http://pki.test/crl/issuing.crl']
      caIssuersUrls: ['http://pki.test/aia/issuing.crt']
  published: [{ name: root, certificate: root.pem, crl: root.crl }]
  ra:
    signing: { certificate: ra.pem, key: ${key('ra')} }
    encryption: { certificate: ra.pem, key: ${key('ra')} }
    challengeHashKey: file:hash.key
  endpoints: [{ name: one, paths: [/scep/one], issuer: issuing, template: client-authentication, validators: [{ oneTime: {} }] }]
`;
  for (const [from, to] of Object.entries(changes)) {
    assert.ok(text.includes(from), from);
    text = text.replaceAll(from, to);
  }
  const { server } = parseConfig(text, folder);
  assert.ok(server !== undefined);
  return server;
}

describe('a server refuses', () => {
  const rows: readonly (readonly [
    name: string,
    message: RegExp,
    changes: Readonly<Record<string, string>>,
  ])[] = [
    [
      'the root’s folder for its data',
      /offline is in the folder of an offline root/,
      { 'dataFolder: data': 'dataFolder: offline' },
    ],
    [
      'a folder below it',
      /offline.inner.data is in the folder/,
      { 'dataFolder: data': 'dataFolder: offline/inner/data' },
    ],
    ['the root’s key', /root-1\.key\.pem is in the folder/, { 'issuing.key.pem': 'offline/root-1.key.pem' }],
    ['an RA key that lies there', /ra\.key\.pem is in/, { 'ra.key.pem': 'offline/ra.key.pem' }],
    [
      'a passphrase that lies there',
      /issuing\.passphrase is in/,
      { 'file:issuing.passphrase': 'file:offline/issuing.passphrase' },
    ],
    [
      'the root’s certificate, read from there',
      /root-1\.pem is in/,
      { 'certificate: root.pem': 'certificate: offline/root-1.pem' },
    ],
    [
      'an issuing CA with the key of a root that is shown',
      /issuing CA “issuing” has the key of “root” \(CN=Some Root\)/,
      { 'certificate: root.pem': 'certificate: same-key.pem' },
    ],
  ];
  for (const [name, message, changes] of rows) {
    test(name, () => {
      assert.throws(
        () => assertRootIsOffline(configWith(changes)),
        (thrown) =>
          thrown instanceof PkiError && thrown.code === 'key_capability' && message.test(thrown.message),
      );
    });
  }

  test('before it opens anything', async () => {
    await assert.rejects(
      openAuthorities(
        configWith({ 'dataFolder: data': 'dataFolder: offline' }),
        openLog('silent', 'test'),
        systemClock,
      ),
      { code: 'key_capability', message: /offline root/ },
    );
  });
});

test('what is apart from the root is taken', () => assertRootIsOffline(configWith()));
