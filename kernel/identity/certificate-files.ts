import { createPrivateKey, X509Certificate } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A certificate and its private key, as PEM texts. */
export type Credential = { certificate: string; key: string };

/** Where a credential is kept. */
export type CredentialFiles = { certificate: string; key: string };

/** Reads a credential; undefined when a file is missing. */
export async function loadCredential(files: CredentialFiles): Promise<Credential | undefined> {
  try {
    const [certificate, key] = await Promise.all([
      readFile(files.certificate, 'utf8'),
      readFile(files.key, 'utf8'),
    ]);
    return { certificate, key };
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

/**
 * Writes a credential, readable by its owner only: the key first, so that a certificate on disk
 * always has its key, unless the process died in between; then the pair does not match, and it is
 * made again.
 */
export async function saveCredential(
  files: CredentialFiles,
  credential: Credential,
): Promise<void> {
  await replaceFile(files.key, credential.key);
  await replaceFile(files.certificate, credential.certificate);
}

/** Replaces a file in one step, durably. */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`;
  // What a process that died here left behind may have other permissions.
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** What makes a credential usable. */
export type Expectation = {
  now: Date;
  /** It has to hold for at least this long. */
  leftMs: number;
  /** The certificate that issued it. */
  issuer: string;
  /** Whether it names whom it should name. */
  names: (certificate: X509Certificate) => boolean;
};

/**
 * True when the credential's parts belong together, come from the issuer, carry the names and do
 * not expire soon.
 */
export function isUsable(credential: Credential, expected: Expectation): boolean {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(credential.certificate);
    const issuer = new X509Certificate(expected.issuer);
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) return false;
    if (!certificate.checkPrivateKey(createPrivateKey(credential.key))) return false;
  } catch {
    // A file that was cut or changed by hand does not parse: it is made again, as a missing one is.
    return false;
  }
  const leftMs = Date.parse(certificate.validTo) - expected.now.getTime();
  return leftMs >= expected.leftMs && expected.names(certificate);
}
