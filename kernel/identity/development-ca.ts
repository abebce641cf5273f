// @peculiar/x509 asks for this polyfill before it is loaded itself.
import 'reflect-metadata';
import type { webcrypto, X509Certificate } from 'node:crypto';
import { chmod, mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import * as x509 from '@peculiar/x509';
import type { Clock } from '../../sdk/ports/clock.ts';
import type { TlsMaterial } from '../../sdk/transport/grpc-channel.ts';
import { callerUri } from '../../sdk/transport/peer-identity.ts';
import {
  type Credential,
  type CredentialFiles,
  isUsable,
  loadCredential,
  saveCredential,
} from './certificate-files.ts';

const dayMs = 24 * 60 * 60 * 1000;
const caDays = 3650;
const leafDays = 365;
/** A certificate that ends sooner is made again at the next start. */
const renewalMs = 30 * dayMs;
/** Clocks of clients may be this much behind. */
const clockSkewMs = 5 * 60 * 1000;

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export type DevelopmentCaOptions = {
  /** Where keys and certificates are kept, for example "<data>/pki". */
  folder: string;
  /** The roles that get a client certificate. */
  roles: readonly string[];
  /** Names and addresses of the server besides localhost, 127.0.0.1 and this host's name. */
  hosts?: readonly string[];
  clock: Clock;
};

/** The credentials of a development site. */
export type DevelopmentCa = {
  folder: string;
  /** For a listener. */
  server: TlsMaterial;
  /** For a client in this process. */
  client(role: string): Promise<TlsMaterial>;
  /** For a client elsewhere: the paths of its CA, certificate and key. */
  clientFiles(role: string): CredentialFiles & { ca: string };
  /** What was made anew by this call, for a line to the user. */
  issued: readonly string[];
};

/**
 * Opens the certificate authority of a development site: makes what is missing, broken or about to
 * end. The CA's key lies beside the rest, so this is for development; an operator brings
 * certificates of their own.
 */
export async function openDevelopmentCa(options: DevelopmentCaOptions): Promise<DevelopmentCa> {
  const folder = resolve(options.folder);
  await mkdir(join(folder, 'clients'), { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const issued: string[] = [];
  const authority = await openAuthority(folder, options.clock.now(), issued);
  const hosts = new Set(['localhost', '127.0.0.1', hostname(), ...(options.hosts ?? [])]);
  const server = await openLeaf({
    files: filesIn(folder, 'server'),
    authority,
    now: options.clock.now(),
    subject: 'micromano server',
    names: [...hosts].filter((host) => host !== '').map(hostName),
    usage: x509.ExtendedKeyUsage.serverAuth,
    issued,
  });
  for (const role of options.roles) {
    await openLeaf({
      files: filesIn(folder, join('clients', role)),
      authority,
      now: options.clock.now(),
      subject: `micromano ${role}`,
      names: [{ type: 'url', value: callerUri({ role, identity: role }) }],
      usage: x509.ExtendedKeyUsage.clientAuth,
      issued,
    });
  }
  return development(folder, authority, server, issued);
}

function development(
  folder: string,
  authority: Credential,
  server: Credential,
  issued: readonly string[],
): DevelopmentCa {
  const files = (role: string) => filesIn(folder, join('clients', role));
  return {
    folder,
    issued,
    server: { ca: authority.certificate, ...server },
    clientFiles: (role) => ({ ca: filesIn(folder, 'ca').certificate, ...files(role) }),
    client: async (role) => {
      const client = await loadCredential(files(role));
      if (!client)
        throw new Error(`there is no client certificate for the role ${role} in ${folder}`);
      return { ca: authority.certificate, ...client };
    },
  };
}

function filesIn(folder: string, name: string): CredentialFiles {
  return { certificate: join(folder, `${name}.pem`), key: join(folder, `${name}-key.pem`) };
}

function hostName(host: string): x509.JsonGeneralName {
  return isIP(host) ? { type: 'ip', value: host } : { type: 'dns', value: host };
}

/** Node prints addresses in its own spelling, so it is asked instead of compared. */
function carries(certificate: X509Certificate, { type, value }: x509.JsonGeneralName): boolean {
  if (type === 'ip') return certificate.checkIP(value) !== undefined;
  if (type === 'dns') return certificate.checkHost(value) !== undefined;
  return certificate.subjectAltName?.split(', ').includes(`URI:${value}`) ?? false;
}

async function openAuthority(folder: string, now: Date, issued: string[]): Promise<Credential> {
  const files = filesIn(folder, 'ca');
  const known = await loadCredential(files);
  const leftMs = renewalMs + leafDays * dayMs;
  if (known && isUsable(known, { now, leftMs, issuer: known.certificate, names: () => true }))
    return known;
  const keys = await newKeys();
  const subject = `CN=micromano development CA ${now.toISOString()}`;
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: subject,
    ...validity(now, caDays),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const credential = { certificate: certificate.toString('pem'), key: await exportKey(keys) };
  await saveCredential(files, credential);
  issued.push(files.certificate);
  return credential;
}

type LeafOptions = {
  files: CredentialFiles;
  authority: Credential;
  now: Date;
  subject: string;
  names: x509.JsonGeneralName[];
  usage: x509.ExtendedKeyUsage;
  issued: string[];
};

async function openLeaf(options: LeafOptions): Promise<Credential> {
  const { files, authority, now, names } = options;
  const known = await loadCredential(files);
  const expected = {
    now,
    leftMs: renewalMs,
    issuer: authority.certificate,
    names: (certificate: X509Certificate) => names.every((name) => carries(certificate, name)),
  };
  if (known && isUsable(known, expected)) return known;
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(authority.certificate);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${options.subject}`,
    issuer: issuer.subjectName,
    ...validity(now, leafDays),
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([options.usage]),
      new x509.SubjectAlternativeNameExtension(names),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  const credential = { certificate: certificate.toString('pem'), key: await exportKey(keys) };
  await saveCredential(files, credential);
  options.issued.push(files.certificate);
  return credential;
}

function validity(now: Date, days: number): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(now.getTime() - clockSkewMs),
    notAfter: new Date(now.getTime() + days * dayMs),
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ]) as Promise<webcrypto.CryptoKeyPair>;
}

async function exportKey(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const bytes = await crypto.subtle.exportKey('pkcs8', keys.privateKey);
  return x509.PemConverter.encode(bytes, 'PRIVATE KEY');
}

function importKey(pem: string): Promise<CryptoKey> {
  const [bytes] = x509.PemConverter.decode(pem);
  return crypto.subtle.importKey('pkcs8', bytes as ArrayBuffer, algorithm, false, ['sign']);
}
