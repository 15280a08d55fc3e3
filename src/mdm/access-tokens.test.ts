import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MovableClock } from '../../test/support/mdm-fixture.ts';
import {
  AccessTokens,
  type Audience,
  directoryRole,
  importRole,
  knownRoles,
  neededRoles,
  sameSecret,
} from './access-tokens.ts';

const clock = new MovableClock();
const tokens = new AccessTokens(clock);
const appId = '99999999-8888-4777-8666-555555555555';
const tokenFor = (audience: Audience, roles?: readonly (typeof knownRoles)[number][]) =>
  tokens.create(audience, { appId, ...(roles === undefined ? {} : { roles }) }).accessToken;

describe('a token is none', () => {
  const good = tokenFor('graph');
  const [head = '', claims = '', mac = ''] = good.split('.');
  const read = JSON.parse(Buffer.from(claims, 'base64url').toString('utf8'));
  const changed = Buffer.from(JSON.stringify({ ...read, roles: knownRoles })).toString('base64url');
  const rows: [name: string, token: string][] = [
    ['without text', ''],
    ['with other roles than it was made with', `${head}.${changed}.${mac}`],
    ['without its end', `${head}.${claims}.`],
    ['with half of its end', `${head}.${claims}.${mac.slice(0, 20)}`],
    ['with more behind', `${good}.${mac}`],
    ['with another head', `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.${mac}`],
    ['of another process', new AccessTokens(clock).create('graph', { appId }).accessToken],
    ['of the other audience', tokenFor('intune')],
  ];
  for (const [name, token] of rows) test(name, () => assert.equal(tokens.verify(token, 'graph'), undefined));

  test('when its hour is over', () => {
    assert.deepEqual(tokens.verify(good, 'graph'), { appId, roles: [neededRoles.graph] });
    clock.offsetMs += 3_600_000;
    assert.equal(tokens.verify(good, 'graph'), undefined);
    clock.offsetMs = 0;
  });
});

describe('a token names the roles of its audience that the application was given', () => {
  const rows: [
    name: string,
    audience: Audience,
    given: typeof knownRoles | undefined,
    named: readonly string[],
  ][] = [
    ['all of Graph', 'graph', knownRoles, [neededRoles.graph, importRole, directoryRole]],
    ['all of Intune', 'intune', knownRoles, [neededRoles.intune]],
    ['Graph, nothing said', 'graph', undefined, [neededRoles.graph]],
    ['Intune, nothing said', 'intune', undefined, [neededRoles.intune]],
  ];
  for (const [name, audience, given, named] of rows)
    test(name, () =>
      assert.deepEqual(tokens.verify(tokenFor(audience, given), audience), { appId, roles: named }),
    );

  test('none', () => assert.deepEqual(tokens.verify(tokenFor('graph', []), 'graph'), { appId, roles: [] }));
});

test('secrets are the same, or not, whatever their lengths', () => {
  assert.equal(sameSecret('secret', 'secret'), true);
  for (const other of ['', 'secre', 'secretx', 'Secret']) assert.equal(sameSecret('secret', other), false);
});
