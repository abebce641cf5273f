import { Command, CommanderError } from 'commander';
import { reportError } from './action.ts';
import { benchCommand } from './commands/bench.ts';
import { demoCommand } from './commands/demo.ts';
import { forgetCommand } from './commands/forget.ts';
import { scenarioCommand } from './commands/scenario.ts';
import { serveCommand } from './commands/serve.ts';
import { serveDiskCommand } from './commands/serve-disk.ts';
import { setupCommand } from './commands/setup.ts';
import { storeCommands } from './commands/store/store.ts';
import { exitCode } from './exit-codes.ts';
import { printJson } from './output.ts';

const exitCodesText = `
Exit codes: 0 done; 1 an operation failed or a check found damage; 2 wrong usage or input; 3 not found;
4 the state forbids it; 5 not allowed; 6 nobody answered in time; 7 stored data is damaged; 8 no room;
70 a fault of the program; 130 interrupted.`;

function startCommands(program: Command): Command {
  demoCommand(program);
  scenarioCommand(program);
  setupCommand(program);
  serveCommand(program);
  return program;
}

function ownCommands(program: Command): Command {
  storeCommands(program);
  forgetCommand(program);
  benchCommand(program);
  serveDiskCommand(program);
  return program;
}

/** `word`: the first argument. Whoever packs a disk does not wait for what a client of the server loads. */
async function makeProgram(word: string | undefined): Promise<Command> {
  const needsNoClient = ownCommands(startCommands(new Command())).commands.map((one) => one.name());
  const program = new Command('mano')
    .description('consistent snapshots of running virtualised network functions')
    .version('0.1.0')
    .addHelpText('after', exitCodesText)
    .showHelpAfterError('(add --help to see what is possible)')
    .exitOverride();
  program.commandsGroup('Start here:');
  startCommands(program);
  if (word === undefined || !needsNoClient.includes(word)) {
    program.commandsGroup('With a running Micromano (--data or --connect says which):');
    const { clientCommands } = await import('./commands/client.ts');
    clientCommands(program);
  }
  program.commandsGroup('On disk images and a repository of your own, without a server:');
  ownCommands(program);
  return program;
}

// A reader that goes away (`mano … | head`) is not an error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCode.ok);
  throw error;
});

try {
  const program = await makeProgram(process.argv[2]);
  await program.parseAsync(process.argv);
} catch (thrown) {
  // commander has printed what was wrong; --help and --version are no errors.
  if (thrown instanceof CommanderError) {
    process.exitCode = thrown.exitCode === 0 ? exitCode.ok : exitCode.usage;
    if (thrown.exitCode !== 0 && process.argv.includes('--json')) {
      const message = thrown.message.replace(/^error: /, '');
      printJson({ error: { reason: 'USAGE', message, metadata: {}, violations: [] } });
    }
  } else process.exitCode = reportError(thrown, process.argv.includes('--json'));
}
