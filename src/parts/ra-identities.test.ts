import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, mock, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  DAY_MS,
  exchange,
  FixtureClock,
  type FixtureKey,
  inDays,
  keys,
  messageOf,
  newRsaKey,
  requestOf,
  staticSecret,
} from '../../test/support/authorities-fixture.ts';
import { createIssuing } from '../ca/index.ts';
import {
  buildPem,
  type Certificate,
  commonNameOf,
  nameFromString,
  parseSignedData,
  sameOctets,
} from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { hashStaticSecret } from '../ra/index.ts';
import {
  openPkcsReq,
  parseCaCertificates,
  parseCapabilities,
  parseCertRep,
  parseNextCaCertificates,
  readPkiMessage,
  refusedByDefault,
  verifyPkiMessage,
} from '../scep/index.ts';
import type { Log } from '../telemetry.ts';
import { type Authorities, openAuthorities, type ServerConfig } from './authorities.ts';
import { viewEndpoints } from './endpoints.ts';
import { openRaIdentities, openRaUpkeep } from './ra-identities.ts';
import { startServer } from './server.ts';

let folder: string;
let nextKey: FixtureKey;
let nextCertificate: Certificate;
const write = (name: string, content: string) => writeFile(join(folder, name), content, { mode: 0o600 });
const pem = (...list: readonly { readonly raw: Uint8Array }[]) =>
  list.map(({ raw }) => buildPem('CERTIFICATE', raw)).join('');
const key = (name: string) => ({ file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` });
const identity = (name: string) => ({ certificate: `${name}.pem`, key: key(name) });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-ra-identities-'));
  for (const [name, { keyObject }] of [
    ['issuing', keys.issuing],
    ['ra-signing', keys.raSigning],
    ['ra-encryption', keys.raEncryption],
  ] as const) {
    const passphrase = `passphrase of ${name}`;
    const text = keyObject.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    await write(`${name}.key.pem`, String(text));
    await write(`${name}.passphrase`, passphrase);
  }
  await write('chain.pem', pem(certificates.issuing, certificates.root));
  await write('ra-signing.pem', pem(certificates.raSigning));
  await write('ra-encryption.pem', pem(certificates.raEncryption));
  await write('ra.passphrase', 'a passphrase of the test');
  await write('hash.key', 'k'.repeat(32));
  await write('static.hash', await hashStaticSecret(staticSecret));
  nextKey = await newRsaKey();
  nextCertificate = await createIssuing(
    { certificate: certificates.root, key: keys.root },
    nextKey.spki,
    nameFromString('CN=Test Issuing CA 2,O=Test'),
    { notBefore: inDays(-1), notAfter: inDays(3000) },
    { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] },
  );
  await write('next.pem', pem(nextCertificate, certificates.root));
});
after(() => rm(folder, { recursive: true, force: true }));

const automatic = { automatic: { passphrase: 'file:ra.passphrase' } };
const explicit = { signing: identity('ra-signing'), encryption: identity('ra-encryption') };

/** A server with one endpoint for each of the profiles; each configuration has a data folder of its own. */
function configOf(
  name: string,
  ra: object,
  clients: readonly string[],
  changes: { readonly endpoint?: object; readonly issuer?: object } = {},
): ServerConfig {
  const config = {
    server: {
      listen: '127.0.0.1:0',
      threads: 1,
      dataFolder: name,
      serviceIdentity: 'TEST\\svc-ra',
      issuers: [
        {
          name: 'issuing',
          certificate: 'chain.pem',
          key: key('issuing'),
          crlUrls: ['http://pki.test/crl/issuing.crl'],
          caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
          ...changes.issuer,
        },
      ],
      ra: { ...ra, challengeHashKey: 'file:hash.key' },
      endpoints: clients.map((client) => ({
        name: client,
        paths: [`/scep/${client}`],
        issuer: 'issuing',
        template: 'client-authentication',
        validators: [{ staticSecret: { hash: 'file:static.hash' } }],
        client,
        ...changes.endpoint,
      })),
    },
  };
  return parseConfig(JSON.stringify(config), folder).server ?? assert.fail('no server');
}

interface Opened {
  readonly config: ServerConfig;
  readonly authorities: Authorities;
  readonly clock: FixtureClock;
  readonly logged: string[];
  readonly log: Log;
}

async function withAuthorities(config: ServerConfig, work: (opened: Opened) => Promise<void>): Promise<void> {
  const logged: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
  const clock = new FixtureClock();
  const authorities = await openAuthorities(config, log, clock);
  try {
    await work({ config, authorities, clock, logged, log });
  } finally {
    await authorities.close();
  }
}

const endpointOf = (config: ServerConfig) => config.endpoints[0] ?? assert.fail('no endpoint');

describe('openRaIdentities refuses', () => {
  const rows: readonly (readonly [
    name: string,
    config: () => ServerConfig,
    want: { readonly code: string; readonly message: RegExp },
  ])[] = [
    [
      'RA certificates that are not there yet',
      () => configOf('none', automatic, ['standard']),
      { code: 'key_capability', message: /no valid certificates of the RA/ },
    ],
    [
      'two certificates for clients that know one',
      () => configOf('two', explicit, ['embedded']),
      { code: 'key_capability', message: /embedded/ },
    ],
    [
      'signing and encryption exchanged',
      () =>
        configOf('exchanged', { signing: identity('ra-encryption'), encryption: identity('ra-signing') }, [
          'standard',
        ]),
      { code: 'key_capability', message: /signing certificate: it needs the key usage digitalSignature/ },
    ],
    [
      'what an endpoint names for itself and clients would not take',
      () =>
        configOf('own', automatic, ['standard'], {
          endpoint: { ra: { signing: identity('ra-encryption'), encryption: identity('ra-encryption') } },
        }),
      { code: 'key_capability', message: /digitalSignature/ },
    ],
  ];
  for (const [name, config, want] of rows) {
    test(name, async () => {
      await withAuthorities(config(), async (opened) => {
        await assert.rejects(
          openRaIdentities(opened.config, opened.authorities, opened.log, opened.clock),
          want,
        );
      });
    });
  }
  for (const [name, ra] of [
    ['neither', {}],
    ['both', { ...automatic, ...explicit }],
    ['half', { signing: identity('ra-signing') }],
  ] as const) {
    test(`a configuration with ${name} of automatic and explicit certificates`, () => {
      assert.throws(() => configOf('x', ra, ['standard']), { code: 'config_invalid', message: /server\.ra/ });
    });
  }
  test('an unknown profile, by name', () => {
    assert.throws(() => configOf('x', automatic, ['ndes']), {
      code: 'config_invalid',
      message: /server\.endpoints\.0\.client/,
    });
  });
});

describe('the RA renews its certificates while it serves', () => {
  test('a request encrypted to the former certificate is opened, and answered by the former signer', async () => {
    mock.timers.enable({ apis: ['setInterval'] });
    try {
      await withAuthorities(configOf('renewing', automatic, ['standard']), async (opened) => {
        const { config, authorities, clock, log } = opened;
        const upkeep = openRaUpkeep(config, authorities, log, clock);
        await upkeep.renewIfDue();
        const identities = await openRaIdentities(config, authorities, log, clock);
        const identityFor = identities.of(endpointOf(config));
        const first = identityFor();
        const cached = parseCaCertificates(
          first.caCertificates.body,
          first.caCertificates.contentType,
        ).encryption;
        assert.ok(sameOctets(cached.raw, first.encryption.certificate.raw));
        clock.offsetMs = cached.notAfter.getTime() - Date.now() - 41 * DAY_MS;
        await upkeep.renewIfDue();
        // The thread that serves reads the folder by itself; a moment of real time lets the disk answer.
        mock.timers.tick(60_000);
        await new Promise((resolve) => setTimeout(resolve, 500));
        assert.equal(identityFor(), first, 'not before its time');
        clock.offsetMs += 11 * 60_000;
        const second = identityFor();
        assert.notEqual(second, first);
        for (const [name, to, want] of [
          ['former', first, first],
          ['present', second, second],
        ] as const) {
          const csr = await requestOf({ challengePassword: staticSecret });
          const message = await messageOf({ csr, recipient: to.encryption.certificate });
          const received = readPkiMessage(message);
          const served = identityFor(received);
          assert.equal(served, want, name);
          const read = await openPkcsReq(
            verifyPkiMessage(received),
            served.encryption.decrypt,
            refusedByDefault,
          );
          assert.ok(sameOctets(read.csr.raw, csr), name);
        }
        identities.close();
      });
    } finally {
      mock.timers.reset();
    }
  });

  test('says in time what nobody renews, once a day, and then louder', async () => {
    await withAuthorities(configOf('reminders', explicit, ['standard']), async (opened) => {
      const { config, authorities, clock, log, logged } = opened;
      const upkeep = openRaUpkeep(config, authorities, log, clock);
      const said = async (days: number) => {
        clock.offsetMs = days * DAY_MS;
        logged.length = 0;
        await upkeep.renewIfDue();
        clock.offsetMs += 2 * 60_000;
        await upkeep.renewIfDue();
        return logged.map((line) => (JSON.parse(line) as { level: number; msg: string }).msg);
      };
      assert.deepEqual(await said(300), []);
      assert.deepEqual(await said(340), Array(2).fill('a certificate of the RA must be renewed'));
      assert.deepEqual(await said(340.5), [], 'not twice a day');
      const alarms = await said(360);
      assert.equal(alarms.length, 2);
      assert.match(alarms[0] ?? '', /^ALARM/);
    });
  });
});

describe('a server with an endpoint for each kind of client', () => {
  const clients = ['standard', 'windows', 'apple', 'android', 'cisco', 'embedded', 'strict'] as const;
  const configOfClients = () =>
    configOf('clients', automatic, clients, {
      issuer: { next: { certificate: 'next.pem' } },
      endpoint: { renewal: {} },
    });
  let port = 0;
  let close: () => Promise<void> = async () => {};
  before(async () => {
    const started = await startServer(configOfClients(), pino({ level: 'silent' }), new FixtureClock());
    close = () => started.close();
    port = Number(started.addresses[0]?.split(':').at(-1));
  });
  after(() => close());

  const fetched = (client: string, operation: string) =>
    exchange(`http://127.0.0.1:${port}/scep/${client}?operation=${operation}&message=default`);

  for (const client of clients) {
    test(`${client}: GetCACert, GetCACaps, PKCSReq`, async () => {
      const caCert = await fetched(client, 'GetCACert');
      assert.equal(
        caCert.headers['content-type'],
        client === 'embedded' ? 'application/x-x509-ca-cert' : 'application/x-x509-ca-ra-cert',
      );
      const { encryption, all } = parseCaCertificates(caCert.body, caCert.headers['content-type'] ?? '');
      assert.equal(all.length, { embedded: 1, apple: 3 }[client as string] ?? 4);
      const capabilities = parseCapabilities((await fetched(client, 'GetCACaps')).body.toString());
      assert.ok(capabilities.has('GetNextCACert'));
      assert.equal(capabilities.has('Renewal'), !['windows', 'apple', 'embedded'].includes(client));
      const transactionID = `transaction-${client}`;
      const senderNonce = Buffer.alloc(16, 7);
      const message = await messageOf({
        csr: await requestOf({ challengePassword: staticSecret }),
        recipient: encryption,
        transactionID,
        senderNonce,
      });
      const answer = await exchange(`http://127.0.0.1:${port}/scep/${client}?operation=PKIOperation`, {
        method: 'POST',
        body: message,
      });
      assert.equal(answer.status, 200);
      const certRep = await parseCertRep(answer.body, {
        signers: all,
        transactionID,
        senderNonce,
        decrypt: keys.device.decrypt,
      });
      assert.ok(certRep.pkiStatus === 'SUCCESS');
      assert.deepEqual(
        certRep.certificates.map(({ subject }) => commonNameOf(subject)),
        client === 'cisco' ? ['device-1', 'Test Issuing CA'] : ['device-1'],
      );
      const failure = await exchange(`http://127.0.0.1:${port}/scep/${client}?operation=PKIOperation`, {
        method: 'POST',
        body: await messageOf({
          csr: await requestOf({ challengePassword: 'wrong' }),
          recipient: encryption,
          transactionID: `${transactionID}-2`,
        }),
      });
      assert.equal(parseSignedData(failure.body).content === undefined, client === 'strict');
    });
  }

  test('views show what each of them is, without opening a key', async () => {
    const views = await viewEndpoints(configOfClients(), new Date());
    assert.deepEqual(
      views.map(({ endpoint }) => endpoint),
      clients,
    );
    for (const view of views) {
      assert.deepEqual(view.urls, [`http://127.0.0.1:0/scep/${view.endpoint}`]);
      assert.partialDeepStrictEqual(view, {
        issuer: 'issuing',
        ca: 'Test Issuing CA',
        template: 'client-authentication',
        validators: ['staticSecret'],
        client: view.endpoint,
        ra: 'automatic',
        nextCa: 'Test Issuing CA 2',
      });
      assert.ok(!('raSwitches' in view));
      const days = ((view.raEnds?.getTime() ?? 0) - Date.now()) / DAY_MS;
      assert.ok(days > 700 && days < 731, `${view.endpoint}: ${days} days`);
      const served = parseCapabilities((await fetched(view.endpoint, 'GetCACaps')).body.toString());
      assert.deepEqual(new Set(view.capabilities), served);
    }
    const [unmade] = await viewEndpoints(configOf('unmade', automatic, ['windows']), new Date());
    assert.ok(unmade !== undefined && !('raEnds' in unmade) && !('nextCa' in unmade));
    const [own] = await viewEndpoints(configOf('own', explicit, ['windows']), new Date());
    assert.equal(own?.ra, 'explicit');
    assert.deepEqual(own?.raEnds, certificates.raSigning.notAfter);
  });

  test('GetNextCACert: the next CA, under the signature of this one', async () => {
    const answer = await fetched('standard', 'GetNextCACert');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'application/x-x509-next-ca-cert');
    const [next] = parseNextCaCertificates(answer.body, certificates.issuing);
    assert.ok(next !== undefined && sameOctets(next.raw, nextCertificate.raw));
    // Signed once, not for everyone who asks.
    assert.deepEqual((await fetched('apple', 'GetNextCACert')).body, answer.body);
  });
});

describe('GetNextCACert is refused at the start', () => {
  const rows: readonly (readonly [name: string, content: () => string, want: RegExp])[] = [
    ['for a root', () => pem(certificates.root), /root/],
    [
      'for a certificate that is no CA’s',
      () => pem(certificates.raSigning, certificates.issuing),
      /not a CA/,
    ],
    ['for the CA itself', () => pem(certificates.issuing, certificates.root), /neither of a new key/],
    ['for a chain that leads nowhere', () => pem(nextCertificate), /root/],
  ];
  for (const [index, [name, content, want]] of rows.entries()) {
    test(name, async () => {
      await write(`next-${index}.pem`, content());
      const config = configOf(`next-${index}`, explicit, ['standard'], {
        issuer: { next: { certificate: `next-${index}.pem` } },
      });
      await assert.rejects(startServer(config, pino({ level: 'silent' }), new FixtureClock()), {
        code: 'key_capability',
        message: want,
      });
    });
  }
});
