import { VnfIndicatorService } from '../../gen/nfv/vnf_indicator/v1/vnf_indicator_pb.js';
import { VnfLcmService } from '../../gen/nfv/vnf_lcm/v1/vnf_lcm_service_pb.js';
import {
  NotificationResult,
  NotificationType,
  type VnfSnapshotNotification,
  VnfSnapshotNotificationService,
} from '../../gen/nfv/vnf_snapshot_notification/v1/vnf_snapshot_notification_pb.js';
import { type Client, createClient } from '../../sdk/client.ts';
import { RpcError } from '../../sdk/errors.ts';
import type { Transport } from '../../sdk/transport/transport.ts';
import { HealthJudge } from './health.ts';
import { askComponent, type ComponentStates } from './vnf-channel.ts';

type Notifications = Client<typeof VnfSnapshotNotificationService>;

/** What the agent saw when a notification was handled. */
export type Handled = { type: NotificationType; states: ComponentStates };

const rewatchMs = 200;
const reportMs = 1000;
/** A component that does not answer in this time is not well. */
const healthPatienceMs = 2000;

/**
 * The demo VNF's side of snapshots (GR NFV-TST 005 clause 6.5.1 steps 5 to 7 and 10 to 12): watches
 * the VNFM's notifications, prepares or resumes the components over their channels, and answers.
 */
export class VnfAgent {
  /** Every notification that was handled, in order. */
  readonly handled: Handled[] = [];
  private readonly api: Notifications;
  private readonly print: (line: string) => void;
  private readonly vnfInstanceId: string;
  private readonly lcm: Client<typeof VnfLcmService>;
  private readonly indicators: Client<typeof VnfIndicatorService>;
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;
  private reporting: Promise<void> | undefined;

  /** `print` hears of troubles that the agent gets over by itself. */
  constructor(transport: Transport, vnfInstanceId: string, print: (line: string) => void) {
    this.print = print;
    this.api = createClient(VnfSnapshotNotificationService, transport);
    this.lcm = createClient(VnfLcmService, transport);
    this.indicators = createClient(VnfIndicatorService, transport);
    this.vnfInstanceId = vnfInstanceId;
  }

  /** Resolves when the watch stands: from then on the VNF counts as reachable. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.running = this.watch(resolve).catch(reject);
    });
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
    await this.reporting;
  }

  /** Tells the VNFM every second how the VNF is (indicator "health"), until it is stopped. */
  reportHealth(): void {
    this.reporting ??= this.report();
  }

  private async report(): Promise<void> {
    const judge = new HealthJudge();
    while (!this.stopping.signal.aborted) {
      try {
        const states = await this.askAll('status', healthPatienceMs).catch((error: Error) => error);
        const vnfIndicator = { id: 'health', ...judge.judge(states, performance.now()) };
        await this.indicators.notifyVnfIndicatorValueChange({
          vnfInstanceId: this.vnfInstanceId,
          vnfIndicator,
        });
      } catch (thrown) {
        if (this.stopping.signal.aborted) return;
        this.print(`vnf agent: ${RpcError.from(thrown).message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, reportMs));
    }
  }

  /** Asks every component. */
  states(): Promise<ComponentStates> {
    return this.askAll('status');
  }

  private async watch(onStanding: () => void): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      try {
        const request = { vnfInstanceId: this.vnfInstanceId };
        for await (const { notification } of this.api.watchVnfSnapshotNotifications(request, {
          signal,
        })) {
          onStanding();
          if (notification) await this.handle(notification);
        }
      } catch (thrown) {
        if (signal.aborted) return;
        const error = RpcError.from(thrown);
        this.print(`vnf agent: ${error.message} [${error.reason}]; watching again`);
      }
      await new Promise((resolve) => setTimeout(resolve, rewatchMs));
    }
  }

  private async handle(notification: VnfSnapshotNotification): Promise<void> {
    const { type, notificationId } = notification;
    const answer = await this.answer(type);
    try {
      await this.api.respondToVnfSnapshotNotification({ notificationId, ...answer });
    } catch (thrown) {
      // The VNFM stopped waiting: go on with normal operation, as the interface says.
      this.print(`vnf agent: ${RpcError.from(thrown).message}`);
      await this.askAll('resume');
    }
  }

  private async answer(
    type: NotificationType,
  ): Promise<{ result: NotificationResult; detail: string }> {
    try {
      this.handled.push({ type, states: await this.act(type) });
      return { result: NotificationResult.CONTINUE, detail: '' };
    } catch (thrown) {
      return { result: NotificationResult.ABORT, detail: RpcError.from(thrown).message };
    }
  }

  /**
   * Returns the states in which the components stand still: after preparing, and before resuming.
   */
  private async act(type: NotificationType): Promise<ComponentStates> {
    switch (type) {
      case NotificationType.SNAPSHOT_CREATION_START:
      case NotificationType.SNAPSHOT_REVERSION_START:
        return this.askAll('prepare');
      default: {
        const states = await this.askAll('status');
        await this.askAll('resume');
        return states;
      }
    }
  }

  async askAll(
    op: 'status' | 'prepare' | 'resume' | 'wreck',
    patienceMs?: number,
  ): Promise<ComponentStates> {
    const entries = await Promise.all(
      (await this.channels()).map(async ({ id, vnfChannel }) => [
        id,
        await askComponent(vnfChannel, op, this.stopping.signal, patienceMs),
      ]),
    );
    return Object.fromEntries(entries) as ComponentStates;
  }

  /** Where the components can be spoken to now: a reversion may have given them other machines. */
  private async channels() {
    const filter = `(eq,id,${this.vnfInstanceId})`;
    const { vnfInstances } = await this.lcm.queryVnf({ filter, allFields: true });
    return vnfInstances[0]?.instantiatedVnfInfo?.vnfcResourceInfo ?? [];
  }
}
