// The VNF channel: one JSON object a line. Requests are
// {"id":"…","op":"status|prepare|resume|wreck|crash","timeoutMs":n}.
import { channelRead, channelWrite, clockMs } from "./vm";
import { lineBytesMax, requestBase } from "./memory-map";
import { flush, wreck } from "./data-disk";
import { faultText } from "./fault";
import {
  bootId, counter, fault, frozen, lines, preparedUntil, setCounter, setPreparedUntil,
} from "./state";
import { findAfter, put, putBytes, putHex, putNumber, startsWith, textStart } from "./text";

const requestsPerTickMax: i32 = 4;
const idBytesMax: usize = 128;
const prepareMsDefault: i64 = 30000;
const prepareMsMax: i64 = 600000;
/** Far from every counter that the other component can have. */
const wreckNumber: u64 = 1000000;

/** Answers the requests that wait, and ends a preparation that nobody ended. */
export function serveChannel(role: string): void {
  if (preparedUntil() != 0 && clockMs() >= preparedUntil()) setPreparedUntil(0);
  for (let count = 0; count < requestsPerTickMax; count++) {
    const length = channelRead(requestBase, lineBytesMax);
    if (length < 0) return;
    answer(role, requestBase, requestBase + length);
  }
}

function answer(role: string, at: usize, end: usize): void {
  const operation = findAfter(at, end, "\"op\":\"");
  if (operation != 0 && startsWith(operation, end, "status\"")) return reply(role, at, end, false);
  if (operation != 0 && startsWith(operation, end, "prepare\"")) {
    prepare(at, end);
    return reply(role, at, end, true);
  }
  if (operation != 0 && startsWith(operation, end, "resume\"")) {
    setPreparedUntil(0);
    return reply(role, at, end, true);
  }
  if (operation != 0 && startsWith(operation, end, "wreck\"")) {
    wreck();
    // The gateway far ahead, the database at the start: no honest pair of components is ever there.
    setCounter(role == "gateway" ? wreckNumber : 0);
    return reply(role, at, end, true);
  }
  // Ends like a program with a fault.
  if (operation != 0 && startsWith(operation, end, "crash\"")) unreachable();
  let text = putId(put(textStart, "{"), at, end);
  text = put(text, "\"error\":\"unknown operation; known are status, prepare, resume, wreck, crash\"}");
  channelWrite(textStart, <i32>(text - textStart));
}

function prepare(at: usize, end: usize): void {
  let timeout: i64 = 0;
  let digit = findAfter(at, end, "\"timeoutMs\":");
  if (digit != 0) {
    while (digit < end && load<u8>(digit) == 32) digit++;
    for (; digit < end && timeout <= prepareMsMax; digit++) {
      const value = load<u8>(digit);
      if (value < 48 || value > 57) break;
      timeout = timeout * 10 + (value - 48);
    }
  }
  if (timeout < 1) timeout = prepareMsDefault;
  if (timeout > prepareMsMax) timeout = prepareMsMax;
  setPreparedUntil(clockMs() + timeout);
  // Frozen: everything was flushed before, and the disk may not be touched.
  if (!frozen()) flush();
}

/**
 * The id goes back as it came, escapes included; an id that is too long or not a string is left
 * out.
 */
function putId(text: usize, at: usize, end: usize): usize {
  const id = findAfter(at, end, "\"id\":\"");
  if (id == 0) return text;
  let stop = id;
  while (stop < end && load<u8>(stop) != 34) stop += load<u8>(stop) == 92 ? 2 : 1;
  if (stop >= end || stop - id > idBytesMax) return text;
  return put(putBytes(put(text, "\"id\":\""), id, <i32>(stop - id)), "\",");
}

function reply(role: string, at: usize, end: usize, ok: bool): void {
  let text = putId(put(textStart, "{"), at, end);
  if (ok) text = put(text, "\"ok\":true,");
  text = put(put(put(text, "\"role\":\""), role), "\",\"counter\":");
  text = put(putNumber(text, counter()), ",\"prepared\":");
  text = put(text, preparedUntil() != 0 ? "true" : "false");
  text = putNumber(put(text, ",\"lines\":"), lines());
  text = put(putHex(put(text, ",\"generation\":\""), bootId()), "\",\"frozen\":");
  text = put(text, frozen() ? "true" : "false");
  if (fault() != 0) text = put(put(put(text, ",\"fault\":\""), faultText(fault())), "\"");
  text = put(text, "}");
  channelWrite(textStart, <i32>(text - textStart));
}
