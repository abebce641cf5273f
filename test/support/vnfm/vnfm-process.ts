/** The VNFM as a process of its own, to be killed by a test. */
import { vnfmPlugin } from '../../../plugins/vnfm/plugin.ts';
import { runLaunchedPlugin } from '../../../sdk/serve-plugin.ts';

await runLaunchedPlugin(vnfmPlugin);
