// The subscriber database: records number n only if it is the next one, in memory and on its data
// disk, and acknowledges it; acknowledges again what it already has.
import { serveChannel } from "./lib/channel";
import { end, freezeDisk, remember, start, thawDisk } from "./lib/component";
import { append } from "./lib/data-disk";
import { faultGap, faultPast, faultTwice } from "./lib/fault";
import {
  kindAcknowledgement, kindNumber, receive, receivedNonce, receivedNumber, send,
} from "./lib/frames";
import { counter, nonce, setCounter, setFault, setNonce, standing } from "./lib/state";

export function boot(): void { start("database"); }

export function tick(): void {
  serveChannel("database");
  // Standing, it leaves what arrives in the queue of the interface: the gateway sends one number at
  // a time.
  if (standing()) return;
  while (receive(kindNumber)) takeNumber();
}

function takeNumber(): void {
  const number = receivedNumber();
  if (number == counter() + 1) {
    setCounter(number);
    setNonce(receivedNonce());
    remember(number, nonce());
    append(number, nonce());
  } else if (number > counter()) return setFault(faultGap);
  else if (number < counter()) setFault(faultPast);
  else if (nonce() != receivedNonce()) setFault(faultTwice);
  send(kindAcknowledgement, number, receivedNonce(), counter());
}

export function freeze(): i32 { return freezeDisk(); }
export function thaw(): i32 { return thawDisk(); }
export function shutdown(): void { end(); }
