/*
 * admission: whose handshake goes on next. Handshakes are the dear part of a gateway's work; they
 * get a bounded share of each loop turn, so that open channels are served in between however many
 * come, and when there are more than the core can do, the tenants share it evenly: next is a
 * handshake of the tenant that has had the least CPU time so far. Within a tenant those that have
 * begun come first (their work would be lost), then those with a ticket (a third of the work), then
 * the others, each in the order they came.
 *
 * Loop thread only; one a worker. Items are embedded in their owners, who take them out before they
 * go.
 */
#ifndef SALLYPORT_GATEWAY_ADMISSION_H
#define SALLYPORT_GATEWAY_ADMISSION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gw_admission; /* opaque */
struct sp_loop;

enum gw_admission_kind { GW_ADMIT_BEGUN, GW_ADMIT_RESUMED, GW_ADMIT_FULL, GW_ADMIT_KINDS };

struct gw_admission_item {                  /* zeroed at first */
    struct gw_admission_item *next, **prev; /* waiting while prev is set */
    struct gw_admission_line *line;
    enum gw_admission_kind kind;
    uint64_t since_ms;
};

struct gw_admission_callbacks {
    /* One step of its handshake. It may be put again, later. */
    void (*run)(struct gw_admission_item *item);
    /* It has waited so long that its client will hardly wait for the rest: turn it away. Never one
     * that has begun. */
    void (*too_late)(struct gw_admission_item *item);
};

struct gw_admission *gw_admission_new(struct sp_loop *loop,
                                      const struct gw_admission_callbacks *callbacks);
void gw_admission_free(struct gw_admission *admission); /* must be empty; NULL is fine */
/* Those that have waited longer before they began are too late. */
void gw_admission_set_patience(struct gw_admission *admission, uint64_t ms);
/* tenant: whose share it is; copied. Runs at the end of this tick or later, never at once. */
void gw_admission_put(struct gw_admission *admission, struct gw_admission_item *item,
                      enum gw_admission_kind kind, const char *tenant);
void gw_admission_remove(struct gw_admission *admission,
                         struct gw_admission_item *item); /* fine when it does not wait */
size_t gw_admission_waiting(const struct gw_admission *admission);
#endif
