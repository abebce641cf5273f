import { DayOfWeek, type SnapshotWindow } from '../gen/nfv/vnfd/v1/vnfd_pb.js';

const minuteMs = 60_000;
/** A week, and the hour that a change of clocks may add. */
const minutesAheadMax = 8 * 24 * 60;

/** A moment by the clock on the wall of a time zone. */
type WallTime = { day: DayOfWeek; minute: number };

const days: Readonly<Record<string, DayOfWeek>> = {
  Mon: DayOfWeek.MONDAY,
  Tue: DayOfWeek.TUESDAY,
  Wed: DayOfWeek.WEDNESDAY,
  Thu: DayOfWeek.THURSDAY,
  Fri: DayOfWeek.FRIDAY,
  Sat: DayOfWeek.SATURDAY,
  Sun: DayOfWeek.SUNDAY,
};

/** Tells wall times of a zone. Throws RangeError for a zone that nobody knows. */
export function clockOf(timeZone: string): (at: Date) => WallTime {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: timeZone || 'UTC',
    ...{ weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  });
  return (at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const minute = Number(parts.get('hour')) * 60 + Number(parts.get('minute'));
    return { day: days[parts.get('weekday')!]!, minute };
  };
}

/** Vnfsd.004: whether a snapshot may be taken at a moment. Without windows it always may. */
export function isWithin(windows: readonly SnapshotWindow[], at: Date): boolean {
  return (
    windows.length === 0 || windows.some((window) => covers(window, clockOf(window.timeZone)(at)))
  );
}

/** The next moment, to the minute, at which a window is open; undefined when none ever is. */
export function nextOpening(windows: readonly SnapshotWindow[], after: Date): Date | undefined {
  const clocks = windows.map((window) => ({ window, clock: clockOf(window.timeZone) }));
  const first = Math.ceil(after.getTime() / minuteMs);
  for (let minute = first; minute <= first + minutesAheadMax; minute++) {
    const at = new Date(minute * minuteMs);
    if (clocks.some(({ window, clock }) => covers(window, clock(at)))) return at;
  }
  return undefined;
}

function covers({ days: begins, startTime, endTime }: SnapshotWindow, { day, minute }: WallTime) {
  const start = minutesOf(startTime);
  const end = minutesOf(endTime);
  const isDay = (wanted: DayOfWeek) => begins.length === 0 || begins.includes(wanted);
  if (start < end) return isDay(day) && minute >= start && minute < end;
  // Over midnight: it began on this day, or on the day before.
  return (isDay(day) && minute >= start) || (isDay(dayBefore(day)) && minute < end);
}

function dayBefore(day: DayOfWeek): DayOfWeek {
  return day === DayOfWeek.MONDAY ? DayOfWeek.SUNDAY : day - 1;
}

function minutesOf(time: string): number {
  const [hours, minutes] = time.split(':').map(Number);
  return hours! * 60 + minutes!;
}
