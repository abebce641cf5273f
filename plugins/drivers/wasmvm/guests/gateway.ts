// The session gateway: hands out the numbers 1, 2, 3, … held in memory, logs each to its data disk,
// sends each to the database and resends it until it is acknowledged. Number n+1 is issued only
// after n was acknowledged.
import { clockMs, random } from "./lib/vm";
import { serveChannel } from "./lib/channel";
import { end, freezeDisk, remember, start, thawDisk } from "./lib/component";
import { append } from "./lib/data-disk";
import { faultFuture } from "./lib/fault";
import {
  kindAcknowledgement, kindNumber, receive, receivedCounter, receivedNumber, send,
} from "./lib/frames";
import {
  acknowledged, counter, forgetPeer, nonce, sentAt, setAcknowledged, setCounter, setFault,
  setNonce, setSentAt, standing,
} from "./lib/state";

/** A number that is not acknowledged in this time is sent again. */
const resendMs: i64 = 50;

export function boot(): void { start("gateway"); }

export function tick(): void {
  serveChannel("gateway");
  while (receive(kindAcknowledgement)) takeAcknowledgement();
  if (standing()) return;
  if (acknowledged() == counter()) issue();
  else if (clockMs() - sentAt() >= resendMs) {
    // The peer may have another address now, for example after a revert to another machine: ask
    // everybody.
    forgetPeer();
    sendCurrent();
  }
}

function takeAcknowledgement(): void {
  if (receivedNumber() > counter() || receivedCounter() > counter()) setFault(faultFuture);
  if (receivedNumber() == counter()) setAcknowledged(counter());
}

function issue(): void {
  setCounter(counter() + 1);
  setNonce(random());
  remember(counter(), nonce());
  append(counter(), nonce());
  sendCurrent();
}

function sendCurrent(): void {
  setSentAt(clockMs());
  send(kindNumber, counter(), nonce(), acknowledged());
}

export function freeze(): i32 { return freezeDisk(); }
export function thaw(): i32 { return thawDisk(); }
export function shutdown(): void { end(); }
