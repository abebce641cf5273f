/** Who calls: a role, and a name within it. */
export type Caller = { role: string; identity: string };

/**
 * How a certificate names its holder: urn:micromano:ROLE:NAME in a URI subject alternative name.
 */
const namePattern = /^URI:urn:micromano:([a-z][a-z0-9-]{0,62}):([A-Za-z0-9._-]{1,128})$/;

/** The URI that stands in a certificate for a caller. */
export function callerUri(caller: Caller): string {
  return `urn:micromano:${caller.role}:${caller.identity}`;
}

/**
 * The caller named by a verified certificate, or undefined when it names none, or several.
 * Node prints names as "DNS:a, URI:b" and puts those with unusual characters in quotes, so a forged
 * separator inside a name cannot match.
 */
export function callerOfCertificate(subjectAltName: string | undefined): Caller | undefined {
  if (!subjectAltName) return undefined;
  const matches = subjectAltName
    .split(', ')
    .map((name) => namePattern.exec(name))
    .filter((match) => match !== null);
  const [match] = matches;
  if (!match || matches.length > 1) return undefined;
  return { role: match[1] as string, identity: match[2] as string };
}
