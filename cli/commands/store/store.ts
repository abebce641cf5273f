import type { Command } from 'commander';
import { archiveCommands } from './archive.ts';
import { careCommands } from './care.ts';
import { packCommand } from './pack.ts';
import { readCommands } from './read.ts';
import { repairCommand } from './repair.ts';
import { unpackCommand } from './unpack.ts';

/** The commands on disk images and a repository of one's own, without any server. Their code is loaded when used. */
export function storeCommands(program: Command): void {
  packCommand(program);
  unpackCommand(program);
  readCommands(program);
  careCommands(program);
  repairCommand(program);
  archiveCommands(program);
}
