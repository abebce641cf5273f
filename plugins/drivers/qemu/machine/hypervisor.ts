import { accessSync, constants, readFileSync } from 'node:fs';
import { runTool } from '../host/process.ts';

const probeDeadlineMs = 10_000;
const cpuModel = 'Nehalem';

/** What this host can do, found by starting QEMU, not by believing the presence of a file. */
export type Hypervisor = {
  version: string;
  machineType: string;
  cpuModel: string;
  accelerator: 'tcg' | 'kvm';
  ignoreShared: boolean;
  dgramNetdev: boolean;
  nbdServer: boolean;
};

/** The hypervisor, or why there is none. */
export type Probe = { hypervisor: Hypervisor } | { problem: string };

/**
 * Starts QEMU once without a machine and asks it. `accelerator` "auto" takes KVM only where the
 * processor says that it can virtualise: /dev/kvm alone also exists on hosts whose KVM cannot run
 * an ordinary guest kernel.
 */
export async function probeHypervisor(
  program: string,
  accelerator: 'auto' | 'tcg' | 'kvm',
): Promise<Probe> {
  try {
    const [capabilities, machines, version, help, nbd] = await Promise.all([
      ask(program, 'query-migrate-capabilities'),
      ask(program, 'query-machines'),
      ask(program, 'query-version'),
      runTool(program, ['-netdev', 'help'], probeDeadlineMs),
      runTool('qemu-nbd', ['--version'], probeDeadlineMs).then(
        () => true,
        () => false,
      ),
    ]);
    const list = capabilities as { capability: string }[];
    const q35 = (machines as { alias?: string; name: string }[]).find((m) => m.alias === 'q35');
    const { qemu } = version as { qemu: { major: number; minor: number; micro: number } };
    return {
      hypervisor: {
        version: `${qemu.major}.${qemu.minor}.${qemu.micro}`,
        machineType: q35?.name ?? 'q35',
        cpuModel,
        accelerator: accelerator === 'auto' ? usableAccelerator() : accelerator,
        ignoreShared: list.some(({ capability }) => capability === 'x-ignore-shared'),
        dgramNetdev: /^dgram$/m.test(help),
        nbdServer: nbd,
      },
    };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

async function ask(program: string, command: string): Promise<unknown> {
  const script = [{ execute: 'qmp_capabilities' }, { execute: command, id: 1 }, { execute: 'quit' }]
    .map((line) => JSON.stringify(line))
    .join('\n');
  const args = [
    '-c',
    'printf "%s\\n" "$1" | "$0" -machine none -nodefaults -display none -qmp stdio',
  ];
  const output = await runTool('sh', [...args, program, script], probeDeadlineMs);
  for (const line of output.split('\n')) {
    if (!line.includes('"id"')) continue;
    const answer = JSON.parse(line);
    if (answer.id === 1 && answer.return !== undefined) return answer.return;
  }
  throw new Error(`${program} did not answer ${command}: ${output.slice(0, 300)}`);
}

function usableAccelerator(): 'tcg' | 'kvm' {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    const flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    return /\b(svm|vmx)\b/.test(flags) ? 'kvm' : 'tcg';
  } catch {
    return 'tcg';
  }
}
