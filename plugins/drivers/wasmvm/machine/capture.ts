import { failpointSync } from '../../../../sdk/failpoint.ts';
import { mergeLog, rotateLog } from './change-log.ts';
import type { Disk } from './disk.ts';
import type { Captured, Commands } from './protocol.ts';
import { expired, type Resident } from './resident.ts';
import { copySparse } from './sparse-copy.ts';

/**
 * Captures a guest that stands: logs rotated and memory copied at once, then the disks in slices.
 * When it fails, or when the hold ends before the copies are complete, the logs are as before.
 */
export function* capture(
  resident: Resident,
  input: Commands['capture']['input'],
): Generator<void, Captured> {
  const { machine } = resident;
  checkHold(resident, input.leaseId);
  const { state, quiesced } = resident;
  resident.standing++;
  const captureMs = Date.now();
  const logs: Record<string, Uint8Array> = {};
  const rotated: Disk[] = [];
  try {
    const disks = input.disks.map(({ volumeId, targetPath }) => {
      const disk = machine.disks.find((candidate) => candidate.config.volumeId === volumeId);
      if (!disk) throw new Error(`volume ${volumeId} is not attached to the machine`);
      return { disk, targetPath };
    });
    for (const { disk } of disks) {
      logs[disk.config.volumeId] = rotateLog(disk.log);
      rotated.push(disk);
    }
    const memory = input.memory
      ? { memory: machine.memoryImage(), deviceState: machine.deviceState() }
      : {};
    failpointSync('wasmvm.capture.after-memory');
    for (const { disk, targetPath } of disks) {
      for (const _slice of copySparse(disk.config.path, targetPath, disk.sizeBytes)) {
        checkHold(resident, input.leaseId);
        yield;
      }
    }
    checkHold(resident, input.leaseId);
    return { captureMs, completeMs: Date.now(), state, quiesced, ...memory, logs };
  } catch (error) {
    for (const disk of rotated) mergeLog(disk.log, logs[disk.config.volumeId] as Uint8Array);
    throw error;
  } finally {
    resident.standing--;
  }
}

function checkHold(resident: Resident, leaseId: string): void {
  if (leaseId !== '' && !resident.isHeldBy(leaseId)) throw expired(leaseId);
}
