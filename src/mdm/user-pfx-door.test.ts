import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { application, openTestMdm, tenant } from '../../test/support/mdm-fixture.ts';
import { importRole } from './access-tokens.ts';
import type { DeviceUser, OpenMdm } from './index.ts';

const importer = { appId: 'aaaaaaaa-0000-4000-8000-000000000001', secret: 'importer', roles: [importRole] };
const COLLECTION = '/beta/deviceManagement/userPfxCertificates';
const thumbprint = 'ab'.repeat(20);
const body = {
  '@odata.type': '#microsoft.graph.userPFXCertificate',
  thumbprint,
  intendedPurpose: 'smimeEncryption',
  userPrincipalName: 'Ada@example.com',
  startDateTime: '2026-01-01T00:00:00Z',
  expirationDateTime: '2036-01-01T00:00:00+02:00',
  providerName: 'Microsoft Software Key Storage Provider',
  keyName: 'PFXEncryptionKey',
  paddingScheme: 'oaepSha512',
  encryptedPfxBlob: 'MIIBAA==',
  encryptedPfxPassword: 'c2VjcmV0',
  createdDateTime: '2000-01-01T00:00:00Z',
  lastModifiedDateTime: '2000-01-01T00:00:00Z',
};

let opened: OpenMdm;
let ada: DeviceUser;
let eve: DeviceUser;
let token: string;

before(async () => {
  opened = await openTestMdm({ applications: [application, importer] });
  const [user, other] = await opened.mdm.importUsers([
    { userPrincipalName: 'ada@example.com' },
    { userPrincipalName: 'eve@example.com' },
  ]);
  assert.ok(user !== undefined && other !== undefined);
  ada = user;
  eve = other;
  token = await tokenOf(importer, `${opened.publicUrl}/.default`);
});
after(() => opened.close());

async function tokenOf(app: typeof application, scope: string): Promise<string> {
  const form = { grant_type: 'client_credentials', client_id: app.appId, client_secret: app.secret, scope };
  const answer = await fetch(`${opened.publicUrl}/${tenant}/oauth2/v2.0/token`, {
    method: 'POST',
    body: new URLSearchParams(form),
  });
  assert.equal(answer.status, 200);
  return ((await answer.json()) as { readonly access_token: string }).access_token;
}

async function call(method: string, path: string, sent?: unknown, bearer: string | undefined = token) {
  const answer = await fetch(`${opened.publicUrl}${path}`, {
    method,
    headers: {
      ...(bearer === '' ? {} : { authorization: `Bearer ${bearer}` }),
      ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(sent === undefined ? {} : { body: JSON.stringify(sent) }),
  });
  const text = await answer.text();
  // biome-ignore lint/suspicious/noExplicitAny: what a server answers is looked at field by field
  return { status: answer.status, body: text === '' ? undefined : (JSON.parse(text) as any) };
}

const stored = () => opened.mdm.importedPfx.certificates({ limit: 10 });

describe('nobody but an importer', () => {
  const rows: [name: string, bearer: () => Promise<string>, status: number, code: string][] = [
    ['without a token', async () => '', 401, 'InvalidAuthenticationToken'],
    ['with another text', async () => 'token', 401, 'InvalidAuthenticationToken'],
    [
      'with a token for the validation service',
      () => tokenOf(application, 'https://api.manage.microsoft.com//.default'),
      401,
      'InvalidAuthenticationToken',
    ],
    [
      'with the token of a SCEP server',
      () => tokenOf(application, `${opened.publicUrl}/.default`),
      403,
      'Authorization_RequestDenied',
    ],
  ];
  for (const [name, bearer, status, code] of rows)
    test(name, async () => {
      const shown = await bearer();
      const id = `('${ada.userId}-${thumbprint}')`;
      for (const answer of [
        await call('POST', COLLECTION, body, shown),
        await call('GET', COLLECTION, undefined, shown),
        await call('GET', `${COLLECTION}${id}`, undefined, shown),
        await call('PATCH', `${COLLECTION}${id}`, body, shown),
        await call('DELETE', `${COLLECTION}${id}`, undefined, shown),
      ]) {
        assert.equal(answer.status, status);
        assert.equal(answer.body.error.code, code);
      }
      assert.deepEqual(stored(), []);
    });
});

describe('what is not as Graph has it is refused, by its name', () => {
  const rows: [name: string, changes: Partial<Record<keyof typeof body, unknown>>, message: RegExp][] = [
    ['no thumbprint', { thumbprint: undefined }, /^thumbprint: /],
    ['a SHA-256 thumbprint', { thumbprint: 'ab'.repeat(32) }, /^thumbprint: SHA-1/],
    ['a purpose of its own', { intendedPurpose: 'mail' }, /^intendedPurpose: one of unassigned/],
    ['a user who is not known', { userPrincipalName: 'bob@example.com' }, /no user bob@example.com/],
    ['a padding that is not supported any more', { paddingScheme: 'pkcs1' }, /^paddingScheme: one of oaep/],
    ['another such padding', { paddingScheme: 'oaepSha1' }, /^paddingScheme: one of oaep/],
    ['no PFX', { encryptedPfxBlob: '' }, /^encryptedPfxBlob: /],
    ['a PFX that is not base64', { encryptedPfxBlob: '%' }, /^encryptedPfxBlob: /],
    ['a PFX of more than 256 KiB', { encryptedPfxBlob: 'A'.repeat(349_532) }, /^encryptedPfxBlob: /],
    [
      'a password longer than any key encrypts',
      { encryptedPfxPassword: 'A'.repeat(1372) },
      /^encryptedPfxPassword: /,
    ],
    ['a date that is none', { startDateTime: 'yesterday' }, /^startDateTime: /],
    ['an end before the beginning', { expirationDateTime: '2025-01-01T00:00:00Z' }, /^expirationDateTime: /],
    ['a key without a name', { keyName: '' }, /^keyName: /],
  ];
  for (const [name, changes, message] of rows)
    test(name, async () => {
      const answer = await call('POST', COLLECTION, { ...body, ...changes });
      assert.equal(answer.status, 400);
      assert.equal(answer.body.error.code, 'BadRequest');
      assert.match(answer.body.error.message, message);
      assert.deepEqual(stored(), []);
    });
});

test('a PFX is imported, shown without what is in it, changed and deleted', async () => {
  const id = `${ada.userId}-${thumbprint}`;
  // Microsoft's importer writes its words otherwise than the reference, and `None` for the default.
  const imported = await call('POST', COLLECTION, {
    ...body,
    intendedPurpose: 'SmimeEncryption',
    paddingScheme: 'None',
  });
  assert.equal(imported.status, 201);
  const { '@odata.context': context, createdDateTime, lastModifiedDateTime, ...entity } = imported.body;
  assert.match(context, /#deviceManagement\/userPfxCertificates\/\$entity$/);
  assert.ok(Date.parse(createdDateTime) > Date.parse(body.createdDateTime), 'the service’s own clock');
  assert.equal(createdDateTime, lastModifiedDateTime);
  const shown = {
    id,
    thumbprint,
    intendedPurpose: 'smimeEncryption',
    userPrincipalName: 'Ada@example.com',
    startDateTime: '2026-01-01T00:00:00.000Z',
    expirationDateTime: '2035-12-31T22:00:00.000Z',
    providerName: body.providerName,
    keyName: body.keyName,
    paddingScheme: 'oaepSha512',
    encryptedPfxBlob: 'AA==',
    encryptedPfxPassword: '',
  };
  assert.deepEqual(entity, shown);
  const whole = opened.mdm.importedPfx.certificate({
    userId: ada.userId,
    thumbprint: thumbprint.toUpperCase(),
  });
  assert.equal(whole?.encryptedPfxBlob, body.encryptedPfxBlob);
  assert.equal(whole?.encryptedPfxPassword, body.encryptedPfxPassword);

  const other = `${ada.userId}-${'cd'.repeat(20)}`;
  const filter = (text: string) => `${COLLECTION}?$filter=${encodeURIComponent(text)}`;
  const ofAda = "tolower(userPrincipalName) eq 'ada@example.com'";
  const listings: [path: string, ids: readonly string[]][] = [
    [COLLECTION, [id]],
    [filter(ofAda), [id]],
    [filter(`${ofAda} and tolower(thumbprint) eq '${thumbprint}'`), [id]],
    [filter(`${ofAda} and tolower(thumbprint) eq '${'cd'.repeat(20)}'`), []],
    [filter("tolower(userPrincipalName) eq 'bob@example.com'"), []],
    [filter("tolower(userPrincipalName) eq 'eve@example.com'"), []],
  ];
  for (const [path, ids] of listings) {
    const answer = await call('GET', path);
    assert.equal(answer.status, 200, path);
    assert.deepEqual(
      answer.body.value.map((each: { readonly id: string }) => each.id),
      ids,
      path,
    );
  }
  assert.equal((await call('GET', filter("keyName eq 'x'"))).status, 400);

  for (const form of [`/${id}`, `(${id})`, `('${id}')`, `('${id.toUpperCase()}')`])
    assert.equal((await call('GET', `${COLLECTION}${form}`)).body.id, id, form);
  for (const method of ['GET', 'PATCH', 'DELETE'])
    for (const form of [`/${other}`, `('${other}')`, `/${thumbprint}`, 'x', `/${id}/x`]) {
      const answer = await call(method, `${COLLECTION}${form}`, method === 'PATCH' ? body : undefined);
      assert.equal(answer.status, 404, `${method} ${form}`);
      assert.equal(answer.body.error.code, 'ResourceNotFound');
    }

  const moved = await call('PATCH', `${COLLECTION}(${id})`, { ...body, thumbprint: 'cd'.repeat(20) });
  assert.equal(moved.status, 400);
  const given = await call('PATCH', `${COLLECTION}(${id})`, {
    ...body,
    userPrincipalName: eve.userPrincipalName,
  });
  assert.equal(given.status, 400);
  assert.deepEqual(
    stored().map(({ userId }) => userId),
    [ada.userId],
  );
  const patched = await call('PATCH', `${COLLECTION}(${id})`, { ...body, keyName: 'another' });
  assert.equal(patched.status, 200);
  assert.equal(patched.body.keyName, 'another');
  assert.equal(patched.body.createdDateTime, createdDateTime);

  const deleted = await call('DELETE', `${COLLECTION}('${id}')`);
  assert.deepEqual(deleted, { status: 204, body: undefined });
  assert.equal((await call('GET', `${COLLECTION}/${id}`)).status, 404);
  assert.deepEqual(stored(), []);
});
