/* OCSP: what is not a whole and plain response is refused. */
#include "common/tls_ocsp_parse.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/der_pieces.h"
#include "tests/unit/ocsp_rows.h"

START_TEST(what_is_not_a_plain_response_is_refused)
{
    const struct row rows[] = {
        {"malformedRequest", BAD, "the responder says malformedRequest", .spec = {.status = 1}},
        {"internalError", BAD, "the responder says internalError", .spec = {.status = 2}},
        {"tryLater", BAD, "the responder says tryLater", .spec = {.status = 3}},
        {"4", BAD, "the responder says 4, which", .spec = {.status = 4}},
        {"sigRequired", BAD, "the responder says sigRequired", .spec = {.status = 5}},
        {"unauthorized", BAD, "the responder says unauthorized", .spec = {.status = 6}},
        {"7", BAD, "the responder says 7, which", .spec = {.status = 7}},
        {"99", BAD, "the responder says 99, which", .spec = {.status = 99}},
        {"critical", BAD, "it has the critical extension 1.3.6.1.4.1.99999.2, which is not known",
         .spec = {.critical = true}},
        {"certificateIssuer", BAD, "it has the critical extension 2.5.29.29",
         .spec = {.critical = true, .oid = "2.5.29.29"}},
        {"critical in the entry", BAD,
         "its entry has the critical extension 1.3.6.1.4.1.99999.1, which is not known",
         .e = {{.critical = true}}},
        {"critical in a revoked entry", BAD, "its entry has the critical",
         .e = {{.critical = true, .said = OCSP_SAYS_REVOKED, .revoked_at = now}}},
        {"version 2", BAD, "it is malformed: its version", .spec = {.version = 2}},
        {"a UTCTime", BAD, "it is malformed: an entry", .e = {{.utc_time = true}}},
        {"trailing", BAD, "it is malformed: its end", .spec = {.trailing_outside = 1}},
        {"trailing inside", BAD, "it is malformed: its BasicOCSPResponse",
         .spec = {.trailing_body = 2}},
        {"huge", BAD, "it has 65", .spec = {.trailing_outside = 65500}},
        {"128 entries", SP_OCSP_GOOD, .spec = {.entry_copies = 127}},
        {"129 entries", BAD, "it is malformed: its list of entries (128 at most)",
         .spec = {.entry_copies = 128}},
        {"8 certificates", SP_OCSP_GOOD, .spec = {.signer = delegate, .cert_copies = 3},
         .certs = {nobody, delegate}},
        {"9 certificates", BAD, "it is malformed: its list of certificates (8",
         .spec = {.signer = delegate, .cert_copies = 8}, .certs = {nobody}},
    };

    CHECK_ROWS(rows);
}
END_TEST

/* Each cut, and each single bit that is another: never good. What stands outside of what is signed
 * may change some (a length in another form), so the text must then be the same. */
START_TEST(nothing_damaged_is_taken)
{
    const struct row row = {"", .spec = {.signer = delegate}, .certs = {delegate}};
    struct sp_ocsp_answer a;
    size_t len;
    uint8_t *der = make(&row, &len);

    for (size_t cut = 0; cut < len; cut++) {
        ask(&row, der, cut, &a);
        ck_assert_msg(a.status == SP_OCSP_INVALID && *a.detail, "%zu bytes of %zu", cut, len);
    }
    for (size_t bit = 0; bit < 8 * len; bit += 3) {
        der[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ask(&row, der, len, &a);
        ck_assert_msg(a.status == SP_OCSP_INVALID && *a.detail, "bit %zu of byte %zu", bit % 8,
                      bit / 8);
        der[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ask(&row, der, len, &a);
    ck_assert_int_eq(a.status, SP_OCSP_GOOD);
    free(der);
}
END_TEST

/* ---- each element of a response, spoilt in turn ---- */

enum spoil { DROP, EMPTY, RETAG, APPEND, SPOILS };
static const char *const spoil_names[] = {"dropped", "empty", "of another tag", "with more in it"};

struct edit {
    enum spoil how;
    int target, seen;
    int tag; /* of what was spoilt; -1: there was nothing to spoil */
};

static bool holds_elements(int tag, struct sp_tls_der content)
{
    struct sp_tls_der inside;

    if (tag & 0x20)
        return true;
    return tag == SP_TLS_DER_OCTET_STRING &&
           sp_tls_der_take(&content, SP_TLS_DER_SEQUENCE, &inside, NULL) &&
           !sp_tls_der_len(&content);
}

/* Copies a row of elements with one change; returns the bytes written. */
static size_t rewrite(struct sp_tls_der in, uint8_t *out, struct edit *e)
{
    uint8_t *begin = out;

    while (sp_tls_der_len(&in)) {
        int tag = in.at[0];
        struct sp_tls_der content;
        bool is_it = e->seen++ == e->target;
        uint8_t *inner = calloc(1, 8192);
        size_t len;

        ck_assert(inner && sp_tls_der_take(&in, tag, &content, NULL));
        if (holds_elements(tag, content) && !is_it) {
            len = rewrite(content, inner, e);
        } else {
            len = sp_tls_der_len(&content);
            memcpy(inner, content.at, len);
        }
        if (is_it && (e->how != EMPTY || len) &&
            (e->how != APPEND || holds_elements(tag, content) || !len))
            e->tag = tag;
        if (e->tag >= 0 && is_it && e->how == APPEND) {
            memcpy(inner + len, "\x05", 2);
            len += 2;
        }
        len = is_it && e->how == EMPTY ? 0 : len;
        if (!is_it || e->how != DROP) {
            size_t header = sp_tls_der_put_header(out, len);

            out[0] = (uint8_t)(is_it && e->how == RETAG ? tag ^ 0x40 : tag);
            memcpy(out + header, inner, len);
            out += header + len;
        }
        free(inner);
    }
    return (size_t)(out - begin);
}

/* Signed as it is: only the NULL of an algorithm and the cause of a revocation may go. */
static bool may_be_spoilt(const struct edit *e, bool is_revoked)
{
    return e->how == DROP && (e->tag == 0x05 || (is_revoked && e->tag == 0xa0));
}

START_TEST(each_element_of_the_signed_part_must_be_in_its_place)
{
    const struct row rows[] = {
        {"good", SP_OCSP_GOOD, .spec = {.by_key = true}, .nonce = "0123456789abcdef"},
        {"revoked", SP_OCSP_REVOKED, .nonce = "0123456789abcdef",
         .e = {{.said = OCSP_SAYS_REVOKED, .revoked_at = now, .cause = 1}}},
        {"unknown", SP_OCSP_UNKNOWN, .nonce = "0123456789abcdef",
         .e = {{.said = OCSP_SAYS_UNKNOWN}}},
    };
    static uint8_t out[16384];
    const struct row *row = &rows[_i];
    struct ocsp_entry e = row->e[0];
    struct ocsp_spec spec = row->spec;
    struct sp_ocsp_answer a;
    size_t tbs_len, len, spoilt = 0;
    uint8_t *tbs, *der;

    e.cert = leaf;
    e.issuer = ca;
    e.this_update = now;
    e.next_update = now + DAY;
    spec.entries = &e;
    spec.count = 1;
    spec.produced_at = now;
    spec.signer = ca;
    spec.nonce = (const uint8_t *)row->nonce;
    spec.nonce_len = strlen(row->nonce);
    tbs = ocsp_make_tbs(&spec, &tbs_len);
    for (int how = -1; how < SPOILS; how++) {
        struct edit edit = {.how = (enum spoil)how, .target = -1};
        int count = 0;

        do {
            edit.seen = 0;
            edit.tag = -1;
            len = rewrite((struct sp_tls_der){tbs, tbs + tbs_len}, out, &edit);
            der = ocsp_make_around(&spec, out, len, &len);
            ask(row, der, len, &a);
            free(der);
            if (edit.tag < 0)
                ck_assert_msg(a.status == row->status, "%s: %s", row->name, a.detail);
            else if (!may_be_spoilt(&edit, row->status == SP_OCSP_REVOKED))
                ck_assert_msg(a.status == SP_OCSP_INVALID, "%s: element %d (tag %02x) %s: %d",
                              row->name, edit.target, (unsigned)edit.tag, spoil_names[how],
                              a.status);
            spoilt += edit.tag >= 0;
            count = edit.target < 0 ? edit.seen : count;
        } while (how >= 0 && ++edit.target < count);
    }
    ck_assert_uint_gt(spoilt, 60);
    free(tbs);
}
END_TEST

START_TEST(each_element_around_it_must_be_in_its_place)
{
    /* A NULL behind the signature's algorithm says nothing: some write it, some do not. */
    const struct row rows[] = {
        {"", .spec = {.signer = delegate}, .certs = {delegate}, .max_age = APPEND},
        {"", .issuer = ed, .leaf = ed_leaf, .max_age = APPEND},
        {"", .issuer = rsa, .leaf = rsa_leaf, .max_age = DROP},
        {"", .issuer = rsa, .leaf = rsa_leaf, .spec = {.sign = GNUTLS_SIGN_RSA_PSS_SHA256},
         .max_age = SPOILS},
    };
    struct row row = rows[_i];
    const int excuse = (int)row.max_age; /* may be done to it, once */
    static uint8_t out[16384];
    struct sp_ocsp_answer a;
    size_t len, spoilt = 0, excused = 0;
    uint8_t *der = make(&row, &len);

    row.max_age = 0;
    for (int how = 0; how < SPOILS; how++) {
        struct edit edit = {.how = (enum spoil)how, .target = -1};
        int count = 0;

        do {
            size_t out_len;

            edit.seen = 0;
            edit.tag = -1;
            out_len = rewrite((struct sp_tls_der){der, der + len}, out, &edit);
            ask(&row, out, out_len, &a);
            excused += edit.tag >= 0 && a.status == SP_OCSP_GOOD;
            ck_assert_msg((a.status == SP_OCSP_GOOD) == (edit.tag < 0) ||
                              (excused == 1 && how == excuse),
                          "element %d (tag %02x) %s: %d", edit.target, (unsigned)edit.tag,
                          spoil_names[how], a.status);
            spoilt += edit.tag >= 0;
            count = edit.target < 0 ? edit.seen : count;
        } while (++edit.target < count);
    }
    ck_assert_uint_gt(spoilt, 80);
    ck_assert_uint_eq(excused, excuse != SPOILS);
    free(der);
}
END_TEST

/* ---- an entry by itself, put together by hand ---- */

enum { E_HASH, E_NAME, E_KEY, E_SERIAL, E_ID_END, E_ID, E_SAID, E_THIS, E_NEXT, E_MORE };

START_TEST(an_entry_has_each_of_its_parts)
{
    static const struct piece good[] = {
        [E_HASH] = P("\x30\x05\x06\x01\x2a\x05\x00"),
        [E_NAME] = P("\x04\x01n"),
        [E_KEY] = P("\x04\x01k"),
        [E_SERIAL] = P("\x02\x01\x05"),
        [E_ID_END] = P(""),
        [E_ID] = P(""), /* is put in */
        [E_SAID] = P("\x80\x00"),
        [E_THIS] = P("\x18\x0f"
                     "20260101000000Z"),
        [E_NEXT] = P("\xa0\x11\x18\x0f"
                     "20270101000000Z"),
        [E_MORE] = P(""),
    };
    static const struct swap swaps[] = {
        {E_MORE, P(""), true},
        {E_HASH, P("\x30\x03\x06\x01\x2a"), true},
        {E_HASH, P(""), false},
        {E_HASH, P("\x31\x05\x06\x01\x2a\x05\x00"), false},
        {E_HASH, P("\x30\x00"), false},
        {E_HASH, P("\x30\x03\x0d\x01\x2a"), false},
        {E_HASH, P("\x30\x05\x06\x01\x2a\x04\x00"), false},
        {E_HASH, P("\x30\x06\x06\x01\x2a\x05\x01\x00"), false},
        {E_HASH, P("\x30\x07\x06\x01\x2a\x05\x00\x05\x00"), false},
        {E_NAME, P(""), false},
        {E_NAME, P("\x03\x01n"), false},
        {E_KEY, P(""), false},
        {E_KEY, P("\x03\x01k"), false},
        {E_SERIAL, P(""), false},
        {E_SERIAL, P("\x02\x00"), false},
        {E_SERIAL, P("\x04\x01\x05"), false},
        {E_ID_END, P("\x05\x00"), false},
        {E_ID, P(""), false},
        {E_ID, P("\x30\x00"), false},
        {E_ID, P("\x31\x00"), false},
        {E_SAID, P("\x82\x00"), true},
        {E_SAID, P("\x80\x01\x00"), false},
        {E_SAID, P(""), false},
        {E_THIS, P(""), false},
        {E_NEXT, P(""), true},
        {E_NEXT, P("\xa0\x00"), false},
        {E_NEXT, P("\xa0\x7f"), false},
        {E_MORE, P("\xa1\x02\x30\x00"), true},
        {E_MORE, P("\xa1\x02\x31\x00"), false},
        {E_MORE, P("\xa1\x00"), false},
        {E_MORE, P("\x05\x00"), false},
    };

    for (size_t i = 0; i < sizeof swaps / sizeof swaps[0]; i++) {
        uint8_t id[128], bytes[128];
        const struct swap whole_id = {.index = 0,
                                      .other = {(char *)id, enclose(good, E_ID, &swaps[i], id)}};
        const struct swap by = {swaps[i].index - E_ID, swaps[i].other, true};
        struct piece outer[E_MORE - E_ID + 1];
        struct sp_ocsp_single single;
        struct sp_tls_der d = {bytes, bytes};

        memcpy(outer, good + E_ID, sizeof outer);
        outer[0] = whole_id.other;
        d.end += enclose(outer, E_MORE - E_ID + 1, swaps[i].index < E_ID ? NULL : &by, bytes);
        ck_assert_msg(sp_ocsp_parse_single(&d, &single) == swaps[i].is_taken, "row %zu", i);
        if (!swaps[i].is_taken)
            continue;
        ck_assert(sp_tls_der_len(&single.hash_oid) == 1 && single.hash_oid.at[0] == 0x2a &&
                  single.name_hash.at[0] == 'n' && single.key_hash.at[0] == 'k' &&
                  single.serial.at[0] == 5 && single.this_update == INT64_C(1767225600));
        ck_assert_int_eq(single.next_update, swaps[i].index == E_NEXT ? 0 : INT64_C(1798761600));
    }
}
END_TEST

START_TEST(an_empty_and_a_huge_response_are_refused)
{
    const struct sp_ocsp_query q = {.cert = ocsp_der(leaf), .issuer = ocsp_der(ca), .now = now};
    struct sp_bytes response = {NULL, 0};
    uint8_t *huge = calloc(SP_OCSP_RESPONSE_MAX + 1, 1);
    struct sp_ocsp_answer a;

    ck_assert_ptr_nonnull(huge);
    sp_ocsp_examine(&response, &q, &a);
    ck_assert_int_eq(a.status, SP_OCSP_INVALID);
    ck_assert_str_eq(a.detail, "it is malformed: its beginning");
    response = (struct sp_bytes){huge, SP_OCSP_RESPONSE_MAX};
    sp_ocsp_examine(&response, &q, &a);
    ck_assert_str_eq(a.detail, "it is malformed: its beginning");
    response.len++;
    sp_ocsp_examine(&response, &q, &a);
    ck_assert_int_eq(a.status, SP_OCSP_INVALID);
    ck_assert_str_eq(a.detail, "it has 65537 bytes; 65536 are the most");
    free(huge);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_ocsp_parse");
    TCase *all = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_unchecked_fixture(all, setup, teardown);
    tcase_add_test(all, what_is_not_a_plain_response_is_refused);
    tcase_add_test(all, nothing_damaged_is_taken);
    tcase_add_loop_test(all, each_element_of_the_signed_part_must_be_in_its_place, 0, 3);
    tcase_add_loop_test(all, each_element_around_it_must_be_in_its_place, 0, 4);
    tcase_add_test(all, an_entry_has_each_of_its_parts);
    tcase_add_test(all, an_empty_and_a_huge_response_are_refused);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
