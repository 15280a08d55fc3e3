import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import {
  auditIn,
  certificates,
  certRepIn,
  type EndpointName,
  endpointPaths,
  enrolAt,
  exchange,
  type HttpAnswer,
  keys,
  type MessageFields,
  messageOf,
  newEcKey,
  openTestServer,
  recordsIn,
  requestOf,
  selfSigned,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { encoded, nodesOf, treeOf } from '../../test/support/codec-fixture.ts';
import { StoreFailures } from '../../test/support/failing-store.ts';
import {
  buildCertificationRequest,
  commonNameOf,
  der,
  nameToString,
  objectIdentifier,
  oid,
  parseSignedData,
  sameOctets,
  sequence,
  tag,
  utf8String,
  verifyCertificateSignature,
} from '../codec/index.ts';
import type { FailInfo } from '../errors.ts';
import {
  buildMessageQuery,
  nonceOf,
  parseCaCertificates,
  parseCapabilities,
  serverCapabilities,
} from '../scep/index.ts';

let server: TestServer;
let base: string;
before(async () => {
  server = await openTestServer();
  base = `http://127.0.0.1:${server.port}`;
});
after(() => server.close());

const goodRequest = () => requestOf({ challengePassword: staticSecret });

/** A whole HTTP exchange as octets, so that nothing is added to it. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, '127.0.0.1', () => socket.write(text, 'latin1'));
    const chunks: Buffer[] = [];
    socket.setTimeout(15_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}

/** What holds for every answer of the door. */
function assertPlain({ headers, body }: HttpAnswer): void {
  // HTTP/1.0 clients and embedded ones cannot read chunks.
  assert.equal(headers['transfer-encoding'], undefined);
  assert.equal(headers['content-length'], String(body.length));
}

function assertText(answer: HttpAnswer, status: number, text: RegExp): void {
  assert.equal(answer.status, status);
  assert.match(answer.headers['content-type'] ?? '', /^text\/plain/);
  assert.match(answer.body.toString(), text);
  assert.doesNotMatch(answer.body.toString(), /\bat \S+[:(]|Error|node:|\.ts\b|FST_/);
  assertPlain(answer);
}

describe('NDES’s URLs', () => {
  const rows: readonly (readonly [path: string, served: boolean])[] = [
    ['/certsrv/mscep/mscep.dll', true],
    ['/certsrv/mscep/mscep.dll/', true],
    ['/certsrv/mscep/mscep.dll/pkiclient.exe', true],
    ['/CertSrv/MSCEP/mscep.dll/pkiclient.exe', true],
    ['/CERTSRV/MSCEP/MSCEP.DLL', true],
    ['/certsrv/mscep', true],
    ['/certsrv/mscep/', true],
    ['/certsrv/mscep/pkiclient.exe', true],
    ['/cgi-bin/pkiclient.exe', true],
    ['/cgi-bin/PKIclient.exe', true],
    ['/cgi-bin/pkiclient.exe/anything/below/it', true],
    ['/scep/static', true],
    ['/scep/static/pkiclient.exe', true],
    ['/', false],
    ['/certsrv', false],
    ['/certsrv/mscep_admin/', false],
    ['/certsrv/mscep.dll', false],
    ['/cgi-bin', false],
    ['/cgi-bin/pkiclient.exe2', false],
    ['/scep', false],
    ['/scep/statics', false],
  ];
  for (const [path, served] of rows) {
    for (const message of ['&message=default', '&message=', '']) {
      test(`${path} ${message}`, async () => {
        const capabilities = await exchange(`${base}${path}?operation=GetCACaps${message}`);
        if (!served) return assertText(capabilities, 404, /^not found\n$/);
        assert.equal(capabilities.status, 200);
        assert.match(capabilities.headers['content-type'] ?? '', /^text\/plain/);
        assertPlain(capabilities);
        assert.deepEqual(
          parseCapabilities(capabilities.body.toString()),
          new Set<string>(serverCapabilities),
        );
        const served_ = await exchange(`${base}${path}?operation=GetCACert${message}`);
        assert.equal(served_.headers['content-type'], 'application/x-x509-ca-ra-cert');
        assertPlain(served_);
        const { encryption, all } = parseCaCertificates(served_.body, served_.headers['content-type'] ?? '');
        assert.deepEqual(Buffer.from(encryption.raw), Buffer.from(certificates.raEncryption.raw));
        assert.deepEqual(
          all.map((certificate) => nameToString(certificate.subject)),
          [certificates.raSigning, certificates.raEncryption, certificates.issuing, certificates.root].map(
            (certificate) => nameToString(certificate.subject),
          ),
        );
      });
    }
  }

  test('a device enrols at each of them', async () => {
    for (const path of Object.values(endpointPaths).flat()) {
      const name = Object.entries(endpointPaths).find(([, paths]) =>
        (paths as readonly string[]).includes(path),
      )?.[0] as EndpointName;
      const challengePassword =
        name === 'one-time' || name === 'both' ? await server.challengeFor(name) : staticSecret;
      // On the scripted endpoint the challenge is the key of the enrolment.
      const unique = name === 'scripted' ? `${challengePassword}${path}` : challengePassword;
      const senderNonce = randomBytes(16);
      const csr = await requestOf({ challengePassword: unique, subject: 'CN=at every path' });
      const message = await messageOf({ csr, senderNonce, transactionID: path });
      const answer = await exchange(`${base}${path}/pkiclient.exe?operation=PKIOperation`, {
        method: 'POST',
        body: message,
      });
      assert.equal(answer.headers['content-type'], 'application/x-pki-message');
      assertPlain(answer);
      const certRep = await certRepIn(answer, { senderNonce, transactionID: path });
      // Where a person is asked, there is nothing yet.
      const want = name === 'manual' || name === 'asked' ? 'PENDING' : 'SUCCESS';
      assert.equal(certRep.pkiStatus, want, `${path}: ${JSON.stringify(certRep)}`);
    }
  });
});

describe('operations', () => {
  const url = () => server.url('static');

  test('a visit without operation is answered as NDES answers it', async () => {
    for (const query of ['', '?', '?x=y', '?message=default']) {
      assertText(await exchange(`${url()}${query}`), 403, /^Forbidden/);
    }
  });

  const unknown = ['', 'getcacap', 'GetCACertChain', 'PKIOperation2', '__proto__', 'GetCRL', '%00', '..'];
  for (const operation of unknown) {
    for (const method of ['GET', 'POST']) {
      test(`${method} with unknown operation “${operation}” is 400`, async () => {
        const answer = await exchange(`${url()}?operation=${operation}`, { method, body: '' });
        assertText(answer, 400, /^the operation parameter is missing or unknown\n$/);
      });
    }
  }

  test('GetNextCACert is known and not served', async () => {
    assertText(await exchange(`${url()}?operation=GetNextCACert`), 404, /^this operation is not served\n$/);
  });

  test('operations are found without regard to case', async () => {
    assert.equal((await exchange(`${url()}?OPERATION=getcacaps`)).status, 200);
  });

  for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
    test(`${method} is not served`, async () => {
      const answer = await exchange(`${url()}?operation=GetCACaps`, { method });
      assertText(answer, 404, /^not found\n$/);
    });
  }

  test('HEAD says what GET would, without a body', async () => {
    for (const operation of ['GetCACaps', 'GetCACert']) {
      const whole = await exchange(`${url()}?operation=${operation}`);
      const head = await exchange(`${url()}?operation=${operation}`, { method: 'HEAD' });
      assert.equal(head.status, 200);
      assert.equal(head.body.length, 0);
      assert.equal(head.headers['content-length'], String(whole.body.length));
      assert.equal(head.headers['content-type'], whole.headers['content-type']);
    }
    assert.equal((await exchange(url(), { method: 'HEAD' })).status, 403);
  });

  test('a GET PKIOperation of 40 KB is served', async () => {
    const senderNonce = randomBytes(16);
    const csr = await goodRequest();
    // A chain of certificates makes the message as long as Intune's are.
    const padding = Array.from({ length: 13 }, () => certificates.raSigning.raw);
    const signer = await selfSigned(keys.device);
    let message = await messageOf({
      csr,
      senderNonce,
      signer,
      certificates: [signer.certificate.raw, ...padding],
    });
    assert.ok(message.length > 8_000);
    // Whoever escapes every character sends three for one.
    const escaped = [...Buffer.from(message).toString('base64')]
      .map((character) => `%${character.charCodeAt(0).toString(16)}`)
      .join('');
    assert.ok(escaped.length > 40_000, String(escaped.length));
    const answer = await exchange(`${url()}?operation=PKIOperation&message=${escaped}`);
    assert.equal((await certRepIn(answer, { senderNonce })).pkiStatus, 'SUCCESS');
    message = await messageOf({ csr, senderNonce });
    const unescaped = Buffer.from(message).toString('base64').replaceAll('=', '%3D');
    const apple = await exchange(`${url()}?operation=PKIOperation&message=${unescaped}`);
    assert.equal((await certRepIn(apple, { senderNonce })).pkiStatus, 'SUCCESS');
    const usual = await exchange(`${url()}?${buildMessageQuery(message)}`);
    assert.equal((await certRepIn(usual, { senderNonce })).pkiStatus, 'SUCCESS');
  });

  test('a GET PKIOperation without message, or with one that is not base64, is 400', async () => {
    for (const query of ['', '&message=', '&message=%', '&message=AAA*', '&message=AAAA']) {
      const answer = await exchange(`${url()}?operation=PKIOperation${query}`);
      assertText(answer, 400, /^no PKIMessage could be read from the request\n$/);
    }
  });
});

describe('POST PKIOperation', () => {
  const contentTypes: readonly (string | undefined)[] = [
    'application/x-pki-message',
    undefined,
    'application/octet-stream',
    'application/x-www-form-urlencoded',
    'application/json',
    'application/json; charset=utf-8',
    'text/plain',
    'text/xml;charset="x',
    'multipart/form-data',
    'x-pki-message',
    'application/',
    '/',
    ';',
    '*',
    'application/x-pki-message; ;;=',
  ];
  for (const contentType of contentTypes) {
    for (const query of ['?operation=PKIOperation', '?operation=pkioperation&message=default', '']) {
      test(`content type ${contentType}, query “${query}”`, async () => {
        const senderNonce = randomBytes(16);
        const answer = await exchange(`${server.url('static')}${query}`, {
          method: 'POST',
          body: await messageOf({ csr: await goodRequest(), senderNonce }),
          headers: contentType === undefined ? {} : { 'content-type': contentType },
        });
        assert.equal(answer.headers['content-type'], 'application/x-pki-message');
        assertPlain(answer);
        assert.equal((await certRepIn(answer, { senderNonce })).pkiStatus, 'SUCCESS');
      });
    }
  }

  test('a body in chunks is taken', async () => {
    const senderNonce = randomBytes(16);
    const message = await messageOf({ csr: await goodRequest(), senderNonce });
    const half = message.length >> 1;
    const chunk = (part: Uint8Array) =>
      `${part.length.toString(16)}\r\n${Buffer.from(part).toString('latin1')}\r\n`;
    const answer = await raw(
      `POST ${endpointPaths.static[0]}?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
        `Transfer-Encoding: chunked\r\n\r\n${chunk(message.subarray(0, half))}${chunk(message.subarray(half))}0\r\n\r\n`,
    );
    const [head = '', body = ''] = splitHead(answer);
    assert.match(head, /^HTTP\/1\.1 200 /);
    const found = { status: 200, headers: {}, body: Buffer.from(body, 'latin1') };
    assert.equal((await certRepIn(found, { senderNonce })).pkiStatus, 'SUCCESS');
  });

  test('HTTP/1.0 without Host is served, with a length and no chunks', async () => {
    const senderNonce = randomBytes(16);
    const message = Buffer.from(await messageOf({ csr: await goodRequest(), senderNonce }));
    const requests = [
      `GET ${endpointPaths.static[0]}?operation=GetCACaps HTTP/1.0\r\n\r\n`,
      `GET ${endpointPaths.static[0]}?operation=GetCACert HTTP/1.0\r\n\r\n`,
      `POST ${endpointPaths.static[0]}?operation=PKIOperation HTTP/1.0\r\nContent-Length: ${message.length}\r\n\r\n${message.toString('latin1')}`,
      `GET /nothing HTTP/1.0\r\n\r\n`,
    ];
    const bodies: string[] = [];
    for (const request of requests) {
      const [head = '', body = ''] = splitHead(await raw(request));
      assert.match(head, /^HTTP\/1\.1 (200|404) /);
      assert.doesNotMatch(head, /transfer-encoding/i);
      assert.match(head, new RegExp(`content-length: ${body.length}\\b`, 'i'));
      bodies.push(body);
    }
    const answer = { status: 200, headers: {}, body: Buffer.from(bodies[2] ?? '', 'latin1') };
    assert.equal((await certRepIn(answer, { senderNonce })).pkiStatus, 'SUCCESS');
  });

  test('a body of over 2 MiB is 413, however it comes', async () => {
    const tooMuch = Buffer.alloc(2 * 1024 * 1024 + 1);
    const answer = await exchange(`${server.url('static')}?operation=PKIOperation`, {
      method: 'POST',
      body: tooMuch,
    });
    assertText(answer, 413, /^the request is too large\n$/);
    const chunk = `40000\r\n${'\0'.repeat(0x40000)}\r\n`;
    const chunked = await raw(
      `POST ${endpointPaths.static[0]}?operation=PKIOperation HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
        `Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(9)}0\r\n\r\n`,
    );
    assert.match(chunked, /^HTTP\/1\.1 413 /);
    assertText(
      await exchange(`${server.url('static')}?operation=PKIOperation`, {
        method: 'POST',
        body: tooMuch.subarray(1),
      }),
      400,
      /^no PKIMessage/,
    );
  });

  const garbage: readonly (readonly [name: string, body: () => Promise<Uint8Array> | Uint8Array])[] = [
    ['nothing', () => Uint8Array.of()],
    ['text', () => Buffer.from('hello')],
    ['a form', () => Buffer.from('operation=PKIOperation&message=AAAA')],
    ['base64 of a message', async () => Buffer.from(Buffer.from(await messageOf({})).toString('base64'))],
    ['a certification request', goodRequest],
    ['an endless length', () => Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff)],
    ['an indefinite length without end', () => Uint8Array.of(0x30, 0x80)],
    ['deep nesting', () => Buffer.alloc(100_000, Uint8Array.of(0x30, 0x80))],
    [
      'many empty elements',
      () =>
        Buffer.concat([Uint8Array.of(0x30, 0x83, 0x0f, 0, 0), Buffer.alloc(0xf0000, Uint8Array.of(5, 0))]),
    ],
    ['noise', () => randomBytes(100_000)],
    ['a message cut off', async () => (await messageOf({ csr: await goodRequest() })).subarray(0, -1)],
    ['a message without certificate', async () => messageOf({ csr: await goodRequest(), certificates: [] })],
  ];
  for (const [name, body] of garbage) {
    test(`${name} is 400 in plain text`, async () => {
      const answer = await exchange(`${server.url('static')}?operation=PKIOperation`, {
        method: 'POST',
        body: await body(),
      });
      assertText(answer, 400, /^no PKIMessage could be read from the request\n$/);
    });
  }
});

function splitHead(answer: string): [string, string] {
  const at = answer.indexOf('\r\n\r\n');
  return [answer.slice(0, at), answer.slice(at + 4)];
}

describe('answers of the protocol', () => {
  const outcome = async (endpoint: EndpointName, fields: Partial<MessageFields>) => {
    const senderNonce = fields.senderNonce ?? randomBytes(16);
    const message = await messageOf({ csr: await goodRequest(), ...fields, senderNonce });
    const answer = await server.post(endpoint, message);
    assert.equal(answer.status, 200);
    assertPlain(answer);
    return await certRepIn(answer, { ...fields, senderNonce });
  };

  test('SUCCESS carries the leaf alone, by the issuing CA, for the key of the request', async () => {
    const certRep = await outcome('static', { transactionID: 'leaf' });
    assert.equal(certRep.pkiStatus, 'SUCCESS');
    assert.equal(certRep.certificates.length, 1);
    const [leaf] = certRep.certificates;
    assert.ok(leaf !== undefined);
    assert.ok(verifyCertificateSignature(leaf, keys.issuing.spki));
    assert.deepEqual(Buffer.from(leaf.spki), Buffer.from(keys.device.spki));
    assert.equal(commonNameOf(leaf.subject), 'device-1');
  });

  test('every answer has a nonce of its own and gives the client’s back', async () => {
    const senderNonce = randomBytes(16);
    const message = await messageOf({ csr: await goodRequest(), senderNonce, transactionID: 'nonces' });
    const seen = new Set<string>();
    for (let count = 0; count < 3; count += 1) {
      const [signerInfo] = parseSignedData((await server.post('static', message)).body).signerInfos;
      assert.ok(signerInfo !== undefined);
      const own = nonceOf(signerInfo, 'senderNonce');
      assert.equal(own?.length, 16);
      seen.add(Buffer.from(own).toString('hex'));
      assert.deepEqual(Buffer.from(nonceOf(signerInfo, 'recipientNonce') ?? []), senderNonce);
    }
    assert.equal(seen.size, 3);
    assert.ok(!seen.has(senderNonce.toString('hex')));
  });

  const failures: readonly (readonly [
    name: string,
    failInfo: FailInfo,
    code: string,
    fields: () => Promise<Partial<MessageFields>> | Partial<MessageFields>,
  ])[] = [
    ['an empty message', 'badMessageCheck', 'scep_envelope', () => ({ envelope: undefined })],
    [
      'a request in the clear',
      'badMessageCheck',
      'scep_envelope',
      async () => ({ envelope: await goodRequest() }),
    ],
    ['single DES', 'badAlg', 'algorithm_refused', () => ({ cipher: 'des-cbc' })],
    [
      'an envelope for the CA’s key',
      'badMessageCheck',
      'scep_envelope',
      () => ({ recipient: certificates.issuing }),
    ],
    [
      'a request that its key did not sign',
      'badMessageCheck',
      'csr_signature',
      async () => {
        const csr = Buffer.from(await goodRequest());
        csr[csr.length - 1] = (csr.at(-1) as number) ^ 1;
        return { csr };
      },
    ],
    ['no challenge', 'badRequest', 'challenge_missing', async () => ({ csr: await requestOf({}) })],
    [
      'an empty challenge',
      'badRequest',
      'challenge_missing',
      async () => ({ csr: await requestOf({ challengePassword: '' }) }),
    ],
    [
      'a wrong challenge',
      'badRequest',
      'challenge_unknown',
      async () => ({ csr: await requestOf({ challengePassword: `${staticSecret}!` }) }),
    ],
    [
      'the challenge in another case',
      'badRequest',
      'challenge_unknown',
      async () => ({ csr: await requestOf({ challengePassword: staticSecret.toUpperCase() }) }),
    ],
    [
      'a key on a curve',
      'badRequest',
      'key_algorithm',
      async () => ({ csr: await requestOf({ challengePassword: staticSecret, key: await newEcKey() }) }),
    ],
  ];
  for (const [name, failInfo, code, fields] of failures) {
    test(`${name} is ${failInfo}, with a reference to ${code}`, async () => {
      const before = (await recordsIn(server)).length;
      const certRep = await outcome('static', {
        transactionID: name.replaceAll('’', ''),
        ...(await fields()),
      });
      assert.equal(certRep.pkiStatus, 'FAILURE');
      assert.equal(certRep.failInfo, failInfo);
      const [, reference] = /\((LG-[A-Z0-9]{8})\)$/.exec(certRep.failInfoText ?? '') ?? [];
      const [entry] = await auditIn(server, 1);
      assert.equal(entry?.reference, reference);
      assert.equal(entry?.code, code);
      assert.equal(entry?.event, 'enrolment.refused');
      assert.equal((await recordsIn(server)).length, before);
    });
  }

  test('a signature or digest that is not good is answered in SHA-256', async () => {
    const senderNonce = randomBytes(16);
    const good = await messageOf({ csr: await goodRequest(), senderNonce, digest: 'sha1' });
    const changed = Buffer.from(good);
    changed[changed.length - 1] = (changed.at(-1) as number) ^ 1;
    const tree = treeOf(good);
    for (const node of nodesOf(tree)) {
      if (node.tag === 6 && sameOctets(node.content, objectIdentifier(oid.sha1).subarray(2)))
        node.content = objectIdentifier(oid.md5).subarray(2);
    }
    for (const [message, failInfo] of [
      [changed, 'badMessageCheck'],
      [encoded(tree), 'badAlg'],
    ] as const) {
      const answer = await server.post('static', message);
      const certRep = await certRepIn(answer, { senderNonce });
      assert.equal(certRep.pkiStatus === 'FAILURE' && certRep.failInfo, failInfo);
    }
  });

  test('single DES is served where it was asked for, and answered alike', async () => {
    const certRep = await outcome('legacy', { cipher: 'des-cbc', transactionID: 'des' });
    assert.equal(certRep.pkiStatus, 'SUCCESS');
  });

  test('a signer whose key cannot be encrypted to is refused before anything is issued', async () => {
    const before = (await recordsIn(server)).length;
    const signer = await selfSigned(await newEcKey());
    const csr = await requestOf({});
    const certRep = await enrolAt(server, 'static', { csr, signer, transactionID: 'curve' });
    assert.equal(certRep.pkiStatus === 'FAILURE' && certRep.failInfo, 'badAlg');
    assert.equal((await recordsIn(server)).length, before);
  });

  test('an unreachable validator is 503 with Retry-After, and nothing that reads like a verdict', async () => {
    server.scripted.verdict = { verdict: 'unreachable', detail: 'the service is at 10.0.0.7' };
    try {
      const csr = await requestOf({ challengePassword: 'unreachable' });
      const answer = await server.post('scripted', await messageOf({ csr }));
      assertText(answer, 503, /^the request cannot be validated now; try again \(LG-[A-Z0-9]{8}\)\n$/);
      assert.match(answer.headers['retry-after'] ?? '', /^\d+$/);
      assert.equal((await auditIn(server, 1))[0]?.event, 'enrolment.unavailable');
    } finally {
      server.scripted.verdict = { verdict: 'accept', names: 'vouched' };
    }
    const again = await enrolAt(server, 'scripted', {
      csr: await requestOf({ challengePassword: 'unreachable' }),
    });
    assert.equal(again.pkiStatus, 'SUCCESS');
  });

  test('a refusal that cannot be put on record is 503, and decides nothing', async () => {
    const failures = new StoreFailures();
    const broken = await openTestServer({ storeOf: failures.wrap });
    try {
      const csr = await requestOf({ challengePassword: 'no such challenge' });
      const unsigned = Buffer.from(await messageOf({ csr }));
      unsigned[unsigned.length - 1] = (unsigned.at(-1) as number) ^ 1;
      for (const message of [
        unsigned,
        await messageOf({ csr }),
        await messageOf({ csr, cipher: 'des-cbc' }),
      ]) {
        failures.plan('appendAudit', 'not persisted');
        const answer = await broken.post('one-time', message);
        assertText(answer, 503, /^the request cannot be served now; try again\n$/);
        assert.match(answer.headers['retry-after'] ?? '', /^\d+$/);
      }
      assert.equal(failures.pending, 0);
      const again = await enrolAt(broken, 'one-time', { csr });
      assert.equal(again.pkiStatus, 'FAILURE');
    } finally {
      await broken.close();
    }
  });

  test('a name that has no proper encoding is a FAILURE of the protocol', async () => {
    // RFC 5280 §7.5: a mailbox travels in ASCII; this one comes as UTF8String.
    const mailbox = sequence(objectIdentifier(oid.emailAddress), utf8String('ä@test'));
    const raw = sequence(der(tag.set, mailbox));
    const key = keys.device;
    const csr = await buildCertificationRequest(
      {
        subject: { raw, rdns: [] },
        spki: key.spki,
        extensions: [],
        signatureAlgorithm: 'rsa-sha256',
        challengePassword: staticSecret,
      },
      key.signs,
    );
    const certRep = await outcome('static', { csr, transactionID: 'mailbox' });
    assert.equal(certRep.pkiStatus === 'FAILURE' && certRep.failInfo, 'badMessageCheck');
    assert.equal((await auditIn(server, 1))[0]?.code, 'name_malformed');
  });
});
