/**
 * Each write of issue, revoke, release and publish: failed in both ways, and the process killed at both moments; then a new
 * start, and what must hold after it.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  auditIn,
  DAY_MS,
  FixtureClock,
  type FixtureOptions,
  issuer,
  keys,
  openTestAuthorities,
  publishedCrl,
  recordsIn,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  type FailureMoment,
  failureMoments,
  StoreFailures,
  type StoreWrite,
} from '../../test/support/failing-store.ts';
import {
  buildPem,
  buildSigned,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  verifyCertificateSignature,
  verifyCrlSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { decideAbout, type Outcome } from '../ra/index.ts';
import type { Issuer } from './issuer.ts';

const csr = await requestOf({ challengePassword: 'the challenge' });

/** A folder with a server that can be killed and started again, and everything that it let out. */
class Scene {
  readonly folder: string;
  readonly failures = new StoreFailures();
  readonly clock = new FixtureClock();
  /** Serials of everything that the CA's key ever signed as a certificate. */
  readonly signed = new Set<string>();
  /** Numbers of the CRLs that were given out, in order. */
  readonly crlNumbers: number[] = [];
  authorities: TestAuthorities | undefined;
  /** Makes the key fail, before or after it signed. */
  keyFails: 'no' | 'before signing' | 'after signing' = 'no';

  constructor(folder: string) {
    this.folder = folder;
  }

  readonly #issuer: Issuer = {
    ...issuer,
    key: {
      ...keys.issuing,
      sign: async (algorithm, data) => {
        if (this.keyFails === 'before signing') throw new PkiError('key_unavailable', 'planned');
        const signature = await keys.issuing.sign(algorithm, data);
        try {
          this.signed.add(parseCertificate(buildSigned(data, algorithm, signature)).serialNumber);
        } catch {
          // A CRL.
        }
        if (this.keyFails === 'after signing') throw new PkiError('key_unavailable', 'planned');
        return signature;
      },
    },
  };

  /** Starts a server on the folder, as `leafgate serve` does. */
  async start(): Promise<TestAuthorities> {
    const options: FixtureOptions = {
      folder: this.folder,
      storeOf: this.failures.wrap,
      clock: this.clock,
      issuer: this.#issuer,
    };
    this.authorities = await openTestAuthorities(options);
    await this.authorities.ca.abandonDeadIntents('at-start');
    await this.publish();
    return this.authorities;
  }

  /** The process is gone, and a new one is there. */
  async restart(): Promise<TestAuthorities> {
    await this.authorities?.store.close();
    return await this.start();
  }

  async publish(): Promise<void> {
    if (this.authorities === undefined) return;
    const { crlNumber } = await publishedCrl(this.authorities.ca);
    if (crlNumber !== this.crlNumbers.at(-1)) this.crlNumbers.push(crlNumber);
  }

  /** The device sends its request; the same each time. At `asked`, a person has to approve it. */
  async enrol(endpoint: 'scripted' | 'asked' = 'scripted'): Promise<Outcome> {
    const { authorities } = this;
    assert.ok(authorities !== undefined);
    return await authorities.ra.enrol({
      endpoint,
      transactionID: 'transaction-1',
      csr: parseCertificationRequest(csr),
      challengePassword: 'the challenge',
      source: 'test',
      receivedAt: this.clock.now(),
    });
  }

  /** The device asks what became of its request at `asked`. */
  async poll(): Promise<Outcome> {
    const { authorities } = this;
    assert.ok(authorities !== undefined);
    return await authorities.ra.poll({
      endpoint: 'asked',
      transactionID: 'transaction-1',
      signerSpki: keys.device.spki,
      source: 'test',
    });
  }

  /** A certificate manager decides about the first request that waits. */
  async decide(status: 'approved' | 'denied'): Promise<void> {
    const { authorities } = this;
    assert.ok(authorities !== undefined);
    const at = this.clock.now();
    await decideAbout(authorities.store, { id: 1, status, by: 'operator anna', comment: '', at });
  }

  /** What must hold at any time after a start. */
  async check(): Promise<void> {
    const { authorities } = this;
    assert.ok(authorities !== undefined);
    await this.publish();
    const records = await recordsIn(authorities);
    const serials = records.map(({ serialNumber }) => serialNumber);
    assert.equal(new Set(serials).size, serials.length, 'a serial twice');
    for (const serial of this.signed)
      assert.ok(serials.includes(serial), `${serial} was signed without record`);
    // Numbers only grow.
    for (const [index, number] of this.crlNumbers.entries())
      assert.ok(number > (this.crlNumbers[index - 1] ?? 0), String(this.crlNumbers));
    const crl = parseCrl((await authorities.ca.latestCrl('issuing'))?.crl as Uint8Array);
    assert.ok(verifyCrlSignature(crl, keys.issuing.spki));
    assert.deepEqual(
      crl.revoked.map(({ serialNumber }) => serialNumber).sort(),
      records
        .filter(({ status }) => status === 'revoked' || status === 'abandoned')
        .map(({ serialNumber }) => serialNumber)
        .sort(),
    );
    assert.ok(records.every(({ status }) => status !== 'intent'));
    assert.equal(this.failures.pending, 0, 'a planned failure never happened');
  }

  async live(): Promise<string[]> {
    return (await recordsIn(this.authorities as TestAuthorities))
      .filter(({ status }) => status === 'issued')
      .map(({ serialNumber }) => serialNumber);
  }
}

async function withScene(work: (scene: Scene) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-crash-'));
  const scene = new Scene(folder);
  try {
    await scene.start();
    await work(scene);
  } finally {
    await scene.authorities?.store.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function serialIn(outcome: Outcome): string {
  assert.equal(outcome.outcome, 'issued', JSON.stringify(outcome));
  return parseCertificate(outcome.certificate).serialNumber;
}

describe('issue: the request that is sent again gets exactly one live certificate', () => {
  const writes: readonly StoreWrite[] = ['reserveSerial', 'recordCertificate', 'recordNotified'];
  for (const write of writes) {
    for (const moment of failureMoments) {
      test(`${write}: ${moment}`, () =>
        withScene(async (scene) => {
          scene.failures.plan(write, moment);
          const first = await scene.enrol();
          assert.deepEqual(
            [first.outcome, first.outcome === 'unavailable' && first.code],
            ['unavailable', 'store_unavailable'],
          );
          await scene.restart();
          await scene.check();
          const serial = serialIn(await scene.enrol());
          assert.deepEqual(await scene.live(), [serial]);
          await scene.check();
          await scene.restart();
          assert.equal(serialIn(await scene.enrol()), serial);
          assert.deepEqual(await scene.live(), [serial]);
          await scene.check();
          // What was left behind is on the CRL, and nothing more was left behind than one intent.
          assert.ok((await recordsIn(scene.authorities as TestAuthorities)).length <= 2);
        }));

      test(`${write}: ${moment}, and the server lives on`, () =>
        withScene(async (scene) => {
          scene.failures.plan(write, moment);
          assert.equal((await scene.enrol()).outcome, 'unavailable');
          // Housekeeping, once an intent is older than any signature takes.
          scene.clock.offsetMs += 121_000;
          await scene.authorities?.ca.abandonDeadIntents('while-running');
          const serial = serialIn(await scene.enrol());
          assert.equal(serialIn(await scene.enrol()), serial);
          assert.deepEqual(await scene.live(), [serial]);
          await scene.check();
        }));
    }
  }

  for (const keyFails of ['before signing', 'after signing'] as const) {
    test(`the key fails ${keyFails}`, () =>
      withScene(async (scene) => {
        scene.keyFails = keyFails;
        const first = await scene.enrol();
        assert.equal(first.outcome === 'unavailable' && first.code, 'key_unavailable');
        assert.equal(scene.authorities?.scripted.failed.length, 1);
        scene.keyFails = 'no';
        await scene.restart();
        const serial = serialIn(await scene.enrol());
        assert.deepEqual(await scene.live(), [serial]);
        await scene.check();
        assert.deepEqual(
          (await recordsIn(scene.authorities)).map(({ status }) => status),
          ['issued', 'abandoned'],
        );
      }));
  }

  test('a signature that comes after its intent was given up does not leave the CA', () =>
    withScene(async (scene) => {
      const held = Promise.withResolvers<void>();
      const entered = Promise.withResolvers<void>();
      const { authorities } = scene;
      assert.ok(authorities !== undefined);
      // The process that everybody takes for dead is only slow: it signs while the next start settles its intents.
      authorities.scripted.success = () => assert.fail('a success was told');
      const slow = await openTestAuthorities({
        folder: scene.folder,
        clock: scene.clock,
        issuer: {
          ...issuer,
          key: {
            ...keys.issuing,
            sign: async (algorithm, data) => {
              entered.resolve();
              await held.promise;
              return await keys.issuing.sign(algorithm, data);
            },
          },
        },
      });
      const late = slow.ra.enrol({
        endpoint: 'scripted',
        transactionID: 'transaction-1',
        csr: parseCertificationRequest(csr),
        challengePassword: 'the challenge',
        source: 'test',
        receivedAt: scene.clock.now(),
      });
      await entered.promise;
      assert.equal(await authorities.ca.abandonDeadIntents('at-start'), 1);
      held.resolve();
      const outcome = await late;
      assert.equal(outcome.outcome === 'unavailable' && outcome.code, 'enrolment_busy');
      assert.deepEqual(slow.scripted.succeeded, []);
      await slow.store.close();
      assert.deepEqual(await scene.live(), []);
      authorities.scripted.success = { verdict: 'accept', names: 'vouched' };
      const serial = serialIn(await scene.enrol());
      assert.deepEqual(await scene.live(), [serial]);
      await scene.check();
    }));

  test('a request that cannot be made into a certificate leaves nothing, however often it comes', () =>
    withScene(async (scene) => {
      const long = await requestOf({ challengePassword: 'another', subject: `CN=${'a'.repeat(65)}` });
      for (let count = 0; count < 3; count += 1) {
        const outcome = await scene.authorities?.ra.enrol({
          endpoint: 'scripted',
          transactionID: 'long',
          csr: parseCertificationRequest(long),
          challengePassword: 'another',
          source: 'test',
          receivedAt: scene.clock.now(),
        });
        assert.equal(outcome?.outcome === 'refused' && outcome.code, 'subject_mismatch');
      }
      assert.deepEqual(await recordsIn(scene.authorities as TestAuthorities), []);
      assert.equal(scene.authorities?.scripted.failed.length, 3);
      await scene.check();
    }));
});

describe('a request that waits for a person', () => {
  const isFailure = (thrown: unknown) => thrown instanceof PkiError && thrown.code === 'store_unavailable';

  for (const moment of failureMoments) {
    test(`holdRequest: ${moment}; sent again it waits once`, () =>
      withScene(async (scene) => {
        scene.failures.plan('holdRequest', moment);
        const first = await scene.enrol('asked');
        assert.equal(first.outcome === 'unavailable' && first.code, 'store_unavailable');
        await scene.restart();
        assert.equal((await scene.enrol('asked')).outcome, 'pending');
        await scene.restart();
        assert.equal((await scene.poll()).outcome, 'pending');
        assert.equal((await scene.authorities?.store.heldRequests({ limit: 10 }))?.length, 1);
        const entries = await auditIn(scene.authorities as TestAuthorities);
        assert.equal(entries.filter(({ event }) => event === 'enrolment.held').length, 1);
        assert.deepEqual(await recordsIn(scene.authorities as TestAuthorities), []);
        await scene.decide('approved');
        const serial = serialIn(await scene.poll());
        assert.deepEqual(await scene.live(), [serial]);
        await scene.check();
      }));

    for (const status of ['approved', 'denied'] as const) {
      test(`decideRequest, ${status}: ${moment}; there is one decision, and it stays`, () =>
        withScene(async (scene) => {
          await scene.enrol('asked');
          scene.failures.plan('decideRequest', moment);
          await assert.rejects(scene.decide(status), isFailure);
          await scene.restart();
          if (moment === 'not persisted') {
            assert.equal((await scene.poll()).outcome, 'pending');
            await scene.decide(status);
          } else {
            await assert.rejects(
              scene.decide(status === 'approved' ? 'denied' : 'approved'),
              (thrown) => thrown instanceof PkiError && thrown.code === 'request_decided',
            );
          }
          await scene.restart();
          const outcome = await scene.poll();
          if (status === 'denied') {
            assert.equal(outcome.outcome === 'refused' && outcome.code, 'approval_denied');
            assert.deepEqual(await recordsIn(scene.authorities as TestAuthorities), []);
          } else assert.deepEqual(await scene.live(), [serialIn(outcome)]);
          const entries = await auditIn(scene.authorities as TestAuthorities);
          assert.equal(entries.filter(({ event }) => event === `enrolment.${status}`).length, 1);
          await scene.check();
        }));
    }

    for (const write of ['reserveSerial', 'recordCertificate', 'recordNotified'] as const) {
      test(`${write} of an approved one: ${moment}; it gets exactly one certificate`, () =>
        withScene(async (scene) => {
          await scene.enrol('asked');
          await scene.decide('approved');
          scene.failures.plan(write, moment);
          const first = await scene.poll();
          assert.equal(first.outcome === 'unavailable' && first.code, 'store_unavailable');
          await scene.restart();
          await scene.check();
          const serial = serialIn(await scene.poll());
          assert.equal(serialIn(await scene.enrol('asked')), serial);
          await scene.restart();
          assert.equal(serialIn(await scene.poll()), serial);
          assert.deepEqual(await scene.live(), [serial]);
          await scene.check();
          assert.ok((await recordsIn(scene.authorities as TestAuthorities)).length <= 2);
        }));
    }

    test(`recordNotified of a denied one: ${moment}; it stays denied`, () =>
      withScene(async (scene) => {
        await scene.enrol('asked');
        await scene.decide('denied');
        scene.failures.plan('recordNotified', moment);
        assert.equal((await scene.poll()).outcome, 'unavailable');
        await scene.restart();
        for (const outcome of [await scene.poll(), await scene.enrol('asked')])
          assert.equal(outcome.outcome === 'refused' && outcome.code, 'approval_denied');
        assert.deepEqual(await recordsIn(scene.authorities as TestAuthorities), []);
        await scene.check();
      }));
  }

  for (const keyFails of ['before signing', 'after signing'] as const) {
    test(`the key fails ${keyFails}; the approval is not lost`, () =>
      withScene(async (scene) => {
        await scene.enrol('asked');
        await scene.decide('approved');
        scene.keyFails = keyFails;
        const first = await scene.poll();
        assert.equal(first.outcome === 'unavailable' && first.code, 'key_unavailable');
        scene.keyFails = 'no';
        await scene.restart();
        const serial = serialIn(await scene.poll());
        assert.deepEqual(await scene.live(), [serial]);
        await scene.check();
      }));
  }
});

describe('revoke', () => {
  for (const moment of failureMoments) {
    test(moment, () =>
      withScene(async (scene) => {
        const serialNumber = serialIn(await scene.enrol());
        const revocation = {
          issuer: 'issuing',
          serialNumber,
          reason: 'keyCompromise',
          actor: 'operator test',
          text: 'lost',
        } as const;
        scene.failures.plan('revoke', moment);
        await assert.rejects(
          async () => await scene.authorities?.ca.revoke(revocation),
          (thrown) => thrown instanceof PkiError && thrown.code === 'store_unavailable',
        );
        await scene.restart();
        await scene.check();
        const again = await scene.authorities?.ca.revoke(revocation);
        assert.equal(again, moment === 'not persisted' ? 'revoked' : 'already');
        await scene.check();
        assert.deepEqual(await scene.live(), []);
        const entries = await auditIn(scene.authorities as TestAuthorities);
        assert.equal(entries.filter(({ event }) => event === 'certificate.revoked').length, 1);
        const outcome = await scene.enrol();
        assert.equal(outcome.outcome === 'refused' && outcome.code, 'certificate_revoked');
      }),
    );
  }
});

describe('release', () => {
  for (const moment of failureMoments) {
    test(moment, () =>
      withScene(async (scene) => {
        const serialNumber = serialIn(await scene.enrol());
        const change = { issuer: 'issuing', serialNumber, actor: 'operator test', text: '' };
        await scene.authorities?.ca.revoke({ ...change, reason: 'certificateHold' });
        await scene.check();
        scene.failures.plan('release', moment);
        await assert.rejects(
          async () => await scene.authorities?.ca.release(change),
          (thrown) => thrown instanceof PkiError && thrown.code === 'store_unavailable',
        );
        await scene.restart();
        await scene.check();
        assert.deepEqual(await scene.live(), moment === 'not persisted' ? [] : [serialNumber]);
        const again = await scene.authorities?.ca.release(change);
        assert.equal(again, moment === 'not persisted' ? 'released' : 'not-held');
        await scene.check();
        assert.deepEqual(await scene.live(), [serialNumber]);
        const entries = await auditIn(scene.authorities as TestAuthorities);
        assert.equal(entries.filter(({ event }) => event === 'certificate.released').length, 1);
        assert.equal(serialIn(await scene.enrol()), serialNumber);
      }),
    );
  }
});

describe('the process is killed, and a new one goes on', { concurrency: 2 }, () => {
  /** What is done, the write that it dies at, and how many certificates are there in which state afterwards. */
  const rows: readonly (readonly [
    work: 'enrol' | 'revoke' | 'release' | 'publish',
    write: StoreWrite,
    before: readonly string[],
    after: readonly string[],
  ])[] = [
    ['enrol', 'reserveSerial', [], ['abandoned']],
    ['enrol', 'recordCertificate', ['abandoned'], ['issued']],
    ['enrol', 'recordNotified', ['issued'], ['issued']],
    ['revoke', 'revoke', ['issued'], ['revoked']],
    ['release', 'release', ['revoked'], ['issued']],
    ['publish', 'reserveCrlNumber', ['revoked'], ['revoked']],
    ['publish', 'recordCrl', ['revoked'], ['revoked']],
  ];
  for (const [work, write, before, after] of rows) {
    for (const moment of failureMoments) {
      test(`${work}: at ${write}, ${moment === 'not persisted' ? 'before' : 'after'} it is persisted`, () =>
        withScene(async (scene) => {
          const put = (name: string, content: string | Uint8Array) =>
            writeFile(join(scene.folder, name), content);
          await put('request.csr', csr);
          await put('issuing.pem', buildPem('CERTIFICATE', issuer.certificate.raw));
          await put('issuing.key.pem', keys.issuing.keyObject.export({ type: 'pkcs8', format: 'pem' }));
          const serial = work === 'enrol' ? '' : serialIn(await scene.enrol());
          const change = { issuer: 'issuing', serialNumber: serial, actor: 'operator test', text: '' };
          if (work === 'release')
            await scene.authorities?.ca.revoke({ ...change, reason: 'certificateHold' });
          if (work === 'publish') await scene.authorities?.ca.revoke({ ...change, reason: 'superseded' });
          await dies(scene, work, write, moment, serial);
          await scene.restart();
          const states = (await recordsIn(scene.authorities as TestAuthorities)).map(({ status }) => status);
          assert.deepEqual(states, moment === 'not persisted' ? before : after);
          await scene.check();
          // Whoever asked asks again.
          if (work === 'enrol') {
            const outcome = await scene.enrol();
            assert.deepEqual(await scene.live(), [serialIn(outcome)]);
            assert.ok(outcome.outcome === 'issued');
            assert.ok(
              verifyCertificateSignature(parseCertificate(outcome.certificate), issuer.certificate.spki),
            );
          } else if (work === 'revoke') {
            const again = await scene.authorities?.ca.revoke({ ...change, reason: 'keyCompromise' });
            assert.equal(again, moment === 'not persisted' ? 'revoked' : 'already');
          } else if (work === 'release') {
            const again = await scene.authorities?.ca.release(change);
            assert.equal(again, moment === 'not persisted' ? 'released' : 'not-held');
            assert.deepEqual(await scene.live(), [serial]);
          }
          await scene.check();
          const events = (await auditIn(scene.authorities as TestAuthorities)).map(({ event }) => event);
          for (const event of ['certificate.issued', 'certificate.revoked', 'certificate.released'])
            assert.ok(events.filter((each) => each === event).length <= 1, `${event} twice`);
        }));
    }
  }

  /** Does the work in a process of its own on the scene’s folder, which is killed at the write. */
  async function dies(
    scene: Scene,
    work: string,
    write: StoreWrite,
    moment: FailureMoment,
    serial: string,
  ): Promise<void> {
    await scene.authorities?.store.close();
    const program = fileURLToPath(new URL('../../test/support/crash-child.ts', import.meta.url));
    const child = spawn(process.execPath, [program, scene.folder, work, write, moment, serial], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const [code, signal] = await once(child, 'exit');
    assert.deepEqual([code, signal], [null, 'SIGKILL'], `${write} never came`);
  }
});

describe('publish', () => {
  for (const write of ['reserveCrlNumber', 'recordCrl'] as const) {
    for (const moment of failureMoments) {
      test(`${write}: ${moment}`, () =>
        withScene(async (scene) => {
          const before = scene.crlNumbers.at(-1) ?? 0;
          const serialNumber = serialIn(await scene.enrol());
          await scene.authorities?.ca.revoke({
            issuer: 'issuing',
            serialNumber,
            reason: 'superseded',
            actor: 'operator test',
            text: '',
          });
          scene.failures.plan(write, moment);
          await assert.rejects(
            async () => await scene.authorities?.ca.publishCrls('issuing'),
            (thrown) => thrown instanceof PkiError && thrown.code === 'store_unavailable',
          );
          await scene.restart();
          await scene.check();
          assert.ok((scene.crlNumbers.at(-1) ?? 0) > before);
          // A CRL that was recorded counts; one that was not is made again.
          const tried = scene.failures.tried.get('recordCrl');
          await scene.publish();
          assert.equal(scene.failures.tried.get('recordCrl'), tried);
          scene.clock.offsetMs += 8 * DAY_MS;
          await scene.check();
        }));
    }
  }

  test('the key fails', () =>
    withScene(async (scene) => {
      scene.clock.offsetMs += 8 * DAY_MS;
      scene.keyFails = 'before signing';
      await assert.rejects(
        async () => await scene.authorities?.ca.publishCrls('issuing'),
        (thrown) => thrown instanceof PkiError && thrown.code === 'key_unavailable',
      );
      scene.keyFails = 'no';
      await scene.restart();
      await scene.check();
      assert.equal(scene.crlNumbers.length, 2);
    }));
});

describe('settling dead intents', () => {
  for (const moment of failureMoments) {
    test(moment, () =>
      withScene(async (scene) => {
        scene.failures.plan('recordCertificate', 'not persisted');
        await scene.enrol();
        scene.failures.plan('abandonIntents', moment);
        // The start itself fails; the next one settles.
        await assert.rejects(scene.restart(), (thrown) => thrown instanceof PkiError);
        await scene.restart();
        await scene.check();
        const [record] = await recordsIn(scene.authorities as TestAuthorities);
        assert.equal(record?.status, 'abandoned');
        const serial = serialIn(await scene.enrol());
        assert.deepEqual(await scene.live(), [serial]);
        await scene.check();
      }),
    );
  }
});

test('every serial that a key signs is there to be found', () => {
  // The scene reads what is signed; if it stopped reading, its checks would hold for nothing.
  return withScene(async (scene) => {
    const serial = serialIn(await scene.enrol());
    assert.deepEqual([...scene.signed], [serial]);
  });
});
