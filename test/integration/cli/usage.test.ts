import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { noise, tool } from '../../support/cli/disk-images.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const project = join(import.meta.dirname, '../../..');

/** The names of the commands in a help text: lines like "  pack [options] <images...>  …". */
function commandsIn(help: string): string[] {
  const from = help.indexOf('[command]');
  if (from < 0) return [];
  const names = [...help.matchAll(/^ {2}([a-z][a-z-]*)(?: [[<]| {2,}|\n)/gm)].map(
    ([, name]) => name!,
  );
  return names.filter((name) => name !== 'help');
}

test('mano --help: every command is there, and each explains itself and its own commands', async (t) => {
  const folder = await tempFolder(t);
  const { stdout } = await manoOk(t, folder, ['--help']);
  t.regex(stdout, /Exit codes: 0 done/);
  const top = commandsIn(stdout);
  const local = 'pack unpack list diff verify repair delete gc export import bench'.split(' ');
  const client = 'demo setup serve vnf snapshot package operation plugin'.split(' ');
  for (const name of [...local, ...client]) t.true(top.includes(name), name);
  const explain = async (path: string[]): Promise<void> => {
    const help = await manoOk(t, folder, [...path, '--help']);
    t.true(help.stdout.startsWith(`Usage: mano ${path.join(' ')} `), help.stdout);
    t.is(help.stderr, '');
    await Promise.all(commandsIn(help.stdout).map((name) => explain([...path, name])));
  };
  await Promise.all(top.map((name) => explain([name])));
});

test('mano --version: is that of the project', async (t) => {
  const { version } = JSON.parse(await readFile(join(project, 'package.json'), 'utf8'));
  t.is((await manoOk(t, await tempFolder(t), ['--version'])).stdout, `${version}\n`);
});

for (const [what, args, said] of [
  ['an unknown command', ['pakc'], /unknown command 'pakc'/],
  ['an unknown option', ['list', '--store', 's', '--bogus'], /unknown option '--bogus'/],
  ['a missing option', ['list'], /required option '--store <dir>' not specified/],
  ['a missing argument', ['pack', '--store', 's'], /missing required argument 'images'/],
  ['too many arguments', ['list', 'x', '--store', 's'], /too many arguments/],
  ['a count that is none', ['pack', 'x', '--store=s', '--samples=-1'], /whole number from 0/],
  ['more workers than there may be', ['verify', '--store=s', '--workers=17'], /at most 16/],
  ['a percentage of nothing', ['verify', '--store=s', '--sample=0'], /above 0% and at most 100%/],
  ['a format nobody knows', ['pack', 'x', '--store=s', '--format=vmdk'], /raw, qcow2, raw.lz4/],
  ['a target format nobody knows', ['unpack', 'x', '--store=s', '--to=o', '--format=x'], /raw.lz4/],
] as const) {
  test(`usage: ${what} is exit code 2 and says what is wrong`, async (t) => {
    const result = await mano(await tempFolder(t), args);
    t.is(result.code, 2);
    t.is(result.stdout, '');
    t.regex(result.stderr, said);
  });
}

test('usage --json: a wrong command line is one line of JSON too', async (t) => {
  const args = ['list', '--store', 's', '--bogus'];
  const expected = { code: 2, reason: 'USAGE', text: /unknown option '--bogus'/ };
  await manoFails(t, await tempFolder(t), args, expected);
});

test('progress: is drawn on the terminal, never on standard output', async (t) => {
  if (!skipUnless(t, 'script')) return;
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'disk.raw'), noise('disk', 3_000_000));
  const command = `'${process.execPath}' --disable-warning=ExperimentalWarning '${project}/cli/main.ts'`;
  const words = `pack '${folder}/disk.raw' --store '${folder}/store' --json > '${folder}/out'`;
  const screen = (await tool('script', '-qec', `${command} ${words}`, '/dev/null')).toString();
  t.regex(screen, /2\.86 MiB of 2\.86 MiB \(100 %\)/);
  t.true(screen.includes('disk.raw'), screen);
  const lines = (await readFile(join(folder, 'out'), 'utf8')).trimEnd().split('\n');
  t.is(lines.length, 1);
  t.is(JSON.parse(lines[0]!).images[0].name, 'disk.raw');
});

test('output: a reader that goes away is no error', async (t) => {
  const folder = await tempFolder(t);
  const command = `'${process.execPath}' --disable-warning=ExperimentalWarning '${project}/cli/main.ts'`;
  const pipe = `set -o pipefail; cd '${folder}'; ${command} --help | head -n 1`;
  t.is((await tool('bash', '-c', pipe)).toString(), 'Usage: mano [options] [command]\n');
});
