import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointCapabilities, refusedAlgorithmsOf } from './endpoints.ts';

type EndpointConfig = Parameters<typeof refusedAlgorithmsOf>[0];

const endpoint = (fields: Partial<EndpointConfig>) =>
  ({
    client: 'standard',
    dangerAllowSingleDes: false,
    algorithms: { refuse: [] },
    ...fields,
  }) as unknown as EndpointConfig;

test('an endpoint refuses single DES, and what it is told; it lists nothing that it refuses', () => {
  const rows: [Partial<EndpointConfig>, refused: string[], absent: string[]][] = [
    [{}, ['des'], []],
    [{ dangerAllowSingleDes: true }, [], []],
    [{ algorithms: { refuse: ['sha1'] } }, ['des', 'sha1'], ['SHA-1']],
    [{ algorithms: { refuse: ['des3'] } }, ['des', 'des3'], ['DES3']],
    [
      { algorithms: { refuse: ['sha1', 'des3', 'pkcs1v15'] } },
      ['des', 'des3', 'pkcs1v15', 'sha1'],
      ['DES3', 'SHA-1'],
    ],
  ];
  const all = endpointCapabilities(endpoint({}), 'alone');
  for (const [fields, refused, absent] of rows) {
    assert.deepEqual([...refusedAlgorithmsOf(endpoint(fields))].sort(), refused);
    assert.deepEqual(
      endpointCapabilities(endpoint(fields), 'alone'),
      all.filter((keyword) => !absent.includes(keyword)),
    );
  }
  assert.ok(all.includes('SHA-1') && all.includes('DES3') && all.includes('AES'));
});
