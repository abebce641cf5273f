import type { Command } from 'commander';
import { nsCommand } from './ns.ts';
import { operationCommand } from './operation.ts';
import { packageCommand } from './package.ts';
import { pluginCommand } from './plugin.ts';
import { snapshotCommand } from './snapshot.ts';
import { compareCommands } from './snapshot-compare.ts';
import { vnfCommand } from './vnf.ts';

/** The commands that talk to a running Micromano, and so need the protobuf runtime. */
export function clientCommands(program: Command): void {
  vnfCommand(program);
  compareCommands(snapshotCommand(program));
  packageCommand(program);
  nsCommand(program);
  operationCommand(program);
  pluginCommand(program);
}
