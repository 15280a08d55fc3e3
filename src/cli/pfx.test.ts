import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { certificates, keys } from '../../test/support/authorities-fixture.ts';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { buildPkcs12, hex, parsePkcs12 } from '../codec/index.ts';
import { sealForArchive } from '../pfx/index.ts';

const id = 'pfx-00000000-0000-4000-8000-000000000001-1';
const privateKey = keys.issuing.keyObject.export({ format: 'der', type: 'pkcs8' });
let folder: string;
let config: string;

before(async () => {
  ({ folder, config } = await newSite());
  const { server } = JSON.parse(readFileSync(config, 'utf8'));
  server.pfx = {
    mdm: 'https://mdm.test',
    secret: 'file:hash.key',
    requester: 'r',
    issuer: 'issuing',
    templates: [{ name: 'client-authentication', archival: 'required' }],
    archive: {
      folder: 'escrow',
      recovery: [{ certificate: 'ra-signing.pem' }, { certificate: 'ra-encryption.pem' }],
    },
  };
  writeFileSync(config, JSON.stringify({ server }));
  const pfx = await buildPkcs12({
    privateKey,
    certificate: certificates.issuing,
    chain: [],
    password: 'archived',
    form: 'modern',
  });
  mkdirSync(join(folder, 'escrow'));
  writeFileSync(
    join(folder, 'escrow', `${id}.p7m`),
    sealForArchive(pfx, 'archived', [certificates.raSigning, certificates.raEncryption]),
  );
});
after(() => rm(folder, { recursive: true, force: true }));

const shown = (name: string) => [
  '--key',
  join(folder, `${name}.key.pem`),
  '--passphrase',
  `file:${join(folder, `${name}.passphrase`)}`,
];
const recover = (...words: string[]) => leafgate('pfx', 'recover', id, '--config', config, ...words);

describe('leafgate pfx recover refuses', () => {
  const out = () => ['--out', join(folder, 'never.p12')];
  const rows: [name: string, words: () => string[], code: string][] = [
    ['one key', () => [...shown('ra-signing'), ...out()], 'config_invalid'],
    ['one key twice', () => [...shown('ra-signing'), ...shown('ra-signing'), ...out()], 'pfx_unopened'],
    [
      'a key that is none of the two',
      () => [...shown('ra-signing'), ...shown('issuing'), ...out()],
      'pfx_unopened',
    ],
  ];
  for (const [name, words, code] of rows)
    test(name, async () => {
      await assert.rejects(recover(...words()), { code });
      assert.throws(() => statSync(join(folder, 'never.p12')), { code: 'ENOENT' });
    });

  test('what is not archived, and what lies elsewhere', async () => {
    for (const other of ['pfx-other-1', '../hash'])
      await assert.rejects(
        leafgate(
          'pfx',
          'recover',
          other,
          '--config',
          config,
          ...shown('ra-signing'),
          ...shown('ra-encryption'),
          ...out(),
        ),
        { code: 'config_invalid' },
      );
  });
});

test('both recovery keys open what is archived, in either order, and the audit list knows', async () => {
  assert.deepEqual(JSON.parse(await leafgate('pfx', 'archived', '--config', config, '--json')), [
    { requestID: id },
  ]);
  for (const [index, order] of [
    ['ra-signing', 'ra-encryption'],
    ['ra-encryption', 'ra-signing'],
  ].entries()) {
    const path = join(folder, `recovered-${index}.p12`);
    const facts = JSON.parse(await recover(...order.flatMap(shown), '--out', path, '--json'));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const opened = await parsePkcs12(readFileSync(path), facts.password);
    assert.equal(hex(opened.privateKey), hex(privateKey));
    await assert.rejects(recover(...order.flatMap(shown), '--out', path), { code: 'file_exists' });
  }
  const audit = await leafgate('audit', 'list', '--config', config, '--event', 'pfx.', '--json');
  assert.match(audit, /pfx\.recovered/);
  assert.match(audit, new RegExp(id));
});

test('an import is refused before anything is sent if the password is wrong', async () => {
  const path = join(folder, 'user.p12');
  writeFileSync(
    path,
    await buildPkcs12({
      privateKey,
      certificate: certificates.issuing,
      chain: [],
      password: 'right',
      form: 'legacy',
    }),
  );
  const words = ['--user', 'ada@example.com', '--key-name', 'k', '--tenant', 't', '--app-id', 'a'];
  const secret = `file:${join(folder, 'hash.key')}`;
  const publicKey = join(folder, 'ra-encryption.pem');
  await assert.rejects(
    leafgate(
      'pfx',
      'import',
      path,
      '--password',
      secret,
      '--secret',
      secret,
      '--public-key',
      publicKey,
      ...words,
    ),
    { code: 'pkcs12_password' },
  );
});
