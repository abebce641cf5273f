import {
  type DescFile,
  type DescMethod,
  type DescService,
  getOption,
  hasOption,
} from '@bufbuild/protobuf';
import { type Exposed, exposed, method_exposed } from '../gen/nfv/meta/v1/meta_pb.js';

/** The path of a method in HTTP/2 terms: "/package.Service/Method". */
export function methodPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Splits "/package.Service/Method"; undefined when it is not of that form. */
export function parseMethodPath(path: string): { service: string; method: string } | undefined {
  const match = /^\/([^/]+)\/([^/]+)$/.exec(path);
  return match ? { service: match[1] as string, method: match[2] as string } : undefined;
}

/** Where a method may be called: its own exposure when it has one, else that of its service. */
export function exposuresOf(method: DescMethod): readonly Exposed[] {
  const own = hasOption(method, method_exposed) ? getOption(method, method_exposed) : [];
  return own.length > 0 ? own : serviceExposures(method.parent);
}

function serviceExposures(service: DescService): readonly Exposed[] {
  return hasOption(service, exposed) ? getOption(service, exposed) : [];
}

/** The files of some services and everything they import; what is imported comes first. */
export function filesOf(services: readonly DescService[]): DescFile[] {
  const files = new Map<string, DescFile>();
  const add = (file: DescFile) => {
    if (files.has(file.name)) return;
    for (const dependency of file.dependencies) add(dependency);
    files.set(file.name, file);
  };
  for (const service of services) add(service.file);
  return [...files.values()];
}
