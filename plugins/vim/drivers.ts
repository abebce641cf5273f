import type {
  Capability,
  DriverService,
  GetDriverInfoResponse,
} from '../../gen/nfv/driver/v1/driver_pb.js';
import type { Client } from '../../sdk/client.ts';
import { failedPrecondition, notFound, RpcError, unavailable } from '../../sdk/errors.ts';

export type DriverClient = Client<typeof DriverService>;

/** How long a driver may take to say what it is or what it can do. */
const probeDeadlineMs = 20_000;

/** The drivers that this VIM manages: plugin instances, found by name or by their kind. */
export class Drivers {
  readonly instances: readonly string[];
  private readonly connect: (instance: string) => DriverClient;
  private readonly clients = new Map<string, DriverClient>();
  private readonly infos = new Map<string, GetDriverInfoResponse>();

  constructor(instances: readonly string[], connect: (instance: string) => DriverClient) {
    this.instances = instances;
    this.connect = connect;
  }

  client(instance: string): DriverClient {
    let client = this.clients.get(instance);
    if (!client) {
      client = this.connect(instance);
      this.clients.set(instance, client);
    }
    return client;
  }

  /** Who a driver is. Remembered after the first answer: a driver does not change its kind while it runs. */
  async info(instance: string): Promise<GetDriverInfoResponse> {
    const known = this.infos.get(instance);
    if (known) return known;
    const info = await this.client(instance).getDriverInfo({}, { deadlineMs: probeDeadlineMs });
    this.infos.set(instance, info);
    return info;
  }

  /**
   * The driver instance of a kind, for example "qemu". NOT_FOUND with reason DRIVER_UNKNOWN naming the kinds that are
   * there; UNAVAILABLE with reason DRIVER_SILENT when the only candidates did not answer.
   */
  async ofKind(kind: string): Promise<string> {
    const kinds: string[] = [];
    const silent: string[] = [];
    for (const instance of this.instances) {
      try {
        const { driver } = await this.info(instance);
        if (driver === kind) return instance;
        kinds.push(driver);
      } catch (thrown) {
        silent.push(`${instance}: ${RpcError.from(thrown).message}`);
      }
    }
    const known = kinds.join(', ') || 'none';
    if (silent.length > 0) {
      const text = `no driver of kind "${kind}" answered; known: ${known}; silent: ${silent.join('; ')}`;
      throw unavailable('DRIVER_SILENT', text, { kind, known });
    }
    throw notFound('DRIVER_UNKNOWN', `there is no driver of kind "${kind}"; known: ${known}`, {
      kind,
      known,
    });
  }

  /**
   * Where a new resource goes: the named driver instance, else the first of the kind. NOT_FOUND with reason HOST_UNKNOWN when
   * the named one is not there; FAILED_PRECONDITION with reason HOST_KIND when it is of another kind.
   */
  async placeFor(kind: string, targetHost: string): Promise<string> {
    if (targetHost === '') return this.ofKind(kind);
    if (!this.instances.includes(targetHost)) {
      const known = this.instances.join(', ') || 'none';
      const text = `there is no host "${targetHost}"; known: ${known}`;
      throw notFound('HOST_UNKNOWN', text, { host: targetHost, known });
    }
    const { driver } = await this.info(targetHost);
    if (driver === kind) return targetHost;
    const text = `host "${targetHost}" is of kind "${driver}", not "${kind}"`;
    throw failedPrecondition('HOST_KIND', text, { host: targetHost, kind: driver, wanted: kind });
  }

  /** What a driver can do now: the first message of its stream of capabilities. */
  async capabilities(instance: string): Promise<Capability[]> {
    const options = { deadlineMs: probeDeadlineMs };
    for await (const { capabilities } of this.client(instance).watchCapabilities({}, options)) {
      return capabilities;
    }
    return [];
  }
}
