/** Segments marked for deletion; docs/storage-format.md section 7. */

import type { Backend } from './backend.ts';
import { objectDamaged } from './faults.ts';
import { parseFramed } from './framed-text.ts';
import { parseId } from './ids.ts';
import { framedTextBytesMax } from './limits.ts';
import { blockersName, markerName, quarantinePrefix, stems } from './object-names.ts';

/** `isDamage`: something in the segments is damaged, so they are never released. */
export type Marker = { run: string; segments: string[]; isDamage: boolean };

/** All markers. One that disappears while they are read was finished by its collection. */
export async function readMarkers(backend: Backend): Promise<Marker[]> {
  const markers: Marker[] = [];
  for (const run of stems(await backend.list(quarantinePrefix), quarantinePrefix, '.marker')) {
    const name = markerName(run);
    const bytes = await backend.readAll(name, framedTextBytesMax);
    if (bytes === undefined) continue;
    const body = parseFramed('marker', bytes, backend.path(name)) as {
      segments?: unknown;
      reason?: unknown;
    };
    const { segments, reason = 'garbage' } = body;
    if (reason !== 'garbage' && reason !== 'damage') {
      throw objectDamaged(backend.path(name), 0, 'has a reason that is neither garbage nor damage');
    }
    if (!Array.isArray(segments) || segments.some((id) => parseId(id) === undefined)) {
      throw objectDamaged(backend.path(name), 0, 'has no list of segment ids');
    }
    markers.push({ run, segments, isDamage: reason === 'damage' });
  }
  return markers;
}

/** The ids of all quarantined segments. */
export async function readQuarantined(backend: Backend): Promise<Set<string>> {
  return new Set((await readMarkers(backend)).flatMap((marker) => marker.segments));
}

/** The leases that a marker waits for; undefined when its run ended before it wrote them. */
export async function readBlockers(backend: Backend, run: string): Promise<string[] | undefined> {
  const name = blockersName(run);
  const bytes = await backend.readAll(name, framedTextBytesMax);
  if (bytes === undefined) return undefined;
  const { leases } = parseFramed('blockers', bytes, backend.path(name)) as { leases?: unknown };
  if (!Array.isArray(leases) || leases.some((id) => typeof id !== 'string')) {
    throw objectDamaged(backend.path(name), 0, 'has no list of lease ids');
  }
  return leases;
}
