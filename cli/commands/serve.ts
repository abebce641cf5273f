import type { Command } from 'commander';
import { localAction } from '../action.ts';
import { defaultDataFolder } from '../connection.ts';

type ServeOptions = {
  data: string;
  listen?: string;
  config?: string;
  logLevel: 'debug' | 'info' | 'warn' | 'error';
};

/** `mano serve`: everything in one process. Loaded late: the other commands need no server. */
export function serveCommand(program: Command): void {
  program
    .command('serve')
    .description('run Micromano: kernel, functional blocks and drivers in one process')
    .option('--data <dir>', 'where everything is kept', process.env.MANO_DATA ?? defaultDataFolder)
    .option('--listen <host:port>', 'also listen on TCP, with mutual TLS')
    .option('--config <file>', 'JSON with the settings of the plugins')
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .action(
      localAction<ServeOptions>(async (options) => {
        const { serve } = await import('../../app/serve.ts');
        await serve(options);
      }),
    );
}
