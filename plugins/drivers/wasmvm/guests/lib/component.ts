// What both components do at boot, at freeze and at shutdown.
import { consoleLog, powerOff, random } from "./vm";
import { begin, flush, present } from "./data-disk";
import { tableBase, tableRecords } from "./memory-map";
import { frozen, setBootId, setFrozen } from "./state";
import { put, putHex, textStart } from "./text";

/** Memory is empty at boot; only the disks remember. */
export function start(role: string): void {
  setBootId(random());
  begin();
  let text = put(put(textStart, role), " booted ");
  text = putHex(text, load<u64>(0x10000, 16));
  consoleLog(textStart, <i32>(text - textStart));
}

/** Flushes and freezes the data disk; returns how many file systems are frozen by this call. */
export function freezeDisk(): i32 {
  if (!present() || frozen()) return 0;
  flush();
  setFrozen(true);
  return 1;
}

/** Thaws; returns how many file systems were thawed by this call. */
export function thawDisk(): i32 {
  if (!frozen()) return 0;
  setFrozen(false);
  return 1;
}

/** Ends cleanly. */
export function end(): void {
  flush();
  powerOff();
}

/** Keeps a number in the working set in memory. */
export function remember(number: u64, nonce: u64): void {
  const at = tableBase + <usize>(number % tableRecords) * 32;
  store<u64>(at, number);
  store<u64>(at, nonce, 8);
  store<u64>(at, number ^ nonce, 16);
  store<u64>(at, 0x6d6963726f6d616e, 24);
}
