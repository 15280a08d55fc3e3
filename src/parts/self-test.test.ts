import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { freePort } from '../../lab/ports.ts';
import {
  certificates,
  DAY_MS,
  FixtureClock,
  keys,
  recordsIn,
  requestOf,
  staticSecret,
} from '../../test/support/authorities-fixture.ts';
import { IntunePeer, json } from '../../test/support/intune-peer.ts';
import { application, openTestMdm, rootPem, tenant, tlsServer } from '../../test/support/mdm-fixture.ts';
import {
  buildPem,
  extKeyUsageExtension,
  extKeyUsageOf,
  parseCertificate,
  parseCertificationRequest,
} from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { createSelfTestChallenge, hashStaticSecret, selfTestTemplate } from '../ra/index.ts';
import { type Authorities, openAuthorities, type ServerConfig } from './authorities.ts';
import { selfTestsOnRecord, selfTestUrl, startSelfTests, testEndpoint } from './self-test.ts';
import { startServer } from './server.ts';

const silent = pino({ level: 'silent' });
const clock = new FixtureClock();
let folder: string;
const write = (name: string, content: string) => writeFile(join(folder, name), content, { mode: 0o600 });
const key = (name: string) => ({ file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` });
const identity = (name: string) => ({ certificate: `${name}.pem`, key: key(name) });

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-self-test-'));
  for (const [name, { keyObject }, list] of [
    ['issuing', keys.issuing, [certificates.issuing, certificates.root]],
    ['ra-signing', keys.raSigning, [certificates.raSigning]],
    ['ra-encryption', keys.raEncryption, [certificates.raEncryption]],
  ] as const) {
    const passphrase = `passphrase of ${name}`;
    const text = keyObject.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    await write(`${name}.key.pem`, String(text));
    await write(`${name}.passphrase`, passphrase);
    await write(`${name}.pem`, list.map(({ raw }) => buildPem('CERTIFICATE', raw)).join(''));
  }
  await write('hash.key', 'k'.repeat(32));
  await write('static.hash', await hashStaticSecret(staticSecret));
  await write('intune.secret', application.secret);
  await write('wrong.secret', 'not-the-secret');
  await write('mdm-root.pem', rootPem);
});
after(() => rm(folder, { recursive: true, force: true }));

const validators = {
  'one-time': { oneTime: {} },
  static: { staticSecret: { hash: 'file:static.hash' } },
  manual: { manualApproval: {} },
};

/** A server with an endpoint for each of the validators, and a data folder and a port of its own. */
async function configOf(
  name: string,
  selfTest: object | undefined,
  choices: Readonly<Record<string, object>> = validators,
): Promise<ServerConfig> {
  const config = {
    server: {
      listen: `127.0.0.1:${await freePort()}`,
      threads: 1,
      dataFolder: name,
      ...(selfTest === undefined ? {} : { selfTest }),
      issuers: [
        {
          name: 'issuing',
          ...identity('issuing'),
          crlUrls: ['http://pki.test/crl/issuing.crl'],
          caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
        },
      ],
      ra: {
        signing: identity('ra-signing'),
        encryption: identity('ra-encryption'),
        challengeHashKey: 'file:hash.key',
      },
      endpoints: Object.entries(choices).map(([endpoint, choice]) => ({
        name: endpoint,
        paths: [`/scep/${endpoint}`],
        issuer: 'issuing',
        template: 'client-authentication',
        validators: [choice],
      })),
    },
  };
  return parseConfig(JSON.stringify(config), folder).server ?? assert.fail('no server');
}

const endpointOf = (config: ServerConfig, name: string) =>
  config.endpoints.find((endpoint) => endpoint.name === name) ?? assert.fail(`no endpoint ${name}`);

/** Runs a test of an endpoint as the command does: beside a server, over its store. */
async function withServer(
  config: ServerConfig,
  work: (authorities: Authorities) => Promise<void>,
): Promise<void> {
  // Without self-tests of its own, which would get in the way: what the RA knows of them stays.
  const server = await startServer(config, silent, clock);
  const authorities = await openAuthorities(config, silent, clock);
  try {
    await work(authorities);
  } finally {
    await authorities.close();
    await server.close();
  }
}

const run = (config: ServerConfig, name: string, means: Authorities, at = clock) => {
  const endpoint = endpointOf(config, name);
  return testEndpoint(config, endpoint, selfTestUrl(config, endpoint), means, { clock: at, log: silent });
};

describe('a self-test', () => {
  test('enrols at every kind of endpoint, for nothing that anybody could use, and revokes', async () => {
    const config = await configOf('enrols', { every: '1h' });
    await withServer(config, async (authorities) => {
      for (const name of Object.keys(validators)) {
        const result = await run(config, name, authorities);
        assert.deepEqual([result.outcome, result.reach, result.detail], ['works', 'enrolled', ''], name);
        assert.ok((result.raEnds ?? new Date(0)) > result.at);
      }
      const records = await recordsIn(authorities);
      for (const name of Object.keys(validators)) {
        const own = records.filter(({ subject }) => subject === `CN=Leafgate self-test,OU=${name}`);
        assert.ok(own.length > 0, name);
        for (const record of own) {
          assert.equal(record.template, selfTestTemplate.name);
          const certificate = parseCertificate(record.certificate ?? assert.fail('no certificate'));
          assert.ok(certificate.notAfter.getTime() - clock.now().getTime() <= 60 * 60 * 1000);
          // Of the arc of examples: no relying party takes it.
          assert.deepEqual(extKeyUsageOf(certificate), ['2.999.1']);
        }
        // The server's own first round may be at work; what the command enrolled is revoked.
        assert.ok(
          own.some(
            ({ status, revocationReason }) =>
              status === 'revoked' && revocationReason === 'cessationOfOperation',
          ),
          name,
        );
      }
    });
  });

  test('is no way in for anybody else', async () => {
    const config = await configOf('way-in', { every: '1h', endpoints: ['one-time', 'manual'] });
    const authorities = await openAuthorities(config, silent, clock);
    const purposes = extKeyUsageExtension(selfTestTemplate.extKeyUsage);
    let number = 0;
    const ask = async (endpoint: string, subject: string, challengePassword: string, ofTest = true) => {
      number += 1;
      const csr = await requestOf({ subject, challengePassword, extensions: ofTest ? [purposes] : [] });
      const outcome = await authorities.ra.enrol({
        endpoint,
        transactionID: `transaction-${number}`,
        csr: parseCertificationRequest(csr),
        challengePassword,
        source: '127.0.0.1',
        receivedAt: clock.now(),
      });
      return 'code' in outcome ? outcome.code : outcome.outcome;
    };
    const own = (endpoint: string) => `CN=Leafgate self-test,OU=${endpoint}`;
    const challengeFor = async (endpoint: string) =>
      (await createSelfTestChallenge(authorities.oneTime, endpoint)).challenge;
    try {
      const device = { endpoint: 'one-time', device: '', pinned: {}, lifetimeMs: 60_000 };
      const { challenge: devices } = await authorities.oneTime.create(device);
      const rows: readonly (readonly [name: string, got: string, want: string])[] = [
        ['no challenge', await ask('one-time', own('one-time'), ''), 'challenge_missing'],
        ['a guess', await ask('one-time', own('one-time'), 'guess'), 'challenge_unknown'],
        ['where a person approves', await ask('manual', own('manual'), 'guess'), 'challenge_unknown'],
        ['a device’s challenge', await ask('one-time', own('one-time'), devices), 'challenge_unknown'],
        [
          'the test’s challenge for a device’s subject',
          await ask('one-time', 'CN=device-1,O=Test', await challengeFor('one-time'), false),
          'challenge_unknown',
        ],
        [
          'the challenge of another endpoint’s test',
          await ask('one-time', own('one-time'), await challengeFor('manual')),
          'challenge_unknown',
        ],
        [
          'more than the test’s purpose',
          await ask('one-time', own('one-time'), await challengeFor('one-time'), false),
          'eku_mismatch',
        ],
        [
          'an endpoint that is not tested',
          await ask('static', own('static'), await challengeFor('static')),
          'challenge_unknown',
        ],
      ];
      for (const [name, got, want] of rows) assert.equal(got, want, name);
      assert.deepEqual(await recordsIn(authorities), []);
      assert.equal(await ask('one-time', own('one-time'), await challengeFor('one-time')), 'issued');
      const late = await challengeFor('one-time');
      clock.offsetMs = 3 * 60_000;
      assert.equal(await ask('one-time', own('one-time'), late), 'challenge_expired');
    } finally {
      clock.offsetMs = 0;
      await authorities.close();
    }
  });

  test('without a policy of its own sees a wrong challenge refused, and disturbs nobody', async () => {
    const config = await configOf('refused', undefined);
    await withServer(config, async (authorities) => {
      for (const [name, reach] of [
        ['one-time', 'refused'],
        ['static', 'refused'],
        ['manual', 'answered'],
      ] as const) {
        const result = await run(config, name, authorities);
        assert.deepEqual([result.outcome, result.reach, result.detail], ['works', reach, ''], name);
      }
      assert.deepEqual(await recordsIn(authorities), []);
      assert.deepEqual(await authorities.store.heldRequests({ limit: 10 }), []);
    });
  });

  test('tells of what is wrong, and where', async () => {
    const config = await configOf('wrong', undefined);
    await withServer(config, async (authorities) => {
      const endsAt = Math.min(
        certificates.raSigning.notAfter.getTime(),
        certificates.raEncryption.notAfter.getTime(),
      );
      const soon = new FixtureClock();
      soon.offsetMs = endsAt - Date.now() - DAY_MS;
      const warned = await run(config, 'manual', authorities, soon);
      assert.equal(warned.outcome, 'works');
      assert.match(warned.detail, /an RA certificate ends at/);
      soon.offsetMs += 2 * DAY_MS;
      const ended = await run(config, 'manual', authorities, soon);
      assert.deepEqual([ended.outcome, ended.step], ['fails', 'RA certificates']);

      const endpoint = endpointOf(config, 'static');
      const wrongPath = `${selfTestUrl(config, endpoint)}-elsewhere`;
      const means = { clock, log: silent };
      const nowhere = await testEndpoint(config, endpoint, wrongPath, authorities, means);
      assert.deepEqual([nowhere.outcome, nowhere.step], ['fails', 'GetCACert']);
      const closed = `http://127.0.0.1:${await freePort()}/scep/static`;
      const silence = await testEndpoint(config, endpoint, closed, authorities, means);
      assert.deepEqual([silence.outcome, silence.step], ['fails', 'GetCACaps']);
      assert.match(silence.detail, /server_unreachable/);
    });
  });

  test('at an Intune endpoint sees Intune refuse, and an expired secret', async () => {
    const mdm = await openTestMdm({ tls: tlsServer, clock });
    const intune = (secret: string) => ({
      intune: {
        tenant,
        appId: application.appId,
        secret: `file:${secret}`,
        authority: mdm.publicUrl,
        graph: mdm.publicUrl,
        extraCa: 'mdm-root.pem',
      },
    });
    try {
      const config = await configOf(
        'intune',
        { every: '1h' },
        { intune: intune('intune.secret'), expired: intune('wrong.secret') },
      );
      await withServer(config, async (authorities) => {
        const well = await run(config, 'intune', authorities);
        assert.deepEqual([well.outcome, well.reach, well.detail], ['works', 'enrolled', '']);
        // The server's own first round may be at work beside it.
        const refused = await authorities.store.auditEntries({ event: 'enrolment.refused', limit: 10 });
        const wrong = refused.find(({ detail }) => detail.endpoint === 'intune');
        assert.match(wrong?.detail.detail ?? '', /^Challenge[A-Za-z]+ \(client-request-id /);
        assert.equal(wrong?.detail.subject, 'CN=Leafgate self-test (wrong challenge),OU=intune');
        assert.ok((await recordsIn(authorities)).some(({ status }) => status === 'revoked'));
        // Intune hears of no certificate: it has validated none.
        assert.deepEqual(mdm.mdm.notifications(), []);
        const expired = await run(config, 'expired', authorities);
        assert.deepEqual([expired.outcome, expired.step], ['fails', 'PKCSReq']);
        // What is behind the server's answer, and not that it answered 503.
        assert.match(
          expired.detail,
          /^validator_unreachable: token: invalid_client AADSTS7000215 \(client-request-id .*\) \(LG-[A-Z2-7]{8}\)$/,
        );
        for (const { subject } of await recordsIn(authorities))
          assert.equal(subject, 'CN=Leafgate self-test,OU=intune');
      });
    } finally {
      await mdm.close();
    }
  });

  test('finds who takes a wrong challenge, and who refuses it for another reason, and gets no certificate', async () => {
    const peer = await new IntunePeer().open();
    try {
      const intune = {
        tenant,
        appId: application.appId,
        secret: 'file:intune.secret',
        authority: peer.url,
        graph: peer.url,
        extraCa: 'mdm-root.pem',
      };
      const config = await configOf('believes', undefined, { believes: { intune } });
      await withServer(config, async (authorities) => {
        const answerWith = (code: string) => {
          peer.respond = () => json(200, { code, errorDescription: '' });
        };
        answerWith('SubjectNameMismatch');
        const otherwise = await run(config, 'believes', authorities);
        assert.deepEqual([otherwise.outcome, otherwise.step], ['fails', 'PKCSReq']);
        assert.match(
          otherwise.detail,
          /^a wrong challenge was refused for another reason: subject_mismatch: SubjectNameMismatch/,
        );
        assert.deepEqual(await recordsIn(authorities), []);
        answerWith('Success');
        const believed = await run(config, 'believes', authorities);
        assert.deepEqual([believed.outcome, believed.step], ['fails', 'PKCSReq']);
        // Whoever takes a wrong challenge still gives no certificate: no template has the self-test's purpose.
        assert.match(believed.detail, /^a wrong challenge was refused for another reason: eku_mismatch: /);
        assert.deepEqual(await recordsIn(authorities), []);
      });
    } finally {
      await peer.close();
    }
  });

  test('is configured for endpoints that there are, and not all the time', async () => {
    await assert.rejects(
      configOf('absent', { endpoints: ['absent'] }),
      /selfTest.*there is no endpoint “absent”/,
    );
    await assert.rejects(configOf('often', { every: '59s' }), /selfTest.*at least a minute/);
    assert.equal((await configOf('default', {})).selfTest?.every, 15 * 60_000);
  });

  test('is left to the server that leads', async () => {
    const config = await configOf('follows', { every: '1h' });
    const means = await openAuthorities(config, silent, clock);
    let asked = 0;
    const role = () => {
      asked += 1;
      return 'follows' as const;
    };
    const lines: string[] = [];
    const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) });
    const selfTests = startSelfTests({ config, means, port: config.listen.port, role, log, clock });
    await selfTests.stop();
    await means.close();
    assert.equal(asked, 1);
    assert.deepEqual([selfTests.results(), lines], [[], []]);
  });

  test('by schedule makes health and alarms', { timeout: 180_000 }, async () => {
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const config = await configOf('scheduled', { every: '1h', endpoints: ['static', 'one-time'] });
    const away: ServerConfig = {
      ...config,
      selfTest: { every: 3_600_000, publicUrl: `http://127.0.0.1:${await freePort()}` },
    };
    for (const [name, tried, outcome] of [
      ['in order', config, 'works'],
      ['away', away, 'fails'],
    ] as const) {
      const server = await startServer(tried, log, clock);
      try {
        const count = tried.selfTest?.endpoints?.length ?? tried.endpoints.length;
        for (
          const end = Date.now() + 30_000;
          (await server.health()).selfTests.length < count;
          await sleep(20)
        )
          assert.ok(Date.now() < end, 'no results');
        const { selfTests, problems } = await server.health();
        assert.deepEqual(new Set(selfTests.map((result) => result.outcome)), new Set([outcome]), name);
        if (outcome === 'works') assert.deepEqual(problems, []);
        else assert.match(problems.join('\n'), /the self-test of endpoint static fails at GetCACaps/);
        JSON.stringify(selfTests);
      } finally {
        await server.close();
      }
    }
    // Each change is on record, for whoever asks beside the server; what stays as it was is not.
    const { store, close } = await openAuthorities(config, silent, clock);
    try {
      const entries = await store.auditEntries({ event: 'self-test.', limit: 10 });
      assert.deepEqual(entries.map(({ event, detail }) => `${event} ${detail.endpoint}`).toSorted(), [
        'self-test.fails manual',
        'self-test.fails one-time',
        'self-test.fails static',
        'self-test.works one-time',
        'self-test.works static',
      ]);
      const [known] = await selfTestsOnRecord(away, store);
      assert.deepEqual(
        [known?.endpoint, known?.outcome, known?.step, known?.reach],
        ['one-time', 'fails', 'GetCACaps', 'enrolled'],
      );
      assert.deepEqual(await selfTestsOnRecord({ ...config, selfTest: undefined }, store), []);
      const again = await startServer(away, log, clock);
      while ((await again.health()).selfTests.length < away.endpoints.length) await sleep(20);
      await again.close();
      assert.equal((await store.auditEntries({ event: 'self-test.', limit: 10 })).length, entries.length);
      // Another finding is another entry, though the outcome is the same.
      const elsewhere: ServerConfig = {
        ...config,
        endpoints: [{ ...endpointOf(config, 'static'), paths: ['/scep/elsewhere'] }],
      };
      const served = await startServer({ ...config, selfTest: undefined }, silent, clock);
      const means = await openAuthorities(config, silent, clock);
      const { port } = config.listen;
      const role = () => 'leads' as const;
      const tests = startSelfTests({
        config: elsewhere,
        means,
        port: Number(port),
        role,
        log: silent,
        clock,
      });
      while (tests.results().length === 0) await sleep(20);
      await tests.stop();
      const [newest] = await store.auditEntries({ event: 'self-test.', limit: 1 });
      assert.deepEqual([newest?.event, newest?.detail.step], ['self-test.fails', 'GetCACert']);
      await means.close();
      await served.close();
    } finally {
      await close();
    }
    assert.equal(lines.filter((line) => line.includes('ALARM: the self-test')).length, 6);
    assert.ok(lines.some((line) => line.includes('a self-test worked')));
  });

  test('waits at the start until the way through the edge is there', { timeout: 60_000 }, async () => {
    const port = await freePort();
    const config = await configOf('patient', { every: '1h', endpoints: ['static'] });
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const means = await openAuthorities(config, silent, clock);
    const role = () => 'leads' as const;
    const later: ServerConfig = { ...config, listen: { ...config.listen, port } };
    const tests = startSelfTests({ config: later, means, port, role, log, clock });
    await sleep(700);
    assert.deepEqual(tests.results(), []);
    const server = await startServer({ ...later, selfTest: undefined }, silent, clock);
    while (tests.results().length === 0) await sleep(20);
    assert.equal(tests.results()[0]?.outcome, 'fails');
    assert.notEqual(tests.results()[0]?.step, 'GetCACaps');
    await tests.stop();
    await server.close();
    await means.close();
    assert.ok(lines.length > 0);
  });
});
