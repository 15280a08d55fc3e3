import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  der,
  ia5String,
  objectIdentifier,
  oid,
  printableString,
  sequence,
  setOf,
  tag,
  utf8String,
} from '../../../codec/index.ts';
import { nameEncoding } from './name-encoding.ts';

const one = sequence(objectIdentifier(oid.commonName), utf8String('a'));
const two = sequence(objectIdentifier(oid.commonName), utf8String('b'));
const attribute = (type: string, value: Uint8Array): CertificateParts => ({
  subject: sequence(setOf([sequence(objectIdentifier(type), value)])),
});

testCertificateRule(nameEncoding, {
  keeps: [
    ['PrintableString', attribute(oid.commonName, printableString('a'))],
    ['a domain component', attribute(oid.domainComponent, ia5String('test'))],
    ['two attributes in their order', { subject: sequence(setOf([one, two])) }],
    ['an empty subject', { subject: sequence() }],
  ],
  breaks: [
    ['T61String', attribute(oid.commonName, der(tag.t61String, Buffer.from('a')))],
    ['BMPString', attribute(oid.commonName, der(tag.bmpString, Buffer.from([0, 0x61])))],
    ['UniversalString', attribute(oid.commonName, der(tag.universalString, Buffer.from([0, 0, 0, 0x61])))],
    ['IA5String where a DirectoryString belongs', attribute(oid.commonName, ia5String('a'))],
    ['a domain component in UTF-8', attribute(oid.domainComponent, utf8String('test'))],
    ['a mail address in UTF-8', attribute(oid.emailAddress, utf8String('a@b.test'))],
    ['a country in UTF-8', attribute(oid.countryName, utf8String('CH'))],
    ['a PrintableString with @', attribute(oid.commonName, printableString('a@b'))],
    ['two attributes out of order', { subject: sequence(der(tag.set, two, one)) }],
    ['one attribute twice', { subject: sequence(der(tag.set, one, one)) }],
  ],
});
