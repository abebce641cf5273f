import type { Command } from 'commander';
import { KernelService } from '../../gen/nfv/kernel/v1/kernel_service_pb.js';
import { PluginPlacement, PluginSchema, PluginState } from '../../gen/nfv/kernel/v1/plugin_pb.js';
import { asClient, type CommonOptions, clientAction } from '../action.ts';
import { messageJson } from '../message-json.ts';
import { printJson, printTable } from '../output.ts';

/** The kernel's administration, as its operator. */
export function pluginCommand(program: Command): void {
  const plugin = program.command('plugin').description('the plugins of a running Micromano');

  asClient(plugin.command('list'))
    .description('list the plugins with their states')
    .action(
      clientAction(async (session, options) => {
        const { plugins } = await session.client(KernelService, 'operator').listPlugins({});
        if (options.json) {
          return printJson({ plugins: plugins.map((item) => messageJson(PluginSchema, item)) });
        }
        printTable(
          ['INSTANCE', 'ROLE', 'VERSION', 'RUNS', 'STATE', 'WHY'],
          plugins.map((item) => [
            item.instanceId,
            item.role,
            item.version,
            PluginPlacement[item.placement],
            PluginState[item.state],
            item.reason,
          ]),
        );
      }),
    );

  asClient(plugin.command('show <instance>'))
    .description('show one plugin with its services')
    .action(
      clientAction<CommonOptions>(async (session, options, instanceId) => {
        const kernel = session.client(KernelService, 'operator');
        const { plugin: found } = await kernel.getPlugin({ instanceId: instanceId! });
        const json = messageJson(PluginSchema, found!);
        if (options.json) printJson({ plugin: json });
        else process.stdout.write(`${JSON.stringify(json, undefined, 2)}\n`);
      }),
    );

  asClient(plugin.command('routes'))
    .description('list the methods that can be called, and by whom')
    .action(
      clientAction(async (session, options) => {
        const { routes } = await session.client(KernelService, 'operator').listRoutes({});
        if (options.json) {
          return printJson({
            routes: routes.map(({ method, instanceIds, exposures }) => ({
              method,
              instanceIds,
              exposures: exposures.map(({ referencePoint, producer, consumers }) => ({
                referencePoint,
                producer,
                consumers,
              })),
            })),
          });
        }
        printTable(
          ['METHOD', 'SERVED BY', 'REFERENCE POINTS'],
          routes.map((route) => [
            route.method,
            route.instanceIds.join(' '),
            route.exposures.map((item) => item.referencePoint).join(' '),
          ]),
        );
      }),
    );
}
