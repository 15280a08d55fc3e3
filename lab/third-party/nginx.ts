/** nginx as a service that lets in who shows a certificate. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RevocationCheck } from './freeradius.ts';
import { type RunningProgram, startProgram } from './program.ts';

/** What nginx is started with. */
export interface NginxOptions {
  readonly program: string;
  /** A folder of its own. */
  readonly folder: string;
  readonly port: number;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** PEM of root and issuing CA. */
  readonly caFile: string;
  /** PEM of the CRLs of both. */
  readonly crlFile: string;
  readonly revocation: RevocationCheck;
}

const READY_MS_MAX = 10_000;

/** Starts it on 127.0.0.1 and resolves when it takes connections. @throws Error with its log if it does not. */
export async function startNginx(options: NginxOptions): Promise<RunningProgram> {
  const { folder, program, port } = options;
  await mkdir(join(folder, 'tmp'), { recursive: true });
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const check =
    options.revocation === 'crl' ? `ssl_crl ${options.crlFile};` : 'ssl_ocsp leaf; ssl_ocsp_cache off;';
  const config = join(folder, 'nginx.conf');
  await writeFile(
    config,
    `daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log info;
events { worker_connections 64; }
http {
  access_log ${folder}/access.log;
${paths.map((name) => `  ${name}_temp_path ${folder}/tmp;`).join('\n')}
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${options.certificateFile};
    ssl_certificate_key ${options.keyFile};
    ssl_client_certificate ${options.caFile};
    ssl_verify_client on;
    ssl_verify_depth 2;
    ${check}
    location / { return 200 "$ssl_client_verify $ssl_client_s_dn\\n"; }
  }
}
`,
  );
  const running = await startProgram({
    program,
    args: ['-c', config, '-p', folder, '-e', join(folder, 'error.log')],
    logFile: join(folder, 'output.log'),
  });
  for (let waitedMs = 0; waitedMs < READY_MS_MAX; waitedMs += 100) {
    if (await answers(port)) return running;
    await sleep(100);
  }
  await running.end();
  throw new Error(
    `nginx did not get ready: ${await readFile(join(folder, 'error.log'), 'utf8').catch(() => '')}`,
  );
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
