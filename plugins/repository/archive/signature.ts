import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import { invalidArgument, permissionDenied } from '../../../sdk/errors.ts';
import { archiveDamaged } from './faults.ts';

/** Who signs: PEM texts. The key is PKCS #8, RSA (2048 bits or more) or EC P-256, P-384. */
export type Signer = { certificate: string; privateKey: string };

export type TrustOptions = {
  /** PEM certificates of the authorities whose signers are believed. */
  authorities?: string[];
  /** An archive without a signature of a believed signer is PERMISSION_DENIED. */
  required?: boolean;
};

export type SignatureCheck = {
  signed: boolean;
  /** The signer's name; without `trusted` anybody could have written it. */
  signer?: string;
  trusted: boolean;
};

const signedDataType = '1.2.840.113549.1.7.2';
const dataType = '1.2.840.113549.1.7.1';
const contentTypeAttribute = '1.2.840.113549.1.9.3';
const messageDigestAttribute = '1.2.840.113549.1.9.4';
const signingTimeAttribute = '1.2.840.113549.1.9.5';
const lineLength = 64;

// Its types ask for more than its calls do.
const engine = new pkijs.CryptoEngine({
  name: 'node',
  crypto: globalThis.crypto,
}) as unknown as pkijs.ICryptoEngine;

function pemBlocks(pem: string, label: string): Uint8Array<ArrayBuffer>[] {
  const pattern = new RegExp(
    `-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`,
    'g',
  );
  return [...pem.matchAll(pattern)].map(
    (match) => new Uint8Array(Buffer.from(match[1]!, 'base64')),
  );
}

function parseCertificates(pem: string, whose: string): pkijs.Certificate[] {
  try {
    const found = pemBlocks(pem, 'CERTIFICATE').map((der) => pkijs.Certificate.fromBER(der));
    if (found.length > 0) return found;
  } catch {
    // Falls through: one message for what is no PEM and what is no certificate.
  }
  throw invalidArgument('SIGNER_INVALID', `the ${whose} is not a PEM certificate`, { whose });
}

async function importKey(pem: string, certificate: pkijs.Certificate): Promise<CryptoKey> {
  const der = pemBlocks(pem, 'PRIVATE KEY')[0];
  const key = certificate.subjectPublicKeyInfo.toJSON() as { kty?: string; crv?: string };
  const algorithm =
    key.kty === 'EC'
      ? { name: 'ECDSA', namedCurve: key.crv ?? 'P-256' }
      : { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  try {
    if (der === undefined) throw new Error('no PKCS #8 block');
    return await globalThis.crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
  } catch (error) {
    const message = `the private key cannot be used: ${(error as Error).message}`;
    throw invalidArgument('SIGNER_INVALID', message, { whose: 'private key' });
  }
}

/**
 * A detached CMS signature in PEM armour, its last line ended. `openssl cms -verify` accepts it.
 */
export async function signManifest(
  content: Uint8Array,
  signer: Signer,
  signedAt: Date,
): Promise<string> {
  const certificates = parseCertificates(signer.certificate, "signer's certificate");
  const certificate = certificates[0]!;
  const key = await importKey(signer.privateKey, certificate);
  const digest = await globalThis.crypto.subtle.digest('SHA-256', Uint8Array.from(content));
  const attribute = (type: string, value: asn1js.BaseBlock) =>
    new pkijs.Attribute({ type, values: [value] });
  const signerInfo = new pkijs.SignerInfo({
    version: 1,
    sid: new pkijs.IssuerAndSerialNumber({
      issuer: certificate.issuer,
      serialNumber: certificate.serialNumber,
    }),
    signedAttrs: new pkijs.SignedAndUnsignedAttributes({
      type: 0,
      attributes: [
        attribute(contentTypeAttribute, new asn1js.ObjectIdentifier({ value: dataType })),
        attribute(signingTimeAttribute, new asn1js.UTCTime({ valueDate: signedAt })),
        attribute(messageDigestAttribute, new asn1js.OctetString({ valueHex: digest })),
      ],
    }),
  });
  const signed = new pkijs.SignedData({
    version: 1,
    encapContentInfo: new pkijs.EncapsulatedContentInfo({ eContentType: dataType }),
    signerInfos: [signerInfo],
    certificates,
  });
  await signed.sign(key, 0, 'SHA-256', undefined, engine);
  const info = new pkijs.ContentInfo({
    contentType: signedDataType,
    content: signed.toSchema(true),
  });
  return armour(Buffer.from(info.toSchema().toBER()));
}

function armour(der: Buffer): string {
  const lines = der.toString('base64').match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? [];
  return `-----BEGIN CMS-----\n${lines.join('\n')}\n-----END CMS-----\n`;
}

/**
 * Checks a detached signature. A signature that does not fit is DATA_LOSS `ARCHIVE_DAMAGED`, one
 * that is missing or of an unknown signer only PERMISSION_DENIED if the caller asked for a believed
 * one.
 */
export async function checkSignature(
  content: Uint8Array,
  cms: Uint8Array | undefined,
  file: string,
  trust: TrustOptions = {},
): Promise<SignatureCheck> {
  if (cms === undefined) {
    if (trust.required !== true) return { signed: false, trusted: false };
    throw permissionDenied('ARCHIVE_UNSIGNED', 'the archive is not signed', { file });
  }
  const signed = parseSignedData(cms, file);
  const data = Uint8Array.from(content).buffer;
  if (!(await verifies(signed, data, []))) {
    throw archiveDamaged('signature', file, 'the signature does not fit the manifest');
  }
  const authorities = (trust.authorities ?? []).flatMap((pem) =>
    parseCertificates(pem, "authority's certificate"),
  );
  const trusted = authorities.length > 0 && (await verifies(signed, data, authorities));
  const signer = signerName(signed);
  if (!trusted && trust.required === true) {
    const message = `the signer ${signer} of the archive is not believed`;
    throw permissionDenied('ARCHIVE_SIGNER_UNKNOWN', message, { file, signer });
  }
  return { signed: true, signer, trusted };
}

function parseSignedData(cms: Uint8Array, file: string): pkijs.SignedData {
  try {
    const info = pkijs.ContentInfo.fromBER(Uint8Array.from(cms));
    if (info.contentType !== signedDataType) throw new Error('it holds no signed data');
    const signed = new pkijs.SignedData({ schema: info.content });
    if (signed.signerInfos.length !== 1) throw new Error('it has not exactly one signer');
    return signed;
  } catch (error) {
    const what = `the signature cannot be read: ${(error as Error).message}`;
    throw archiveDamaged('signature', file, what);
  }
}

/**
 * With authorities also the chain from the signer to one of them. pkijs throws where it could say
 * no.
 */
async function verifies(
  signed: pkijs.SignedData,
  data: ArrayBuffer,
  authorities: pkijs.Certificate[],
): Promise<boolean> {
  const checkChain = authorities.length > 0;
  try {
    return await signed.verify({ signer: 0, data, checkChain, trustedCerts: authorities }, engine);
  } catch {
    return false;
  }
}

function signerName(signed: pkijs.SignedData): string {
  const sid = signed.signerInfos[0]!.sid as pkijs.IssuerAndSerialNumber;
  const serial = sid.serialNumber;
  const certificates = (signed.certificates ?? []).filter(
    (each): each is pkijs.Certificate => each instanceof pkijs.Certificate,
  );
  const own = certificates.find((each) => serial && each.serialNumber.isEqual(serial));
  const names = (own ?? certificates[0])?.subject.typesAndValues ?? [];
  return names
    .map(({ value }) => String(value.valueBlock.value))
    .join(', ')
    .slice(0, 256);
}
