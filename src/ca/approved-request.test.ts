import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  openTestAuthorities,
  recordsIn,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { parseCertificationRequest } from '../codec/index.ts';
import { type Approval, ApprovedRequest } from './approved-request.ts';

let authorities: TestAuthorities;
let approval: Approval;
before(async () => {
  authorities = await openTestAuthorities();
  const csr = parseCertificationRequest(await requestOf({}));
  approval = {
    requestID: 'request-1',
    issuer: 'issuing',
    template: 'client-authentication',
    csr,
    subject: csr.subject,
    subjectAltName: [],
    requester: 'nobody',
    device: '',
  };
});
after(() => authorities.close());

/** The class as JavaScript sees it, where `private` means nothing. */
const Constructible = ApprovedRequest as unknown as new (...parameters: unknown[]) => ApprovedRequest;
class Subclass extends Constructible {}

describe('an ApprovedRequest cannot be forged', () => {
  const forgeries: readonly (readonly [name: string, forge: () => unknown])[] = [
    ['a plain object', () => ({ ...approval })],
    ['a plain object that names its class', () => ({ ...approval, constructor: ApprovedRequest })],
    ['the prototype', () => ApprovedRequest.prototype],
    ['an object with the prototype', () => Object.create(ApprovedRequest.prototype)],
    [
      'an object that was given the prototype',
      () => Object.setPrototypeOf({ ...approval }, ApprovedRequest.prototype),
    ],
    ['a clone of a real one', () => structuredClone(ApprovedRequest.mint(approval))],
    [
      'a copy of a real one',
      () => Object.assign(Object.create(ApprovedRequest.prototype), ApprovedRequest.mint(approval)),
    ],
    ['a proxy of a real one', () => new Proxy(ApprovedRequest.mint(approval), {})],
    ['JSON of a real one', () => JSON.parse(JSON.stringify(ApprovedRequest.mint(approval)))],
    ['the constructor', () => new Constructible(approval)],
    ['the constructor with a symbol of the same name', () => new Constructible(approval, Symbol('minting'))],
    ['the constructor by reflection', () => Reflect.construct(ApprovedRequest, [approval])],
    ['a subclass', () => new Subclass(approval)],
    ['a subclass with a symbol', () => new Subclass(approval, Symbol.for('minting'))],
    ['nothing', () => undefined],
    ['null', () => null],
    ['the class', () => ApprovedRequest],
  ];
  for (const [name, forge] of forgeries) {
    test(`as ${name}`, async () => {
      await assert.rejects(
        async () => await authorities.ca.issue(forge() as ApprovedRequest),
        (thrown) => thrown instanceof TypeError,
      );
      assert.deepEqual(await recordsIn(authorities), []);
    });
  }

  test('a minted one opens to its approval, and hides it from everyone else', () => {
    const minted = ApprovedRequest.mint(approval);
    assert.deepEqual(ApprovedRequest.open(minted), approval);
    assert.ok(Object.isFrozen(ApprovedRequest.open(minted)));
    assert.deepEqual(Reflect.ownKeys(minted), []);
  });

  test('changing the approval afterwards changes nothing', () => {
    const own = { ...approval };
    const minted = ApprovedRequest.mint(own);
    own.template = 'web-server';
    assert.equal(ApprovedRequest.open(minted).template, 'client-authentication');
  });
});
