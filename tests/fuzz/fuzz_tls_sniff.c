/* tls_sniff: any bytes as the beginning of an application's stream, at once and one by one. */
#include "common/tls_sniff.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static enum sp_tls_sniff sniff(const uint8_t *data, size_t len, char ret_name[SP_HOST_MAX + 1])
{
    uint8_t *copy = malloc(len ? len : 1);
    char again[SP_HOST_MAX + 1];
    enum sp_tls_sniff found;

    if (len)
        memcpy(copy, data, len);
    found = sp_tls_sniff(copy, len, ret_name);
    free(copy);
    if (found == SP_TLS_SNIFF_NAME)
        SP_REQUIRE(sp_host_fold(ret_name, strlen(ret_name), again) && strcmp(ret_name, again) == 0);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char name[SP_HOST_MAX + 1], name_so_far[SP_HOST_MAX + 1];
    enum sp_tls_sniff found = sniff(data, len, name), so_far = SP_TLS_SNIFF_MORE;

    /* However the bytes arrive: the first answer is the last. */
    for (size_t i = 0; so_far == SP_TLS_SNIFF_MORE && i <= len; i++)
        so_far = sniff(data, i, name_so_far);
    SP_REQUIRE(found == so_far);
    SP_REQUIRE(found != SP_TLS_SNIFF_NAME || strcmp(name, name_so_far) == 0);
    return 0;
}
