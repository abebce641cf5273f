import {
  create,
  createFileRegistry,
  type Message,
  type MessageInitShape,
  setExtension,
  toBinary,
} from '@bufbuild/protobuf';
import type { GenMessage, GenService } from '@bufbuild/protobuf/codegenv2';
import {
  FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  type FileDescriptorSet,
  FileDescriptorSetSchema,
  file_google_protobuf_descriptor,
  FieldDescriptorProto_Label as Label,
  MethodOptionsSchema,
  ServiceOptionsSchema,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import {
  ExposedSchema,
  exposed,
  file_nfv_meta_v1_meta,
  method_exposed,
  RulesSchema,
  rules,
  secret,
} from '../../gen/nfv/meta/v1/meta_pb.js';
import { failedPrecondition, RpcError } from '../../sdk/errors.ts';
import { silentLogger } from '../../sdk/ports/logger.ts';
import {
  type HandlerContext,
  type Handlers,
  implement,
  type ServiceImplementation,
} from '../../sdk/server.ts';
import { CallMetadata } from '../../sdk/transport/metadata.ts';

/** A service for tests, made in code so that it is no part of the contract. */
export type EchoMessage = Message<'test.echo.v1.EchoMessage'> & {
  text: string;
  count: number;
  data: Uint8Array;
  names: string[];
  nested?: EchoMessage;
  password: string;
  labels: { [key: string]: string };
};

type EchoSchema = GenMessage<EchoMessage>;
type Kind<K> = { methodKind: K; input: EchoSchema; output: EchoSchema };
type EchoDesc = GenService<{
  say: Kind<'unary'>;
  fail: Kind<'unary'>;
  wait: Kind<'unary'>;
  whoAmI: Kind<'unary'>;
  restricted: Kind<'unary'>;
  count: Kind<'server_streaming'>;
  sum: Kind<'client_streaming'>;
  chat: Kind<'bidi_streaming'>;
}>;

function field(
  name: string,
  number: number,
  type: Type,
  extra: {
    label?: Label;
    typeName?: string;
    rules?: MessageInitShape<typeof RulesSchema>;
    secret?: boolean;
  } = {},
) {
  const options = create(FieldOptionsSchema);
  if (extra.rules) setExtension(options, rules, create(RulesSchema, extra.rules));
  if (extra.secret) setExtension(options, secret, true);
  return create(FieldDescriptorProtoSchema, {
    name,
    number,
    type,
    label: extra.label ?? Label.OPTIONAL,
    typeName: extra.typeName ?? '',
    options,
  });
}

/** Who may call the echo service, and at whose plugin. */
export type EchoExposure = { producer: string; consumers: string[] };

/** The file of the echo service, exposed as given. */
export function echoFile(
  exposures: EchoExposure[],
  typePackage = 'test.echo.v1',
): FileDescriptorProto {
  const toExposed = ({ producer, consumers }: EchoExposure, index: number) =>
    create(ExposedSchema, { referencePoint: `Test-${index + 1}`, producer, consumers });
  const serviceOptions = create(ServiceOptionsSchema);
  setExtension(serviceOptions, exposed, exposures.map(toExposed));
  const restricted = create(MethodOptionsSchema);
  setExtension(restricted, method_exposed, [
    create(ExposedSchema, {
      referencePoint: 'Test-Restricted',
      producer: exposures[0]?.producer ?? 'echo',
      consumers: ['boss'],
    }),
  ]);
  const type = `.${typePackage}.EchoMessage`;
  const method = (name: string, clientStreaming = false, serverStreaming = false) => ({
    name,
    inputType: type,
    outputType: type,
    clientStreaming,
    serverStreaming,
    ...(name === 'Restricted' ? { options: restricted } : {}),
  });
  return create(FileDescriptorProtoSchema, {
    name: `${typePackage.replaceAll('.', '/')}/echo.proto`,
    package: typePackage,
    syntax: 'proto3',
    dependency: ['nfv/meta/v1/meta.proto'],
    messageType: [
      {
        name: 'EchoMessage',
        field: [
          field('text', 1, Type.STRING, { rules: { maxBytes: 100, pattern: '[^!]*' } }),
          field('count', 2, Type.INT32, { rules: { min: -5n, max: 100_000n } }),
          field('data', 3, Type.BYTES, { rules: { maxBytes: 32 * 1024 * 1024 } }),
          field('names', 4, Type.STRING, { label: Label.REPEATED, rules: { maxItems: 3 } }),
          field('nested', 5, Type.MESSAGE, { typeName: type }),
          field('password', 6, Type.STRING, { secret: true }),
          field('labels', 7, Type.MESSAGE, {
            label: Label.REPEATED,
            typeName: `${type}.LabelsEntry`,
          }),
        ],
        nestedType: [
          {
            name: 'LabelsEntry',
            options: { mapEntry: true },
            field: [field('key', 1, Type.STRING), field('value', 2, Type.STRING)],
          },
        ],
      },
    ],
    service: [
      {
        name: 'EchoService',
        options: serviceOptions,
        method: [
          method('Say'),
          method('Fail'),
          method('Wait'),
          method('WhoAmI'),
          method('Restricted'),
          method('Count', false, true),
          method('Sum', true, false),
          method('Chat', true, true),
        ],
      },
    ],
  });
}

/** All that is needed to load the echo service elsewhere. */
export function echoDescriptorSet(exposures: EchoExposure[]): FileDescriptorSet {
  const file = [
    file_google_protobuf_descriptor.proto,
    file_nfv_meta_v1_meta.proto,
    echoFile(exposures),
  ];
  return create(FileDescriptorSetSchema, { file });
}

export function echoDescriptorBytes(exposures: EchoExposure[]): Uint8Array {
  return toBinary(FileDescriptorSetSchema, echoDescriptorSet(exposures));
}

/** The echo service as descriptors that client and server take. */
export function echoDesc(exposures: EchoExposure[] = [{ producer: 'echo', consumers: ['*'] }]): {
  service: EchoDesc;
  message: EchoSchema;
} {
  const registry = createFileRegistry(echoDescriptorSet(exposures));
  return {
    service: registry.getService('test.echo.v1.EchoService') as unknown as EchoDesc,
    message: registry.getMessage('test.echo.v1.EchoMessage') as unknown as EchoSchema,
  };
}

/** What the handlers saw, for tests to look at. */
export type EchoLog = {
  waiting: number;
  aborted: number;
  contexts: HandlerContext[];
  chatClosed: number;
};

export function newEchoLog(): EchoLog {
  return { waiting: 0, aborted: 0, contexts: [], chatClosed: 0 };
}

/** The echo service at work. `name` goes into the answers of WhoAmI. */
export function echoImplementation(
  service: EchoDesc,
  log: EchoLog = newEchoLog(),
  name = 'echo',
): ServiceImplementation {
  const handlers: Handlers<EchoDesc> = {
    async say(request, context) {
      log.contexts.push(context);
      return request;
    },
    async fail(request) {
      if (request.text === 'bug') throw new Error('the secret of the house');
      const error = failedPrecondition('ECHO_FAILED', `cannot: ${request.text}`, { why: 'test' });
      throw new RpcError(error.code, error.reason, error.message, { ...error.metadata });
    },
    async wait(_request, context) {
      log.waiting++;
      await new Promise<void>((resolve) => {
        context.signal.addEventListener('abort', () => resolve(), { once: true });
      });
      log.aborted++;
      throw context.signal.reason;
    },
    async whoAmI(_request, { caller, metadata, target }) {
      const hops = metadata['nfv-hops'] ?? '';
      return {
        text: name,
        names: [caller.role, caller.identity, hops],
        labels: { target, ...metadata },
      };
    },
    async restricted(request) {
      return request;
    },
    async *count(request) {
      for (let index = 0; index < request.count; index++)
        yield { count: index, data: request.data };
      if (request.text === 'fail') throw failedPrecondition('COUNT_FAILED', 'after the last one');
    },
    async sum(requests) {
      let count = 0;
      for await (const request of requests) count += request.count;
      return { count };
    },
    async *chat(requests) {
      try {
        for await (const request of requests) yield { text: request.text.toUpperCase() };
      } finally {
        log.chatClosed++;
      }
    },
  };
  return withMetadata(implement(service, handlers, { logger: silentLogger }));
}

/** Headers and trailers of the producer's own, which the typed handlers do not have. */
function withMetadata({ service, handle }: ServiceImplementation): ServiceImplementation {
  return {
    service,
    handle: async (call) => {
      call.sendHeaders(CallMetadata.of({ 'x-echo-head': 'first' }));
      const status = await handle(call);
      return { ...status, trailers: status.trailers.clone().set('x-echo-tail', 'last') };
    },
  };
}
