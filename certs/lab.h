/*
 * lab: the files of a complete laboratory, made in memory: the service's CA and server
 * certificates, two tenants with client CAs and clients, and configurations for all that run as
 * they are. Writing them is store's work.
 *
 * A struct certs_lab is immutable, owned by its maker, and holds private keys: certs_lab_free wipes
 * them.
 */
#ifndef SALLYPORT_CERTS_LAB_H
#define SALLYPORT_CERTS_LAB_H
#include "certs/store.h"
#include "common/addr.h"
#include "common/error.h"

#define CERTS_LAB_LIST_MAX 64

struct certs_lab_forward {
    struct sp_addr listen;
    struct sp_target to;
};

struct certs_lab_plan {
    struct sp_addr gateway;                /* where the gateway listens */
    struct sp_addr door;                   /* HTTP door of Acme's agent */
    struct sp_addr globex_door;            /* and of Globex's */
    const char *allow[CERTS_LAB_LIST_MAX]; /* egress rules of both tenants; borrowed */
    size_t allow_count;
    struct certs_lab_forward forwards[CERTS_LAB_LIST_MAX]; /* more doors of Acme's agent */
    size_t forward_count;
};

struct certs_lab; /* opaque */

SP_MUST_USE enum sp_err certs_lab_new(const struct certs_lab_plan *plan, struct certs_lab **ret_lab,
                                      struct sp_error *err);
void certs_lab_free(struct certs_lab *lab);
/* Borrowed, valid for the laboratory's life. */
const struct certs_store_file *certs_lab_files(const struct certs_lab *lab, size_t *ret_count);
#endif
