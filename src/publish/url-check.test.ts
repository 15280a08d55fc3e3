import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { certificates } from '../../test/support/authorities-fixture.ts';
import { newCrl } from '../../test/support/storage-fixture.ts';
import { caCertificateObjects, crlObject, type PublishedObject } from './objects.ts';
import { checkUrls } from './url-check.ts';

const crl = crlObject('issuing', await newCrl(6));
const [certificate] = caCertificateObjects('issuing', [certificates.issuing.raw]) as [PublishedObject];
const served: Readonly<Record<string, Uint8Array>> = {
  '/same.crl': crl.bytes,
  '/older.crl': await newCrl(5),
  '/ended.crl': await newCrl(5, { endsInMs: -1000 }),
  '/newer.crl': await newCrl(7),
  '/other.crl': await newCrl(6, { entries: 9 }),
  '/text.crl': Buffer.from('<html>welcome</html>'),
  '/same.crt': certificate.bytes,
  '/other.crt': certificates.root.raw,
};

let server: Server;
let base: string;
before(async () => {
  server = createServer((request, response) => {
    const body = served[request.url ?? ''];
    if (request.url === '/moved.crl') response.writeHead(302, { location: '/same.crl' }).end();
    else if (request.url === '/cut.crl') {
      response.writeHead(200, { 'content-length': crl.bytes.length });
      response.write(Buffer.from(crl.bytes.subarray(0, 10)), () => response.destroy());
    } else if (body === undefined) response.writeHead(404).end('not here');
    else response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  server.closeAllConnections();
});

describe('checkUrls', () => {
  const rows: readonly (readonly [
    name: string,
    path: string,
    object: PublishedObject,
    verdict: string,
    text: RegExp,
  ])[] = [
    ['nothing there', '/absent.crl', crl, 'wrong', /^answers HTTP 404$/],
    ['a web page', '/text.crl', crl, 'wrong', /is no CRL/],
    ['another certificate', '/other.crt', certificate, 'wrong', /something else/],
    ['a certificate for a CRL', '/same.crt', crl, 'wrong', /is no CRL/],
    ['another CRL of the same number', '/other.crl', crl, 'wrong', /another CRL/],
    ['a newer CRL', '/newer.crl', crl, 'wrong', /number 7, ours is 6/],
    ['an older CRL that has ended', '/ended.crl', crl, 'wrong', /number 5, which has ended; ours is 6/],
    ['an older CRL', '/older.crl', crl, 'older', /number 5, until .*; ours is 6/],
    ['an answer that is cut off', '/cut.crl', crl, 'wrong', /cannot be fetched/],
    ['the same CRL', '/same.crl', crl, 'served', /^$/],
    ['the same CRL, elsewhere', '/moved.crl', crl, 'served', /^$/],
    ['the same certificate', '/same.crt', certificate, 'served', /^$/],
  ];
  for (const [name, path, object, verdict, text] of rows) {
    test(`${name}: ${verdict}`, async () => {
      const [finding] = await checkUrls([{ url: `${base}${path}`, object }], new Date());
      assert.equal(finding?.verdict, verdict, String(finding?.text));
      assert.match(finding.text ?? '', text);
      assert.equal(finding.object, object.name);
    });
  }

  test('a server that is not there: wrong', async () => {
    const [finding] = await checkUrls([{ url: 'http://127.0.0.1:9/a.crl', object: crl }], new Date());
    assert.equal(finding?.verdict, 'wrong');
    assert.match(finding.text ?? '', /^cannot be fetched: /);
  });

  test('each URL on its own, in their order', async () => {
    const findings = await checkUrls(
      [
        { url: `${base}/absent.crl`, object: crl },
        { url: `${base}/same.crl`, object: crl },
      ],
      new Date(),
    );
    assert.deepEqual(
      findings.map(({ verdict }) => verdict),
      ['wrong', 'served'],
    );
  });
});
