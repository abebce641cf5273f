// The repository as a process that a kernel launches. It dies at its first checkpoint, every time.
import { repositoryPlugin } from '../../../../plugins/repository/plugin.ts';
import { configureFailpoints } from '../../../../sdk/failpoint.ts';
import { runLaunchedPlugin } from '../../../../sdk/serve-plugin.ts';

configureFailpoints('store.checkpoint-after-put=1*kill');
await runLaunchedPlugin(repositoryPlugin);
