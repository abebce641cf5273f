/**
 * The echo plugin as a process that a kernel launches. Its configuration chooses how it misbehaves.
 */
import { definePlugin } from '../../sdk/plugin.ts';
import { silentLogger } from '../../sdk/ports/logger.ts';
import { runLaunchedPlugin } from '../../sdk/serve-plugin.ts';
import { implement } from '../../sdk/server.ts';
import { echoDesc, echoImplementation } from './echo-service.ts';

type Config = {
  exposures?: { producer: string; consumers: string[] }[];
  unreadyFile?: string;
  relay?: boolean;
};

const { service } = echoDesc([{ producer: 'echo', consumers: ['*'] }]);

const plugin = definePlugin({
  ...{ name: 'echo', role: process.env.ECHO_ROLE ?? 'echo', version: '2.0.0' },
  capabilities: ['parrot'],
  async start(context) {
    const config = context.config as Config;
    const echo = echoImplementation(service, undefined, `${context.instanceId} ${process.pid}`);
    const calling = implement(
      service,
      {
        // Passes the question on to the plugin named in the text, through the kernel.
        say: ({ text }) => context.client(service, { target: text }).whoAmI({}),
      },
      { logger: silentLogger },
    );
    const handle: typeof echo.handle = (call) =>
      (config.relay && call.path.endsWith('/Say') ? calling : echo).handle(call);
    const readiness = () =>
      config.unreadyFile ? { ready: false, reason: 'told to be' } : { ready: true };
    return { services: [{ service, handle }], readiness };
  },
});

await runLaunchedPlugin(plugin);
