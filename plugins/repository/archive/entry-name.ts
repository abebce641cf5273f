import { archiveInvalid } from './faults.ts';
import { entryNameMaxBytes } from './limits.ts';

/** Why this may not be the name of a file in an archive, or undefined. `/` separates folders. */
export function nameProblem(name: string): string | undefined {
  if (name.length === 0) return 'it is empty';
  if (Buffer.byteLength(name) > entryNameMaxBytes) return `more than ${entryNameMaxBytes} bytes`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are searched for
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) return 'it has control characters';
  if (name.includes('\\')) return 'it has a backslash';
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) return 'it is absolute';
  const parts = name.split('/');
  if (parts.some((part) => part === '..')) return 'it leaves its folder';
  if (parts.some((part) => part === '' || part === '.')) return 'it has an empty part';
  if (parts.some((part) => part.trim() !== part)) return 'a part begins or ends with a blank';
  return undefined;
}

/**
 * The name of an entry as text. Without the UTF-8 flag only ASCII is read: other sets are
 * guesswork.
 */
export function decodeName(bytes: Uint8Array, isUtf8: boolean): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw archiveInvalid('unsafe-name', '', 'a name is not valid UTF-8');
  }
  if (!isUtf8 && /[^\p{ASCII}]/u.test(name)) {
    throw archiveInvalid('unsafe-name', '', 'a name is neither ASCII nor marked as UTF-8');
  }
  return name;
}

/**
 * The place of an image in the archive. Injective: what is no plain character is percent-encoded.
 */
export function imagePath(imageName: string, extension: string): string {
  const safe = encodeURIComponent(imageName).replace(/[!'()*~]/g, percent);
  return `images/${safe}.${extension}`;
}

const percent = (character: string) =>
  `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
