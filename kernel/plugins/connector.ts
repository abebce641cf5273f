import type { GrpcChannel } from '../../sdk/transport/grpc-channel.ts';

/** A plugin outside that can be talked to. */
export type Connection = {
  readonly address: string;
  readonly channel: GrpcChannel;
  /**
   * Resolves with a sentence when the process is known to have ended. Never, for an address
   * somebody else keeps.
   */
  readonly ended: Promise<string>;
  /** Ends it: a child is asked to end, and killed when it takes longer. Never rejects. */
  close(graceMs: number): Promise<void>;
};

/** A way to get a connection: open a channel to an address, or start a process first. */
export type Connector = {
  /** Rejects with an RpcError; the signal gives up. */
  connect(signal: AbortSignal): Promise<Connection>;
  /** True when a plugin that stops answering has to be ended before it is reached again. */
  readonly ownsProcess: boolean;
};
