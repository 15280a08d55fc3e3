import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { application, openTestMdm, rootPem, tenant, tlsServer } from '../../test/support/mdm-fixture.ts';
import { PkiError } from '../errors.ts';

afterEach(() => {
  process.exitCode = undefined;
});

async function withSite(
  url: string,
  act: (config: string, setSecret: (secret: string) => void) => Promise<void>,
): Promise<void> {
  const { folder, config } = await newSite();
  try {
    const site = JSON.parse(readFileSync(config, 'utf8')) as { server: { endpoints: object[] } };
    const intune = {
      tenant,
      appId: application.appId,
      secret: 'file:intune.secret',
      authority: url,
      graph: url,
      extraCa: 'mdm.pem',
      revocation: {},
    };
    const [first] = site.server.endpoints;
    site.server.endpoints.push({
      ...first,
      name: 'devices',
      paths: ['/scep/devices'],
      validators: [{ intune }],
    });
    writeFileSync(config, JSON.stringify(site));
    writeFileSync(join(folder, 'mdm.pem'), rootPem);
    const setSecret = (secret: string) =>
      writeFileSync(join(folder, 'intune.secret'), secret, { mode: 0o600 });
    setSecret(application.secret);
    await act(config, setSecret);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('intune check: a table with what to mend and status 1, JSON, and an endpoint that is none', async () => {
  const mdm = await openTestMdm({ tls: tlsServer });
  try {
    await withSite(mdm.publicUrl, async (config, setSecret) => {
      const good = await leafgate('intune', 'check', '-c', config);
      assert.equal(process.exitCode, undefined);
      assert.equal(good.match(/^devices .* ok /gm)?.length, 6, good);
      setSecret('another secret');
      const bad = await leafgate('intune', 'check', 'devices', '-c', config);
      assert.equal(process.exitCode, 1);
      assert.match(bad, /devices +sign-in +failed +token: invalid_client AADSTS7000215/);
      assert.match(
        bad,
        /^devices, sign-in: token: invalid_client AADSTS7000215\nhint: The client secret is not valid\..*\.$/m,
      );
      assert.match(good, /\nall is well\n$/);
      assert.doesNotMatch(bad, /all is well/);
      const rows = JSON.parse(await leafgate('intune', 'check', '--json', '-c', config)) as {
        mend: string;
      }[];
      assert.match(rows[0]?.mend ?? '', /Secret ID/);
      assert.ok(!`${good}${bad}${JSON.stringify(rows)}`.includes(application.secret));
      await assert.rejects(
        leafgate('intune', 'check', 'static', '-c', config),
        (thrown) =>
          thrown instanceof PkiError && thrown.code === 'command_invalid' && /“devices”/.test(thrown.message),
      );
    });
  } finally {
    await mdm.close();
  }
});
