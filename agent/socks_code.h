/*
 * socks_code: which reply of RFC 1928 tells a SOCKS client best why it was refused. Pure.
 */
#ifndef SALLYPORT_AGENT_SOCKS_CODE_H
#define SALLYPORT_AGENT_SOCKS_CODE_H
#include "common/socks5.h"

struct agent_refusal;

/* The table stands in README.md. */
enum sp_socks5_code agent_socks_code(const struct agent_refusal *refusal);
#endif
