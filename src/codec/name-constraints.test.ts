import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../errors.ts';
import { der, sequence } from './der.ts';
import { type GeneralName, nameFromString, parseName } from './name.ts';
import {
  generalSubtreeFromString,
  generalSubtreeToString,
  type NameConstraints,
  nameConstraintBreach,
  nameConstraintsExtension,
  nameConstraintsOf,
} from './name-constraints.ts';
import { oid } from './oid.ts';

const code = (expected: string) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === expected;
const constraints = (permitted: readonly string[], excluded: readonly string[] = []): NameConstraints => ({
  permitted: permitted.map(generalSubtreeFromString),
  excluded: excluded.map(generalSubtreeFromString),
});
const parsed = (value: Uint8Array) =>
  nameConstraintsOf({ extensions: [{ oid: oid.nameConstraints, critical: true, value }] });

describe('name spaces that cannot be written', () => {
  for (const text of [
    '',
    'example.com',
    'DNS:',
    'DNS:*.example.com',
    'DNS:exa mple.com',
    'email:a@b@c',
    'IP:10.0.0.0',
    'IP:10.0.0.0/33',
    'IP:10.1.2.3/8',
    'IP:fd00::1/64',
    'IP:300.0.0.0/8',
    'DN:Example',
    'URI:example.com',
  ]) {
    test(`“${text}”`, () => assert.throws(() => generalSubtreeFromString(text), code('name_malformed')));
  }
  test('an empty list', () => {
    assert.throws(() => nameConstraintsExtension(constraints([])), code('name_malformed'));
  });
});

describe('name constraints that cannot be read', () => {
  const subtree = (base: Uint8Array, ...more: Uint8Array[]) => sequence(der(0xa0, sequence(base, ...more)));
  const rows: readonly (readonly [name: string, value: Uint8Array])[] = [
    ['nothing', sequence()],
    ['an empty list', sequence(der(0xa0))],
    ['a minimum', subtree(der(0x82, Buffer.from('a.test')), der(0x80, Uint8Array.of(1)))],
    ['a maximum', subtree(der(0x82, Buffer.from('a.test')), der(0x81, Uint8Array.of(1)))],
    ['an address without mask', subtree(der(0x87, Uint8Array.of(10, 0, 0, 0)))],
    ['a mask with gaps', subtree(der(0x87, Uint8Array.of(10, 0, 0, 0, 255, 0, 255, 0)))],
    ['something after it', Buffer.concat([subtree(der(0x82, Buffer.from('a.test'))), Uint8Array.of(0)])],
  ];
  for (const [name, value] of rows)
    test(name, () => assert.throws(() => parsed(value), code('der_malformed')));
  test('a damaged end, wherever it is', () => {
    const { value } = nameConstraintsExtension(constraints(['DNS:a.test', 'IP:10.0.0.0/8'], ['DN:O=X']));
    for (let end = 0; end < value.length; end += 1)
      assert.throws(() => parsed(value.subarray(0, end)), code('der_malformed'), `${end}`);
  });
});

test('what is built reads the same', () => {
  const texts = [
    'DNS:example.com',
    'DNS:.example.com',
    'email:ada@example.com',
    'email:example.com',
    'IP:10.0.0.0/8',
    'IP:10.1.128.0/17',
    'IP:0.0.0.0/0',
    'IP:fd00:0:0:0:0:0:0:0/8',
    'DN:OU=Devices,O=Example',
  ];
  const extension = nameConstraintsExtension(constraints(texts, texts));
  assert.equal(extension.critical, true);
  const read = parsed(extension.value);
  assert.deepEqual(read?.permitted.map(generalSubtreeToString), texts);
  assert.deepEqual(read?.excluded.map(generalSubtreeToString), texts);
  assert.equal(nameConstraintsOf({ extensions: [] }), undefined);
});

describe('a name', () => {
  const dns = (value: string): GeneralName => ({ type: 'dNSName', value });
  const email = (value: string): GeneralName => ({ type: 'rfc822Name', value });
  const ip = (value: string): GeneralName => ({ type: 'iPAddress', value });
  const dn = (text: string): GeneralName => ({ type: 'directoryName', name: nameFromString(text) });
  const rows: readonly (readonly [
    name: string,
    limits: NameConstraints,
    names: GeneralName[],
    breach?: RegExp,
  ])[] = [
    ['of another host', constraints(['DNS:example.com']), [dns('example.org')], /no permitted/],
    ['that ends alike', constraints(['DNS:example.com']), [dns('badexample.com')], /no permitted/],
    ['of the host itself', constraints(['DNS:example.com']), [dns('EXAMPLE.com')]],
    ['below the host', constraints(['DNS:example.com']), [dns('a.b.example.com')]],
    ['below, where the dot leads', constraints(['DNS:.example.com']), [dns('a.example.com')]],
    [
      'of the host, where the dot leads',
      constraints(['DNS:.example.com']),
      [dns('example.com')],
      /no permitted/,
    ],
    [
      'one good and one bad',
      constraints(['DNS:a.test']),
      [dns('a.test'), dns('b.test')],
      /^b\.test is in no/,
    ],
    [
      'that is excluded',
      constraints([], ['DNS:secret.test']),
      [dns('x.secret.test')],
      /excluded by DNS:secret/,
    ],
    ['permitted and excluded', constraints(['DNS:a.test'], ['DNS:x.a.test']), [dns('x.a.test')], /excluded/],
    ['of a kind that is free', constraints(['DNS:a.test']), [ip('10.0.0.1'), email('a@b.test')]],
    ['a mailbox of the host', constraints(['email:a.test']), [email('x@A.test')]],
    ['a mailbox below the host', constraints(['email:a.test']), [email('x@b.a.test')], /no permitted/],
    ['a mailbox below, where the dot leads', constraints(['email:.a.test']), [email('x@b.a.test')]],
    ['the one mailbox', constraints(['email:x@a.test']), [email('x@a.test')]],
    ['another mailbox', constraints(['email:x@a.test']), [email('X@a.test')], /no permitted/],
    ['an address inside', constraints(['IP:10.0.0.0/8']), [ip('10.255.0.1')]],
    ['an address outside', constraints(['IP:10.0.0.0/9']), [ip('10.128.0.1')], /no permitted/],
    ['an address of six groups more', constraints(['IP:10.0.0.0/8']), [ip('fd00::1')], /no permitted/],
    ['six groups inside', constraints(['IP:fd00:0:0:0:0:0:0:0/8']), [ip('fd12::1')]],
    ['a directory name inside', constraints(['DN:O=Example']), [dn('CN=x,OU=y,O=EXAMPLE')]],
    ['a directory name outside', constraints(['DN:O=Example']), [dn('CN=x,O=Other')], /no permitted/],
  ];
  const subject = parseName(nameFromString('').raw);
  for (const [name, limits, subjectAltName, breach] of rows) {
    test(`${name} is ${breach === undefined ? 'taken' : 'a breach'}`, () => {
      const found = nameConstraintBreach(limits, { subject, subjectAltName });
      if (breach === undefined) assert.equal(found, undefined);
      else assert.match(String(found), breach);
    });
  }

  test('in the subject counts as directory name, and its mailbox as mailbox', () => {
    const of = (text: string, limits: NameConstraints) =>
      nameConstraintBreach(limits, { subject: nameFromString(text), subjectAltName: [] });
    assert.match(String(of('CN=x,O=Other', constraints(['DN:O=Example']))), /no permitted/);
    assert.equal(of('CN=x,O=Example', constraints(['DN:O=Example'])), undefined);
    assert.match(String(of('E=a@other.test,CN=x', constraints(['email:a.test']))), /no permitted/);
  });

  test('of a kind whose constraint is not understood is a breach', () => {
    const uri: GeneralName = { type: 'uniformResourceIdentifier', value: 'urn:x' };
    const raw = der(0x86, Buffer.from('example.com'));
    for (const list of ['permitted', 'excluded'] as const) {
      const value = sequence(der(list === 'permitted' ? 0xa0 : 0xa1, sequence(raw)));
      const limits = parsed(value);
      assert.ok(limits !== undefined);
      assert.ok(nameConstraintBreach(limits, { subject, subjectAltName: [uri] }) !== undefined, list);
      assert.equal(nameConstraintBreach(limits, { subject, subjectAltName: [dns('a.test')] }), undefined);
    }
  });
});
