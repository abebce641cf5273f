// The data disk (the last one attached): a header, two halves for the current and the previous log,
// and an area that changes all the time. After a power cut the header may be torn: then both logs
// count as empty.
//   0        header: magic u64, boot id u64, half u32
//   64 KiB   2 MiB of records written once, when the disk is first used
//   then     half 0 and half 1 of the log, 16 bytes a line: number u64, nonce u64; when it is full
//            the oldest line is overwritten
//   the last 256 KiB: a working area, one page rewritten every 8 lines
import { diskCount, diskFlush, diskRead, diskSize, diskWrite, random } from "./vm";
import { blockBase } from "./memory-map";
import { faultDisk } from "./fault";
import { bootId, lines, logHalf, setFault, setLines, setLogHalf } from "./state";

const magic: u64 = 0x31474f4c454d414e; // "NAMELOG1"
const headerBytes: u64 = 65536;
const recordsBytes: u64 = 2097152;
const workBytes: u64 = 262144;
const lineBytes: u64 = 16;
const pageBytes: u64 = 4096;
/** A smaller disk is not used. */
const sizeBytesMin: i64 = 4194304;

function disk(): i32 { return diskCount() - 1; }

/** There is a data disk that is large enough. */
export function present(): bool { return diskCount() > 0 && diskSize(disk()) >= sizeBytesMin; }

function check(result: i32): void { if (result != 0) setFault(faultDisk); }

function halfBytes(): u64 {
  const rest = <u64>diskSize(disk()) - headerBytes - recordsBytes - workBytes;
  return (rest / 2) & ~(pageBytes - 1);
}

/** Begins an empty log; the one before stays on the disk as the old one. */
export function begin(): void {
  setLines(0);
  if (!present()) return;
  check(diskRead(disk(), 0, blockBase, 20));
  const used = load<u64>(blockBase) == magic;
  const half: u32 = used ? 1 - (load<u32>(blockBase, 16) & 1) : 0;
  if (!used) writeRecords();
  setLogHalf(half);
  store<u64>(blockBase, magic);
  store<u64>(blockBase, bootId(), 8);
  store<u32>(blockBase, half, 16);
  check(diskWrite(disk(), 0, blockBase, 20));
  flush();
}

/** The same bytes on every disk: what a disk is mostly made of. */
function writeRecords(): void {
  let seed: u64 = 88172645463325252;
  for (let offset: u64 = 0; offset < recordsBytes; offset += 65536) {
    for (let at: usize = 0; at < 65536; at += 8) {
      seed ^= seed << 13;
      seed ^= seed >> 7;
      seed ^= seed << 17;
      // Every second word repeats, so that the disk compresses like real ones.
      store<u64>(blockBase + at, at & 8 ? seed : 0x2020202020202020);
    }
    check(diskWrite(disk(), <i64>(headerBytes + offset), blockBase, 65536));
  }
}

/** Writes one line. */
export function append(number: u64, nonce: u64): void {
  const count = lines() + 1;
  setLines(count);
  if (!present()) return;
  const capacity = halfBytes() / lineBytes;
  const slot = (count - 1) % capacity;
  const base = headerBytes + recordsBytes + halfBytes() * logHalf();
  store<u64>(blockBase, number);
  store<u64>(blockBase, nonce, 8);
  check(diskWrite(disk(), <i64>(base + slot * lineBytes), blockBase, <i32>lineBytes));
  if ((count & 7) == 0) rewriteWorkPage(count >> 3);
}

function rewriteWorkPage(index: u64): void {
  for (let at: usize = 0; at < <usize>pageBytes; at += 8) store<u64>(blockBase + at, random());
  const base = <u64>diskSize(disk()) - workBytes;
  const page = index % (workBytes / pageBytes);
  check(diskWrite(disk(), <i64>(base + page * pageBytes), blockBase, <i32>pageBytes));
}

/** Makes what was written durable. */
export function flush(): void { if (present()) check(diskFlush(disk())); }

/** Overwrites both logs with garbage. */
export function wreck(): void {
  if (!present()) return;
  const start = headerBytes + recordsBytes;
  for (let at: usize = 0; at < 65536; at += 8) store<u64>(blockBase + at, random());
  const end = start + halfBytes() * 2;
  for (let offset = start; offset + 65536 <= end; offset += 65536) {
    check(diskWrite(disk(), <i64>offset, blockBase, 65536));
  }
  flush();
}
