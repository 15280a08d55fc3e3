import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endToEndHeaders, forwardedHeaders } from './headers.ts';

test('hop-by-hop fields stay behind, with those that Connection names', () => {
  const kept = endToEndHeaders({
    ':path': '/scep',
    connection: 'keep-alive, X-Secret ,Upgrade',
    'keep-alive': 'timeout=5',
    'proxy-connection': 'keep-alive',
    'proxy-authorization': 'Basic eA==',
    'proxy-authenticate': 'Basic',
    te: 'trailers',
    trailer: 'x',
    'transfer-encoding': 'chunked',
    upgrade: 'h2c',
    'http2-settings': 'AAMAAABk',
    expect: '100-continue',
    host: 'scep.test',
    'x-secret': '1',
    'x-absent': undefined,
    'content-type': 'application/x-pki-message',
    'set-cookie': ['a=1', 'b=2'],
  });
  assert.deepEqual(kept, { 'content-type': 'application/x-pki-message', 'set-cookie': ['a=1', 'b=2'] });
});

test('where a request came from is the word of the edge alone', () => {
  const kept = forwardedHeaders(
    {
      'x-forwarded-for': '10.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'ca.internal',
      x_forwarded_for: '10.0.0.1',
      forwarded: 'for=10.0.0.1',
      via: '1.1 a',
      'x-real-ip': '10.0.0.1',
      'user-agent': 'Mozilla/4.0 (compatible; Win32; NDES client)',
      connection: 'x-forwarded-for, x-forwarded-proto',
    },
    { source: '192.0.2.1', scheme: 'http' },
  );
  assert.deepEqual(kept, {
    'user-agent': 'Mozilla/4.0 (compatible; Win32; NDES client)',
    'x-forwarded-for': '192.0.2.1',
    'x-forwarded-proto': 'http',
  });
});
