import type { EngineOptions } from '../../../sdk/operations/engine.ts';
import type { Vnfm } from '../vnfm.ts';
import { createPackage } from './create-package.ts';
import { createVnfSnapshot } from './create-vnf-snapshot.ts';
import { deletePackage } from './delete-package.ts';
import { deleteVnfSnapshot } from './delete-vnf-snapshot.ts';
import { exportPackage } from './export-package.ts';
import { extractPackage } from './extract-package.ts';
import { healVnf } from './heal-vnf.ts';
import { importPackage } from './import-package.ts';
import { inIndirectMode } from './indirect-mode.ts';
import { instantiateVnf } from './instantiate-vnf.ts';
import { operateVnf } from './operate-vnf.ts';
import { revertToVnfSnapshot } from './revert-to-vnf-snapshot.ts';
import { terminateVnf } from './terminate-vnf.ts';

/** All procedures of the VNFM. */
export function procedures(vnfm: Vnfm): EngineOptions['definitions'] {
  const all: EngineOptions['definitions'] = [
    instantiateVnf(vnfm),
    operateVnf(vnfm),
    terminateVnf(vnfm),
    healVnf(vnfm),
    createVnfSnapshot(vnfm),
    revertToVnfSnapshot(vnfm),
    deleteVnfSnapshot(vnfm),
    createPackage(vnfm),
    extractPackage(vnfm),
    exportPackage(vnfm),
    importPackage(vnfm),
    deletePackage(vnfm),
  ];
  return vnfm.config.resourceManagement === 'direct' ? all : all.map(inIndirectMode);
}
