import { accessSync, constants, readFileSync } from 'node:fs';
import { invalidArgument, isRpcError } from '../../../../sdk/errors.ts';
import { runTool } from '../host/process.ts';

const probeDeadlineMs = 10_000;
/** What an operator may settle about the machines. */
export type MachineWishes = {
  accelerator: 'auto' | 'tcg' | 'kvm';
  cpuModel: string;
  /** Empty: the newest q35 of this QEMU. */
  machineType: string;
};

/** What this host can do, found by starting QEMU, not by believing the presence of a file. */
export type Hypervisor = {
  version: string;
  machineType: string;
  cpuModel: string;
  /** What guests see of the processor, in alphabetical order. */
  cpuFlags: string[];
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
  { accelerator, cpuModel, machineType }: MachineWishes,
): Promise<Probe> {
  try {
    const [capabilities, machines, models, version, help, nbd] = await Promise.all([
      ask(program, 'query-migrate-capabilities'),
      ask(program, 'query-machines'),
      ask(program, 'query-cpu-definitions'),
      ask(program, 'query-version'),
      runTool(program, ['-netdev', 'help'], probeDeadlineMs),
      runTool('qemu-nbd', ['--version'], probeDeadlineMs).then(
        () => true,
        () => false,
      ),
    ]);
    const list = capabilities as { capability: string }[];
    const types = machines as { alias?: string; name: string }[];
    const q35 = types.find((m) => m.alias === 'q35')?.name ?? 'q35';
    const type = machineType || q35;
    // Other boards have no places for the devices that the driver makes.
    const boards = types.map(({ name }) => name).filter((name) => name.includes('q35'));
    requireOffered('machineType', type, boards, `${program} -machine help | grep q35`);
    const names = (models as { name: string }[]).map(({ name }) => name);
    requireOffered('cpuModel', cpuModel, names, `${program} -cpu help`);
    const { qemu } = version as { qemu: { major: number; minor: number; micro: number } };
    const chosen = accelerator === 'auto' ? usableAccelerator() : accelerator;
    return {
      hypervisor: {
        version: `${qemu.major}.${qemu.minor}.${qemu.micro}`,
        machineType: type,
        cpuModel,
        cpuFlags: await flagsOf(program, chosen, cpuModel),
        accelerator: chosen,
        ignoreShared: list.some(({ capability }) => capability === 'x-ignore-shared'),
        dgramNetdev: /^dgram$/m.test(help),
        nbdServer: nbd,
      },
    };
  } catch (error) {
    if (isRpcError(error)) throw error;
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

/** A wish that this QEMU cannot fulfil is a mistake of the operator, not a lack of the host. */
function requireOffered(key: string, wanted: string, offered: string[], help: string): void {
  if (offered.includes(wanted)) return;
  const text = `qemu driver: config.${key}: there is no "${wanted}"; "${help}" lists what there is`;
  throw invalidArgument('CONFIG_INVALID', text, { key, wanted });
}

/** Properties of a model in QEMU that are settings, or second names of flags. */
const noFlag =
  /[_.]|^(x-|hv-|kvm|check$|legacy-cache$|l3-cache$|vmware-cpuid-freq$|full-cpuid-auto-level$|fill-mtrr-mask$|tcg-cpuid$|cpuid-0xb$)/;

async function flagsOf(program: string, accelerator: string, name: string): Promise<string[]> {
  const wanted = { type: 'full', model: { name } };
  const answer = await ask(program, 'query-cpu-model-expansion', wanted, accelerator);
  const { props } = (answer as { model: { props: Record<string, unknown> } }).model;
  const set = Object.keys(props).filter((key) => props[key] === true);
  return set.filter((key) => !noFlag.test(key)).sort();
}

async function ask(
  program: string,
  command: string,
  parameters = {},
  accelerator = 'tcg',
): Promise<unknown> {
  const asked = { execute: command, arguments: parameters, id: 1 };
  const script = [{ execute: 'qmp_capabilities' }, asked, { execute: 'quit' }]
    .map((line) => JSON.stringify(line))
    .join('\n');
  const args = [
    '-c',
    'printf "%s\\n" "$2" | "$0" -machine none -accel "$1" -nodefaults -display none -qmp stdio',
  ];
  const output = await runTool('sh', [...args, program, accelerator, script], probeDeadlineMs);
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
