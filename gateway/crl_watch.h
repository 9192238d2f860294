/*
 * crl_watch: notices that a CRL file which some tenant names has changed, by its time, size and
 * inode. Each path is looked at once, however many tenants name it.
 *
 * One owner, the gateway's main thread; system calls, no content is read here.
 */
#ifndef SALLYPORT_GATEWAY_CRL_WATCH_H
#define SALLYPORT_GATEWAY_CRL_WATCH_H
#include <stdbool.h>

struct gw_crl_watch; /* opaque */
struct gw_registry;

/* older (taken; may be NULL): what was seen by it is not seen again, so that a file that cannot be
 * used is complained about once. */
struct gw_crl_watch *gw_crl_watch_new(const struct gw_registry *registry,
                                      struct gw_crl_watch *older);
void gw_crl_watch_free(struct gw_crl_watch *watch); /* NULL is fine */
/* Whether a file looks otherwise than at the last look (at first: than when it was loaded). */
bool gw_crl_watch_look(struct gw_crl_watch *watch);
#endif
