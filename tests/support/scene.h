/*
 * scene: a temporary folder with a minted PKI, for tests that load configuration from files.
 *
 * scene_enter makes the folder and makes it the working directory, so that messages hold short
 * relative paths. In it:
 *     client-ca.pem  other-ca.pem  service-ca.pem   CAs; client-ca-copy.pem has client-ca's content
 *     common.pem .key    secure.example.net, *.secure.example.net
 *     tenant.pem .key    c1.example, *.w1.example
 *     expired.pem .key   as common, since three days
 *     early.pem .key     as common, in five days and a bit
 *     client.pem .key    a client of client-ca
 *     readable.key       common.key with mode 0644
 *     empty.pem  junk.pem
 *     tenants.d/
 * Checks abort the test. One scene a process at a time.
 */
#ifndef SALLYPORT_TESTS_SUPPORT_SCENE_H
#define SALLYPORT_TESTS_SUPPORT_SCENE_H

void scene_enter(void);
void scene_leave(void); /* removes the folder */

/* Writes a whole file (mode 0644), replacing what was there. */
void scene_write(const char *path, const char *text);
void scene_remove(const char *path);
/* A gateway.json with the common name secure.example.net, the certificate and key of that stem, and
 * `more` (", \"key\": value", or "") after them; a tenants.d/ID.json with these names (a JSON
 * list's inside) that trusts client-ca.pem. */
void scene_write_gateway(const char *stem, const char *more);
void scene_write_tenant(const char *id, const char *names, const char *more);
/* Removes gateway.json, agent.json and all that is in tenants.d. */
void scene_clear(void);
/* The whole file, allocated; its NUL-terminated text. */
char *scene_read(const char *path);
#endif
