/*
 * evidence: the fields by which a `tunnel` event explains its decision, the same at both ends.
 *
 * Adds to a line that the caller has begun and will end; prints nothing itself. Thread-safe.
 */
#ifndef SALLYPORT_COMMON_EVIDENCE_H
#define SALLYPORT_COMMON_EVIDENCE_H
#include "common/log.h"
#include "common/verdict.h"

struct sp_tls_session;

/* action validate_status observed_errors reason rule detail, subject issuer serial fingerprint
 * chain path not_before not_after, and where a list or a responder was asked: revocation (crl,
 * ocsp). An identity is written only when the facts have one. */
void sp_evidence_verdict(struct sp_log_line *line, const struct sp_facts *facts,
                         const struct sp_verdict *verdict);
/* sni tls cipher alpn resumed; sni is left out when no name was sent. */
void sp_evidence_session(struct sp_log_line *line, const struct sp_tls_session *session);
#endif
