/* The key derivation, against values computed by other implementations. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/tls_kdf.h"

static void check_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    char text[2 * 64 + 1];
    size_t i;

    ck_assert_uint_le(len, 64);
    for (i = 0; i < len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    ck_assert_str_eq(text, hex);
}

START_TEST(sha256_gives_the_digests_of_fips_180)
{
    uint8_t digest[SP_SHA256_LEN];

    sp_sha256("abc", 3, digest);
    check_hex(digest, sizeof digest,
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sp_sha256("", 0, digest);
    check_hex(digest, sizeof digest,
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(sha256_of_parts_is_that_of_their_text)
{
    static const struct sp_sha256_part parts[] = {{"a", 1}, {"", 0}, {"bc", 2}};
    uint8_t digest[SP_SHA256_LEN];

    sp_sha256_parts(parts, 3, digest);
    check_hex(digest, sizeof digest,
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

/* Python: hmac twice by the formulas of RFC 5869, salt of 32 zero bytes. */
START_TEST(kdf_is_hkdf_sha256)
{
    uint8_t key[64];

    sp_kdf("0123456789abcdef0123456789abcdef", 32, "info", 4, key, sizeof key);
    check_hex(key, sizeof key,
              "5bb09b1abf4ce30afffc4949faf44173c196fde749fc2c77e48d47bd1a506904"
              "80244dac696659f309333d993ce7475e9ccc4b9eb5eaae41c867c1ec64555af3");
    sp_kdf("0123456789abcdef0123456789abcdef", 32, "info", 4, key, 16);
    check_hex(key, 16, "5bb09b1abf4ce30afffc4949faf44173");
}
END_TEST

START_TEST(kdf_depends_on_every_byte_of_secret_and_info)
{
    uint8_t key[64], other[64];

    sp_kdf("secret", 6, "info", 4, key, sizeof key);
    sp_kdf("Secret", 6, "info", 4, other, sizeof other);
    ck_assert_mem_ne(key, other, sizeof key);
    sp_kdf("secret", 6, "inf", 3, other, sizeof other);
    ck_assert_mem_ne(key, other, sizeof key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_kdf");
    TCase *tcase = tcase_create("tls_kdf");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, sha256_gives_the_digests_of_fips_180);
    tcase_add_test(tcase, sha256_of_parts_is_that_of_their_text);
    tcase_add_test(tcase, kdf_is_hkdf_sha256);
    tcase_add_test(tcase, kdf_depends_on_every_byte_of_secret_and_info);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
