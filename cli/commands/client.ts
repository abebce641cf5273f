import type { Command } from 'commander';
import { grantCommand } from './grant.ts';
import { nsCommand } from './ns.ts';
import { operationCommand } from './operation.ts';
import { packageCommand } from './package.ts';
import { pluginCommand } from './plugin.ts';
import { snapshotCommand } from './snapshot.ts';
import { compareCommands } from './snapshot-compare.ts';
import { fileCommands } from './snapshot-files.ts';
import { vnfCommand } from './vnf.ts';
import { healthCommands } from './vnf-health.ts';

/** The commands that talk to a running Micromano, and so need the protobuf runtime. */
export function clientCommands(program: Command): void {
  healthCommands(vnfCommand(program));
  const snapshot = snapshotCommand(program);
  compareCommands(snapshot);
  fileCommands(snapshot);
  packageCommand(program);
  nsCommand(program);
  grantCommand(program);
  operationCommand(program);
  pluginCommand(program);
}
