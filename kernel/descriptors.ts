import {
  createFileRegistry,
  type DescFile,
  type DescService,
  type FileRegistry,
  fromBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { failedPrecondition } from '../sdk/errors.ts';
import { filesOf } from '../sdk/services.ts';

/**
 * The descriptors that the kernel knows: its own, those of plugins in this process, and those that
 * plugins outside brought. The first to describe a service decides who may call it: a plugin cannot
 * open up what is known already.
 */
export class Descriptors {
  readonly #services = new Map<string, DescService>();
  readonly #files = new Map<string, DescFile>();

  constructor(known?: FileRegistry) {
    for (const file of known?.files ?? []) for (const service of file.services) this.add(service);
  }

  /** Learns a service unless it is known; returns the one that counts. */
  add(service: DescService): DescService {
    const known = this.#services.get(service.typeName);
    if (known) return known;
    this.#services.set(service.typeName, service);
    for (const file of filesOf([service])) {
      if (!this.#files.has(file.name)) this.#files.set(file.name, file);
    }
    return service;
  }

  get files(): ReadonlyMap<string, DescFile> {
    return this.#files;
  }

  get services(): ReadonlyMap<string, DescService> {
    return this.#services;
  }

  /**
   * The services of a plugin outside, from what is known and from the descriptor set it brought.
   *
   * @throws RpcError FAILED_PRECONDITION HANDSHAKE_INVALID (the set does not parse) or
   * DESCRIPTOR_MISSING.
   */
  adopt(
    instanceId: string,
    names: readonly string[],
    descriptorSet: Uint8Array,
  ): Map<string, DescService> {
    const brought = parseSet(instanceId, descriptorSet);
    const adopted = new Map<string, DescService>();
    for (const name of names) {
      const service = this.#services.get(name) ?? brought.getService(name);
      if (!service) {
        const text =
          `the plugin ${instanceId} serves ${name}, but neither it nor the kernel ` +
          'describes that service';
        throw failedPrecondition('DESCRIPTOR_MISSING', text, {
          instance_id: instanceId,
          service: name,
        });
      }
      adopted.set(name, this.add(service));
    }
    return adopted;
  }
}

function parseSet(instanceId: string, bytes: Uint8Array): FileRegistry {
  try {
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  } catch (thrown) {
    const problem = (thrown as Error).message;
    const text = `the descriptor set of the plugin ${instanceId} cannot be read: ${problem}`;
    throw failedPrecondition('HANDSHAKE_INVALID', text, { instance_id: instanceId });
  }
}
