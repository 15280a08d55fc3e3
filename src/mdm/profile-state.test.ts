import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceReportedStates, issuanceStates } from './mdm-store.ts';
import { isOverwritten, profileStatusOf } from './profile-state.ts';

const rows: readonly (readonly [name: string, ...Parameters<typeof isOverwritten>, want: boolean])[] = [
  ['revoked, and the device says installed', 'revoked', 'installed', undefined, false],
  ['revoked, and the device names the revoked one', 'revoked', 'installed', 'revoked', false],
  ['revoked, and the device asks again', 'revoked', 'requested', undefined, false],
  ['taken away, and the device says installed', 'removedFromCollection', 'installed', undefined, false],
  ['refused by the validation', 'challengeValidationFailed', 'requestSubmitFailed', undefined, false],
  [
    'refused, and the device claims a certificate',
    'challengeValidationFailed',
    'installed',
    undefined,
    false,
  ],
  ['not issued, and the device saw FAILURE', 'issueFailed', 'responseProcessingFailed', undefined, false],
  ['not issued, and the device claims a certificate', 'issueFailed', 'installed', undefined, false],
  ['revoked, and deleted', 'revoked', 'deleted', undefined, true],
  ['taken away, and deleted', 'removedFromCollection', 'deleted', undefined, true],
  ['revoked, and a new one is installed', 'revoked', 'installed', 'good', true],
  ['refused, and one was issued in the end', 'challengeValidationFailed', 'installed', 'good', true],
  ['refused, and the device failed for a reason of its own', 'issueFailed', 'installFailed', undefined, true],
  ['nothing known', undefined, 'installed', undefined, true],
  ['issued, and installed', 'issued', 'installed', 'good', true],
  ['issued, and not installed', 'issued', 'installFailed', undefined, true],
];
for (const [name, present, reported, standing, want] of rows) {
  test(`${name}: the report ${want ? 'counts' : 'changes nothing'}`, () => {
    assert.equal(isOverwritten(present, reported, standing), want);
  });
}

test('every state has a summary, and failures are errors', () => {
  for (const state of issuanceStates) {
    assert.equal(profileStatusOf(state) === 'error', state.endsWith('Failed'), state);
  }
  assert.equal(profileStatusOf('installed'), 'succeeded');
  assert.equal(profileStatusOf('revoked'), 'revoked');
  assert.equal(profileStatusOf('deleted'), 'notApplicable');
  assert.equal(profileStatusOf('issuePending'), 'pending');
  assert.equal(new Set(deviceReportedStates.map(profileStatusOf)).has('revoked'), false);
});
