#include "common/tls_chain.h"

#include "certs/mint.h"
#include "common/clock.h"
#include "common/tls_trust.h"
#include "common/tls_upper.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BIT(reason) SP_REASON_BIT(SP_REASON_##reason)
#define HOUR        INT64_C(3600)
#define DAY         (24 * HOUR)
#define YEAR        (365 * DAY)

/* One certificate of a scene; what is not said has the default of its role: a CA for 'r' and 'm',
 * a leaf with EKU clientAuth for 'l'; P-256; valid from a year ago for two years. */
struct part {
    const char *dn;
    enum certs_key key;
    unsigned eku;        /* 0: the role's default; NO_EKU: none */
    int64_t begin, end;  /* relative to now, 0: the default */
    bool sha1, no_ca;    /* no_ca: a CA's place, but not a CA */
    int path_len_plus_1; /* 0: none */
    const char *permitted_dns;
    const char *const *dns, *const *ips, *const *uris;
};
#define NO_EKU 0x8000U

/* A root, up to two CAs below it (upper, mid) and a leaf. Which of them are sent and which trusted
 * is a string of letters: l leaf, m mid, u upper, r root; x, y the leaf and root of a stranger,
 * s: another root with the very name of r. */
struct scene {
    const char *what;
    struct part root, upper, mid, leaf;
    bool with_upper, no_mid;
    const char *sent, *trusted; /* NULL: "lm" and "r" */
    enum sp_purpose purpose;
    bool require_eku;
    unsigned max_chain, min_key_bits;
    const char *name;
    int64_t later; /* query->now, relative to now */
    char damaged;  /* one letter: a byte of its signature is flipped */
    sp_reason_set observed;
    const char *detail; /* must be in it */
};

static const char *const dns_a[] = {"a.example.net", NULL};
static const char *const dns_wild[] = {"*.c1.example", NULL};
static const char *const dns_upper[] = {"A.Example.NET", NULL};
static const char *const dns_partial[] = {"w*.c1.example", "*", "*.example", NULL};
static const char *const dns_two[] = {"x.example.net", "b.example.net", NULL};
static const char *const ip_four[] = {"192.0.2.7", NULL};
static const char *const ip_six[] = {"2001:db8::7", NULL};
static const char *const dns_ip_text[] = {"192.0.2.7", NULL};
static const char *const ip_long[] = {"c000:207::1", NULL};
static const char *const dns_bytes[] = {"ABCD", NULL};
static const char *const uri_a[] = {"spiffe://a.example.net/x", NULL};

/* A table is read by rows. */
/* clang-format off */
static const struct scene scenes[] = {
    /* what must pass */
    {.what = "a plain chain"},
    {.what = "with require_eku", .require_eku = true},
    {.what = "Ed25519 throughout", .root.key = CERTS_ED25519, .mid.key = CERTS_ED25519,
     .leaf.key = CERTS_ED25519},
    {.what = "P-384 above P-256", .root.key = CERTS_P384, .mid.key = CERTS_P384},
    {.what = "RSA-2048 throughout", .root.key = CERTS_RSA2048, .mid.key = CERTS_RSA2048,
     .leaf.key = CERTS_RSA2048},
    {.what = "the root is sent too", .sent = "lmr"},
    {.what = "the issuers in the wrong order", .sent = "lrm"},
    {.what = "three levels, sorted", .with_upper = true, .sent = "lmu"},
    {.what = "three levels, unsorted", .with_upper = true, .sent = "lrum"},
    {.what = "a stranger's certificate between", .sent = "lxm"},
    {.what = "a stranger's chain behind", .sent = "lmxy"},
    {.what = "every certificate twice", .sent = "llmmrr"},
    {.what = "issued by the root itself", .no_mid = true, .sent = "l"},
    {.what = "only the intermediate is trusted", .trusted = "m"},
    {.what = "only the intermediate is trusted, and not sent", .sent = "l", .trusted = "m"},
    {.what = "root and intermediate are trusted", .sent = "lmr", .trusted = "rm"},
    {.what = "many CAs are trusted", .trusted = "yr"},
    {.what = "two CAs of one name, ours second", .trusted = "sr"},
    {.what = "two CAs of one name, ours first", .trusted = "rs"},
    {.what = "any extended key usage", .leaf.eku = CERTS_EKU_ANY, .require_eku = true},
    {.what = "client and server usage", .leaf.eku = CERTS_EKU_CLIENT | CERTS_EKU_SERVER},
    {.what = "no extended key usage, not required", .leaf.eku = NO_EKU},
    {.what = "a CA limited to the purpose", .mid.eku = CERTS_EKU_CLIENT},
    {.what = "path length that is just enough", .mid.path_len_plus_1 = 1},
    {.what = "path lengths 1 and 0", .with_upper = true,
     .sent = "lmu", .upper.path_len_plus_1 = 2, .mid.path_len_plus_1 = 1},
    {.what = "name constraints that fit", .mid.permitted_dns = "example.net", .leaf.dns = dns_a},
    {.what = "name constraints and a leaf without DNS names", .mid.permitted_dns = "example.net"},
    {.what = "name constraints of the root that fit, with an intermediate",
     .root.permitted_dns = "example.net", .leaf.dns = dns_a},
    {.what = "name constraints of all, narrower downwards", .root.permitted_dns = "net",
     .mid.permitted_dns = "example.net", .leaf.dns = dns_a},
    {.what = "valid to the very second", .leaf.end = DAY, .later = DAY},
    {.what = "valid from the very second", .leaf.begin = DAY, .later = DAY},
    /* names */
    {.what = "server by name", .purpose = SP_PURPOSE_SERVER, .name = "a.example.net",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_a},
    {.what = "the second of two names", .purpose = SP_PURPOSE_SERVER, .name = "b.example.net",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_two},
    {.what = "upper case in the certificate", .purpose = SP_PURPOSE_SERVER, .name = "a.example.net",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_upper},
    {.what = "a wildcard for one label", .purpose = SP_PURPOSE_SERVER, .name = "w.c1.example",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_wild},
    {.what = "an IPv4 address", .purpose = SP_PURPOSE_SERVER, .name = "192.0.2.7",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.ips = ip_four},
    {.what = "an IPv6 address in another spelling", .purpose = SP_PURPOSE_SERVER,
     .name = "2001:DB8:0:0::7", .leaf.eku = CERTS_EKU_SERVER, .leaf.ips = ip_six},
    {.what = "another name", .purpose = SP_PURPOSE_SERVER, .name = "b.example.net",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_a, .observed = BIT(NAME_MISMATCH),
     .detail = "the certificate is for 'a.example.net', 'b.example.net' is wanted"},
    {.what = "the name only as common name", .purpose = SP_PURPOSE_SERVER, .name = "a.example.net",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dn = "CN=a.example.net", .observed = BIT(NAME_MISMATCH),
     .detail = "a common name does not count"},
    {.what = "a wildcard and two labels", .purpose = SP_PURPOSE_SERVER, .name = "v.w.c1.example",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_wild, .observed = BIT(NAME_MISMATCH),
     .detail = "*.c1.example"},
    {.what = "a wildcard and no label", .purpose = SP_PURPOSE_SERVER, .name = "c1.example",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_wild, .observed = BIT(NAME_MISMATCH)},
    {.what = "a wildcard within a label", .purpose = SP_PURPOSE_SERVER, .name = "ww.c1.example",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_partial, .observed = BIT(NAME_MISMATCH)},
    {.what = "a wildcard for a whole top domain", .purpose = SP_PURPOSE_SERVER,
     .name = "c1.example", .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_partial,
     .observed = BIT(NAME_MISMATCH)},
    {.what = "an address as a DNS name", .purpose = SP_PURPOSE_SERVER, .name = "192.0.2.7",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_ip_text, .observed = BIT(NAME_MISMATCH)},
    {.what = "another address", .purpose = SP_PURPOSE_SERVER, .name = "192.0.2.8",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.ips = ip_four, .observed = BIT(NAME_MISMATCH),
     .detail = "'192.0.2.7'"},
    {.what = "an IPv6 address that begins like it", .purpose = SP_PURPOSE_SERVER,
     .name = "192.0.2.7", .leaf.eku = CERTS_EKU_SERVER, .leaf.ips = ip_long,
     .observed = BIT(NAME_MISMATCH)},
    {.what = "a DNS name with the bytes of it", .purpose = SP_PURPOSE_SERVER, .name = "65.66.67.68",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_bytes, .observed = BIT(NAME_MISMATCH)},
    {.what = "a URI is no server name", .purpose = SP_PURPOSE_SERVER, .name = "a.example.net",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.uris = uri_a, .observed = BIT(NAME_MISMATCH)},
    {.what = "an empty name fits nothing", .purpose = SP_PURPOSE_SERVER, .name = "",
     .leaf.eku = CERTS_EKU_SERVER, .leaf.dns = dns_a, .observed = BIT(NAME_MISMATCH)},
    /* trust */
    {.what = "another tenant's client", .sent = "x", .trusted = "r",
     .observed = BIT(UNTRUSTED_ISSUER),
     .detail = "issuer 'CN=Globex Root CA,O=Globex' is not a trusted CA of this tenant"},
    {.what = "another tenant's client with its root", .sent = "xy", .trusted = "r",
     .observed = BIT(UNTRUSTED_ISSUER), .detail = "'CN=Globex Root CA,O=Globex' (self-signed)"},
    {.what = "a server of an unknown CA", .purpose = SP_PURPOSE_SERVER, .sent = "lm",
     .trusted = "y", .leaf.eku = CERTS_EKU_SERVER, .observed = BIT(UNTRUSTED_ISSUER),
     .detail = "issuer 'CN=Acme Root CA,O=Acme' is not a trusted CA"},
    {.what = "a self-signed root as the leaf", .sent = "r", .trusted = "y",
     .observed = BIT(UNTRUSTED_ISSUER) | BIT(WRONG_PURPOSE),
     .detail = "the certificate is self-signed: 'CN=Acme Root CA,O=Acme' is not a trusted CA"},
    {.what = "a self-signed Ed25519 root as the leaf", .sent = "r", .trusted = "y",
     .root.key = CERTS_ED25519, .observed = BIT(UNTRUSTED_ISSUER) | BIT(WRONG_PURPOSE),
     .detail = "self-signed"},
    {.what = "a self-signed RSA root as the leaf", .sent = "r", .trusted = "y",
     .root.key = CERTS_RSA2048, .observed = BIT(UNTRUSTED_ISSUER) | BIT(WRONG_PURPOSE),
     .detail = "self-signed"},
    {.what = "the name of a trusted CA, another key", .no_mid = true, .sent = "l", .trusted = "s",
     .observed = BIT(UNTRUSTED_ISSUER), .detail = "has the name of a trusted CA"},
    {.what = "the same with its root sent", .no_mid = true, .sent = "lr", .trusted = "s",
     .observed = BIT(UNTRUSTED_ISSUER), .detail = "has the name of a trusted CA"},
    {.what = "the same above an intermediate", .sent = "lm", .trusted = "s",
     .observed = BIT(UNTRUSTED_ISSUER), .detail = "another key"},
    {.what = "the intermediate is missing", .sent = "l", .observed = BIT(MISSING_INTERMEDIATE),
     .detail = "'CN=Acme Issuing CA,O=Acme' is missing"},
    {.what = "the upper of two is missing", .with_upper = true, .sent = "lm",
     .observed = BIT(MISSING_INTERMEDIATE), .detail = "'CN=Acme Policy CA,O=Acme' is missing"},
    {.what = "the lower of two is missing", .with_upper = true, .sent = "lu",
     .observed = BIT(MISSING_INTERMEDIATE), .detail = "'CN=Acme Issuing CA,O=Acme' is missing"},
    {.what = "missing, kin by a word of the common name", .sent = "l",
     .mid.dn = "CN=Acme Clients G2", .observed = BIT(MISSING_INTERMEDIATE),
     .detail = "'CN=Acme Clients G2'"},
    {.what = "missing, kin by the organisation", .sent = "l", .mid.dn = "CN=Zeta,O=ACME",
     .observed = BIT(MISSING_INTERMEDIATE), .detail = "'CN=Zeta,O=ACME'"},
    {.what = "no kin: a generation is no name", .sent = "l", .root.dn = "CN=Acme Root R2026",
     .mid.dn = "CN=Initech R2026", .observed = BIT(UNTRUSTED_ISSUER)},
    {.what = "no kin: nothing in common but short words", .sent = "l", .root.dn = "CN=A of us",
     .mid.dn = "CN=B of us", .observed = BIT(UNTRUSTED_ISSUER)},
    {.what = "no kin: only common words are shared", .sent = "l",
     .mid.dn = "CN=Initech Root Issuing CA G1", .observed = BIT(UNTRUSTED_ISSUER),
     .detail = "'CN=Initech Root Issuing CA G1'"},
    {.what = "a stranger's issuing CA is missing, by its own name", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Initech Issuing CA", .observed = BIT(MISSING_INTERMEDIATE),
     .detail = "'CN=Initech Issuing CA', which by its name is no root, is missing"},
    {.what = "the same: intermediate", .sent = "l", .trusted = "y",
     .mid.dn = "CN=INTERMEDIATE 3", .observed = BIT(MISSING_INTERMEDIATE)},
    {.what = "the same: issuer", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Initech issuer", .observed = BIT(MISSING_INTERMEDIATE)},
    {.what = "the same: sub", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Initech Sub-CA", .observed = BIT(MISSING_INTERMEDIATE)},
    {.what = "the same: subordinate", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Subordinate Authority", .observed = BIT(MISSING_INTERMEDIATE)},
    {.what = "the same: level 2", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Initech Level 2", .observed = BIT(MISSING_INTERMEDIATE)},
    {.what = "level 1 may be a root", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Initech Level 1", .observed = BIT(UNTRUSTED_ISSUER)},
    {.what = "a word that only begins like one", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Subterranean Issuance", .observed = BIT(UNTRUSTED_ISSUER)},
    {.what = "an organisation's name says nothing", .sent = "l", .trusted = "y",
     .mid.dn = "CN=Initech,O=Issuing House", .observed = BIT(UNTRUSTED_ISSUER)},
    {.what = "missing while only a stranger's chain is there", .sent = "lxy",
     .observed = BIT(MISSING_INTERMEDIATE)},
    /* time */
    {.what = "expired three days ago", .leaf.end = -3 * DAY - HOUR, .observed = BIT(EXPIRED),
     .detail = "expired 3 days ago (20"},
    {.what = "one second late", .leaf.end = DAY, .later = DAY + 1, .observed = BIT(EXPIRED)},
    {.what = "one second early", .leaf.begin = DAY, .later = DAY - 1,
     .observed = BIT(NOT_YET_VALID)},
    {.what = "not valid for two hours", .leaf.begin = 2 * HOUR + 60, .observed = BIT(NOT_YET_VALID),
     .detail = "(in 2 hours)"},
    {.what = "the intermediate expired", .mid.end = -DAY - HOUR, .observed = BIT(EXPIRED),
     .detail = "'CN=Acme Issuing CA,O=Acme' expired 1 day ago"},
    {.what = "the trusted root expired", .root.end = -DAY - HOUR, .observed = BIT(EXPIRED),
     .detail = "'CN=Acme Root CA,O=Acme' expired"},
    {.what = "the trusted root is not valid yet", .root.begin = DAY, .observed = BIT(NOT_YET_VALID),
     .detail = "'CN=Acme Root CA,O=Acme' not valid before"},
    {.what = "leaf early, intermediate late", .leaf.begin = DAY, .mid.end = -DAY,
     .observed = BIT(EXPIRED) | BIT(NOT_YET_VALID), .detail = "expired"},
    {.what = "the clock is years ahead", .later = 10 * YEAR, .observed = BIT(EXPIRED),
     .detail = "every certificate of the chain has expired: is the clock"},
    {.what = "the clock is years behind", .later = -10 * YEAR, .observed = BIT(NOT_YET_VALID),
     .detail = "no certificate of the chain is valid yet: is the clock"},
    /* purpose */
    {.what = "a server's certificate as a client's", .leaf.eku = CERTS_EKU_SERVER,
     .observed = BIT(WRONG_PURPOSE),
     .detail = "extended key usage is serverAuth, clientAuth is wanted"},
    {.what = "a client's certificate as a server's", .purpose = SP_PURPOSE_SERVER,
     .observed = BIT(WRONG_PURPOSE),
     .detail = "extended key usage is clientAuth, serverAuth is wanted"},
    {.what = "OCSP signing is no client", .leaf.eku = CERTS_EKU_OCSP_SIGNING,
     .observed = BIT(WRONG_PURPOSE), .detail = "OCSPSigning"},
    {.what = "no extended key usage, required", .leaf.eku = NO_EKU, .require_eku = true,
     .observed = BIT(WRONG_PURPOSE), .detail = "there is no extended key usage"},
    {.what = "the intermediate is for servers only", .mid.eku = CERTS_EKU_SERVER,
     .observed = BIT(WRONG_PURPOSE),
     .detail = "of the CA 'CN=Acme Issuing CA,O=Acme' is serverAuth, clientAuth is wanted"},
    {.what = "the intermediate is for clients only", .purpose = SP_PURPOSE_SERVER,
     .leaf.eku = CERTS_EKU_SERVER, .mid.eku = CERTS_EKU_CLIENT, .observed = BIT(WRONG_PURPOSE),
     .detail = "of the CA 'CN=Acme Issuing CA,O=Acme' is clientAuth, serverAuth is wanted"},
    {.what = "a CA certificate as a client's", .sent = "mr", .observed = BIT(WRONG_PURPOSE),
     .detail = "digitalSignature"},
    /* strength */
    {.what = "RSA-2048 where 2048 are the least", .leaf.key = CERTS_RSA2048, .min_key_bits = 2048},
    {.what = "RSA-2048 where 2049 are the least", .leaf.key = CERTS_RSA2048, .min_key_bits = 2049,
     .observed = BIT(WEAK_ALGORITHM), .detail = "its RSA key has 2048 bits, 2049 are the least"},
    {.what = "an RSA-2048 root where 4096 are the least", .root.key = CERTS_RSA2048,
     .min_key_bits = 4096, .observed = BIT(WEAK_ALGORITHM),
     .detail = "'CN=Acme Root CA,O=Acme' is weak: its RSA key has 2048 bits, 4096 are the least"},
    {.what = "P-256 where RSA needs 8192", .min_key_bits = 8192},
    {.what = "as many certificates as are allowed", .max_chain = 2},
    {.what = "one more than is allowed", .max_chain = 1, .observed = BIT(CHAIN_TOO_LARGE),
     .detail = "2 certificates were presented, 1 are the most"},
    {.what = "one more than is allowed, and all else that is wrong", .max_chain = 1,
     .leaf.eku = CERTS_EKU_SERVER, .leaf.end = -DAY, .trusted = "y",
     .observed = BIT(CHAIN_TOO_LARGE) | BIT(WRONG_PURPOSE) | BIT(EXPIRED) |
                 BIT(UNTRUSTED_ISSUER),
     .detail = "2 certificates were presented"},
    {.what = "an RSA-1024 leaf", .leaf.key = CERTS_RSA1024, .observed = BIT(WEAK_ALGORITHM),
     .detail = "its RSA key has 1024 bits, 2048 are the least"},
    {.what = "an RSA-1024 intermediate", .mid.key = CERTS_RSA1024, .observed = BIT(WEAK_ALGORITHM),
     .detail = "'CN=Acme Issuing CA,O=Acme' is weak: its RSA key has 1024 bits"},
    {.what = "an RSA-1024 root", .root.key = CERTS_RSA1024, .observed = BIT(WEAK_ALGORITHM)},
    {.what = "a leaf signed with SHA-1", .leaf.sha1 = true, .observed = BIT(WEAK_ALGORITHM),
     .detail = "SHA1"},
    {.what = "an intermediate signed with SHA-1", .mid.sha1 = true, .observed = BIT(WEAK_ALGORITHM),
     .detail = "'CN=Acme Issuing CA,O=Acme' is weak"},
    {.what = "a trusted root's own SHA-1 signature does not matter", .root.sha1 = true},
    /* signatures */
    {.what = "the leaf's signature is damaged", .damaged = 'l', .observed = BIT(BAD_SIGNATURE),
     .detail = "the signature on 'CN=alice,O=Acme' does not fit"},
    {.what = "the intermediate's signature is damaged", .damaged = 'm',
     .observed = BIT(BAD_SIGNATURE), .detail = "the signature on 'CN=Acme Issuing CA,O=Acme'"},
    {.what = "damaged, issued by the root", .no_mid = true, .sent = "l", .damaged = 'l',
     .observed = BIT(BAD_SIGNATURE)},
    {.what = "a damaged RSA signature", .mid.key = CERTS_RSA2048, .damaged = 'l',
     .observed = BIT(BAD_SIGNATURE)},
    {.what = "a damaged Ed25519 signature", .mid.key = CERTS_ED25519, .damaged = 'l',
     .observed = BIT(BAD_SIGNATURE)},
    {.what = "the sent root is damaged, which nobody relies on", .sent = "lmr", .damaged = 'r'},
    /* constraints */
    {.what = "a leaf as a CA", .mid.no_ca = true, .observed = BIT(CONSTRAINT_VIOLATION),
     .detail = "issued by 'CN=Acme Issuing CA,O=Acme', which is not a CA"},
    {.what = "the root's path length is exceeded", .root.path_len_plus_1 = 1,
     .observed = BIT(CONSTRAINT_VIOLATION),
     .detail = "allows a path of 0 CAs below it, here are 1"},
    {.what = "an intermediate's path length is exceeded", .with_upper = true,
     .sent = "lmu", .upper.path_len_plus_1 = 1, .observed = BIT(CONSTRAINT_VIOLATION),
     .detail = "'CN=Acme Policy CA,O=Acme' allows"},
    {.what = "a name outside the constraints", .mid.permitted_dns = "example.org",
     .leaf.dns = dns_a, .observed = BIT(CONSTRAINT_VIOLATION), .detail = "name constraints"},
    {.what = "a name outside the root's constraints", .root.permitted_dns = "example.org",
     .leaf.dns = dns_a, .observed = BIT(CONSTRAINT_VIOLATION),
     .detail = "a name in 'CN=alice,O=Acme'"},
    {.what = "a name outside the constraints of a root that issued it itself", .no_mid = true,
     .sent = "l", .root.permitted_dns = "example.org", .leaf.dns = dns_a,
     .observed = BIT(CONSTRAINT_VIOLATION), .detail = "a name in 'CN=alice,O=Acme'"},
    {.what = "constraints of two CAs that have nothing in common",
     .root.permitted_dns = "example.net", .mid.permitted_dns = "example.org", .leaf.dns = dns_a,
     .observed = BIT(CONSTRAINT_VIOLATION)},
    {.what = "constraints that fit do not hide what is weak, nor add to it",
     .root.permitted_dns = "example.net", .leaf.dns = dns_a, .leaf.key = CERTS_RSA1024,
     .observed = BIT(WEAK_ALGORITHM)},
    /* several at once: all of them, and the weightiest is told */
    {.what = "expired and untrusted", .trusted = "y", .leaf.end = -DAY,
     .observed = BIT(EXPIRED) | BIT(UNTRUSTED_ISSUER), .detail = "is not a trusted CA"},
    {.what = "expired and wrong purpose", .leaf.end = -DAY, .leaf.eku = CERTS_EKU_SERVER,
     .observed = BIT(EXPIRED) | BIT(WRONG_PURPOSE), .detail = "expired"},
    {.what = "expired, weak and damaged", .leaf.end = -DAY, .leaf.key = CERTS_RSA1024,
     .damaged = 'l', .observed = BIT(EXPIRED) | BIT(WEAK_ALGORITHM) | BIT(BAD_SIGNATURE),
     .detail = "the signature on"},
    {.what = "weak and not a CA above", .leaf.sha1 = true, .mid.no_ca = true,
     .observed = BIT(WEAK_ALGORITHM) | BIT(CONSTRAINT_VIOLATION), .detail = "not a CA"},
    {.what = "not a CA above and damaged", .damaged = 'l', .mid.no_ca = true,
     .observed = BIT(BAD_SIGNATURE) | BIT(CONSTRAINT_VIOLATION)},
    {.what = "SHA-1 and damaged", .damaged = 'l', .leaf.sha1 = true,
     .observed = BIT(BAD_SIGNATURE) | BIT(WEAK_ALGORITHM)},
    {.what = "two damaged and path too long", .damaged = 'm', .root.path_len_plus_1 = 1,
     .observed = BIT(BAD_SIGNATURE) | BIT(CONSTRAINT_VIOLATION)},
    {.what = "damaged and outside the constraints", .damaged = 'l', .leaf.dns = dns_a,
     .mid.permitted_dns = "example.org",
     .observed = BIT(BAD_SIGNATURE) | BIT(CONSTRAINT_VIOLATION)},
    {.what = "missing intermediate, expired, no EKU, wrong name", .purpose = SP_PURPOSE_SERVER,
     .require_eku = true, .name = "a.example.net", .sent = "l", .leaf.eku = NO_EKU,
     .leaf.end = -DAY,
     .observed = BIT(MISSING_INTERMEDIATE) | BIT(EXPIRED) | BIT(WRONG_PURPOSE) | BIT(NAME_MISMATCH)},
    {.what = "untrusted, damaged and not a CA", .trusted = "y", .damaged = 'l', .mid.no_ca = true,
     .observed = BIT(UNTRUSTED_ISSUER) | BIT(BAD_SIGNATURE) | BIT(CONSTRAINT_VIOLATION)},
    {.what = "not yet valid, weak, wrong purpose, wrong name", .purpose = SP_PURPOSE_SERVER,
     .name = "a.example.net", .leaf.sha1 = true, .leaf.begin = DAY,
     .observed = BIT(NOT_YET_VALID) | BIT(WEAK_ALGORITHM) | BIT(WRONG_PURPOSE) | BIT(NAME_MISMATCH)},
    /* no tenant: trust and signatures are not judged, the rest is */
    {.what = "no trust, nothing wrong", .trusted = "-"},
    {.what = "no trust, expired and wrong purpose", .trusted = "-", .leaf.end = -DAY,
     .leaf.eku = CERTS_EKU_SERVER, .observed = BIT(EXPIRED) | BIT(WRONG_PURPOSE)},
};
/* clang-format on */
#define SCENES (sizeof scenes / sizeof scenes[0])

/* What a scene is made of, and a folder for its trust files. */
struct stage {
    int64_t now;
    struct certs_pair *root, *upper, *mid, *leaf, *stranger, *stranger_root, *same_name;
    uint8_t *copies[SP_CHAIN_MAX_CERTS + 1];
    struct sp_chain chain;
    struct sp_tls_trust *trust;
};

static int64_t time_of(const struct stage *st, int64_t relative, int64_t standard)
{
    return st->now + (relative ? relative : standard);
}

static struct certs_pair *mint(const struct stage *st, const struct part *part, bool ca,
                               const char *dn, const struct certs_pair *issuer)
{
    struct certs_spec spec = {
        .dn = part->dn ? part->dn : dn,
        .dns = part->dns,
        .ips = part->ips,
        .uris = part->uris,
        .key = part->key,
        .eku = part->eku ? part->eku & ~NO_EKU : (ca ? 0 : CERTS_EKU_CLIENT),
        .ca = ca && !part->no_ca,
        .path_len = part->path_len_plus_1 - 1,
        .not_before = time_of(st, part->begin, -YEAR),
        .not_after = time_of(st, part->end, YEAR),
        .sha1 = part->sha1,
        .permitted_dns = part->permitted_dns,
    };
    struct certs_pair *pair = NULL;
    struct sp_error err = {0};

    if (spec.not_after < spec.not_before)
        spec.not_before = spec.not_after - DAY;
    ck_assert_msg(certs_mint(&spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static const struct certs_pair *pair_of(const struct stage *st, char letter)
{
    switch (letter) {
    case 'l':
        return st->leaf;
    case 'm':
        return st->mid;
    case 'u':
        return st->upper;
    case 'r':
        return st->root;
    case 'x':
        return st->stranger;
    case 'y':
        return st->stranger_root;
    case 's':
        return st->same_name;
    default:
        break;
    }
    ck_abort_msg("no certificate '%c'", letter);
    return NULL;
}

static void send(struct stage *st, const char *letters, char damaged)
{
    st->chain.count = 0;
    for (; *letters; letters++) {
        size_t i = st->chain.count++;
        size_t len;
        const uint8_t *der = certs_pair_der(pair_of(st, *letters), &len);

        st->copies[i] = malloc(len); /* of exact size: the sanitizer sees any step beyond */
        memcpy(st->copies[i], der, len);
        if (*letters == damaged)
            st->copies[i][len - 1] ^= 1;
        st->chain.certs[i] = (struct sp_bytes){st->copies[i], len};
    }
}

static void trust_pem(struct sp_tls_trust **ret_trust, const char *const *pems, size_t count)
{
    char path[] = "/tmp/sp-chain-XXXXXX";
    const char *paths[] = {path};
    int fd = mkstemp(path);
    struct sp_error err = {0};

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(write(fd, pems[i], strlen(pems[i])), (ssize_t)strlen(pems[i]));
    close(fd);
    ck_assert_msg(sp_tls_trust_load(paths, 1, false, ret_trust, &err) == SP_OK, "%s", err.text);
    unlink(path);
}

static void trust(struct stage *st, const char *letters)
{
    char *pems[8] = {NULL};
    size_t count = 0;

    if (*letters == '-')
        return;
    for (; *letters; letters++)
        pems[count++] = certs_pair_certificate_pem(pair_of(st, *letters));
    trust_pem(&st->trust, (const char *const *)pems, count);
    while (count)
        free(pems[--count]);
}

static void stage_build(struct stage *st, const struct scene *scene)
{
    static const struct part plain;
    const struct certs_pair *above;

    *st = (struct stage){.now = sp_clock_wall_s()};
    st->root = mint(st, &scene->root, true, "CN=Acme Root CA,O=Acme", NULL);
    st->same_name = mint(st, &plain, true, "CN=Acme Root CA,O=Acme", NULL);
    st->stranger_root = mint(st, &plain, true, "CN=Globex Root CA,O=Globex", NULL);
    st->stranger = mint(st, &plain, false, "CN=carol,O=Globex", st->stranger_root);
    above = st->root;
    if (scene->with_upper)
        above = st->upper = mint(st, &scene->upper, true, "CN=Acme Policy CA,O=Acme", above);
    if (!scene->no_mid)
        above = st->mid = mint(st, &scene->mid, true, "CN=Acme Issuing CA,O=Acme", above);
    st->leaf = mint(st, &scene->leaf, false, "CN=alice,O=Acme", above);
}

static void stage_free(struct stage *st)
{
    struct certs_pair *pairs[] = {st->root,     st->upper,         st->mid,      st->leaf,
                                  st->stranger, st->stranger_root, st->same_name};

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        certs_pair_free(pairs[i]);
    for (size_t i = 0; i < st->chain.count; i++)
        free(st->copies[i]);
    sp_tls_trust_unref(st->trust);
}

static const char *names_of(sp_reason_set set, char buf[512])
{
    buf[0] = '\0';
    for (unsigned r = 0; r < SP_REASON_COUNT; r++)
        if (set & SP_REASON_BIT(r))
            snprintf(buf + strlen(buf), 512 - strlen(buf), "%s ",
                     sp_reason_name((enum sp_reason)r));
    return buf;
}

static void expect(const char *what, const struct sp_facts *facts, sp_reason_set observed,
                   const char *detail)
{
    char found[512], wanted[512];

    ck_assert_msg(facts->observed == observed, "%s: found [%s], wanted [%s]; detail: %s", what,
                  names_of(facts->observed, found), names_of(observed, wanted), facts->detail);
    ck_assert_msg(!observed == !facts->detail[0], "%s: detail '%s'", what, facts->detail);
    ck_assert_msg(!detail || strstr(facts->detail, detail), "%s: detail '%s', wanted '%s'", what,
                  facts->detail, detail);
    ck_assert_ptr_null(strchr(facts->detail, '\n'));
}

START_TEST(a_scene_has_exactly_its_reasons)
{
    const struct scene *scene = &scenes[_i];
    struct sp_chain_query query = {.purpose = scene->purpose,
                                   .require_eku = scene->require_eku,
                                   .max_chain = scene->max_chain,
                                   .min_key_bits = scene->min_key_bits,
                                   .name = scene->name};
    struct sp_facts facts;
    struct stage st;

    stage_build(&st, scene);
    send(&st, scene->sent ? scene->sent : "lm", scene->damaged);
    trust(&st, scene->trusted ? scene->trusted : "r");
    query.trust = st.trust;
    query.now = st.now + scene->later;
    query.uppers = sp_tls_uppers_new();
    for (int i = 0; i < 3; i++) { /* nothing of its issuers known, then perhaps, then not asked */
        if (i == 2) {
            sp_tls_uppers_free(query.uppers);
            query.uppers = NULL;
        }
        memset(&facts, 0xa5, sizeof facts);
        sp_chain_examine(&st.chain, &query, &facts);
        if (getenv("SP_SHOW"))
            fprintf(stderr, "%-55s %s\n", scene->what, facts.detail);
        expect(scene->what, &facts, scene->observed, scene->detail);
    }
    ck_assert(facts.has_certificate);
    ck_assert_uint_eq(facts.chain_len, st.chain.count);
    if (!scene->later) /* the clock is suspected only where all certificates say so */
        ck_assert_ptr_null(strstr(facts.detail, "clock"));
    stage_free(&st);
}
END_TEST

/* --- outside the scenes: sizes, garbage, identity --- */

/* A plain chain under a trusted root, for the tests that then spoil it. */
static void plain_stage(struct stage *st, const char *sent, struct sp_chain_query *query)
{
    static const struct scene plain;

    stage_build(st, &plain);
    send(st, sent, 0);
    trust(st, "r");
    *query = (struct sp_chain_query){.trust = st->trust, .now = st->now};
}

/* Two that are as long as each other are not the same certificate. */
START_TEST(certificates_of_one_length_are_told_apart)
{
    const struct scene scene = {.root = {.dn = "CN=Acme AAA CA,O=Acme", .key = CERTS_ED25519},
                                .upper = {.dn = "CN=Acme BBB CA,O=Acme", .key = CERTS_ED25519},
                                .mid = {.dn = "CN=Acme CCC CA,O=Acme", .key = CERTS_ED25519},
                                .with_upper = true};
    struct sp_facts facts;
    struct stage st;
    struct sp_chain_query query;

    stage_build(&st, &scene);
    send(&st, "lmu", 0);
    trust(&st, "r");
    ck_assert_uint_eq(st.chain.certs[1].len, st.chain.certs[2].len);
    query = (struct sp_chain_query){.trust = st.trust, .now = st.now};
    sp_chain_examine(&st.chain, &query, &facts);
    expect("one length", &facts, 0, NULL);
    stage_free(&st);
}
END_TEST

START_TEST(no_certificate_is_its_own_reason)
{
    struct sp_chain chain = {0};
    struct sp_chain_query query = {0};
    struct sp_facts facts;

    memset(&facts, 0xa5, sizeof facts);
    sp_chain_examine(&chain, &query, &facts);
    expect("none", &facts, BIT(NO_CERTIFICATE), "no certificate was presented");
    ck_assert(!facts.has_certificate);
    ck_assert_str_eq(facts.subject, "");
    ck_assert_str_eq(facts.fingerprint, "");
    ck_assert_int_eq(facts.not_after, 0);
}
END_TEST

START_TEST(ten_certificates_are_allowed_and_the_eleventh_is_too_many)
{
    struct sp_chain_query query;
    struct sp_facts facts;
    struct stage st;

    plain_stage(&st, "lmrrrrrrrr", &query);
    sp_chain_examine(&st.chain, &query, &facts);
    expect("ten", &facts, 0, NULL);
    stage_free(&st);
    plain_stage(&st, "lmrrrrrrrrr", &query);
    sp_chain_examine(&st.chain, &query, &facts);
    expect("eleven", &facts, BIT(CHAIN_TOO_LARGE), "more than 10 certificates");
    ck_assert_uint_eq(facts.chain_len, 11);
    ck_assert_str_eq(facts.subject, "CN=alice,O=Acme");
    stage_free(&st);
}
END_TEST

/* --- pinned keys --- */

/* As openssl would: the digest of the SubjectPublicKeyInfo's DER. */
static void pin_of(struct stage *st, char letter, char buf[72])
{
    char *pem = certs_pair_certificate_pem(pair_of(st, letter));
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)}, spki = {NULL, 0};
    gnutls_x509_crt_t crt;
    gnutls_pubkey_t key;
    uint8_t digest[32];

    gnutls_x509_crt_init(&crt);
    gnutls_pubkey_init(&key);
    ck_assert_int_eq(gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_eq(gnutls_pubkey_import_x509(key, crt, 0), 0);
    ck_assert_int_eq(gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &spki), 0);
    gnutls_hash_fast(GNUTLS_DIG_SHA256, spki.data, spki.size, digest);
    strcpy(buf, "sha256:");
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(buf + 7 + 2 * i, 3, "%02x", digest[i]);
    gnutls_free(spki.data);
    gnutls_pubkey_deinit(key);
    gnutls_x509_crt_deinit(crt);
    free(pem);
}

static const struct {
    const char *sent, *pinned; /* letters */
    char damaged;
    sp_reason_set observed;
} pinned[] = {
    {"lm", "l", 0, 0},
    {"lm", "m", 0, 0},
    {"lm", "r", 0, 0},
    {"lm", "yl", 0, 0},
    {"lm", "y", 0, BIT(UNTRUSTED_ISSUER)},
    {"lm", "s", 0, BIT(UNTRUSTED_ISSUER)},                        /* the root's name, another key */
    {"lmy", "y", 0, BIT(UNTRUSTED_ISSUER)},                       /* sent, but not on the path */
    {"lm", "m", 'l', BIT(BAD_SIGNATURE) | BIT(UNTRUSTED_ISSUER)}, /* not signed by it */
    {"lm", "l", 'l', BIT(BAD_SIGNATURE)},
    {"lmrrrrrrrrr", "l", 0, BIT(CHAIN_TOO_LARGE) | BIT(UNTRUSTED_ISSUER)}, /* not looked at */
    {"", "l", 0, BIT(NO_CERTIFICATE) | BIT(UNTRUSTED_ISSUER)},
};

START_TEST(a_pinned_key_must_be_on_the_path)
{
    struct sp_chain_query query;
    struct sp_facts facts;
    struct stage st;
    char pins[2][72], leaf[72];
    const char *list[] = {pins[0], pins[1]};

    plain_stage(&st, "lm", &query);
    for (size_t i = 0; i < st.chain.count; i++)
        free(st.copies[i]);
    send(&st, pinned[_i].sent, pinned[_i].damaged);
    query.pins = list;
    query.pin_count = strlen(pinned[_i].pinned);
    for (size_t i = 0; i < query.pin_count; i++)
        pin_of(&st, pinned[_i].pinned[i], pins[i]);
    sp_chain_examine(&st.chain, &query, &facts);
    expect(pinned[_i].pinned, &facts, pinned[_i].observed, NULL);
    pin_of(&st, 'l', leaf);
    if (facts.observed == BIT(UNTRUSTED_ISSUER)) {
        ck_assert_ptr_nonnull(strstr(facts.detail, "no pinned key matches: found sha256:"));
        ck_assert_ptr_nonnull(strstr(facts.detail, leaf));
    }
    stage_free(&st);
}
END_TEST

START_TEST(more_than_64_KiB_are_not_even_looked_at)
{
    struct sp_chain_query query;
    struct sp_facts facts;
    struct stage st;
    uint8_t *big = calloc(1, SP_CHAIN_MAX_BYTES + 1);
    size_t leaf_len;

    plain_stage(&st, "lm", &query);
    leaf_len = st.chain.certs[0].len;
    st.chain.certs[1] = (struct sp_bytes){big, SP_CHAIN_MAX_BYTES - leaf_len + 1};
    sp_chain_examine(&st.chain, &query, &facts);
    expect("one byte too many", &facts, BIT(CHAIN_TOO_LARGE), "65537 bytes, 65536 are the most");
    st.chain.certs[1].len--;
    sp_chain_examine(&st.chain, &query, &facts);
    expect("just enough", &facts, BIT(BAD_SIGNATURE) | BIT(MISSING_INTERMEDIATE),
           "certificate 2 of 2 cannot be parsed");
    st.chain.certs[0] = (struct sp_bytes){big, SP_CHAIN_MAX_BYTES + 1};
    st.chain.count = 1;
    sp_chain_examine(&st.chain, &query, &facts);
    expect("a huge leaf", &facts, BIT(CHAIN_TOO_LARGE), "65537 bytes");
    ck_assert(facts.has_certificate);
    ck_assert_uint_eq(strlen(facts.fingerprint), 71);
    st.chain.count = 2;
    stage_free(&st);
    free(big);
}
END_TEST

START_TEST(a_leaf_that_cannot_be_parsed_is_refused)
{
    static const uint8_t garbage[] = {0x30, 0x82, 0xff, 0xff, 1, 2, 3};
    const struct sp_bytes kinds[] = {{garbage, sizeof garbage}, {garbage, 0}, {garbage, 1}};
    struct sp_chain_query query;
    struct sp_facts facts;
    struct stage st;

    plain_stage(&st, "lm", &query);
    st.chain.certs[0] = kinds[_i];
    sp_chain_examine(&st.chain, &query, &facts);
    expect("garbage", &facts, BIT(BAD_SIGNATURE), "certificate 1 of 2 cannot be parsed");
    ck_assert(facts.has_certificate);
    stage_free(&st);
}
END_TEST

/* A parser that reads too far, or a certificate that still verifies: neither at any cut or flip. */
START_TEST(no_cut_and_no_flipped_byte_of_the_leaf_passes)
{
    struct sp_chain_query query;
    struct sp_facts facts;
    struct stage st;
    size_t len;

    plain_stage(&st, "lm", &query);
    len = st.chain.certs[0].len;
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = malloc(cut + 1);

        memcpy(copy + 1, st.copies[0], cut);
        st.chain.certs[0] = (struct sp_bytes){copy + 1, cut};
        sp_chain_examine(&st.chain, &query, &facts);
        ck_assert_uint_ne(facts.observed, 0);
        free(copy);
    }
    st.chain.certs[0] = (struct sp_bytes){st.copies[0], len};
    for (size_t at = 0; at < len; at++) {
        st.copies[0][at] ^= 0x20;
        sp_chain_examine(&st.chain, &query, &facts);
        ck_assert_msg(facts.observed, "flipped byte %zu of %zu passed", at, len);
        st.copies[0][at] ^= 0x20;
    }
    sp_chain_examine(&st.chain, &query, &facts);
    expect("whole again", &facts, 0, NULL);
    stage_free(&st);
}
END_TEST

START_TEST(facts_say_who_it_is_and_how_long_the_path_holds)
{
    static const struct scene scene = {
        .mid.begin = -3 * DAY, .leaf.begin = -5 * DAY, .mid.end = 9 * DAY, .leaf.end = 20 * DAY};
    struct sp_chain_query query = {0};
    struct sp_chain alone;
    struct sp_facts facts;
    struct stage st;
    char fingerprint[72] = "sha256:";
    uint8_t digest[32];

    stage_build(&st, &scene);
    send(&st, "lm", 0);
    trust(&st, "r");
    query.trust = st.trust;
    query.now = st.now;
    sp_chain_examine(&st.chain, &query, &facts);
    gnutls_hash_fast(GNUTLS_DIG_SHA256, st.copies[0], st.chain.certs[0].len, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(fingerprint + 7 + 2 * i, 3, "%02x", digest[i]);
    ck_assert_str_eq(facts.fingerprint, fingerprint);
    ck_assert_str_eq(facts.subject, "CN=alice,O=Acme");
    ck_assert_str_eq(facts.issuer, "CN=Acme Issuing CA,O=Acme");
    ck_assert_uint_eq(strlen(facts.serial), 32); /* mint's serials have 16 bytes */
    ck_assert_uint_eq(strspn(facts.serial, "0123456789abcdef"), 32);
    ck_assert_uint_eq(facts.chain_len, 2);
    ck_assert_str_eq(facts.path, "CN=alice,O=Acme" SP_PATH_STEP
                                 "CN=Acme Issuing CA,O=Acme" SP_PATH_STEP "CN=Acme Root CA,O=Acme");
    ck_assert(facts.path_is_trusted);
    ck_assert_uint_eq(facts.paths_tried, 1);
    ck_assert_int_eq(facts.not_before, st.now - 3 * DAY);
    ck_assert_int_eq(facts.not_after, st.now + 9 * DAY);
    ck_assert_int_eq(facts.holds_until, st.now + 9 * DAY + 1);
    query.now = facts.holds_until;
    sp_chain_examine(&st.chain, &query, &facts);
    ck_assert_uint_eq(facts.observed, SP_REASON_BIT(SP_REASON_EXPIRED));
    ck_assert_int_eq(facts.holds_until, INT64_MAX); /* it cannot get worse with time */
    alone = st.chain;
    alone.count = 1;
    sp_chain_examine(&alone, &query, &facts);
    ck_assert_str_eq(facts.path, "CN=alice,O=Acme"); /* where it ended */
    ck_assert(!facts.path_is_trusted);
    stage_free(&st);
}
END_TEST

/* Whose word counts about the leaf: what was sent, what is trusted, and whether the issuer is the
 * intermediate (m), the root (r) or nobody (-). */
START_TEST(the_issuer_is_named_when_the_path_to_him_holds)
{
    static const struct {
        const char *sent, *trusted;
        char damaged, issuer;
        struct scene scene;
    } rows[] = {
        {"lm", "r", 0, 'm', {.what = "all is well"}},
        {"lmr", "r", 0, 'm', {.what = "the root is sent"}},
        {"l", "m", 0, 'm', {.what = "the intermediate is trusted"}},
        {"l", "r", 0, '-', {.what = "the intermediate is missing"}},
        {"lm", "y", 0, '-', {.what = "the root is not trusted"}},
        {"lm", "-", 0, '-', {.what = "nobody is trusted"}},
        {"lm", "r", 'l', '-', {.what = "the leaf is damaged"}},
        {"lm", "r", 'm', '-', {.what = "the intermediate is damaged"}},
        {"lm", "r", 0, '-', {.what = "the issuer is no CA", .mid.no_ca = true}},
        {"lm", "r", 0, 'm', {.what = "the leaf has expired", .leaf.end = -DAY}},
        {"", "r", 0, '-', {.what = "nothing is sent"}},
    };
    struct sp_chain_query query = {0};
    struct stage st;
    size_t len = 0;
    uint8_t *der;

    stage_build(&st, &rows[_i].scene);
    send(&st, rows[_i].sent, rows[_i].damaged);
    trust(&st, rows[_i].trusted);
    query.trust = st.trust;
    query.now = st.now;
    der = sp_chain_issuer(&st.chain, &query, &len);
    ck_assert_msg(!der == (rows[_i].issuer == '-'), "%s", rows[_i].scene.what);
    if (der) {
        size_t wanted_len;
        const uint8_t *wanted = certs_pair_der(pair_of(&st, rows[_i].issuer), &wanted_len);

        ck_assert_uint_eq(len, wanted_len);
        ck_assert_mem_eq(der, wanted, len);
    }
    free(der);
    stage_free(&st);
}
END_TEST

START_TEST(a_long_name_is_cut_between_characters)
{
    struct sp_chain_query query = {0};
    struct sp_facts facts;
    struct stage st;
    char dn[1200] = "CN=";
    struct scene scene = {.leaf.dn = dn};

    for (int i = 0; i < 200; i++)
        strcat(dn, i == 100 ? ",O=x" : "\xe2\x82\xac"); /* the euro sign: three bytes each */
    for (int shift = 0; shift < 3;
         shift++, memmove(dn + 4, dn + 3, strlen(dn + 3) + 1), dn[3] = 'a') {
        stage_build(&st, &scene);
        send(&st, "lm", 0);
        query.now = st.now;
        sp_chain_examine(&st.chain, &query, &facts);
        ck_assert_uint_gt(strlen(facts.subject), SP_DN_MAX - 5);
        ck_assert_msg(strcmp(facts.subject + strlen(facts.subject) - 3, "\xe2\x82\xac") == 0,
                      "cut at '%s'", facts.subject + strlen(facts.subject) - 3);
        stage_free(&st);
    }
}
END_TEST

static Suite *chain_suite(void)
{
    Suite *suite = suite_create("tls_chain");
    TCase *tc = tcase_create("scenes");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_scene_has_exactly_its_reasons, 0, SCENES);
    suite_add_tcase(suite, tc);
    tc = tcase_create("edges");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, certificates_of_one_length_are_told_apart);
    tcase_add_test(tc, no_certificate_is_its_own_reason);
    tcase_add_test(tc, ten_certificates_are_allowed_and_the_eleventh_is_too_many);
    tcase_add_loop_test(tc, a_pinned_key_must_be_on_the_path, 0, sizeof pinned / sizeof pinned[0]);
    tcase_add_test(tc, more_than_64_KiB_are_not_even_looked_at);
    tcase_add_loop_test(tc, a_leaf_that_cannot_be_parsed_is_refused, 0, 3);
    tcase_add_test(tc, no_cut_and_no_flipped_byte_of_the_leaf_passes);
    tcase_add_test(tc, facts_say_who_it_is_and_how_long_the_path_holds);
    tcase_add_loop_test(tc, the_issuer_is_named_when_the_path_to_him_holds, 0, 11);
    tcase_add_test(tc, a_long_name_is_cut_between_characters);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(chain_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
