#include "gateway/explain_impl.h"

struct advice {
    const char *text;      /* for the gateway's own clients */
    const char *any_chain; /* where it is another; NULL: the same */
};

static const struct advice advices[SP_REASON_COUNT] = {
    [SP_REASON_NOT_TLS] = {"let the client speak TLS to this port (an https:// proxy, not http://)",
                           NULL},
    [SP_REASON_UNKNOWN_SERVER_NAME] =
        {"let the client ask for one of the tenant's server_names, or "
         "add this name to them",
         NULL},
    [SP_REASON_TENANT_DISABLED] = {"set \"enabled\": true in the tenant's file when he is to be "
                                   "served again",
                                   NULL},
    [SP_REASON_TENANT_UNKNOWN] = {"under a common name the chain must lead to one tenant: see to "
                                  "his trusted_cas and client_validation.match, or let the client "
                                  "ask for a server name of his",
                                  NULL},
    [SP_REASON_TENANT_AMBIGUOUS] = {"tell the tenants apart by client_validation.match, or let the "
                                    "client ask for a server name of its tenant",
                                    NULL},
    [SP_REASON_NO_CERTIFICATE] = {"give the client a certificate and its key "
                                  "(identity.certificate, identity.private_key of an agent)",
                                  "give the peer a certificate"},
    [SP_REASON_CHAIN_TOO_LARGE] = {"leave out of the client's certificate file what does not lead "
                                   "to its CA, or raise client_validation.max_chain",
                                   "leave out of the chain what does not lead to its CA"},
    [SP_REASON_REVOKED] = {"its CA has withdrawn the certificate: find out why before a new one is "
                           "issued, with a new key",
                           NULL},
    [SP_REASON_BAD_SIGNATURE] = {"the certificate is damaged or forged: compare its fingerprint "
                                 "with that in the CA's records, and install it anew",
                                 NULL},
    [SP_REASON_UNTRUSTED_ISSUER] = {"if this CA is to vouch for the tenant's clients, add it to "
                                    "client_validation.trusted_cas; else give the client a "
                                    "certificate of one of these CAs",
                                    "if this CA is to be trusted, give it with --trusted-ca"},
    [SP_REASON_MISSING_INTERMEDIATE] = {"append the intermediate's certificate, whose name stands "
                                        "above, to the client's certificate file (its CA has it)",
                                        "append the intermediate's certificate, whose name stands "
                                        "above, to the chain (its CA has it)"},
    [SP_REASON_CONSTRAINT_VIOLATION] = {"a CA on the path may not issue this certificate, or it "
                                        "has a name it must not have: have it issued by a CA that "
                                        "may",
                                        NULL},
    [SP_REASON_WEAK_ALGORITHM] = {"have it issued anew with SHA-256 or better and a key of "
                                  "sufficient size (client_validation.min_key_bits); where it is a "
                                  "CA's, replace the CA",
                                  "have it issued anew with SHA-256 or better and a key of "
                                  "sufficient size"},
    [SP_REASON_EXPIRED] = {"renew the certificate; for the meantime an exception "
                           "(client_validation.exceptions) lets this one pass until a day you name",
                           "renew the certificate"},
    [SP_REASON_NOT_YET_VALID] = {"look at the clocks of the gateway and of the CA; else wait",
                                 NULL},
    [SP_REASON_WRONG_PURPOSE] =
        {"have it issued anew with extendedKeyUsage clientAuth and keyUsage "
         "digitalSignature; the intermediates must allow it too",
         "have it issued anew with the extendedKeyUsage wanted (clientAuth, "
         "serverAuth) and keyUsage digitalSignature"},
    [SP_REASON_NAME_MISMATCH] =
        {"the certificate is of a trusted CA, but for somebody else: see to "
         "client_validation.match, or issue one with a name that fits",
         "have it issued with that name as a subject alternative name"},
    [SP_REASON_CRL_STALE] = {"put the CA's present revocation list in place (a file: replace it by "
                             "a rename; a URL: see crl_fetch in the log); in an emergency "
                             "\"on\": {\"crl_stale\": \"allow\"} lets its clients pass unasked",
                             "give the CA's present revocation list with --crl"},
    [SP_REASON_REVOCATION_UNKNOWN] = {"see that the responder answers (event ocsp in the log), or "
                                      "set client_validation.ocsp.responder; in an emergency "
                                      "\"ocsp\": {\"mode\": \"soft\"} lets clients pass unasked",
                                      "fetch a present answer of the responder and give it with "
                                      "--ocsp-response"},
};

const char *gw_explain_advice(enum sp_reason reason, bool any_chain)
{
    if (reason >= SP_REASON_COUNT || !advices[reason].text)
        return "see the README";
    return any_chain && advices[reason].any_chain ? advices[reason].any_chain
                                                  : advices[reason].text;
}
