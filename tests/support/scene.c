#include "tests/support/scene.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/mint.h"
#include "common/clock.h"

#define DAY_S 86400

static char folder[64];
static int home = -1; /* where the process was before */

static void write_mode(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    ck_assert_msg(fd >= 0, "%s: cannot be written", path);
    ck_assert_int_eq(fchmod(fd, mode), 0); /* whatever the umask */
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

void scene_write(const char *path, const char *text)
{
    write_mode(path, text, 0644);
}

void scene_write_gateway(const char *stem, const char *more)
{
    char text[1024];

    snprintf(text, sizeof text,
             "{ \"listen\": [\"127.0.0.1:0\"], \"tenants\": \"tenants.d\",\n"
             "  \"common\": { \"server_names\": [\"secure.example.net\"],\n"
             "    \"certificate\": \"%s.pem\", \"private_key\": \"%s.key\" } %s }",
             stem, stem, more);
    scene_write("gateway.json", text);
}

void scene_write_tenant(const char *id, const char *names, const char *more)
{
    char path[64], text[2048];

    snprintf(path, sizeof path, "tenants.d/%s.json", id);
    snprintf(text, sizeof text,
             "{ \"server_names\": [%s],\n"
             "  \"client_validation\": { \"trusted_cas\": [\"../client-ca.pem\"] } %s }",
             names, more);
    scene_write(path, text);
}

void scene_remove(const char *path)
{
    ck_assert_msg(unlink(path) == 0, "%s: cannot be removed", path);
}

char *scene_read(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t size = 0, len;

    ck_assert_msg(file != NULL, "%s: cannot be read", path);
    len = (size_t)getdelim(&text, &size, '\0', file);
    ck_assert_msg(len != (size_t)-1, "%s: is empty", path);
    fclose(file);
    return text;
}

static struct certs_pair *mint(const struct certs_spec *spec, const struct certs_pair *issuer)
{
    struct sp_error err = {.text = ""};
    struct certs_pair *pair = NULL;

    ck_assert_msg(certs_mint(spec, issuer, &pair, &err) == SP_OK, "%s", err.text);
    return pair;
}

static void write_pem(const char *stem, const struct certs_pair *pair)
{
    char path[96];
    char *pem = certs_pair_certificate_pem(pair);

    snprintf(path, sizeof path, "%s.pem", stem);
    write_mode(path, pem, 0644);
    free(pem);
}

static void write_key(const char *stem, const struct certs_pair *pair, mode_t mode)
{
    char path[96];
    char *pem = certs_pair_key_pem(pair);

    snprintf(path, sizeof path, "%s.key", stem);
    write_mode(path, pem, mode);
    certs_secret_free(pem);
}

static struct certs_pair *make_ca(const char *stem, const char *dn)
{
    const struct certs_spec spec = {.dn = dn, .ca = true, .path_len = -1};
    struct certs_pair *pair = mint(&spec, NULL);

    write_pem(stem, pair);
    return pair;
}

static void make_leaf(const char *stem, const struct certs_spec *spec,
                      const struct certs_pair *issuer)
{
    struct certs_pair *pair = mint(spec, issuer);

    write_pem(stem, pair);
    write_key(stem, pair, 0600);
    if (!strcmp(stem, "common"))
        write_key("readable", pair, 0644);
    certs_pair_free(pair);
}

static void make_pki(void)
{
    static const char *const common_names[] = {"secure.example.net", "*.secure.example.net", NULL};
    static const char *const tenant_names[] = {"c1.example", "*.w1.example", NULL};
    const int64_t now = sp_clock_wall_s();
    struct certs_pair *client_ca = make_ca("client-ca", "CN=Client CA");
    struct certs_pair *other_ca = make_ca("other-ca", "CN=Other CA");
    struct certs_pair *service_ca = make_ca("service-ca", "CN=Service CA");
    struct certs_spec server = {
        .dn = "CN=server", .dns = common_names, .eku = CERTS_EKU_SERVER, .path_len = -1};
    const struct certs_spec client = {.dn = "CN=client", .eku = CERTS_EKU_CLIENT, .path_len = -1};

    write_pem("client-ca-copy", client_ca);
    make_leaf("common", &server, service_ca);
    /* Half a day off whole days, so that the messages stay the same while the tests run. */
    server.not_before = now - 10 * DAY_S;
    server.not_after = now - 3 * DAY_S - DAY_S / 2;
    make_leaf("expired", &server, service_ca);
    server.not_before = now + 5 * DAY_S + DAY_S / 2;
    server.not_after = now + 10 * DAY_S;
    make_leaf("early", &server, service_ca);
    server.not_before = server.not_after = 0;
    server.dns = tenant_names;
    make_leaf("tenant", &server, service_ca);
    make_leaf("client", &client, client_ca);
    certs_pair_free(client_ca);
    certs_pair_free(other_ca);
    certs_pair_free(service_ca);
}

void scene_enter(void)
{
    const char *tmp = getenv("TMPDIR");

    home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(home, 0);
    snprintf(folder, sizeof folder, "%.40s/sallyport-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert_int_eq(mkdir("tenants.d", 0755), 0);
    make_pki();
    write_mode("empty.pem", "", 0644);
    write_mode("junk.pem", "This is no certificate.\n", 0644);
}

static void remove_files(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)))
        if (entry->d_type == DT_REG)
            ck_assert_int_eq(unlinkat(dirfd(dir), entry->d_name, 0), 0);
    closedir(dir);
}

void scene_clear(void)
{
    unlink("gateway.json");
    unlink("agent.json");
    remove_files("tenants.d");
}

void scene_leave(void)
{
    remove_files("tenants.d");
    remove_files(".");
    ck_assert_int_eq(rmdir("tenants.d"), 0);
    ck_assert_int_eq(fchdir(home), 0);
    close(home);
    ck_assert_int_eq(rmdir(folder), 0);
}
