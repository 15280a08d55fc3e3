import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { describe, test } from 'node:test';
import { createSecureContext } from 'node:tls';
import { certificates, keys } from '../../test/support/mdm-fixture.ts';
import { errorCodeOf } from '../errors.ts';
import {
  bufferOf,
  buildPkcs12,
  DerReader,
  hex,
  integer,
  objectIdentifier,
  oid,
  parsePkcs12,
  sequence,
} from './index.ts';

const privateKey = createPrivateKey(keys.tls.pem).export({ format: 'der', type: 'pkcs8' });
const fields = {
  privateKey,
  certificate: certificates.tls,
  chain: [certificates.root],
  friendlyName: 'Gerät 1',
  password: 'pa§word 1',
} as const;
const modern = await buildPkcs12({ ...fields, form: 'modern' });
const legacy = await buildPkcs12({ ...fields, form: 'legacy' });

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (thrown) {
    return errorCodeOf(thrown);
  }
  return 'nothing thrown';
}

/** The octets with one run of them replaced; it must occur. */
function replaced(bytes: Uint8Array, from: Uint8Array, to: Uint8Array, which: 'first' | 'last'): Uint8Array {
  const buffer = Buffer.from(bytes);
  const at = which === 'first' ? buffer.indexOf(from) : buffer.lastIndexOf(from);
  assert.notEqual(at, -1, 'the octets to be replaced are there');
  assert.equal(from.length, to.length);
  buffer.set(to, at);
  return buffer;
}

describe('parsePkcs12 refuses', () => {
  for (const [name, pfx] of [
    ['modern', modern],
    ['legacy', legacy],
  ] as const) {
    test(`${name}: a wrong password`, async () => {
      for (const password of ['', 'pa§word 2', 'PA§WORD 1', 'pa§word 1 '])
        assert.equal(await codeOf(parsePkcs12(pfx, password)), 'pkcs12_password');
    });

    test(`${name}: truncation at every offset, and what follows the end`, async () => {
      for (let length = 0; length < pfx.length; length += length < 64 || length > pfx.length - 64 ? 1 : 37)
        assert.equal(
          await codeOf(parsePkcs12(pfx.subarray(0, length), fields.password)),
          'pkcs12_malformed',
          `${length} octets`,
        );
      const trailing = Buffer.concat([pfx, Buffer.of(0)]);
      assert.equal(await codeOf(parsePkcs12(trailing, fields.password)), 'pkcs12_malformed');
    });

    test(`${name}: a changed octet under the MAC`, async () => {
      // The last octet of the shrouded key stands just before the attributes of its bag; any in the middle will do.
      for (const at of [pfx.length >> 1, (pfx.length * 3) >> 2]) {
        const changed = Buffer.from(pfx);
        changed[at] = (changed[at] as number) ^ 1;
        const code = await codeOf(parsePkcs12(changed, fields.password));
        assert.ok(code === 'pkcs12_password' || code === 'pkcs12_malformed', code);
      }
    });
  }

  const huge = integer(0x7fff_ffff);
  const rows: [name: string, pfx: Uint8Array, code: string][] = [
    ['iterations of the MAC beyond any exporter', withMacIterations(modern, huge), 'der_limit'],
    ['no iteration at all', withMacIterations(modern, integer(0)), 'der_limit'],
    ['more than a megabyte', new Uint8Array(1024 * 1024 + 1), 'der_limit'],
    ['another version', replaced(modern, integer(3), integer(4), 'first'), 'pkcs12_malformed'],
    [
      'a signed PFX',
      replaced(modern, objectIdentifier(oid.data), objectIdentifier(oid.signedData), 'first'),
      'algorithm_unsupported',
    ],
    ['nothing', new Uint8Array(), 'pkcs12_malformed'],
    ['no MAC', withoutMac(modern), 'pkcs12_malformed'],
  ];
  for (const [name, pfx, code] of rows)
    test(name, async () => assert.equal(await codeOf(parsePkcs12(pfx, fields.password)), code));

  test('a key of another certificate, when it is built', async () => {
    const other = createPrivateKey(keys.other.pem).export({ format: 'der', type: 'pkcs8' });
    assert.equal(
      await codeOf(buildPkcs12({ ...fields, privateKey: other, form: 'modern' })),
      'pkcs12_malformed',
    );
  });
});

describe('parsePkcs12 reads what buildPkcs12 built', () => {
  for (const [name, pfx] of [
    ['modern', modern],
    ['legacy', legacy],
  ] as const) {
    test(name, async () => {
      const read = await parsePkcs12(pfx, fields.password);
      assert.equal(hex(read.privateKey), hex(privateKey));
      assert.equal(hex(read.certificate.raw), hex(fields.certificate.raw));
      assert.deepEqual(
        read.chain.map(({ raw }) => hex(raw)),
        [hex(certificates.root.raw)],
      );
      assert.equal(read.friendlyName, 'Gerät 1');
    });

    test(`${name}: OpenSSL inside Node opens it with the right password alone`, () => {
      const context = createSecureContext({ pfx: bufferOf(pfx), passphrase: fields.password });
      assert.ok(context);
      assert.throws(
        () => createSecureContext({ pfx: bufferOf(pfx), passphrase: 'wrong' }),
        /mac verify|MAC/i,
      );
    });
  }

  test('the key is nowhere in the clear, and no two are alike', async () => {
    // The prime factors begin somewhere in the last two thirds of a PKCS #8.
    const part = privateKey.subarray(400, 432);
    for (const pfx of [modern, legacy]) assert.equal(Buffer.from(pfx).includes(part), false);
    assert.notEqual(hex(await buildPkcs12({ ...fields, form: 'modern' })), hex(modern));
  });

  test('a password of nothing, and one with characters beyond the BMP', async () => {
    for (const password of ['', '🔑 key']) {
      const pfx = await buildPkcs12({ ...fields, password, form: 'legacy' });
      assert.equal((await parsePkcs12(pfx, password)).chain.length, 1);
    }
  });
});

function childrenOf(bytes: Uint8Array): Uint8Array[] {
  const reader = new DerReader(bytes).enter();
  const children: Uint8Array[] = [];
  while (!reader.done) children.push(reader.raw());
  return children;
}

function withMacIterations(pfx: Uint8Array, iterations: Uint8Array): Uint8Array {
  const [version = pfx, content = pfx, mac = pfx] = childrenOf(pfx);
  const [info = pfx, salt = pfx] = childrenOf(mac);
  return sequence(version, content, sequence(info, salt, iterations));
}

function withoutMac(pfx: Uint8Array): Uint8Array {
  return sequence(...childrenOf(pfx).slice(0, 2));
}
