import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { EmDataService } from '../../gen/nfv/vnf_lcm/v1/em_data_service_pb.js';
import { EmDataFileSchema } from '../../gen/nfv/vnf_lcm/v1/vnf_instance_pb.js';
import { invalidArgument, type RpcError } from '../../sdk/errors.ts';
import { asClient, type CommonOptions, clientAction } from '../action.ts';
import { messageJson } from '../message-json.ts';
import { formatBytes, printJson, printTable } from '../output.ts';
import type { Session } from '../session.ts';
import { snapshotId } from './snapshot.ts';

/** What the server takes of one file: a larger one is not even read. */
const fileBytesMax = 4 * 1024 * 1024;

const emData = (session: Session) => session.client(EmDataService, 'em');

/** What the EM adds to a snapshot. */
export function fileCommands(snapshot: Command): void {
  asClient(snapshot.command('attach <snapshot> <file>'))
    .description('add a file of the EM to a VNF snapshot, for example a configuration dump')
    .option('--name <name>', 'the name it has in the snapshot; the name of the file else')
    .option('--media-type <type>', 'what it is, for example application/json')
    .action(
      clientAction<CommonOptions & { name?: string; mediaType?: string }>(
        async (session, options, idOrName, path) => {
          const content = await contentOf(path!);
          const attached = await emData(session).attachEmData({
            vnfSnapshotInfoId: await snapshotId(session, idOrName!),
            name: options.name ?? basename(path!),
            mediaType: options.mediaType ?? '',
            content,
          });
          if (!options.json) return;
          printJson({ file: messageJson(EmDataFileSchema, attached.emData!) });
        },
      ),
    );
  asClient(snapshot.command('files <snapshot>'))
    .description('list what the EM has added to a VNF snapshot')
    .action(
      clientAction(async (session, options, idOrName) => {
        const vnfSnapshotInfoId = await snapshotId(session, idOrName!);
        const { emData: files } = await emData(session).listEmData({ vnfSnapshotInfoId });
        if (options.json) {
          return printJson({ files: files.map((file) => messageJson(EmDataFileSchema, file)) });
        }
        printTable(
          ['NAME', 'SIZE', 'TYPE', 'ADDED', 'SHA-256'],
          files.map((file) => [
            file.name,
            formatBytes(file.sizeBytes),
            file.mediaType,
            file.attachTime ? timestampDate(file.attachTime).toISOString() : '',
            file.checksum?.hash ?? '',
          ]),
        );
      }),
    );
  readCommand(snapshot);
  asClient(snapshot.command('detach <snapshot> <name>'))
    .description('remove a file of the EM from a VNF snapshot; packages that have it keep it')
    .action(
      clientAction(async (session, options, idOrName, name) => {
        const vnfSnapshotInfoId = await snapshotId(session, idOrName!);
        await emData(session).removeEmData({ vnfSnapshotInfoId, name: name! });
        if (options.json) printJson({ removed: name });
      }),
    );
}

function readCommand(snapshot: Command): void {
  asClient(snapshot.command('read <snapshot> <name>'))
    .description('read a file of the EM back, to standard output or to a new file')
    .option('--output <file>', 'the file to write; it must not exist')
    .action(
      clientAction<CommonOptions & { output?: string }>(
        async (session, options, idOrName, name) => {
          const { output, json } = options;
          // One line of JSON and the bytes of a file cannot share standard output.
          if (json && output === undefined) {
            throw invalidArgument('USAGE', '--json needs --output <file>');
          }
          const vnfSnapshotInfoId = await snapshotId(session, idOrName!);
          const found = await emData(session).readEmData({ vnfSnapshotInfoId, name: name! });
          if (output === undefined) return void process.stdout.write(found.content);
          await writeNew(output, found.content);
          if (!json) return;
          printJson({ file: messageJson(EmDataFileSchema, found.emData!), output });
        },
      ),
    );
}

async function contentOf(path: string): Promise<Uint8Array> {
  try {
    const about = await stat(path);
    if (!about.isFile()) throw fileProblem(path, 'is no file');
    if (about.size > fileBytesMax) {
      throw fileProblem(path, `has ${about.size} bytes, and at most ${fileBytesMax} can be added`);
    }
    return await readFile(path);
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw typeof code === 'string' ? fileProblem(path, `cannot be read: ${code}`) : thrown;
  }
}

async function writeNew(path: string, content: Uint8Array): Promise<void> {
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o600 });
  } catch (thrown) {
    throw fileProblem(path, `cannot be written: ${(thrown as NodeJS.ErrnoException).code}`);
  }
}

const fileProblem = (path: string, why: string): RpcError =>
  invalidArgument('USAGE', `"${path}" ${why}`, { file: path });
