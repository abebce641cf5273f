import type { Command } from 'commander';
import type { VnfSnapshot } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { failedPrecondition } from '../../sdk/errors.ts';
import { asClient, clientAction } from '../action.ts';
import { printJson, printTable } from '../output.ts';
import type { Session } from '../session.ts';
import { type Difference, driftOf, recordedDifferences } from '../snapshot-compare.ts';
import { findSnapshot } from './snapshot.ts';

/** Comparing what snapshots have recorded. */
export function compareCommands(snapshot: Command): void {
  asClient(snapshot.command('drift <snapshot>'))
    .description('compare what the VNFD configures with what the components were (clause 6.1.1)')
    .action(
      clientAction(async (session, options, idOrName) => {
        const found = driftOf(await contentOf(session, idOrName!));
        show(found, ['CONFIGURED', 'ACTUAL'], options.json === true, 'nothing has drifted');
      }),
    );

  asClient(snapshot.command('diff <one> <other>'))
    .description(
      'what two snapshots have recorded differently: descriptor, VnfInfo, components, sizes; for disks block ' +
        'by block pack both and see: mano diff',
    )
    .action(
      clientAction(async (session, options, one, other) => {
        const [before, after] = [await contentOf(session, one!), await contentOf(session, other!)];
        const found = recordedDifferences(before, after);
        show(found, ['ONE', 'OTHER'], options.json === true, 'they have recorded the same');
      }),
    );
}

async function contentOf(session: Session, idOrName: string): Promise<VnfSnapshot> {
  const info = await findSnapshot(session, idOrName);
  if (info.vnfSnapshot) return info.vnfSnapshot;
  const text = `snapshot "${info.id}" is empty: there is nothing to compare`;
  throw failedPrecondition('SNAPSHOT_NOT_AVAILABLE', text, { vnf_snapshot_info_id: info.id });
}

function show(
  found: readonly Difference[],
  columns: readonly [string, string],
  json: boolean,
  none: string,
): void {
  if (json) printJson({ differences: found });
  else if (found.length === 0) process.stdout.write(`${none}\n`);
  else {
    const rows = found.map(({ path, one, other }) => [path, one || '-', other || '-']);
    printTable(['WHAT', ...columns], rows);
  }
}
