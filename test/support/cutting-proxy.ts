import { connect, createServer, type Socket } from 'node:net';
import type { ExecutionContext } from 'ava';

export type Direction = 'up' | 'down';

/** What shall happen to the next connection that has carried so many bytes one way. */
type Fault = { direction: Direction; afterBytes: number; how: 'cut' | 'hang'; met(): void };

/**
 * A TCP port before another one, which counts what passes and can break a connection or stop it in
 * the midst, once.
 */
export class CuttingProxy {
  readonly bytes: Record<Direction, number> = { up: 0, down: 0 };
  address = '';
  private fault: Fault | undefined;

  static async open(t: ExecutionContext, target: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy();
    const [host, port] = target.split(':');
    const open = new Set<Socket>();
    const server = createServer((client) => {
      const upstream = connect(Number(port), host);
      for (const socket of [client, upstream]) {
        open.add(socket);
        socket.on('close', () => open.delete(socket));
        // Who is cut off need not say goodbye.
        socket.on('error', () => {});
      }
      proxy.carry(client, upstream, 'up');
      proxy.carry(upstream, client, 'down');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      for (const socket of open) socket.destroy();
      server.close();
    });
    const bound = server.address() as { port: number };
    proxy.address = `127.0.0.1:${bound.port}`;
    return proxy;
  }

  /** Counts anew, and resolves when a connection has met the fault. */
  break(direction: Direction, afterBytes: number, how: Fault['how']): Promise<void> {
    this.count();
    return new Promise((met) => {
      this.fault = { direction, afterBytes, how, met };
    });
  }

  count(): void {
    this.bytes.up = 0;
    this.bytes.down = 0;
  }

  private carry(from: Socket, to: Socket, direction: Direction): void {
    let carried = 0;
    let isHung = false;
    from.on('data', (chunk: Buffer) => {
      // What it is sent is lost, and that it is closed is noticed.
      if (isHung) return;
      carried += chunk.length;
      this.bytes[direction] += chunk.length;
      const { fault } = this;
      if (fault?.direction === direction && carried > fault.afterBytes) {
        this.fault = undefined;
        fault.met();
        if (fault.how === 'hang') {
          isHung = true;
          return;
        }
        from.destroy();
        to.destroy();
        return;
      }
      if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.on('close', () => to.destroy());
  }
}
