import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AllowRule, checkAllowRules, defaultAllowRules, judgeRequest } from './allow-list.ts';

const get = (target: string) => ({ method: 'GET', target, bodyBytes: 0 });
const post = (target: string, bodyBytes: number) => ({ method: 'POST', target, bodyBytes });
const long = (path: string, bytes: number) => path + 'A'.repeat(bytes - path.length);

const deniedRows: { name: string; head: Parameters<typeof judgeRequest>[1]; reason: string }[] = [
  { name: 'nothing at all', head: get(''), reason: 'path' },
  { name: 'root', head: get('/'), reason: 'path' },
  { name: 'query only', head: get('?operation=GetCACaps'), reason: 'path' },
  { name: 'unpublished path', head: get('/admin'), reason: 'path' },
  { name: 'the NDES challenge page', head: get('/certsrv/mscep_admin'), reason: 'path' },
  { name: 'the NDES challenge page, below', head: get('/certsrv/mscep_admin/mscep.dll'), reason: 'path' },
  { name: 'AD CS web enrolment', head: get('/certsrv/certfnsh.asp'), reason: 'path' },
  { name: 'parent of a published path', head: get('/certsrv'), reason: 'path' },
  { name: 'longer name', head: get('/scepadmin'), reason: 'path' },
  { name: 'below an exact path', head: get('/cgi-bin/pkiclient.exe/x'), reason: 'path' },
  { name: 'exact path with a slash', head: get('/cgi-bin/pkiclient.exe/'), reason: 'path' },
  { name: 'dot segments', head: get('/scep/../admin'), reason: 'path' },
  { name: 'dot segments that stay inside', head: get('/scep/a/../b'), reason: 'path' },
  { name: 'single dot segment', head: get('/scep/./b'), reason: 'path' },
  { name: 'dot segment at the end', head: get('/scep/..'), reason: 'path' },
  { name: 'three dots', head: get('/scep/...'), reason: 'path' },
  { name: 'trailing dot, which Windows drops', head: get('/certsrv/mscep/a.'), reason: 'path' },
  { name: 'hidden file', head: get('/scep/.git/config'), reason: 'path' },
  { name: 'reserved path', head: post('/.leafgate/refusals', 2), reason: 'path' },
  { name: 'encoded dot segments', head: get('/scep/%2e%2e/admin'), reason: 'path' },
  { name: 'half-encoded dot segments', head: get('/scep/.%2E/admin'), reason: 'path' },
  { name: 'encoded slash', head: get('/scep%2fadmin'), reason: 'path' },
  { name: 'encoded backslash', head: get('/scep/..%5cadmin'), reason: 'path' },
  { name: 'doubly encoded slash', head: get('/scep/..%252fadmin'), reason: 'path' },
  { name: 'encoded NUL', head: get('/scep/a%00'), reason: 'path' },
  { name: 'overlong UTF-8', head: get('/scep/%c0%ae%c0%ae/'), reason: 'path' },
  { name: 'harmless encoding', head: get('/scep/%41'), reason: 'path' },
  { name: 'double slash', head: get('/scep//admin'), reason: 'path' },
  { name: 'double slash in front', head: get('//scep'), reason: 'path' },
  { name: 'double slash at the end', head: get('/scep//'), reason: 'path' },
  { name: 'backslash', head: get('/scep\\..\\admin'), reason: 'path' },
  { name: 'path parameter', head: get('/scep/..;/admin'), reason: 'path' },
  { name: 'NTFS stream', head: get('/certsrv/mscep/mscep.dll::$DATA'), reason: 'path' },
  { name: '8.3 name', head: get('/certsrv/mscep/MSCEP_~1'), reason: 'path' },
  { name: 'absolute form', head: get('http://scep.test/scep'), reason: 'path' },
  {
    name: 'authority form',
    head: { method: 'CONNECT', target: '127.0.0.1:22', bodyBytes: 0 },
    reason: 'path',
  },
  { name: 'asterisk form', head: { method: 'OPTIONS', target: '*', bodyBytes: 0 }, reason: 'path' },
  { name: 'space in the path', head: get('/scep/a b'), reason: 'path' },
  { name: 'tab in the query', head: get('/scep?a\tb'), reason: 'path' },
  { name: 'line break in the query', head: get('/scep?a\r\nX: y'), reason: 'path' },
  { name: 'NUL in the query', head: get('/scep?a\0'), reason: 'path' },
  { name: 'non-ASCII in the query', head: get('/scep?message=é'), reason: 'path' },
  { name: 'fragment', head: get('/scep#x'), reason: 'path' },
  { name: 'PUT', head: { method: 'PUT', target: '/scep', bodyBytes: 0 }, reason: 'method' },
  { name: 'HEAD', head: { method: 'HEAD', target: '/crl/root.crl', bodyBytes: 0 }, reason: 'method' },
  { name: 'method in lower case', head: { method: 'get', target: '/scep', bodyBytes: 0 }, reason: 'method' },
  { name: 'POST to a CRL', head: post('/crl/root.crl', 0), reason: 'method' },
  { name: 'OCSP by GET without a request', head: get('/ocsp'), reason: 'method' },
  { name: 'OCSP by GET with an empty request', head: get('/ocsp/'), reason: 'path' },
  { name: 'OCSP with dot segments', head: get('/ocsp/MFEw/../admin'), reason: 'path' },
  { name: 'OCSP with encoded dot segments', head: get('/ocsp/MFEw/%2e%2e/admin'), reason: 'path' },
  { name: 'OCSP with another encoded digit', head: get('/ocsp/%4dFEw'), reason: 'path' },
  { name: 'OCSP with an encoded percent sign', head: get('/ocsp/MFEw%252F'), reason: 'path' },
  { name: 'OCSP with a backslash', head: get('/ocsp/MF\\Ew'), reason: 'path' },
  { name: 'OCSP with something behind the padding', head: get('/ocsp/MFEw=/admin'), reason: 'path' },
  { name: 'OCSP with too much padding', head: get('/ocsp/MFEw==='), reason: 'path' },
  { name: 'OCSP with a query', head: get('/ocsp/MFEw?x'), reason: 'path' },
  { name: 'OCSP by POST below', head: post('/ocsp/MFEw', 0), reason: 'method' },
  { name: 'OCSP target too long', head: get(long('/ocsp/', 4_097)), reason: 'target-size' },
  { name: 'OCSP body too long', head: post('/ocsp', 16 * 1024 + 1), reason: 'body-size' },
  { name: 'OCSP by GET with a body', head: { ...get('/ocsp/MFEw'), bodyBytes: 1 }, reason: 'body-size' },
  { name: 'longer name than OCSP', head: get('/ocspadmin'), reason: 'path' },
  { name: 'target too long', head: get(long('/scep?message=', 65_537)), reason: 'target-size' },
  { name: 'CRL target too long', head: get(long('/crl/root.crl?', 2_049)), reason: 'target-size' },
  { name: 'body too long', head: post('/scep', 2 * 1024 * 1024 + 1), reason: 'body-size' },
  { name: 'length is not a number', head: post('/scep', Number.NaN), reason: 'body-size' },
  { name: 'GET with a body', head: { method: 'GET', target: '/scep', bodyBytes: 1 }, reason: 'body-size' },
];

for (const { name, head, reason } of deniedRows) {
  test(`denies: ${name}`, () => {
    assert.deepEqual(judgeRequest(defaultAllowRules, head), { allowed: false, reason });
  });
}

const allowedRows: { name: string; head: Parameters<typeof judgeRequest>[1]; rule: string }[] = [
  {
    name: 'Windows',
    head: get('/certsrv/mscep/mscep.dll/pkiclient.exe?operation=GetCACaps'),
    rule: 'scep-ndes',
  },
  { name: 'NDES directory', head: get('/certsrv/mscep'), rule: 'scep-ndes' },
  {
    name: 'NDES directory with a slash',
    head: get('/certsrv/mscep/?operation=GetCACert'),
    rule: 'scep-ndes',
  },
  { name: 'other case', head: get('/CertSrv/MSCEP/mscep.dll?operation=GetCACert'), rule: 'scep-ndes' },
  { name: 'Cisco', head: get('/cgi-bin/pkiclient.exe?operation=GetCACaps&message=ca'), rule: 'scep-cgi' },
  { name: 'plain', head: get('/scep?operation=GetCACaps'), rule: 'scep' },
  { name: 'endpoint below', head: get('/scep/corp?operation=GetCACaps'), rule: 'scep' },
  { name: 'base64 in a query', head: get('/scep?message=a+b/c%3D%0A=\\..//'), rule: 'scep' },
  { name: 'largest target', head: get(long('/scep?message=', 65_536)), rule: 'scep' },
  { name: 'POST', head: post('/scep?operation=PKIOperation', 5_000), rule: 'scep' },
  { name: 'largest body', head: post('/scep', 2 * 1024 * 1024), rule: 'scep' },
  { name: 'delta CRL of AD CS', head: get('/crl/Leafgate!0020Root(1)+.crl'), rule: 'crl' },
  { name: 'OCSP by POST', head: post('/ocsp', 120), rule: 'ocsp-post' },
  { name: 'OCSP by GET, plain', head: get('/OCSP/MFEw+A//zB=='), rule: 'ocsp-get' },
  { name: 'OCSP by GET, encoded', head: get('/ocsp/MFEw%2BA%2f%2FzB%3D%3d'), rule: 'ocsp-get' },
  { name: 'CA certificate', head: get('/aia/ca.example.com_Issuing-CA.crt'), rule: 'aia' },
];

for (const { name, head, rule } of allowedRows) {
  test(`allows: ${name}`, () => {
    const judgement = judgeRequest(defaultAllowRules, head);
    assert.equal(judgement.allowed && judgement.rule.name, rule);
  });
}

test('no rules: nothing passes', () => {
  assert.deepEqual(judgeRequest([], get('/scep')), { allowed: false, reason: 'path' });
});

test('rules are a union', () => {
  const small: AllowRule = {
    name: 'small',
    methods: ['GET'],
    path: '/a',
    requestTargetBytesMax: 4,
    bodyBytesMax: 0,
  };
  const large: AllowRule = { ...small, name: 'large', requestTargetBytesMax: 100 };
  const judgement = judgeRequest([small, large], get('/a?long'));
  assert.equal(judgement.allowed && judgement.rule.name, 'large');
});

const plain: AllowRule = {
  name: 'r',
  methods: ['GET'],
  path: '/a',
  requestTargetBytesMax: 100,
  bodyBytesMax: 0,
};
const misconfiguredRows: { name: string; rule: AllowRule }[] = [
  { name: 'everything', rule: { ...plain, path: '/*' } },
  { name: 'no path', rule: { ...plain, path: '' } },
  { name: 'relative path', rule: { ...plain, path: 'scep' } },
  { name: 'reserved path', rule: { ...plain, path: '/.leafgate/refusals' } },
  { name: 'query', rule: { ...plain, path: '/scep?operation=GetCACaps' } },
  { name: 'percent-encoding', rule: { ...plain, path: '/a%20b' } },
  { name: 'star inside', rule: { ...plain, path: '/a/*/b' } },
  { name: 'base64 of everything', rule: { ...plain, path: '/{base64}' } },
  { name: 'base64 inside', rule: { ...plain, path: '/a/{base64}/b' } },
  { name: 'no methods', rule: { ...plain, methods: [] } },
  { name: 'no target bytes', rule: { ...plain, requestTargetBytesMax: 0 } },
  { name: 'target larger than the tunnel carries', rule: { ...plain, requestTargetBytesMax: 65_537 } },
  { name: 'negative body', rule: { ...plain, bodyBytesMax: -1 } },
  { name: 'endless body', rule: { ...plain, bodyBytesMax: Number.POSITIVE_INFINITY } },
];

for (const { name, rule } of misconfiguredRows) {
  test(`refuses a rule: ${name}`, () => {
    assert.throws(() => checkAllowRules([rule]), { code: 'config_invalid' });
  });
}

test('the default rules are accepted', () => {
  checkAllowRules(defaultAllowRules);
  assert.ok(defaultAllowRules.length > 0);
});
