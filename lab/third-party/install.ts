/** Command: makes sure of the third-party programs and prints their versions. */
import { ensureThirdParty, versionsOf } from './debian.ts';

try {
  const versions = await versionsOf(await ensureThirdParty());
  for (const [program, version] of Object.entries(versions)) process.stdout.write(`${program} ${version}\n`);
} catch (thrown) {
  process.stderr.write(`error: ${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
  process.exitCode = 1;
}
