/** What processes cost: CPU time and memory, as the kernel counts them (Linux). */
import { readdir, readFile } from 'node:fs/promises';

/** USER_HZ: the unit of times in /proc, 100 a second on every Linux (proc(5), sysconf(_SC_CLK_TCK)). */
const TICK_MS = 10;

/** The process and everything that it started and that still runs. Empty if it has ended. */
export async function processTree(root: number): Promise<readonly number[]> {
  const children = new Map<number, number[]>();
  let found = false;
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = await statOf(pid);
    if (stat === undefined) continue;
    found ||= pid === root;
    children.set(stat.parent, [...(children.get(stat.parent) ?? []), pid]);
  }
  if (!found) return [];
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/**
 * CPU time in user and system mode that the processes have used since they started, all threads, in steps of 10 ms.
 *
 * @throws Error if one of them has ended: what it used cannot be told any more.
 */
export async function cpuMsOf(pids: readonly number[]): Promise<number> {
  let cpuMs = 0;
  for (const pid of pids) {
    const stat = await statOf(pid);
    if (stat === undefined) throw new Error(`process ${pid} has ended`);
    cpuMs += stat.cpuMs;
  }
  return cpuMs;
}

/**
 * The largest resident size that each process ever had, summed. Pages that several share count once for each.
 *
 * @throws Error if one of them has ended.
 */
export async function peakMemoryMiB(pids: readonly number[]): Promise<number> {
  let kiB = 0;
  for (const pid of pids) {
    const peak = /^VmHWM:\s*(\d+) kB$/m.exec(
      await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''),
    )?.[1];
    if (peak === undefined) throw new Error(`process ${pid} has ended`);
    kiB += Number(peak);
  }
  return kiB / 1024;
}

/** Reads the parts of /proc/PID/stat; `undefined` if the process has ended. */
async function statOf(pid: number): Promise<{ readonly parent: number; readonly cpuMs: number } | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined);
  if (text === undefined) return undefined;
  // proc(5): the second field is the name in parentheses and may contain anything. From the third on there are words.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return { parent: field(4), cpuMs: (field(14) + field(15)) * TICK_MS };
}
