// Text without allocation: it is written to a fixed place in memory. Literals are ASCII.
import { textBase } from "./memory-map";

/** Appends the characters of a literal; returns the new end. */
export function put(end: usize, literal: string): usize {
  const length = literal.length;
  for (let index = 0; index < length; index++) {
    store<u8>(end + index, <u8>literal.charCodeAt(index));
  }
  return end + length;
}

/** Appends bytes; returns the new end. */
export function putBytes(end: usize, source: usize, length: i32): usize {
  memory.copy(end, source, length);
  return end + length;
}

/** Appends a decimal number; returns the new end. */
export function putNumber(end: usize, value: u64): usize {
  let digits = 1;
  for (let rest = value / 10; rest != 0; rest /= 10) digits++;
  let at = end + digits;
  for (let rest = value; at > end; rest /= 10) store<u8>(--at, 48 + <u8>(rest % 10));
  return end + digits;
}

/** Appends 16 hexadecimal digits; returns the new end. */
export function putHex(end: usize, value: u64): usize {
  for (let shift = 60; shift >= 0; shift -= 4) {
    const digit = <u8>((value >> shift) & 15);
    store<u8>(end++, digit < 10 ? 48 + digit : 87 + digit);
  }
  return end;
}

/** True when the bytes at `at` begin with the literal and end no earlier. */
export function startsWith(at: usize, end: usize, literal: string): bool {
  const length = literal.length;
  if (at + length > end) return false;
  for (let index = 0; index < length; index++) {
    if (load<u8>(at + index) != <u8>literal.charCodeAt(index)) return false;
  }
  return true;
}

/** Where the text after the literal begins; 0 when it does not occur. */
export function findAfter(at: usize, end: usize, literal: string): usize {
  for (; at < end; at++) if (startsWith(at, end, literal)) return at + literal.length;
  return 0;
}

export const textStart: usize = textBase;
