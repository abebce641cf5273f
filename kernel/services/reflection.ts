import { type DescFile, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import {
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponseSchema,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { Code } from '../../sdk/errors.ts';
import { implement, type ServiceImplementation } from '../../sdk/server.ts';
import type { Descriptors } from '../descriptors.ts';
import type { RouteTable } from '../routing/route-table.ts';

/** The path of the service in the package v1. */
export const reflectionPath = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
/** The older package has the same messages, and older tools know nothing else. */
export const reflectionAlphaPath = '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo';

type Answer = MessageInitShape<typeof ServerReflectionResponseSchema>['messageResponse'];

/** Server reflection, from the descriptors of everything that is served. */
export function reflectionService(
  routes: RouteTable,
  descriptors: Descriptors,
): ServiceImplementation {
  return implement(ServerReflection, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield {
          validHost: request.host,
          originalRequest: request,
          messageResponse: answer(request, routes, descriptors),
        };
      }
    },
  });
}

function answer(
  { messageRequest: question }: ServerReflectionRequest,
  routes: RouteTable,
  descriptors: Descriptors,
): Answer {
  switch (question.case) {
    case 'listServices': {
      const service = [...routes.services().keys()].sort().map((name) => ({ name }));
      return { case: 'listServicesResponse', value: { service } };
    }
    case 'fileByFilename':
      return files(descriptors.files.get(question.value), `file ${question.value}`);
    case 'fileContainingSymbol':
      return files(fileOfSymbol(descriptors, question.value), `symbol ${question.value}`);
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = question.value;
      const found = extensions(descriptors, containingType).find(
        (extension) => extension.number === extensionNumber,
      );
      return files(found?.file, `extension ${extensionNumber} of ${containingType}`);
    }
    case 'allExtensionNumbersOfType': {
      const extensionNumber = extensions(descriptors, question.value).map(({ number }) => number);
      const value = { baseTypeName: question.value, extensionNumber };
      return { case: 'allExtensionNumbersResponse', value };
    }
    default:
      return failure(Code.INVALID_ARGUMENT, 'the request asks nothing that is known');
  }
}

function failure(errorCode: Code, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode, errorMessage } };
}

/** The file and everything it imports; what is imported comes first. */
function files(file: DescFile | undefined, what: string): Answer {
  if (!file) return failure(Code.NOT_FOUND, `there is no ${what}`);
  const closure = new Map<string, DescFile>();
  const add = (each: DescFile) => {
    if (closure.has(each.name)) return;
    for (const dependency of each.dependencies) add(dependency);
    closure.set(each.name, each);
  };
  add(file);
  const fileDescriptorProto = [...closure.values()].map((each) =>
    toBinary(FileDescriptorProtoSchema, each.proto),
  );
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function fileOfSymbol(descriptors: Descriptors, symbol: string): DescFile | undefined {
  for (const file of descriptors.files.values()) {
    if (symbolsOf(file).has(symbol)) return file;
  }
  return undefined;
}

function symbolsOf(file: DescFile): Set<string> {
  const symbols = new Set<string>();
  for (const type of nestedTypes(file)) {
    symbols.add(type.typeName);
    if (type.kind === 'message') {
      for (const member of type.members) symbols.add(`${type.typeName}.${member.name}`);
    }
    if (type.kind === 'service') {
      for (const method of type.methods) symbols.add(`${type.typeName}.${method.name}`);
    }
  }
  return symbols;
}

function extensions(descriptors: Descriptors, containingType: string) {
  return [...descriptors.files.values()]
    .flatMap((file) => [...nestedTypes(file)])
    .filter((type) => type.kind === 'extension')
    .filter((extension) => extension.extendee.typeName === containingType);
}
