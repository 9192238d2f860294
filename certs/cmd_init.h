/*
 * cmd_init: "sallyport-certs init DIR": a laboratory (certs/lab.h) written into a folder
 * (certs/store.h), and what to type next.
 */
#ifndef SALLYPORT_CERTS_CMD_INIT_H
#define SALLYPORT_CERTS_CMD_INIT_H
#include "certs/command.h"

extern const struct certs_command certs_cmd_init;
#endif
